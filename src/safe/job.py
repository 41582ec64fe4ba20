"""A training job from its first check to its written parameters: record, lock, checkpoints, log.

It trains by a Trainer of the core, which `make_trainer` prepares with a faster step if one is given.
"""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import dataset as data
from model import GPT
from recipes import Recipe, Stage
from safe.exits import say
from safe.files import save_parameters
from safe.held_out import OnLog, with_accuracy
from safe.lock import take_over
from safe.progress import Bar
from safe.record import command_line, complete_already, identity
from safe.running import Running
from safe.startup import keep_compiler_out
from safe.unfinished import UnfinishedRun, settle_log
from trainer import Diverged, Trainer, TrainerConfig

VALIDATIONS = 20  # measurements of the validation loss in a run, about


def unless_refused(open_questions: Callable[..., Any], path: str | Path | None, corpus: Any) -> Any:
    """Held-out questions, or None with a warning if the model cannot be asked them: only their loss is missing then."""
    try:
        return open_questions(path, corpus)
    except ValueError as error:
        say(f"{error}: no validation loss", to_stderr=True)
        return None


@dataclass
class Job:
    """What is trained, on what, how, and where."""

    model: GPT
    train_set: Any  # the dataset to train on
    held_out: data.NameDataset | None  # questions whose loss is logged
    corpus: data.CharCorruptionDataset  # gives the vocabulary and the length of the schedule
    recipe: Recipe
    stage: Stage
    running: Running
    device: torch.device
    processes: Any = None  # None: this process only
    faster: Callable[..., tuple[dict[str, Any], str]] | None = None  # fast.steps.fastest; None: Trainer's own step

    @property
    def dtype(self) -> str:
        return self.running.dtype or self.recipe.dtype

    @property
    def is_first(self) -> bool:
        """Is this the process that writes the files?"""
        return self.processes is None or self.processes.is_first

    @property
    def sharded(self) -> bool:
        return self.processes is not None and self.processes.shard


def train(job: Job, about: dict[str, Any], answer: Callable[..., list[str]] | None = None) -> dict[str, Any]:
    """Train, log every line, write the parameters and their record, which begins with `about`. Returns the record.

    answer: asks the model held-out questions while it trains (stages.answer)
    """
    path, config = about["arguments"]["writing_params_path"], trainer_config(job)
    record = first_record(job, config, about)
    if (complete := finished(job, path, record)) is not None:
        say(f"{path}: complete already")
        return complete
    name = job.running.tb_expt_name
    keep: dict[str, Any] = {"every": job.running.checkpoint_every}
    keep["tb_expt_name"] = name and f"{about['command']}/{name}_{job.model.config.variant}"
    keep |= {"resume": job.running.resume, "overwrite": job.running.overwrite, "processes": job.processes}
    machine = {"device": record["device"], "torch": str(torch.__version__), "threads": torch.get_num_threads()}
    machine["processes"] = record["processes"]
    with UnfinishedRun(path, identity(record), machine, command_line(record), **keep) as run:
        trainer, how = make_trainer(job, config, about["command"], run, with_accuracy(run.on_log, job, about, answer))
        try:
            result = trainer.train()
        except Diverged as error:
            raise Diverged(f"{error}; {run.where()}") from None
        record |= {"epochs": result["epoch"], "steps": result["step"], "tokens": result["tokens"]}
        record |= {"final_loss": result["loss"], "seconds": round(result["seconds"], 3), "computed_in": how}
        model = job.model if not job.sharded else gathered(job)
        if job.is_first:
            try:
                record = save_parameters(path, model, record)
            except OSError as error:
                raise OSError(f"{path}: cannot be written: {error.strerror or error}; {run.where()}") from None
            run.complete()
    say(f"loss {result['loss']:.3f} after {result['step']:,} steps, {result['seconds']:.0f} s: {path}")
    return record


def trainer_config(job: Job) -> TrainerConfig:
    """What the stage and the recipe say, in the trainer's terms."""
    stage, recipe, batch_size = job.stage, job.recipe, job.stage.batch_size
    scheduled_rows = stage.max_epochs * len(job.train_set)
    if stage.schedule_epochs is not None:
        scheduled_rows = stage.schedule_epochs * (len(job.corpus) + recipe.counts_last_line)
    if isinstance(job.train_set, data.MixedDataset):  # questions come on top of the documents
        batch_size = round(batch_size * len(job.train_set) / len(job.corpus))
    config = TrainerConfig(
        max_epochs=stage.max_epochs,
        batch_size=batch_size,
        learning_rate=stage.learning_rate,
        optimizer=stage.optimizer or recipe.optimizer,
        weight_decay=recipe.weight_decay,
        decay_gains_and_embeddings=recipe.decay_gains_and_embeddings,
        min_lr_share=recipe.min_lr_share,
        lr_decay=True,
        warmup_tokens=stage.warmup_tokens,
        final_tokens=scheduled_rows * job.corpus.block_size,
        eval_every=max(1, stage.max_epochs // VALIDATIONS),
        seed=job.running.seed,
    )
    if job.sharded and config.optimizer == "muon":
        raise ValueError("--shard: Muon needs whole matrices: choose a recipe that trains with AdamW, as course does")
    return config


def first_record(job: Job, config: TrainerConfig, about: dict[str, Any]) -> dict[str, Any]:
    """The record of a run as far as it is known before training."""
    count = 1 if job.processes is None else job.processes.count
    return {
        "variant": job.model.config.variant,
        **about,
        "seed": job.running.seed,
        "dtype": job.dtype,
        "plain": job.running.plain,
        "compile": job.running.compile,
        "deterministic": job.running.deterministic,
        "config": asdict(job.model.config),
        "vocabulary": job.corpus.vocabulary.characters,
        "trainer": asdict(config),
        "processes": count,
        "machines": 1 if job.processes is None else count // job.processes.local_count,
        "device_type": job.device.type,
        "device": torch.cuda.get_device_name(job.device) if job.device.type == "cuda" else str(job.device),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def finished(job: Job, path: str, record: dict[str, Any]) -> dict[str, Any] | None:
    """The record of this very run, if it is complete already.

    Raises ValueError if other parameters are at `path`: they may be hours of work, and only --overwrite replaces them.
    """
    complete = None
    if not job.running.overwrite and not Path(f"{path}.resume").exists():
        if job.is_first:
            take_over(path).release()  # refused while another process is writing it
        if Path(path).exists():
            complete = complete_already(path, record)
            if complete is None:
                raise ValueError(f"{path}: there are parameters of another run: --overwrite replaces them")
            settle_log(path, complete.get("steps"))
        elif job.running.resume and job.is_first:
            say(f"{path}.resume: there is none: starting from the beginning", to_stderr=True)
    if job.processes is not None:  # all or none
        complete = complete if job.processes.agree(complete is not None, job.device) else None
    return complete


def make_trainer(
    job: Job, config: TrainerConfig, command: str, run: UnfinishedRun, on_log: OnLog
) -> tuple[Trainer, str]:
    """A trainer, continued from the run's checkpoint if there is one, and how it computes a step, for people."""
    keep_compiler_out()
    n_parameters = sum(p.numel() for p in job.model.parameters())
    model: Any = job.model.to(job.device) if job.processes is None else job.processes.place(job.model, job.device)
    what = f"{command} {job.model.config.variant}: {n_parameters:,} parameters on {job.device}"
    say(f"{what}, {len(job.train_set):,} rows, {config.max_epochs} epochs, batches of {config.batch_size}")
    train_set = job.train_set.to(job.device)
    held = None if job.held_out is None else job.held_out.to(job.device)
    arguments: dict[str, Any] = {}
    how = f"float32 ({torch.get_float32_matmul_precision()} precision), the plain step"
    if job.faster is not None:
        running, bf16 = job.running, job.dtype == "bf16"
        arguments, how = job.faster(
            model, train_set, config, bf16=bf16, compile=running.compile, processes=job.processes
        )
    trainer = Trainer(model, train_set, held, config, **arguments, on_log=on_log, on_pause=run.on_pause)
    if job.processes is not None:
        if not job.processes.agree(run.saved_step or 0, job.device):
            raise ValueError(f"{run.checkpoint}: some processes do not see it: all machines must read the same files")
        job.processes.seed_dropout(config.seed)
    run.watch(trainer)
    continued = f", continued after step {trainer.steps_done:,}" if trainer.steps_done else ""
    say(f"computed in {how}{continued}")
    trainer.bar = Bar(trainer)
    return trainer, how


def gathered(job: Job) -> GPT:
    """A model with the parameters that the processes hold in parts; all of them in the first process only."""
    whole, model = job.processes.whole_state_dict(job.model), GPT(job.model.config)
    model.load_state_dict(whole, strict=job.is_first)
    return model
