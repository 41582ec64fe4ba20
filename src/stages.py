"""The stages of the course as functions: pretrain, finetune, evaluate. They compose all other modules.

They take what the command line (run.py) takes, under the same names, and return what they found. Whatever is wrong with
the arguments or files is a ValueError or OSError raised before training.
"""

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

import dataset as data
from checkpoint import atomic_write, check_writable, file_sha256, save_parameters
from model import GPT
from recipes import Recipe, Stage, find_recipe, override
from record import command_line, complete_already, identity, plain_arguments
from startup import (
    build,
    check_outputs,
    given,
    has_bf16,
    model_config,
    open_corpus,
    open_questions,
    placed,
    processes_of_torchrun,
    read_trained,
    refuse_overwriting,
    refuse_several_processes,
    seed_everything,
    vocabulary_of,
)
from trainer import Diverged, Trainer, TrainerConfig
from unfinished import UnfinishedRun, settle_log, take_over

if TYPE_CHECKING:
    from parallel import Processes

# Prompts answered at a time, of like length. On a GPU as many as memory allows; on a CPU as many as its caches like.
ROWS, ROWS_ON_CPU = 512, 128
ANSWER_LENGTH = 32  # characters after which an answer that has not ended is cut off, as in the course


# ------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a training stage is run; what it learns is up to its recipe. The command line has a flag for each field."""

    max_epochs: int | None = None  # None: the recipe's, here and in the next two
    batch_size: int | None = None
    dtype: str | None = None  # of matrix products on a GPU: float32, tf32 or bf16
    seed: int = 0  # of initialisation, dropout, order and corruption
    device: str | None = None  # None: the first of cuda, mps and cpu that is there
    compile: str = "auto"  # see TrainerConfig
    deterministic: bool = False  # see startup.repeatable
    skip_nonfinite: bool = False  # see TrainerConfig
    checkpoint_activations: bool = False  # see model.GPT
    shard: bool = False  # see parallel.py
    tb_expt_name: str | None = None  # log to TensorBoard, too, under this name
    checkpoint_every: float = 60  # seconds between checkpoints of the unfinished run, `writing_params_path`.resume
    resume: bool = False  # continue it;
    overwrite: bool = False  # or discard it. With neither it is an error that there is one

    @classmethod
    def split(cls, options: dict[str, Any]) -> tuple["Running", dict[str, Any]]:
        """What of `options` is a field here, and the others."""
        own = {field.name for field in fields(cls)} & options.keys()
        return cls(**{name: options[name] for name in own}), {k: v for k, v in options.items() if k not in own}

    def of(self, stage: Stage, learning_rate: float | None) -> Stage:
        """The stage with what the caller wants otherwise."""
        return override(stage, learning_rate=learning_rate, max_epochs=self.max_epochs, batch_size=self.batch_size)


def pretrain(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    *,
    finetune_corpus_path: str | Path | None = None,
    recipe: str = "course",
    pretrain_lr: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train a new model on span corruption of the corpus and write it. Returns the record written beside it.

    With `finetune_corpus_path`, a recipe that mixes questions into pretraining takes them from that file.
    options: fields of Running, SIZES, and options of the variant
    """
    arguments, (running, settings) = plain_arguments(locals()), Running.split(options)
    processes, chosen = processes_of_torchrun(running.shard), find_recipe(recipe)
    corpus = open_corpus(pretrain_corpus_path, given(settings).get("block_size"), chosen)
    config = model_config(variant, corpus, chosen, settings)
    about = {"command": "pretrain", "recipe": recipe, "corpus": Path(pretrain_corpus_path).name, "arguments": arguments}
    about["corruption"] = {name: getattr(corpus, name) for name in ("min_length", "max_length", "recall_share")}
    train_dataset: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        questions = open_questions(finetune_corpus_path, corpus)
        train_dataset = data.MixedDataset(corpus, questions, chosen.question_share)
        about |= {"questions": Path(finetune_corpus_path).name, "question_share": chosen.question_share}
    check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path)
    with placed(running.device, running.dtype or chosen.dtype, processes, running.deterministic) as where:
        seed_everything(running.seed)
        model, stage = GPT(config), running.of(chosen.pretrain, pretrain_lr)
        return _train(model, train_dataset, corpus, chosen, stage, running, about, where, processes)


def finetune(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    finetune_corpus_path: str | Path,
    *,
    reading_params_path: str | Path | None = None,
    recipe: str | None = None,
    finetune_lr: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train on questions with answers, from pretrained parameters or, without them, from scratch.

    The recipe is by default that of the pretrained parameters, or else `course`. Takes options and returns the record
    as `pretrain` does.
    """
    arguments, (running, settings) = plain_arguments(locals()), Running.split(options)
    processes, starts = processes_of_torchrun(running.shard), reading_params_path is not None
    state_dict, record = read_trained(reading_params_path) if starts else (None, None)
    recipe = recipe or (record or {}).get("recipe") or "course"
    chosen = find_recipe(recipe)
    stage = chosen.finetune if starts else chosen.scratch
    if starts and (record or {}).get("questions"):  # pretraining met questions already
        stage = chosen.refine or stage
    with placed(running.device, running.dtype or chosen.dtype, processes, running.deterministic) as where:
        seed_everything(running.seed)
        model, corpus = build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        questions = open_questions(finetune_corpus_path, corpus)
        check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path, reading_params_path)
        about = {"command": "finetune", "recipe": recipe, "pretrained": starts, "arguments": arguments}
        about |= {"corpus": Path(pretrain_corpus_path).name, "questions": Path(finetune_corpus_path).name}
        stage = running.of(stage, finetune_lr)
        return _train(model, questions, corpus, chosen, stage, running, about, where, processes)


def evaluate(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Answer every question of a file, greedily, and write one prediction a line in the order of the questions.

    Returns {"total", "correct", "predictions", "seconds"}; total is 0 for a file without answers.
    """
    refuse_several_processes("evaluate")
    state_dict, record = read_trained(reading_params_path)
    chosen = find_recipe(recipe or (record or {}).get("recipe") or "course")
    questions_path = data.find_file(eval_corpus_path)
    questions = [question for question, _ in data.read_places(questions_path)]
    outputs = [str(outputs_path), f"{outputs_path}.json"]
    refuse_overwriting(outputs, pretrain_corpus_path, eval_corpus_path, reading_params_path)
    with placed(device) as where:
        model, corpus = build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        ids, lengths = data.encode_questions(questions, corpus.stoi, corpus.block_size, questions_path)
        for output in outputs:
            check_writable(output)
        began = time.perf_counter()
        predictions = answer(model.to(where), corpus, ids, lengths)
        seconds = time.perf_counter() - began
    with atomic_write(outputs_path) as file:
        file.write("".join(f"{place}\n" for place in predictions).encode())
    total, correct = data.evaluate_places(questions_path, predictions)
    # Says whose answers these are, so that no run's predictions can be handed in as another's.
    about = {"variant": variant, "questions": questions_path.name, "parameters": Path(reading_params_path).name}
    about["sha256"] = file_sha256(reading_params_path)
    with atomic_write(f"{outputs_path}.json") as file:
        file.write(json.dumps(about, indent=2).encode() + b"\n")
    return {"total": total, "correct": correct, "predictions": predictions, "seconds": seconds}


def answer(model: GPT, corpus: data.CharCorruptionDataset, ids: torch.Tensor, lengths: torch.Tensor) -> list[str]:
    """What the model says to each prompt `question MASK` (ids (B, P), lengths (B,)), up to the MASK that ends it."""
    answers = [""] * len(ids)
    batches = lengths.argsort().split(rows_at_once(model.device))
    for rows in tqdm(batches, "answering", unit="batch", delay=2, leave=False, disable=None):
        prompts = ids[rows, : lengths[rows].max()].to(model.device)
        tokens = model.generate(prompts, lengths[rows], ANSWER_LENGTH, stop_token=data.MASK).tolist()
        for row, said in zip(rows.tolist(), tokens, strict=True):
            answers[row] = text_of(said, corpus)
    return answers


def rows_at_once(device: torch.device) -> int:
    return ROWS_ON_CPU if device.type == "cpu" else ROWS


def text_of(tokens: list[int], corpus: data.CharCorruptionDataset) -> str:
    """An answer as one line of text, up to the MASK that closes it."""
    text = "".join(corpus.itos[token] for token in tokens).split(data.MASK_CHAR)[0]
    return text.replace("\n", " ")  # the newline is in the vocabulary


def _train(
    model: GPT,
    train_dataset: Any,
    corpus: data.CharCorruptionDataset,
    recipe: Recipe,
    stage: Stage,
    running: Running,
    about: dict[str, Any],
    where: torch.device,
    processes: "Processes | None",
) -> dict[str, Any]:
    """Train by `stage`, log every line, write the parameters and their record, which `about` begins; returns it."""
    path, dtype = about["arguments"]["writing_params_path"], running.dtype or recipe.dtype
    scheduled_rows = stage.max_epochs * len(train_dataset)
    if stage.schedule_epochs is not None:
        scheduled_rows = stage.schedule_epochs * len(corpus)
    batch_size = stage.batch_size
    if isinstance(train_dataset, data.MixedDataset):  # questions come on top
        batch_size = round(batch_size * len(train_dataset) / len(corpus))
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
        final_tokens=scheduled_rows * corpus.block_size,
        bf16=dtype == "bf16" and has_bf16(where),
        compile=running.compile,
        skip_nonfinite=running.skip_nonfinite,
        seed=running.seed,
    )
    sharded = processes is not None and processes.shard
    if sharded and config.optimizer == "muon":
        raise ValueError("--shard: Muon needs whole matrices: choose a recipe that trains with AdamW, as course does")
    device = torch.cuda.get_device_name(where) if where.type == "cuda" else str(where)
    files = {"corpus": "pretrain_corpus_path", "questions": "finetune_corpus_path", "start": "reading_params_path"}
    hashes = {f"{name}_sha256": about["arguments"].get(argument) for name, argument in files.items()}
    record = {
        "variant": model.config.variant,
        **about,
        "seed": running.seed,
        "dtype": dtype,
        "deterministic": running.deterministic,
        **{name: file_sha256(data.find_file(file)) for name, file in hashes.items() if file is not None},
        "config": asdict(model.config),
        "vocabulary": vocabulary_of(corpus),
        "trainer": asdict(config),
        "processes": 1 if processes is None else processes.count,
        "machines": 1 if processes is None else processes.count // processes.local_count,
        "device_type": where.type,
        "device": device,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
    first = processes is None or processes.is_first
    if running.resume:
        complete = None
        if first and not Path(f"{path}.resume").exists():
            take_over(path).release()  # refused while another process is writing it
            if (complete := complete_already(path, record)) is None:
                print(f"{path}.resume: there is none: starting from the beginning", file=sys.stderr)
            else:
                settle_log(path, complete.get("steps"))
        done = complete is not None
        if done if processes is None else not processes.agree(done, where):  # the others never say that it is done
            print(f"{path}: complete already")
            return complete or record
    machine = {"device": device, "torch": str(torch.__version__), "threads": torch.get_num_threads()}
    machine["processes"] = record["processes"]
    keep = {"every": running.checkpoint_every, "resume": running.resume, "overwrite": running.overwrite}
    keep |= {"tb_expt_name": running.tb_expt_name, "first": first, "alone": processes is None, "sharded": sharded}
    with UnfinishedRun(path, identity(record), machine, command_line(record), **keep) as run:
        model.checkpoint_activations = running.checkpoint_activations
        n_parameters = sum(p.numel() for p in model.parameters())
        model = model.to(where) if processes is None else processes.place(model, where)
        print(f"{about['command']} {model.config.variant}: {n_parameters:,} parameters on {where}, ", end="")
        print(f"{len(train_dataset):,} rows, {stage.max_epochs} epochs, batches of {batch_size}", flush=True)
        trainer = Trainer(model, train_dataset.to(where), None, config, run.on_log, run.on_step, processes)
        run.restore(trainer)
        if processes is not None and not processes.agree(trainer.step, where):
            raise ValueError(f"{path}.resume: some processes do not see it: all machines must read the same files")
        how = ", no checkpoints" * sharded + f", continued after step {trainer.step:,}" * (trainer.step > 0)
        print(f"computed in {trainer}{how}", flush=True)
        try:
            result = trainer.train()
        except Diverged as error:
            raise Diverged(f"{error}; {run.where()}") from None
        record |= {
            "epochs": result["epoch"],
            "steps": result["step"],
            "tokens": result["tokens"],
            "final_loss": result["loss"],
            "seconds": round(result["seconds"], 3),
            "computed_in": str(trainer),
        }
        if sharded:
            whole, model = processes.whole_state_dict(model), GPT(model.config)
            model.load_state_dict(whole, strict=first)  # the first process has all of them, the others none
        if first:
            try:
                record = save_parameters(path, model, record)
            except OSError as error:
                raise OSError(f"{path}: cannot be written: {error.strerror or error}; {run.where()}") from None
            run.complete()
    print(f"loss {result['loss']:.3f} after {result['step']:,} steps, {result['seconds']:.0f} s: {path}")
    return record
