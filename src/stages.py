"""The stages of the course as functions: pretrain, finetune, evaluate. They compose all other modules.

They take what the command line (run.py) takes, under the same names, and return what they found. Whatever is wrong with
the arguments or files is a ValueError or OSError raised before training.
"""

import json
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dataset as data
from checkpoint import atomic_write, check_writable, file_sha256, save_parameters
from model import GPT
from recipes import Recipe, Stage, find_recipe, override
from record import command_line, complete_already, identity, plain_arguments
from startup import (
    build,
    check_outputs,
    given,
    model_config,
    open_corpus,
    open_questions,
    placed,
    processes_of_torchrun,
    read_trained,
    refuse_overwriting,
    seed_everything,
    vocabulary_of,
)
from trainer import Diverged, Trainer, TrainerConfig
from unfinished import UnfinishedRun, take_over

if TYPE_CHECKING:
    from parallel import Processes

ANSWER_LENGTH = 32  # characters after which an answer that has not ended is cut off, as in the course


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
    deterministic: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train a new model on span corruption of the corpus and write it. Returns the record written beside it.

    With `finetune_corpus_path`, a recipe that mixes questions into pretraining takes them from that file.
    Arguments left at None are the recipe's; `settings` are SIZES and the options of the variant. An unfinished run has
    `writing_params_path`.resume: `resume` continues it, `overwrite` discards it, and with neither it is an error. See
    parallel.py for `shard`, model.GPT for `checkpoint_activations` and startup.repeatable for `deterministic`.
    """
    arguments, processes = plain_arguments(locals()), processes_of_torchrun(shard)
    chosen = find_recipe(recipe)
    stage = override(chosen.pretrain, learning_rate=pretrain_lr, max_epochs=max_epochs, batch_size=batch_size)
    corpus = open_corpus(pretrain_corpus_path, given(settings).get("block_size"), chosen)
    config = model_config(variant, corpus, chosen, settings)
    train_dataset: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        questions = open_questions(finetune_corpus_path, corpus)
        train_dataset = data.MixedDataset(corpus, questions, chosen.question_share)
    check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path)
    dtype = dtype or chosen.dtype
    with placed(device, dtype, processes, deterministic) as where:
        seed_everything(seed)
        model = GPT(config)
        about = {"command": "pretrain", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        if finetune_corpus_path is not None:
            about |= {"questions": Path(finetune_corpus_path).name, "question_share": chosen.question_share}
        about |= {"dtype": dtype, "arguments": arguments} | ({"deterministic": True} if deterministic else {})
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
    deterministic: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train on questions with answers, from pretrained parameters or, without them, from scratch.

    The recipe is by default that of the pretrained parameters, or else `course`. Returns the record as `pretrain` does.
    """
    arguments, processes = plain_arguments(locals()), processes_of_torchrun(shard)
    starts = reading_params_path is not None
    state_dict, record = read_trained(reading_params_path) if starts else (None, None)
    recipe = recipe or (record or {}).get("recipe") or "course"
    chosen = find_recipe(recipe)
    stage = chosen.finetune if starts else chosen.scratch
    if starts and (record or {}).get("questions"):  # pretraining met questions already
        stage = chosen.refine or stage
    stage = override(stage, learning_rate=finetune_lr, max_epochs=max_epochs, batch_size=batch_size)
    dtype = dtype or chosen.dtype
    with placed(device, dtype, processes, deterministic) as where:
        seed_everything(seed)
        model, corpus = build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        questions = open_questions(finetune_corpus_path, corpus)
        check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path)
        about = {"command": "finetune", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        about |= {"pretrained": starts, "questions": Path(finetune_corpus_path).name}
        about |= {"dtype": dtype, "arguments": arguments} | ({"deterministic": True} if deterministic else {})
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
    if processes_of_torchrun() is not None:
        raise ValueError("evaluate runs in one process: start it with python, not with torchrun")
    state_dict, record = read_trained(reading_params_path)
    chosen = find_recipe(recipe or (record or {}).get("recipe") or "course")
    questions_path = data.find_file(eval_corpus_path)
    questions = [question for question, _ in data.read_places(questions_path)]
    refuse_overwriting(outputs_path, pretrain_corpus_path, eval_corpus_path, reading_params_path)
    with placed(device) as where:
        model, corpus = build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
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
        answers += [text_of(row, corpus) for row in tokens]
    return answers


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
        optimizer=stage.optimizer or recipe.optimizer,
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
    if sharded and config.optimizer == "muon":
        raise ValueError("--shard: Muon needs whole matrices: choose a recipe that trains with AdamW, as course does")
    device = torch.cuda.get_device_name() if where.type == "cuda" else str(where)
    files = {"corpus": "pretrain_corpus_path", "questions": "finetune_corpus_path", "start": "reading_params_path"}
    hashes = {f"{name}_sha256": about["arguments"].get(argument) for name, argument in files.items()}
    record = {
        "variant": model.config.variant,
        **about,
        **{name: file_sha256(data.find_file(file)) for name, file in hashes.items() if file is not None},
        "config": asdict(model.config),
        "vocabulary": vocabulary_of(corpus),
        "trainer": asdict(config),
        "device_type": where.type,
        "device": device,
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
    if keep["resume"] and processes is None and not Path(f"{path}.resume").exists():
        take_over(path).release()  # refused while another process is writing it
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
