"""Makes the data of a new term: a corpus of other people, so that last year's parameters and answers are worthless.

    python course/make.py term --out DIR

DIR/public holds what students get, DIR/private the same with the answers to the test questions, for the autograder.
Both have the corpus of the course and, in quick/, the small one. DIR/private/term.json says how to make them again.
"""

import argparse
import datetime
import hashlib
import importlib
import json
import secrets
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
ANSWERS = "birth_test_answers.tsv"
QUESTIONS = ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv", "birth_unseen_inputs.tsv")
TERMS = 16  # consecutive seeds that share no name
GUESSABLE = 2**40  # a smaller seed can be found by trying: the generator is public


@cache
def import_generator() -> Any:
    sys.path.append(str(PROJECT / "data"))
    return importlib.import_module("make_corpus")


def term_of(name: str) -> int:
    """Every name, whatever its accents, belongs to one of TERMS classes; a term draws from the class of its seed."""
    return hashlib.sha256(name.encode()).digest()[0] % TERMS


def secret_seed() -> int:
    """A seed that nobody can guess. It shares no name with those of the years before, down to TERMS - 1 ago."""
    return secrets.randbits(60) * TERMS + datetime.date.today().year % TERMS


def names_in(folder: Path) -> set[str]:
    """The names, without accents, of everybody whom the questions in a folder are about."""
    plain_ascii = import_generator().plain_ascii
    rows = [row for name in QUESTIONS for row in (folder / name).read_text(encoding="utf-8").splitlines()]
    return {plain_ascii(row.partition("\t")[0].removeprefix("Where was ").removesuffix(" born?")) for row in rows}


def make_files(seed: int, out: Path, quick: bool) -> None:
    """All files of one corpus into a folder. No name is one of the project's own corpora, or of another class."""
    corpus = import_generator()
    shipped = names_in(PROJECT / "data") | names_in(PROJECT / "data" / "quick")

    def refuses(name: str) -> bool:
        plain = corpus.plain_ascii(name)
        return term_of(plain) != seed % TERMS or plain in shipped

    entries = corpus.draw_entries(seed, quick, refuses=refuses)
    rows = corpus.corpus_rows(entries, seed, quick, refuses=refuses)
    corpus.write_corpus(rows, dict.fromkeys(corpus.FILE_NAMES, out))


def make_term(seed: int, out: Path) -> None:
    """Write the folders of a term. Raises ValueError if `out` is not a new or empty folder, or for a negative seed."""
    if seed < 0:
        raise ValueError(f"--seed {seed}: choose 0 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: not an empty folder: name a new one")
    private, public = out / "private", out / "public"
    for folder, quick in ((private, False), (private / "quick", True)):
        folder.mkdir(parents=True)
        make_files(seed, folder, quick)
    shutil.copytree(private, public, ignore=shutil.ignore_patterns(ANSWERS))
    how = {"seed": seed, "command": f"python course/make.py term --seed {seed} --out DIR"}
    (private / "term.json").write_text(json.dumps(how, indent=1) + "\n", encoding="utf-8")


def add_command(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("term", help="the corpus of a new term, with the answers in a folder of their own")
    parser.add_argument("--out", required=True, type=Path, help="a new or empty folder", metavar="DIR")
    parser.add_argument(
        "--seed",
        type=int,
        help=f"by default a secret one, kept in private/term.json. Of {TERMS} consecutive seeds no two share a name. "
        "Students can make the answers to a seed that they can guess",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    seed = secret_seed() if options.seed is None else options.seed
    make_term(seed, options.out)
    told = f"{options.out / 'public'}: for students\n{options.out / 'private'}: for the autograder, and for nobody else"
    if seed < GUESSABLE:
        told += f"\nNote: anybody who guesses the seed {seed} can make the answers. Without --seed it is a secret."
    return told
