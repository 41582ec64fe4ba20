"""What a corpus asks for: a model's size, steps, hours and memory, before they are spent. `run.py plan CORPUS`.

The size is an estimate from the few models that were measured (docs/capacity.md). Time and memory are measured here:
the proposed model is trained for a few seconds, and thrown away.
"""

import os
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import dataset as data
import stages
from fast.device import LEAST_ROWS, threads_restored
from fast.steps import fastest
from model import GPT, GPTConfig
from recipes import RECIPES, Recipe
from safe.job import Job, trainer_config
from safe.own_facts import BESIDE, each
from safe.running import Running
from trainer import Trainer
from trust.forms import place_of_name
from trust.people import Texts
from trust.report_questions import end_of, form_for, read_for_search

# Parameters for each document, and the share of held-out questions that was right: recipe strong, one seed each, with
# 3.3 million parameters or more.
MEASURED = "2,500 parameters each: 93% right; 850 to 1,100: 63 to 88%; 330 to 360: 18 to 64%; 110: 12 to 14%; 37: 1%"
ROOM = 1000  # parameters for each document, by the second of these
SHAPES = ((3, 96), (4, 128), (4, 256), (6, 384), (8, 512), (12, 768), (16, 1024), (24, 1536), (32, 2048), (48, 3072))
HEAD = 32  # channels of an attention head where the recipe has no number
READ = 650 * 2937  # lines that the model with 88% had read; each line was read 650 times
LEAST_STEPS = 2000  # of which `quick` needs most: after 600 steps 60 lines were learned, and no question was answered
LEAST_EPOCHS = 100  # a hundred readings gave a bit a parameter, a thousand two bits (arXiv 2404.05405)
BYTES = 16  # of a parameter while it is trained: itself, its gradient, two moments
ENOUGH, PATIENCE = 8, 2.0  # steps to measure, or seconds after the first of them
LONGEST = 512  # characters of a block that answers far back in long lines ask for
LOOKED_UP = 500  # questions, to see where in the text their answers stand
QUICKLY = 5e10  # operations of a step that a CPU does in a second or two


def plan(
    pretrain_corpus_path: str | Path,
    *,
    finetune_corpus_path: str | Path | None = None,
    recipe: str | None = None,
    device: str | None = None,
) -> str:
    """Lines about the model that the corpus asks for, and the command that pretrains it.

    finetune_corpus_path: the training questions (default: those beside the corpus under the name of the course)
    """
    path = data.find_file(pretrain_corpus_path)
    beside = path.parent / BESIDE[0]
    asked = beside if finetune_corpus_path is None and beside.exists() else finetune_corpus_path
    block = 0 if asked is None else block_for(data.read_places(data.find_file(asked)), read_for_search(path)[0])
    counted = stages.open_corpus(path, block or None, RECIPES["course"], asked)
    name = recipe or ("quick" if room_in(*SHAPES[0], counted) >= len(counted) * ROOM else "strong")
    chosen = RECIPES[name]
    block = max(block, chosen.model["block_size"])
    corpus = stages.open_corpus(path, block, chosen, asked)
    sizes = sizes_for(corpus, chosen)
    epochs = min(chosen.pretrain.max_epochs, max(LEAST_EPOCHS, READ // len(corpus)))
    epochs = max(epochs, -(-LEAST_STEPS // -(-len(corpus) // chosen.pretrain.batch_size)))
    running = Running(max_epochs=epochs if epochs != chosen.pretrain.max_epochs else None, device=device)
    config = GPTConfig(**stages.config_fields("vanilla", corpus.vocabulary, chosen, sizes))
    with stages.placed(running, chosen.dtype) as where:
        with torch.device("meta"):
            model = GPT(config)
        questions = stages.open_questions(asked, corpus) if chosen.question_share else None
        train_set: Any = data.MixedDataset(corpus, questions, chosen.question_share) if questions else corpus
        stage = running.changed(chosen.pretrain, None)
        job = Job(model, train_set, None, corpus, chosen, stage, running, where)
        return "\n".join([*told(job, path, name), *measured(job, config), command(path, asked, name, sizes, running)])


def block_for(rows: list[tuple[str, str | None]], text: str | None) -> int:
    """A multiple of 16 that holds each question with its answer, and nine in ten answers where the text has them."""
    needed = max(len(question) + len(each(answer or "")[0]) + 2 for question, answer in rows)
    if text is not None:
        form, texts = form_for([question for question, _ in rows], [], []), Texts("the corpus", text)
        some = rows[:: -(-len(rows) // LOOKED_UP)]
        named = [(question[place_of_name(form, question)], answer or "") for question, answer in some]
        ends = [end_of(answer, texts.about(name) or "", name) for name, answer in named]
        found = sorted(end for end in ends if end is not None)
        stands = found[int(0.9 * len(found))] * 8 // 7 if found else 0  # 7/8 of a block are read at most
        needed = max(needed, min(stands, LONGEST))
    return -(-needed // 16) * 16


def room_in(n_layer: int, n_embd: int, corpus: data.CharCorruptionDataset) -> int:
    """Parameters of a model of this shape, about: its matrices and its embeddings."""
    return 12 * n_layer * n_embd**2 + (2 * corpus.vocab_size + corpus.block_size) * n_embd


def sizes_for(corpus: data.CharCorruptionDataset, recipe: Recipe) -> dict[str, int]:
    """The smallest shape with ROOM, but none smaller than the recipe's: small models learn little even of little."""
    least = recipe.model["n_layer"], recipe.model["n_embd"]
    shapes = [shape for shape in SHAPES if shape >= least]
    fitting = [shape for shape in shapes if room_in(*shape, corpus) >= ROOM * len(corpus)]
    n_layer, n_embd = (fitting or shapes[-1:])[0]
    n_head = recipe.model["n_head"] if (n_layer, n_embd) == least else n_embd // HEAD
    return {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "block_size": corpus.block_size}


def told(job: Job, path: Path, recipe: str) -> list[str]:
    """What is known without training."""
    config, documents = job.model.config, len(job.corpus)
    n_parameters = sum(parameter.numel() for parameter in job.model.parameters())
    shape = f"{config.n_layer} layers, {config.n_head} heads, {config.n_embd} channels, a block of {config.block_size}"
    trainer = trainer_config(job)
    reading = f"{trainer.max_epochs} epochs, {trainer.batch_size} rows in a step"
    return [
        f"corpus   {path}: {documents:,} documents, {job.corpus.vocab_size} tokens in the vocabulary",
        f"model    {shape}: {n_parameters:,} parameters, {n_parameters / documents:,.0f} a document",
        f"         An estimate. What was measured, recipe strong, one seed each (docs/capacity.md): {MEASURED}.",
        f"steps    {steps_of(job):,}: {reading}, recipe {recipe}",
    ]


def steps_of(job: Job) -> int:
    trainer = trainer_config(job)
    return trainer.max_epochs * -(-len(job.train_set) // trainer.batch_size)


def measured(job: Job, config: GPTConfig) -> list[str]:
    """Lines about time and memory, from a few steps on this device. Without them if the model does not fit."""
    n_parameters = sum(parameter.numel() for parameter in job.model.parameters())
    needed, there = BYTES * n_parameters, memory_of(job.device)
    if needed > there / 2:
        why = f"a model that takes {needed / 1e9:.1f} GB with its optimizer, of the {there / 1e9:.1f} GB that are there"
        return [f"time     not measured on {job.device}: {why}"]
    batch = trainer_config(job).batch_size
    job.model, rows = GPT(config).to(job.device), batch
    if job.device.type == "cpu":  # where some rows say how long all of them take
        least = LEAST_ROWS * torch.get_num_threads()  # with fewer rows than these, fewer threads compute a step
        rows = min(batch, max(least, int(QUICKLY / (6 * n_parameters * config.block_size))))
    (seconds, how), part = seconds_of_step(job, rows), ""
    if 4 * rows < batch:
        # Another program may have slowed the shorter step.
        longer = max(0.0, seconds_of_step(job, 4 * rows)[0] - seconds)
        seconds += longer * (batch - rows) / (3 * rows)
        part = f" from steps of {rows} and {4 * rows} rows"
    hours = seconds * steps_of(job) / 3600
    took = f"{hours:,.1f} hours" if hours >= 2 else f"{60 * hours:.0f} minutes" if hours > 1 / 30 else "a minute or two"
    return [
        f"time     {took} of pretraining on {job.device}: {1000 * seconds:,.0f} ms a step, measured{part}",
        f"memory   {peak_of(job.device) / 1e9:.2f} GB, measured in these steps ({how})",
    ]


class EnoughMeasured(Exception):
    """Ends a training of which a few steps were to be measured."""


@threads_restored()
def seconds_of_step(job: Job, rows: int) -> tuple[float, str]:
    """(seconds of a step of so many rows, how it is computed). The first step is left out: it also sets up."""
    train_set, config = job.train_set.to(job.device), replace(trainer_config(job), batch_size=rows)
    faster, how = fastest(job.model, train_set, config, bf16=job.dtype == "bf16", compile="off")
    trainer = Trainer(job.model, train_set, None, config, **faster, show_progress=False)
    ends = [time.perf_counter()]

    def on_pause(trainer: Trainer) -> None:
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())
        if len(ends) > ENOUGH + 1 or ends[-1] - ends[1] > PATIENCE:
            raise EnoughMeasured

    trainer.on_pause, trainer.pause_at = on_pause, -1.0
    try:
        trainer.train()
    except EnoughMeasured:
        pass
    steps = [end - begin for begin, end in pairwise(ends)]
    return min(steps[1:] or steps), how  # the least, because other programs only make steps longer


def memory_of(device: torch.device) -> float:
    """Bytes of memory that a device has."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    if hasattr(os, "sysconf"):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return 8e9  # Windows does not say


def peak_of(device: torch.device) -> float:
    """Bytes that this process has had at most: on a GPU those of tensors, elsewhere all of them."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most) * (1 if os.uname().sysname == "Darwin" else 1024)


def command(path: Path, asked: str | Path | None, recipe: str, sizes: dict[str, int], running: Running) -> str:
    """The command that pretrains the proposed model."""
    words = ["python src/run.py pretrain vanilla", str(path), f"--recipe {recipe}"]
    words += [f"--{name} {value}" for name, value in sizes.items() if value != RECIPES[recipe].model[name]]
    words += [f"--max_epochs {running.max_epochs}"] if running.max_epochs else []
    words += [f"--finetune_corpus_path {asked}"] if asked and RECIPES[recipe].question_share else []
    return " ".join(["command ", *words, "--writing_params_path vanilla.pretrain.params"])
