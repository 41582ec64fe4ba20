"""The stages of the course as functions: pretrain, finetune, evaluate. They compose the core with `fast` and `safe`.

They take what the command line (run.py) takes, under the same names, and return what they found. What can be wrong with
the arguments or files is a ValueError or OSError, raised before training begins.

A training stage opens its files, builds a model and hands both to `train` in safe/job.py. That makes a TrainerConfig of
the recipe, opens the log and the checkpoint, and calls Trainer.train.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import dataset as data
from fast.corpus_file import open_documents
from fast.device import precision, processes_of_torchrun, repeatable, threads_restored
from fast.rows import CachedReader
from fast.steps import fastest
from model import GPT, GPTConfig
from recipes import SIZES, Recipe, find_recipe
from safe import files
from safe.job import Job, train, unless_refused
from safe.own_facts import characters, is_right, longest, of_questions, remember
from safe.record import check_vocabulary, recipe_of, recordable
from safe.running import Running
from vocabulary import MASK, PAD, Vocabulary

IN_MEMORY = 64 * 2**20  # bytes: a smaller corpus is simply loaded; a larger one is mapped from disk as token ids
# Prompts of like length that are answered together: as many as memory allows on a GPU, as fit the caches of a CPU.
ROWS, ROWS_ON_CPU = 512, 128
ANSWER_LENGTH = 32  # an answer is cut off after so many characters, as in the course, or after the longest it learned


@threads_restored()
def pretrain(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    *,
    finetune_corpus_path: str | Path | None = None,
    eval_corpus_path: str | Path | None = None,
    recipe: str = "course",
    pretrain_lr: float | None = None,
    third_mask: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Train a new model on span corruption of the corpus and write it. Returns the record written beside it.

    finetune_corpus_path: questions for a recipe that mixes them into pretraining
    eval_corpus_path: held-out questions, whose loss is logged
    options: fields of Running, SIZES, and options of the variant
    """
    arguments = recordable(locals())  # first of all: what the caller said, and no other local variable
    running, settings = Running.split(options)
    processes, chosen = processes_of_torchrun(running.shard, running.plain), find_recipe(recipe)
    asked = finetune_corpus_path, eval_corpus_path
    corpus = open_corpus(pretrain_corpus_path, settings.get("block_size"), chosen, *asked, third_mask=third_mask)
    config = GPTConfig(**config_fields(variant, corpus.vocabulary, chosen, settings))
    about: dict[str, Any] = {"command": "pretrain", "recipe": recipe, "arguments": arguments}
    about |= {"corpus": Path(pretrain_corpus_path).name, "corpus_sha256": corpus.sha256}
    about["corruption"] = corpus.settings()
    train_set: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        questions: Any = open_questions(finetune_corpus_path, corpus)
        train_set = data.MixedDataset(corpus, questions, chosen.question_share)
        about |= {"questions": Path(finetune_corpus_path).name, "question_share": chosen.question_share}
        about |= {"questions_sha256": questions.sha256, **of_questions(questions.data)}
    held_out = unless_refused(open_questions, eval_corpus_path, corpus)
    files.check_outputs(writing_params_path, pretrain_corpus_path, finetune_corpus_path, eval_corpus_path)
    stage = running.changed(chosen.pretrain, pretrain_lr)
    with placed(running, chosen.dtype, processes) as device:
        how: dict[str, Any] = dict(recipe=chosen, stage=stage, running=running, device=device, processes=processes)
        job = Job(GPT(config), train_set, held_out, corpus, **how, faster=None if running.plain else fastest)
        return train(job, about, answer)


@threads_restored()
def finetune(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    finetune_corpus_path: str | Path,
    *,
    reading_params_path: str | Path | None = None,
    eval_corpus_path: str | Path | None = None,
    recipe: str | None = None,
    finetune_lr: float | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train on questions with answers, from pretrained parameters or, without them, from scratch.

    By default the recipe is that of the pretrained parameters, or else `course`. Takes options and returns the record
    as `pretrain` does.
    """
    arguments = recordable(locals())
    running, settings = Running.split(options)
    processes = processes_of_torchrun(running.shard, running.plain)
    record: Any = None
    state_dict: Any = None
    if reading_params_path is not None:
        state_dict, record = files.read_parameters(reading_params_path)
    recipe = recipe or recipe_of(record, reading_params_path)
    chosen = find_recipe(recipe)
    stage = chosen.scratch if reading_params_path is None else chosen.finetune
    if record is not None and record.get("questions"):  # pretraining included questions
        stage = chosen.refine or stage
    with placed(running, chosen.dtype, processes) as device:
        recorded = (record or {}).get("config", {})
        asked, size = (finetune_corpus_path, eval_corpus_path), recorded.get("block_size", settings.get("block_size"))
        corpus = open_corpus(pretrain_corpus_path, size, chosen, *asked, record=record)
        if record is not None:
            fields = files.recorded_config(variant, str(reading_params_path), record, settings)
            check_vocabulary(corpus.vocabulary, record, pretrain_corpus_path, str(reading_params_path))
        else:
            fields = config_fields(variant, corpus.vocabulary, chosen, settings)
        scratch = state_dict is None
        model = GPT(GPTConfig(**fields)) if scratch else files.model_of(str(reading_params_path), state_dict, fields)
        questions: Any = open_questions(finetune_corpus_path, corpus)
        held_out = unless_refused(open_questions, eval_corpus_path, corpus)
        inputs = pretrain_corpus_path, finetune_corpus_path, reading_params_path, eval_corpus_path
        files.check_outputs(writing_params_path, *inputs)
        about = {"command": "finetune", "recipe": recipe, "pretrained": reading_params_path is not None}
        about |= {"arguments": arguments, "corpus": Path(pretrain_corpus_path).name, "corpus_sha256": corpus.sha256}
        about |= {"questions": Path(finetune_corpus_path).name, "questions_sha256": questions.sha256}
        about |= of_questions(questions.data) | ({} if scratch else {"start_sha256": state_dict.sha256})
        stage = running.changed(stage, finetune_lr)
        how: dict[str, Any] = dict(recipe=chosen, stage=stage, running=running, device=device, processes=processes)
        job = Job(model, questions, held_out, corpus, **how, faster=None if running.plain else fastest)
        return train(job, about, answer)


def evaluate(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    plain: bool = False,
    lenient: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Answer every question of a file, greedily, and write one prediction a line in the order of the questions.

    Beside them `outputs_path`.json says whose predictions they are. With `plain` it generates as model.py does, without
    a KV cache. Takes the options of `load_trained`. Returns {"total", "correct", "predictions", "seconds"}; the total
    is 0 for a file without answers.
    """
    with load_trained(variant, pretrain_corpus_path, reading_params_path, **options) as (model, vocabulary):
        questions_path = data.find_file(eval_corpus_path)
        text = data.read_text(questions_path)
        questions, places = zip(*data.parse_places(text, questions_path), strict=True)
        ids, lengths = data.encode_questions(list(questions), vocabulary, model.config.block_size, questions_path)
        files.check_predictions(outputs_path, data.find_file(pretrain_corpus_path), questions_path, reading_params_path)
        # Says whose answers these are, so that no run's predictions can be handed in as another's.
        about = {"variant": variant, "questions": questions_path.name, "questions_sha256": text.sha256}
        about |= {"parameters": Path(reading_params_path).name, "sha256": vars(model)["sha256"]}
        began = time.perf_counter()
        predictions = answer(model, vocabulary, ids, lengths, plain)
        seconds = time.perf_counter() - began
        files.write_with_record(outputs_path, "".join([f"{place}\n" for place in predictions]).encode(), about)
    total = 0 if places[0] is None else len(places)
    correct = sum([is_right(said, place, lenient) for said, place in zip(predictions, places, strict=True)])
    return {"total": total, "correct": correct, "predictions": predictions, "seconds": seconds}


def answer(model: GPT, vocabulary: Vocabulary, ids: Tensor, lengths: Tensor, plain: bool = False) -> list[str]:
    """What the model says to each prompt `question MASK` (ids (B, P), lengths (B,)), up to the MASK that ends it."""
    answers, device = [""] * len(ids), model.head.weight.device
    batches = lengths.argsort().split(ROWS_ON_CPU if device.type == "cpu" else ROWS)
    for rows in tqdm(batches, "answering", unit="batch", delay=2, leave=False, disable=None):
        prompts = ids[rows, : int(lengths[rows].max())].to(device)
        reader = None if plain else CachedReader(model)
        tokens = model.generate(prompts, lengths[rows], longest(model, ANSWER_LENGTH), stop_token=MASK, reader=reader)
        for row, said in zip(rows.tolist(), tokens.tolist(), strict=True):
            answers[row] = vocabulary.decode_answer(said)
    return answers


# -------------------------------------------------------------------------------------------------- from files


@contextmanager
def load_trained(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    *,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> Iterator[tuple[GPT, Vocabulary]]:
    """A trained model, on its device within this block, and its vocabulary. A GPU computes in TF32.

    The record beside the parameters holds the vocabulary; the corpus is only checked against it. A bare parameter file
    takes vocabulary and sizes from the corpus, the recipe and `settings` (SIZES, and options of the variant).
    """
    with placed(Running(device=device)) as chosen_device:
        corpus_path = data.find_file(pretrain_corpus_path)
        state_dict, record = files.read_parameters(reading_params_path)
        if record is not None:
            # Another file may have the same characters.
            if files.file_sha256(corpus_path) != record.get("corpus_sha256"):
                check_vocabulary(Vocabulary.of(data.read_corpus(corpus_path)), record, corpus_path, reading_params_path)
            fields = files.recorded_config(variant, reading_params_path, record, settings)
            vocabulary = Vocabulary(record["vocabulary"])
        else:
            chosen = find_recipe(recipe or "course")
            vocabulary = open_corpus(corpus_path, settings.get("block_size"), chosen).vocabulary
            fields = config_fields(variant, vocabulary, chosen, settings)
        yield remember(files.model_of(reading_params_path, state_dict, fields), record).to(chosen_device), vocabulary


def config_fields(variant: str, vocabulary: Vocabulary, recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of a GPTConfig: the recipe's, changed by the caller's sizes and options of the variant."""
    given = {name: value for name, value in settings.items() if value is not None}
    sizes = {name: given.pop(name) for name in SIZES if name in given}
    return dict(vocab_size=len(vocabulary), variant=variant, **recipe.model | sizes, options=given, ignore_index=PAD)


def open_corpus(
    path: str | Path, block_size: int | None, recipe: Recipe, *asked: Any, third_mask: bool = False, record: Any = None
) -> data.CharCorruptionDataset:
    """The corpus as a dataset. The recipe's shares of the block become numbers of characters. asked: question files"""
    path = data.find_file(path)
    block_size = recipe.model["block_size"] if block_size is None else block_size
    max_length = int(block_size * recipe.max_kept_share)
    return data.CharCorruptionDataset(
        open_documents(path) if path.stat().st_size > IN_MEMORY else data.read_corpus(path),
        block_size,
        third_mask=third_mask or recipe.third_mask,
        min_length=max(data.MIN_TRUNCATED_LENGTH, int(max_length * recipe.min_kept_share)),
        max_length=max_length,
        recall_share=recipe.recall_share,
        short_by=recipe.short_by,
        asked=characters(path, *asked, record=record),
        source=path,
    )


def open_questions(path: str | Path | None, corpus: data.CharCorruptionDataset) -> data.NameDataset | None:
    if path is None:
        return None
    path = data.find_file(path)
    return data.NameDataset(corpus, data.read_text(path), source=path)


@contextmanager
def placed(running: Running, dtype: str = "tf32", processes: Any = None) -> Iterator[torch.device]:
    """The device to run on, with torch set up for it and seeded."""
    name = running.device
    if processes is not None:
        name = processes.device(name)
    elif int(os.environ.get("WORLD_SIZE", 1)) > 1 and "LOCAL_RANK" in os.environ:  # set by torchrun
        raise ValueError("only training runs in several processes: start this with python, not with torchrun")
    elif name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.split(":")[0] not in ("cuda", "mps", "cpu"):
        raise ValueError(f"--device {name}: choose cuda, mps or cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: cannot be used: {str(error).splitlines()[0]}") from None
    if not 0 <= running.seed < 2**63:
        raise ValueError(f"the seed is {running.seed}: it must be at least 0 and below 2**63")
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(precision(running.dtype or dtype))
            stack.enter_context(torch.cuda.device(device))  # where CUDA graphs are recorded
        if running.deterministic:
            stack.enter_context(repeatable())
        if processes is not None:
            stack.enter_context(processes.joined(device))
        torch.manual_seed(running.seed)
        yield device
