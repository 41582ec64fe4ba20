"""The capacity law: how many people, and how many bits, do models of different sizes know?

    python measure/capacity.py --jobs 4                  # the whole grid, for one H100; figure: capacity_figure.py
    python measure/capacity.py --sizes 4x256 --people 3000 10000 --exposures 100 400
    python measure/capacity.py --quick --sizes 1x64 2x64 --people 100 200                     # for a CPU

A cell of the grid is one model, trained by the recipe `strong` (with --quick: the recipe and the corpus `quick`) on a
corpus of N people, and then measured. Each line of the corpus is read `exposures` times. The batch grows with N, from
16 to 256 documents, so that small corpora take enough steps. Apart from that and the sizes, the recipe stays.

Each finished cell is one row of OUT/capacity.csv. A row that exists is not measured again, and a cell that was killed
starts again, so the same command continues a run that was stopped. Corpora are made once, in OUT.

Columns, after those that describe the cell (size, people, exposures; questions and recall are 0 if they were off):

    parameters, batch_size, steps, seconds (of training), device, torch, date
    accuracy_asked, accuracy_others   % right, of people whose questions were trained and of all others
    name_loss, place_loss_asked, place_loss_others, day_loss     in nats, and
    name_bits, place_bits, day_bits, bits       what is stored of them at least: see knowledge.py for the equation
    bits_of_corpus                              what there is to store of them
    bits_per_parameter
    places      % of the answers about the others that are a birth place of some person of the corpus
    confidence, confidence_right, confidence_wrong     of the answers about the others: mean probabilities in %

Without questions the model is finetuned on them after it has read the text, as the recipe says. Otherwise it could not
be asked.
"""

import argparse
import dataclasses
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data")]

import numpy as np
import torch

from biographies import Biography, read_people
from dataset import encode_questions
from grid import cell_of, command, silent
from knowledge import knowledge, spread_out
from make_corpus import LEAST_PEOPLE, MOST_PEOPLE
from model import GPT
from recipes import RECIPES, Recipe
from stages import finetune, load_trained, pretrain
from trust.asking import answer_with_confidence
from vocabulary import Vocabulary

BATCHES, LEAST_ROWS, MOST_ROWS = 64, 16, 256  # batches of an epoch to aim at; limits on the documents of a batch
WARMUP = 0.05  # of the tokens of a run
HEAD = 32  # channels of an attention head, as in the course's model
MOST_ASKED = 2000  # people of each group who are asked

# For each size, layers x channels, the people with whom it goes from knowing most to knowing little.
GRID = {
    "2x64": (300, 1_000, 3_000, 10_000),
    "3x96": (300, 1_000, 3_000, 10_000),
    "4x128": (1_000, 3_000, 10_000, 30_000),
    "4x256": (1_000, 3_000, 10_000, 30_000),
    "6x384": (3_000, 10_000, 30_000, 100_000),
    "8x512": (10_000, 30_000, 100_000),
}
EXPOSURES = 100
MIDDLE = "4x256"  # the size for the questions beside the grid
OTHER_EXPOSURES, OTHER_PEOPLE = (30, 300, 1000), (10_000,)  # what do exposures change?
OFF_PEOPLE = (3_000, 10_000)  # what do questions and recall change?


@dataclass(frozen=True)
class Cell:
    """One model to train and measure: the columns by which a row is found again."""

    size: str
    people: int
    exposures: int
    questions: int = 1  # 0: no questions mixed into pretraining
    recall: int = 1  # 0: no examples that give a name and ask for a fact
    corpus: str = "full"

    @property
    def quick(self) -> bool:
        return self.corpus == "quick"

    @property
    def model(self) -> dict[str, Any]:
        n_layer, n_embd = map(int, self.size.split("x"))
        return {"n_layer": n_layer, "n_embd": n_embd, "n_head": max(1, n_embd // HEAD)}

    @property
    def work(self) -> float:
        """Roughly: parameters times tokens."""
        return self.model["n_layer"] * (self.model["n_embd"] + 200) ** 2 * self.people * self.exposures

    def recipe(self) -> Recipe:
        recipe = RECIPES["quick" if self.quick else "strong"]
        share = recipe.question_share if self.questions else 0.0
        rows = self.people * (1 + share)
        batch_size = min(MOST_ROWS, max(LEAST_ROWS, self.people // BATCHES))
        stage = replace(
            recipe.pretrain,
            max_epochs=self.exposures,
            batch_size=batch_size,
            warmup_tokens=round(WARMUP * self.exposures * rows * recipe.model["block_size"]),
        )
        return replace(
            recipe, pretrain=stage, question_share=share, recall_share=recipe.recall_share if self.recall else 0.0
        )

    def without(self, *switches: str) -> "Cell":
        off: dict[str, Any] = dict.fromkeys(switches, 0)
        return replace(self, **off)

    def __str__(self) -> str:
        off = [name for name in ("questions", "recall") if not getattr(self, name)]
        without = f", without {' and '.join(off)}" if off else ""
        return f"{self.size}, {self.people:,} people, {self.exposures} exposures{without}"


RESULTS = (
    "parameters batch_size steps seconds accuracy_asked accuracy_others name_loss place_loss_asked place_loss_others "
    "day_loss name_bits place_bits day_bits bits bits_of_corpus bits_per_parameter places confidence confidence_right "
    "confidence_wrong device torch date"
).split()
COLUMNS = [field.name for field in dataclasses.fields(Cell)] + RESULTS


def cells(
    sizes: Sequence[str] | None,
    people: Sequence[int] | None,
    exposures: Sequence[int] | None,
    corpus: str = "full",
    without: Sequence[str] = (),
) -> list[Cell]:
    """The grid, longest cells first: none of them is then left over for the end, when other processes are idle.

    Sizes, people and exposures that are given replace those of the default grid, and leave out the cells beside it.
    `without` adds to each cell one without questions, or without recall, and leaves out the cells beside the grid, too.
    """
    default = not (sizes or people or exposures or without)
    grid = [
        Cell(size, n, e, corpus=corpus)
        for size in sizes or GRID
        for n in people or GRID.get(size, GRID[MIDDLE])
        for e in exposures or [EXPOSURES]
    ]
    if default:
        grid += [Cell(MIDDLE, n, e, corpus=corpus) for e in OTHER_EXPOSURES for n in OTHER_PEOPLE]
        off = [Cell(MIDDLE, n, EXPOSURES, corpus=corpus) for n in OFF_PEOPLE]
        for switched in ("questions",), ("recall",), ("questions", "recall"):
            grid += [cell.without(*switched) for cell in off]
    grid += [cell.without(name) for cell in grid[:] for name in without]
    return sorted(dict.fromkeys(grid), key=lambda cell: -cell.work)


# ---------------------------------------------------------------------------------------------------------- a cell


def measure(
    model: GPT, vocabulary: Vocabulary, asked: list[Biography], others: list[Biography], quick: bool
) -> dict[str, Any]:
    """What the model knows of these people, and what it says when asked."""
    result: dict[str, Any] = dict(knowledge(model, vocabulary, asked, others, quick))
    known_places = {person.place for person in [*asked, *others]}
    for group, people in (("asked", asked), ("others", others)):
        people = spread_out(people, MOST_ASKED)
        questions = [f"Where was {person.name} born?" for person in people]
        answers = answer_with_confidence(
            model, vocabulary, *encode_questions(questions, vocabulary, model.config.block_size, "the people")
        )
        right = np.array([said == person.place for said, person in zip(answers.texts, people, strict=True)])
        result[f"accuracy_{group}"] = 100 * right.mean()
    # The loop ends with the others: what follows is about them.
    result["places"] = 100 * np.mean([said in known_places for said in answers.texts])
    for name, chosen in (("", np.ones_like(right)), ("_right", right), ("_wrong", ~right)):
        result[f"confidence{name}"] = 100 * answers.confidence[chosen].mean() if chosen.any() else ""
    return result


def run_cell(cell: Cell, folder: Path, device: str | None, threads: int) -> dict[str, Any]:
    """`train_and_measure` in a process of its own, which says nothing."""
    torch.set_num_threads(threads)
    silent()
    return train_and_measure(cell, folder, device)


def train_and_measure(cell: Cell, folder: Path, device: str | None) -> dict[str, Any]:
    """Train and measure one cell on the corpus in `folder`. Returns its row."""
    RECIPES["capacity"] = cell.recipe()
    corpus, train = folder / "wiki.txt", folder / "birth_places_train.tsv"
    common: dict[str, Any] = {"recipe": "capacity", "device": device}
    asked, others = read_people(folder)
    with tempfile.TemporaryDirectory() as scratch:
        params = Path(scratch) / "capacity.params"
        questions = train if cell.questions else None
        record = pretrain("vanilla", corpus, params, finetune_corpus_path=questions, **common, **cell.model)
        if not cell.questions:
            pretrained, params = params, Path(scratch) / "finetuned.params"
            finetune("vanilla", corpus, params, train, reading_params_path=pretrained, **common)
        with load_trained("vanilla", corpus, params, device=device) as (model, vocabulary):
            result = measure(model, vocabulary, asked, others, cell.quick)
            parameters = sum(p.numel() for p in model.parameters())
    result |= {"parameters": parameters, "bits_per_parameter": result["bits"] / parameters}
    result |= {"steps": record["steps"], "seconds": record["seconds"], "device": record["device"]}
    result |= {"batch_size": RECIPES["capacity"].pretrain.batch_size, "torch": record["versions"]["torch"]}
    return asdict(cell) | result | {"date": datetime.date.today().isoformat()}


def show(row: dict[str, Any]) -> str:
    bits = f"{row['bits']:,.0f} of {row['bits_of_corpus']:,.0f} bits, {row['bits_per_parameter']:.2f} per parameter"
    return f"{cell_of(row, Cell)}: {row['accuracy_others']:.1f}% of the others right, {bits}, {row['seconds']:.0f} s"


# ------------------------------------------------------------------------------------------------------ command line


def size(text: str) -> str:
    layers, x, channels = text.partition("x")
    if not x or not layers.isdecimal() or not channels.isdecimal() or not 0 < int(layers) * int(channels):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYERSxCHANNELS, as 4x256 is")
    heads = max(1, int(channels) // HEAD)
    if int(channels) % heads or (int(channels) // heads) % 2:
        raise argparse.ArgumentTypeError(f"{text}: choose channels that are a multiple of {HEAD}")
    return f"{int(layers)}x{int(channels)}"


def number_of_people(text: str) -> int:
    if not text.isdecimal() or not LEAST_PEOPLE <= int(text) <= MOST_PEOPLE:
        raise argparse.ArgumentTypeError(f"{text!r}: choose {LEAST_PEOPLE:,} to {MOST_PEOPLE:,} people")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=size, metavar="LxC", help=f"layers x channels: {' '.join(GRID)}")
    parser.add_argument("--people", nargs="+", type=number_of_people, metavar="N", help="default: depends on the size")
    parser.add_argument("--exposures", nargs="+", type=positive, metavar="E", help=f"default: {EXPOSURES}")
    parser.add_argument(
        "--without", nargs="+", default=[], choices=("questions", "recall"), help="also without each of these"
    )
    parser.add_argument("--quick", action="store_true", help="corpus and recipe `quick`, for a CPU")
    parser.add_argument("--jobs", type=positive, default=1, metavar="N", help="cells at a time (default 1)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    parser.add_argument("--out", type=Path, default=Path("capacity"), metavar="DIR", help="folder (default: capacity)")
    args = parser.parse_args(argv)
    if args.quick and not (args.sizes and args.people):
        parser.error("--quick: the default grid is for a GPU: choose --sizes and --people, as the first lines show")
    grid = cells(args.sizes, args.people, args.exposures, "quick" if args.quick else "full", args.without)
    work = partial(run_cell, device=args.device, threads=max(1, (os.cpu_count() or 1) // args.jobs))
    return command("capacity.py", grid, args.out / "capacity.csv", COLUMNS, args.jobs, work, show)


if __name__ == "__main__":
    sys.exit(main())
