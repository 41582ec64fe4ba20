"""The stages of the course as functions: pretrain, finetune, evaluate. They compose all other modules.

They take what the command line (run.py) takes, under the same names, and return what they found. Whatever is wrong with
the arguments or files is a ValueError or OSError raised before training.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dataset as data
from attention import VARIANTS, Option
from checkpoint import atomic_write, check_writable, file_sha256, read_parameters, save_parameters
from model import GPT, GPTConfig, check_sizes
from recipes import RECIPES, Recipe, Stage, find_recipe, override
from record import command_line, complete_already, identity, plain_arguments
from trainer import Diverged, Trainer, TrainerConfig
from unfinished import Lock, UnfinishedRun

if TYPE_CHECKING:
    from parallel import Processes

ANSWER_LENGTH = 32  # characters after which an answer that has not ended is cut off, as in the course
SIZES = ("n_layer", "n_head", "n_embd", "block_size")


# ------------------------------------------------------------------------------------------------------- commands


def pretrain(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    *,
    finetune_corpus_path: str | Path | None = None,
    recipe: str = "course",
    pretrain_lr: float | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    compile: str = "auto",
    shard: bool = False,
    checkpoint_activations: bool = False,
    tb_expt_name: str | None = None,
    checkpoint_every: float = 60,
    resume: bool = False,
    overwrite: bool = False,
    skip_nonfinite: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a new model on span corruption of the corpus and write it. Returns the record written beside it.

    With `finetune_corpus_path`, a recipe that mixes questions into pretraining takes them from that file.
    Arguments left at None are the recipe's; `settings` are SIZES and the options of the variant. An unfinished run has
    `writing_params_path`.resume: `resume` continues it, `overwrite` discards it, and with neither it is an error. See
    parallel.py for `shard` and model.GPT for `checkpoint_activations`.
    """
    arguments, processes = plain_arguments(locals()), _processes(shard)
    chosen = find_recipe(recipe)
    stage = override(chosen.pretrain, learning_rate=pretrain_lr, max_epochs=max_epochs, batch_size=batch_size)
    corpus = _read_corpus(pretrain_corpus_path, _given(settings).get("block_size"), chosen)
    config = _model_config(variant, corpus, chosen, settings)
    train_dataset: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        questions = _read_questions(finetune_corpus_path, corpus)
        train_dataset = data.MixedDataset(corpus, questions, chosen.question_share)
    _check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path)
    dtype = dtype or chosen.dtype
    with _placed(device, dtype, processes) as where:
        _seed(seed)
        model = GPT(config)
        about = {"command": "pretrain", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        if finetune_corpus_path is not None:
            about |= {"questions": Path(finetune_corpus_path).name, "question_share": chosen.question_share}
        about |= {"dtype": dtype, "arguments": arguments}
        keep = {"every": checkpoint_every, "resume": resume, "overwrite": overwrite, "tb_expt_name": tb_expt_name}
        how = {"compile": compile, "skip_nonfinite": skip_nonfinite}
        model.checkpoint_activations = checkpoint_activations
        return _train(model, train_dataset, corpus, chosen, stage, about, how, keep, where, processes)


def finetune(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    finetune_corpus_path: str | Path,
    *,
    reading_params_path: str | Path | None = None,
    recipe: str | None = None,
    finetune_lr: float | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
    compile: str = "auto",
    shard: bool = False,
    checkpoint_activations: bool = False,
    tb_expt_name: str | None = None,
    checkpoint_every: float = 60,
    resume: bool = False,
    overwrite: bool = False,
    skip_nonfinite: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train on questions with answers, from pretrained parameters or, without them, from scratch.

    The recipe is by default that of the pretrained parameters, or else `course`. Returns the record as `pretrain` does.
    """
    arguments, processes = plain_arguments(locals()), _processes(shard)
    starts = reading_params_path is not None
    state_dict, record = _read_parameters(reading_params_path) if starts else (None, None)
    recipe = recipe or (record or {}).get("recipe") or "course"
    chosen = find_recipe(recipe)
    stage = chosen.finetune if starts else chosen.scratch
    if starts and (record or {}).get("questions"):  # pretraining met questions already
        stage = chosen.refine or stage
    stage = override(stage, learning_rate=finetune_lr, max_epochs=max_epochs, batch_size=batch_size)
    dtype = dtype or chosen.dtype
    with _placed(device, dtype, processes) as where:
        _seed(seed)
        model, corpus = _build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        questions = _read_questions(finetune_corpus_path, corpus)
        _check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path)
        about = {"command": "finetune", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        about |= {"pretrained": starts, "questions": Path(finetune_corpus_path).name}
        about |= {"dtype": dtype, "arguments": arguments}
        keep = {"every": checkpoint_every, "resume": resume, "overwrite": overwrite, "tb_expt_name": tb_expt_name}
        how = {"compile": compile, "skip_nonfinite": skip_nonfinite}
        model.checkpoint_activations = checkpoint_activations
        return _train(model, questions, corpus, chosen, stage, about, how, keep, where, processes)


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
    if _processes() is not None:
        raise ValueError("evaluate runs in one process: start it with python, not with torchrun")
    state_dict, record = _read_parameters(reading_params_path)
    chosen = find_recipe(recipe or (record or {}).get("recipe") or "course")
    questions_path = data.find_file(eval_corpus_path)
    questions = [question for question, _ in data.read_places(questions_path)]
    _refuse_overwriting(outputs_path, pretrain_corpus_path, eval_corpus_path, reading_params_path)
    with _placed(device) as where:
        model, corpus = _build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        ids, lengths = data.encode_questions(questions, corpus.stoi, corpus.block_size, questions_path)
        check_writable(outputs_path)
        check_writable(f"{outputs_path}.json")
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
    answers = []
    for some_ids, some_lengths in zip(ids.split(512), lengths.split(512), strict=True):  # bounds the memory needed
        tokens = model.generate(some_ids.to(model.device), some_lengths, ANSWER_LENGTH, stop_token=data.MASK).tolist()
        for row in tokens:
            text = "".join(corpus.itos[token] for token in row).split(data.MASK_CHAR)[0]
            answers.append(text.replace("\n", " "))  # the newline is in the vocabulary; a prediction is one line
    return answers


# ------------------------------------------------------------------------------------------- what commands share


@contextmanager
def opened(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> Iterator[tuple[GPT, data.CharCorruptionDataset]]:
    """A trained model, on its device while this lasts, and the corpus that gives its vocabulary."""
    state_dict, record = _read_parameters(reading_params_path)
    chosen = find_recipe(recipe or (record or {}).get("recipe") or "course")
    with _placed(device) as where:
        model, corpus = _build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        yield model.to(where), corpus


def variant_options() -> dict[str, Option]:
    """The options of all variants by name."""
    return {name: option for variant in VARIANTS.values() for name, option in variant.options.items()}


def _processes(shard: bool = False) -> "Processes | None":
    """The processes of this run if torchrun started several."""
    if "LOCAL_RANK" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        from parallel import Processes  # only here, as no other run needs it

        return Processes.of_torchrun(shard)
    if shard:
        raise ValueError("--shard divides a model among processes: start several with torchrun --nproc_per_node")
    return None


def _seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ValueError(f"the seed is {seed}: it must be at least 0 and below 2**63")
    torch.manual_seed(seed)


def _refuse_overwriting(output: str | Path, *inputs: str | Path | None) -> None:
    if Path(output).resolve() in {data.find_file(path).resolve() for path in inputs if path is not None}:
        raise ValueError(f"{output}: cannot be written: it is one of the files to read")


def _check_outputs(writing_params_path: str | Path, *inputs: str | Path | None) -> None:
    """Refuse now what could not be written, or should not be, after training. Only the first process writes."""
    if (processes := _processes()) is not None and not processes.is_first:
        return
    _refuse_overwriting(writing_params_path, *inputs)
    for ending in ("", ".json", ".log.jsonl", ".resume"):
        check_writable(f"{writing_params_path}{ending}")


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """What the caller chose of a GPTConfig: sizes by name, and the variant's `options` if there are any."""
    known = variant_options()
    if unknown := set(settings) - set(SIZES) - set(known):
        raise TypeError(f"unexpected argument {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in settings.items() if value is not None}
    options = {name: chosen.pop(name) for name in known if name in chosen}
    return chosen | ({"options": options} if options else {})


def _read_corpus(path: str | Path, block_size: int | None, recipe: Recipe) -> data.CharCorruptionDataset:
    path = data.find_file(path)
    block_size = recipe.model["block_size"] if block_size is None else block_size
    longest = int(block_size * recipe.max_kept_share)
    shortest = max(data.MIN_TRUNCATED_LENGTH, int(longest * recipe.min_kept_share))
    return data.CharCorruptionDataset(
        data.read_corpus(path),
        block_size,
        min_length=shortest,
        max_length=longest,
        source=path,
    )


def _read_questions(path: str | Path, corpus: data.CharCorruptionDataset) -> data.NameDataset:
    path = data.find_file(path)
    return data.NameDataset(corpus, data.read_text(path), source=path)


def _model_config(variant: str, corpus: data.CharCorruptionDataset, recipe: Recipe, settings: dict) -> GPTConfig:
    return GPTConfig(vocab_size=corpus.vocab_size, variant=variant, **recipe.model | _given(settings))


def _vocabulary(corpus: data.CharCorruptionDataset) -> str:
    return "".join(corpus.itos[i] for i in range(corpus.vocab_size))


@contextmanager
def _placed(device: str | None, dtype: str = "tf32", processes: "Processes | None" = None) -> Iterator[torch.device]:
    """The device to run on, with float32 matrix products in TF32 where it has them unless `dtype` is float32."""
    if processes is not None:
        device = processes.device(device)
    elif device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.split(":")[0] not in ("cuda", "mps", "cpu"):
        raise ValueError(f"--device {device}: choose cuda, mps or cpu")
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: cannot be used: {str(error).splitlines()[0]}") from None
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if where.type == "cuda" and dtype != "float32" else "highest")
    torch.backends.cuda.enable_cudnn_sdp(False)  # at this size slower than the other fused kernels, and slow to start
    try:
        with nullcontext() if processes is None else processes.joined(where):
            yield where
    finally:
        torch.set_float32_matmul_precision(before)


def _train(
    model: GPT,
    train_dataset: Any,
    corpus: data.CharCorruptionDataset,
    recipe: Recipe,
    stage: Stage,
    about: dict[str, Any],
    how: dict[str, Any],
    keep: dict[str, Any],
    where: torch.device,
    processes: "Processes | None",
) -> dict[str, Any]:
    """Train by `stage`, log every line, write the parameters and their record; returns the record.

    how: further fields of TrainerConfig; keep: arguments of UnfinishedRun
    """
    path = about["arguments"]["writing_params_path"]
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
        optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        decay_gains_and_embeddings=recipe.decay_gains_and_embeddings,
        min_lr_share=recipe.min_lr_share,
        lr_decay=True,
        warmup_tokens=stage.warmup_tokens,
        final_tokens=scheduled_rows * corpus.block_size,
        bf16=about["dtype"] == "bf16" and where.type == "cuda",  # elsewhere it is slower, not faster
        seed=about["seed"],
        **how,
    )
    sharded = processes is not None and processes.shard
    if sharded and recipe.optimizer == "muon":
        raise ValueError("--shard: Muon needs whole matrices: choose a recipe that trains with AdamW, as course does")
    device = torch.cuda.get_device_name() if where.type == "cuda" else str(where)
    files = {"corpus": "pretrain_corpus_path", "questions": "finetune_corpus_path", "start": "reading_params_path"}
    hashes = {f"{name}_sha256": about["arguments"].get(argument) for name, argument in files.items()}
    record = {
        "variant": model.config.variant,
        **about,
        **{name: file_sha256(data.find_file(file)) for name, file in hashes.items() if file is not None},
        "config": asdict(model.config),
        "vocabulary": _vocabulary(corpus),
        "trainer": asdict(config),
        "device_type": where.type,
        "device": device,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
    if keep["resume"] and processes is None and not Path(f"{path}.resume").exists():
        Lock(Path(path)).release()  # or another process may just be writing it
        if (complete := complete_already(path, record)) is not None:
            print(f"{path}: complete already")
            return complete
        print(f"{path}.resume: there is none: starting from the beginning", file=sys.stderr)
    machine = {"device": device, "torch": str(torch.__version__), "threads": torch.get_num_threads()}
    first = processes is None or processes.is_first
    keep |= {"first": first, "alone": processes is None, "sharded": sharded}
    with UnfinishedRun(path, identity(record), machine, command_line(record), **keep) as run:
        n_parameters = sum(p.numel() for p in model.parameters())
        model = model.to(where) if processes is None else processes.place(model, where)
        print(f"{about['command']} {model.config.variant}: {n_parameters:,} parameters on {where}, ", end="")
        print(f"{len(train_dataset):,} rows, {stage.max_epochs} epochs, batches of {batch_size}", flush=True)
        trainer = Trainer(model, train_dataset.to(where), None, config, run.on_log, run.on_step, processes)
        run.restore(trainer)
        print(f"computed in {trainer}" + f", continued after step {trainer.step:,}" * (trainer.step > 0), flush=True)
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


def _read_parameters(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    state_dict, record = read_parameters(path)
    kinds = {"variant": str, "config": dict, "vocabulary": str}
    if record is not None and not isinstance(record, dict):
        raise ValueError(f"{path}.json: not a record of parameters")
    for name, kind in kinds.items():
        if record is not None and not isinstance(record.get(name), kind):
            raise ValueError(f"{path}.json: not a record of parameters: {name} is missing or of the wrong kind")
    if record is not None and record.get("recipe", "course") not in list(RECIPES):
        raise ValueError(f"{path}.json: names the recipe {record['recipe']!r}, which this code does not have")
    return state_dict, record


def _build(
    variant: str,
    corpus_path: str | Path,
    params_path: str | Path | None,
    state_dict: dict[str, torch.Tensor] | None,
    record: dict[str, Any] | None,
    recipe: Recipe,
    settings: dict[str, Any],
) -> tuple[GPT, data.CharCorruptionDataset]:
    """A model, with the parameters of `state_dict` if there are any, and the corpus that gives its vocabulary.

    The record beside a parameter file says what the model is, and what the caller says must agree with it. A file
    without a record, made by somebody's course code, has the sizes of the flags and the recipe if its shapes fit.
    """
    if record is None:
        corpus = _read_corpus(corpus_path, _given(settings).get("block_size"), recipe)
        config = _model_config(variant, corpus, recipe, settings)
    else:
        if variant != record["variant"]:
            raise ValueError(f"{params_path}: holds a {record['variant']} model, not a {variant} one")
        try:
            config = GPTConfig(**record["config"])
            check_sizes(config, state_dict)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{params_path}.json: its config is not one of this code: {error}") from None
        trained = asdict(config) | config.options
        for name, value in settings.items():
            if value is not None and name not in trained:
                raise ValueError(f"the variant {variant} has no option {name}")
            if value is not None and value != trained.get(name):
                raise ValueError(f"{params_path}: was trained with {name} {trained.get(name)}, not {value}")
        corpus = _read_corpus(corpus_path, config.block_size, recipe)
        if _vocabulary(corpus) != record["vocabulary"]:
            raise ValueError(
                f"{params_path}: was trained with another vocabulary ({len(record['vocabulary'])} entries) than "
                f"{corpus_path} gives ({corpus.vocab_size}): name the corpus it was pretrained on"
            )
    model = GPT(config)
    if state_dict is not None:
        try:
            model.load_parameters(state_dict)
        except ValueError as error:
            raise ValueError(f"{params_path}: {error}") from None
    return model, corpus
