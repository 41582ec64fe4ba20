"""Does asking transfer? A model is asked for several relations, and for one of them it never saw a question.

    python measure/relations.py --jobs 4                     # the full corpus, recipe `strong`: for a GPU
    python measure/relations.py --quick --hold_out role      # corpus and recipe `quick`: for a CPU

The texts say of many people where and when they were born, what they did, and when they died. RELATIONS has a question
for each, and the generator knows the truth (biographies.py). Years, roles and deaths are asked only of people whose
line states them.

The people of train are asked in training; those of dev and test appear in the text only, and are asked to evaluate.
One relation at a time is held out: the questions of all other relations are mixed into pretraining as ever, and of the
held-out one only those about `examples` people of train, 0, 1, 10 and 100 of them by default. `all` examples is the
run in which no relation is held out, for comparison.

Each run is a row of OUT/relations.csv, written when the run ends: the same command continues where it was stopped.
Columns, after those that describe the run:

    trained_examples    questions of the held-out relation that were trained: there may be fewer people to ask about
    place, year, ...    % right for each relation, of people about whom nothing was asked in training
    n_place, ...        how many of them were asked: a share of a dozen people says little
    form                % of the answers to the held-out question that are an answer of that relation, right or wrong:
                        does the model know at least what kind of thing is asked for?
    seconds (of training), device, torch, date
"""

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data")]

import torch

from biographies import Biography, read_people
from dataset import encode_questions
from grid import Row, cell_of, command, silent
from make_corpus import LEAST_PEOPLE, MOST_PEOPLE, QUICK_SPLITS, SPLITS
from model import GPT
from stages import answer, load_trained, pretrain
from vocabulary import Vocabulary

RELATIONS = {
    "place": "Where was {} born?",
    "year": "When was {} born?",
    "role": "What did {} do?",
    "death": "When did {} die?",
}
RECIPE = {"full": "strong", "quick": "quick"}
EXAMPLES = ("0", "1", "10", "100")
ALL = "all"
NONE = "none"  # held out


@dataclass(frozen=True)
class Run:
    """One model: the columns by which a row is found again."""

    held_out: str
    examples: str
    seed: int
    corpus: str
    people: int
    max_epochs: int  # 0: the recipe's

    def __str__(self) -> str:
        return f"{self.held_out} held out, {self.examples} examples, seed {self.seed}"


COLUMNS = [field.name for field in fields(Run)] + ["trained_examples", *RELATIONS, *(f"n_{name}" for name in RELATIONS)]
COLUMNS += ["form", "seconds", "device", "torch", "date"]


def questions(relation: str, people: Sequence[Biography]) -> list[tuple[str, str]]:
    """(question, answer) about each of the people whose line states it."""
    truths = [(person.name, getattr(person, relation)) for person in people]
    return [(RELATIONS[relation].format(name), truth) for name, truth in truths if truth]


def training_rows(people: Sequence[Biography], held_out: str, examples: str) -> dict[str, list[tuple[str, str]]]:
    """The questions to train on by relation: of the one held out, the first `examples`."""
    rows = {relation: questions(relation, people) for relation in RELATIONS}
    if examples != ALL:
        rows[held_out] = rows[held_out][: int(examples)]
    return rows


def one_run(run: Run, folder: Path, device: str | None, threads: int) -> Row:
    """Train one model on the corpus in `folder` and ask it. Returns its row."""
    torch.set_num_threads(threads)
    silent()
    asked, others = read_people(folder)
    rows = training_rows(asked, run.held_out, run.examples)
    how: Row = dict(recipe=RECIPE[run.corpus], seed=run.seed, device=device, max_epochs=run.max_epochs or None)
    with tempfile.TemporaryDirectory() as scratch:
        file, params = Path(scratch) / "questions.tsv", Path(scratch) / "relations.params"
        text = "".join(f"{question}\t{truth}\n" for pairs in rows.values() for question, truth in pairs)
        file.write_text(text, encoding="utf-8", newline="\n")
        record = pretrain("vanilla", folder / "wiki.txt", params, finetune_corpus_path=file, **how)
        with load_trained("vanilla", folder / "wiki.txt", params, device=device) as (model, vocabulary):
            result = measure(model, vocabulary, run.held_out, asked, others)
    result |= asdict(run) | {"trained_examples": len(rows[run.held_out]) if run.held_out != NONE else ""}
    result |= {"seconds": record["seconds"], "device": record["device"], "torch": record["versions"]["torch"]}
    return result | {"date": datetime.date.today().isoformat()}


def measure(
    model: GPT, vocabulary: Vocabulary, held_out: str, asked: Sequence[Biography], others: Sequence[Biography]
) -> Row:
    """The accuracy of each relation on the others."""
    result: Row = {"form": ""}
    for relation in RELATIONS:
        pairs = questions(relation, others)
        result |= {relation: "", f"n_{relation}": len(pairs)}
        if not pairs:  # a small corpus may have no line that states it
            continue
        prompts = [question for question, _ in pairs]
        ids = encode_questions(prompts, vocabulary, model.config.block_size, "the people")
        said = answer(model, vocabulary, *ids)
        right = sum(guess == truth for guess, (_, truth) in zip(said, pairs, strict=True))
        result[relation] = 100 * right / len(pairs)
        if relation == held_out:
            kind = {truth for _, truth in questions(relation, [*asked, *others])}
            result["form"] = 100 * sum(guess in kind for guess in said) / len(said)
    return result


def show(row: Row) -> str:
    asked = [relation for relation in RELATIONS if row[relation] != ""]
    accuracies = ", ".join(f"{relation} {row[relation]:.1f}%" for relation in asked)
    return f"{cell_of(row, Run)}: {accuracies}; {row['seconds']:.0f} s"


def runs(hold_out: Sequence[str], examples: Sequence[str], seeds: Sequence[int], **common: Any) -> list[Run]:
    """For each seed first the run with all questions, then those with a relation held out."""
    cases = [(NONE, ALL), *((relation, count) for relation in hold_out for count in examples)]
    return [Run(held_out, count, seed, **common) for seed in seeds for held_out, count in cases]


def number(text: str) -> str:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of examples")
    return str(int(text))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold_out", nargs="+", default=["year", "role"], choices=list(RELATIONS), metavar="RELATION")
    parser.add_argument("--examples", nargs="+", default=list(EXAMPLES), type=number, metavar="N")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="default: 0")
    parser.add_argument("--people", type=int, metavar="N", help="of the corpus (default: as many as the committed one)")
    parser.add_argument("--max_epochs", type=int, default=0, metavar="N", help="default: the recipe's")
    parser.add_argument("--quick", action="store_true", help="corpus and recipe `quick`, for a CPU")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default 1)")
    parser.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    parser.add_argument("--out", type=Path, default=Path("relations"), metavar="DIR", help="default: relations")
    args = parser.parse_args(argv)
    people = args.people or sum(QUICK_SPLITS if args.quick else SPLITS)
    if not LEAST_PEOPLE <= people <= MOST_PEOPLE:
        parser.error(f"--people {people}: choose {LEAST_PEOPLE:,} to {MOST_PEOPLE:,}")
    if args.jobs < 1 or args.max_epochs < 0:
        parser.error("--jobs must be at least 1, and --max_epochs at least 0")
    common = dict(corpus="quick" if args.quick else "full", people=people, max_epochs=args.max_epochs)
    grid = runs(args.hold_out, args.examples, args.seeds, **common)
    work = partial(one_run, device=args.device, threads=max(1, (os.cpu_count() or 1) // args.jobs))
    return command("relations.py", grid, args.out / "relations.csv", COLUMNS, args.jobs, work, show)


if __name__ == "__main__":
    sys.exit(main())
