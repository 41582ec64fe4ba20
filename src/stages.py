"""The stages of the course as functions: pretrain, finetune, evaluate. They compose the core and its wings.

They take what the command line (run.py) takes, under the same names, and return what they found. Anything wrong with
the arguments or files is a ValueError or OSError, raised before training begins.
"""

import json
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
from fast.device import precision, repeatable
from fast.rows import CachedReader
from fast.steps import fastest
from model import GPT, GPTConfig
from recipes import Recipe, find_recipe
from safe.files import atomic_write, check_writable, file_sha256, read_parameters, refuse_overwriting
from safe.job import Job, train
from safe.loading import check_vocabulary, config_of, given, make_model, recipe_of
from safe.record import plain_arguments
from safe.running import Running
from vocabulary import MASK, MASK_CHAR, Vocabulary

IN_MEMORY = 64 * 2**20  # bytes: a smaller corpus is simply loaded; a larger one is mapped from disk as token ids
# Prompts of like length that are answered together: as many as memory allows on a GPU, as fit the caches of a CPU.
ROWS, ROWS_ON_CPU = 512, 128
ANSWER_LENGTH = 32  # characters after which an answer that has not ended is cut off, as in the course


# ------------------------------------------------------------------------------------------------------- commands


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
    arguments, (running, settings) = plain_arguments(locals()), Running.split(options)
    processes, chosen = processes_of(running), find_recipe(recipe)
    corpus = open_corpus(pretrain_corpus_path, given(settings).get("block_size"), chosen, third_mask)
    config = GPTConfig(vocab_size=corpus.vocab_size, variant=variant, **chosen.model | given(settings))
    about = {"command": "pretrain", "recipe": recipe, "corpus": Path(pretrain_corpus_path).name, "arguments": arguments}
    about["corruption"] = {name: getattr(corpus, name) for name in ("min_length", "max_length", "recall_share")}
    about["corruption"] |= {"third_mask": True} if third_mask else {}
    rows: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        rows = data.MixedDataset(corpus, open_questions(finetune_corpus_path, corpus), chosen.question_share)
        about |= {"questions": Path(finetune_corpus_path).name, "question_share": chosen.question_share}
    check_outputs(writing_params_path, processes, pretrain_corpus_path, finetune_corpus_path, eval_corpus_path)
    with placed(running, chosen, processes) as where:
        stage, ways = running.of(chosen.pretrain, pretrain_lr), None if running.plain else fastest
        held = held_out(eval_corpus_path, corpus)
        return train(Job(GPT(config), rows, held, corpus, chosen, stage, running, where, processes, ways), about)


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
    arguments, (running, settings) = plain_arguments(locals()), Running.split(options)
    processes, starts = processes_of(running), reading_params_path is not None
    state_dict, record = read_parameters(reading_params_path) if reading_params_path is not None else (None, None)
    recipe = recipe_of(recipe, record, reading_params_path)
    chosen = find_recipe(recipe)
    stage = chosen.finetune if starts else chosen.scratch
    if record is not None and record.get("questions"):  # pretraining included questions
        stage = chosen.refine or stage
    with placed(running, chosen, processes) as where:
        block_size = record["config"].get("block_size") if record is not None else given(settings).get("block_size")
        corpus = open_corpus(pretrain_corpus_path, block_size, chosen)
        config = config_of(variant, corpus.vocabulary, reading_params_path, state_dict, record, chosen, settings)
        if record is not None:
            check_vocabulary(corpus.vocabulary, record, pretrain_corpus_path, reading_params_path)
        model = make_model(config, reading_params_path, state_dict)
        questions = open_questions(finetune_corpus_path, corpus)
        inputs = pretrain_corpus_path, finetune_corpus_path, reading_params_path, eval_corpus_path
        check_outputs(writing_params_path, processes, *inputs)
        about = {"command": "finetune", "recipe": recipe, "pretrained": starts, "arguments": arguments}
        about |= {"corpus": Path(pretrain_corpus_path).name, "questions": Path(finetune_corpus_path).name}
        stage, ways = running.of(stage, finetune_lr), None if running.plain else fastest
        held = held_out(eval_corpus_path, corpus)
        return train(Job(model, questions, held, corpus, chosen, stage, running, where, processes, ways), about)


def evaluate(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    plain: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Answer every question of a file, greedily, and write one prediction a line in the order of the questions.

    plain: generate as model.py does, without a KV cache and fused kernels
    options: those of `load_trained`

    Returns {"total", "correct", "predictions", "seconds"}. The total is 0 for a file without answers.
    """
    refuse_several_processes("evaluate")
    with load_trained(variant, pretrain_corpus_path, reading_params_path, **options) as (model, vocabulary):
        questions_path = data.find_file(eval_corpus_path)
        questions = [question for question, _ in data.read_places(questions_path)]
        ids, lengths = data.encode_questions(questions, vocabulary, model.config.block_size, questions_path)
        outputs = [str(outputs_path), f"{outputs_path}.json"]
        refuse_overwriting(outputs, data.find_file(pretrain_corpus_path), questions_path, reading_params_path)
        for output in outputs:
            check_writable(output)
        began = time.perf_counter()
        predictions = answer(model, vocabulary, ids, lengths, plain)
        seconds = time.perf_counter() - began
    with atomic_write(outputs_path) as file:
        file.write("".join([f"{place}\n" for place in predictions]).encode())
    # Says whose answers these are, so that no run's predictions can be handed in as another's.
    about = {"variant": variant, "questions": questions_path.name, "parameters": Path(reading_params_path).name}
    about["sha256"] = file_sha256(reading_params_path)
    with atomic_write(f"{outputs_path}.json") as file:
        file.write(json.dumps(about, indent=2).encode() + b"\n")
    total, correct = data.evaluate_places(questions_path, predictions)
    return {"total": total, "correct": correct, "predictions": predictions, "seconds": seconds}


def answer(model: GPT, vocabulary: Vocabulary, ids: Tensor, lengths: Tensor, plain: bool = False) -> list[str]:
    """What the model says to each prompt `question MASK` (ids (B, P), lengths (B,)), up to the MASK that ends it."""
    answers = [""] * len(ids)
    batches = lengths.argsort().split(rows_at_once(model.device))
    for rows in tqdm(batches, "answering", unit="batch", delay=2, leave=False, disable=None):
        prompts = ids[rows, : int(lengths[rows].max())].to(model.device)
        reader = None if plain else CachedReader(model)
        tokens = model.generate(prompts, lengths[rows], ANSWER_LENGTH, stop_token=MASK, reader=reader)
        for row, said in zip(rows.tolist(), tokens.tolist(), strict=True):
            answers[row] = text_of(said, vocabulary)
    return answers


def rows_at_once(device: torch.device) -> int:
    return ROWS_ON_CPU if device.type == "cpu" else ROWS


def text_of(tokens: list[int], vocabulary: Vocabulary) -> str:
    """An answer as one line of text, up to the MASK that closes it."""
    return vocabulary.decode(tokens).split(MASK_CHAR)[0].replace("\n", " ")  # the vocabulary has a newline


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
    """A trained model, on its device within this block, and its vocabulary.

    The record beside the parameters holds the vocabulary; the corpus is only checked against it. A bare parameter file
    takes vocabulary and sizes from the corpus, the recipe and `settings` (SIZES, and options of the variant).
    """
    state_dict, record = read_parameters(reading_params_path)
    chosen = find_recipe(recipe_of(recipe, record, reading_params_path))
    corpus_path = data.find_file(pretrain_corpus_path)
    if record is None:
        vocabulary = open_corpus(corpus_path, given(settings).get("block_size"), chosen).vocabulary
    else:
        vocabulary = Vocabulary(record["vocabulary"])
        if file_sha256(corpus_path) != record.get("corpus_sha256"):  # another copy may still have the same characters
            check_vocabulary(Vocabulary.of(data.read_corpus(corpus_path)), record, corpus_path, reading_params_path)
    config = config_of(variant, vocabulary, reading_params_path, state_dict, record, chosen, settings)
    with placed(Running(device=device), chosen) as where:
        yield make_model(config, reading_params_path, state_dict).to(where), vocabulary


def open_corpus(
    path: str | Path, block_size: int | None, recipe: Recipe, third_mask: bool = False
) -> data.CharCorruptionDataset:
    path = data.find_file(path)
    block_size = recipe.model["block_size"] if block_size is None else block_size
    longest = int(block_size * recipe.max_kept_share)
    return data.CharCorruptionDataset(
        open_documents(path) if path.stat().st_size > IN_MEMORY else data.read_corpus(path),
        block_size,
        third_mask=third_mask,
        min_length=max(data.MIN_TRUNCATED_LENGTH, int(longest * recipe.min_kept_share)),
        max_length=longest,
        recall_share=recipe.recall_share,
        source=path,
    )


def open_questions(path: str | Path, corpus: data.CharCorruptionDataset) -> data.NameDataset:
    path = data.find_file(path)
    return data.NameDataset(corpus, data.read_text(path), source=path)


def held_out(path: str | Path | None, corpus: data.CharCorruptionDataset) -> data.NameDataset | None:
    return None if path is None else open_questions(path, corpus)


def check_outputs(path: str | Path, processes: Any, *inputs: str | Path | None) -> None:
    """Refuse now what could not be written, or must not be, after training. Only the first process writes."""
    if processes is not None and not processes.is_first:
        return
    outputs = [f"{path}{ending}" for ending in ("", ".json", ".log.jsonl", ".resume", ".resume.log.jsonl")]
    refuse_overwriting(outputs, *[data.find_file(name) for name in inputs if name is not None])
    for output in outputs:
        check_writable(output)


# --------------------------------------------------------------------------------------------------- where to run


def processes_of(running: Running) -> Any:
    """The processes of this run, if torchrun started several; else None."""
    if "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        if running.plain:
            raise ValueError("--plain trains in one process: start it with python, not with torchrun")
        from fast.parallel import Processes  # only here, because no other run needs it

        return Processes.of_torchrun(running.shard)
    if running.shard:
        raise ValueError("--shard divides a model among processes: start several with torchrun --nproc_per_node")
    return None


def refuse_several_processes(command: str) -> None:
    if "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError(f"{command} runs in one process: start it with python, not with torchrun")


@contextmanager
def placed(running: Running, recipe: Recipe, processes: Any = None) -> Iterator[torch.device]:
    """The device to run on, with torch set up for it and seeded."""
    device = running.device
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
    if not 0 <= running.seed < 2**63:
        raise ValueError(f"the seed is {running.seed}: it must be at least 0 and below 2**63")
    with ExitStack() as stack:
        if where.type == "cuda":
            stack.enter_context(precision(where, running.dtype or recipe.dtype))
            stack.enter_context(torch.cuda.device(where))  # where CUDA graphs are recorded
        if running.deterministic:
            stack.enter_context(repeatable())
        if processes is not None:
            stack.enter_context(processes.joined(where))
        torch.manual_seed(running.seed)
        yield where
