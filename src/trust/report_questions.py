"""What the report asks: questions and people in no text, and what the corpus and the training rows say about them."""

import hashlib
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dataset as data
import stages
from fast.corpus_file import open_documents
from recipes import find_recipe
from safe.files import file_sha256
from trust.people import Texts, end_of_place, find_document, name_in
from vocabulary import MASK_CHAR, PAD_CHAR

# The sha256 of the course's dev questions (`content_of`): public results are about these questions and no others.
COURSE_DEV = "a8a13c6ffc781280469582e5b85ec6c6e3b2a07e150e2f02e5a5aeffd5a5bf34"
TRADITIONS_FILE, HOMES_FILE = "birth_unseen_traditions.tsv", "place_traditions.tsv"  # beside the unseen questions
IN_PAGE = 4 * 2**20  # characters of a corpus that fits into the page, for the question box


@dataclass
class Questions:
    """What is asked, and what is known about it."""

    path: Path
    names: list[str]
    asked: list[str]
    places: list[str]
    ends: list[int | None] | None  # where the place first ends in the person's document; None: it is not there
    known: list[bool] | None  # is there a document about the person?
    reach: int  # characters of a document that pretraining reads at most
    train: Counter | None  # how often each place is an answer in the training rows
    train_rows: int = 0
    trained_on: int = 0  # how many of the questions are training rows themselves
    train_sha256: str | None = None  # of the file of training rows
    of_course: bool = False  # are they the course's own dev questions?
    documents: list[str | None] | None = None  # the text about each person
    corpus: str = "the corpus"  # the name of its file
    lines: list[str] | None = None  # all of its documents, where the page has room for them


@dataclass
class Unseen:
    """Questions about people in no text, and what is known about their names."""

    path: Path
    asked: list[str]
    left_out: int  # questions about a person whom the corpus mentions, or with a character that it lacks
    traditions: list | None  # the naming tradition of each
    homes: dict[str, list[str]] | None  # place: the traditions that are at home there


def read_for_search(corpus_path: Path) -> tuple[str | None, set[str]]:
    """The corpus and its characters. The text is None if it is too large to search."""
    if corpus_path.stat().st_size > stages.IN_MEMORY:
        return None, set(open_documents(corpus_path).vocabulary.characters) - {PAD_CHAR, MASK_CHAR}
    text = data.read_corpus(corpus_path)
    return text, set(text)


def name_of(question: str) -> str:
    return name_in(question) or question


def content_of(pairs: list[tuple[str, str | None]]) -> str:
    """The sha256 of questions and places, whatever their order, line ends, spaces around them and Unicode form."""
    rows = sorted(unicodedata.normalize("NFC", f"{question}\t{place}") for question, place in pairs)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def longest_read(record: dict[str, Any]) -> int:
    """Characters of a document that pretraining has read at most, by the recipe of a record."""
    recipe, block_size = find_recipe(record.get("recipe", "course")), record["config"]["block_size"]
    return data.RECALL_BLOCKS * block_size if recipe.recall_share else int(block_size * recipe.max_kept_share)


def read_questions(
    path: str | Path, text: str | None, finetune_corpus_path: str | Path | None, runs: Sequence[Any]
) -> Questions:
    """The questions, and what the corpus and the training rows say about them. What is not given stays None."""
    pairs = data.read_places(data.find_file(path))
    if pairs[0][1] is None:
        raise ValueError(f"{path}: has no answers, so nothing can be right or wrong: name the dev rows")
    asked = [question for question, _ in pairs]
    places, names = [place or "" for _, place in pairs], [name_of(question) for question in asked]
    ends = known = about = lines = None
    if text is not None:
        texts = Texts(str(path), text)
        documents = {name: find_document(name, texts.beginning_like(name)) for name in dict.fromkeys(names)}
        about = [documents[name] for name in names]
        known = [document is not None for document in about]
        lines = [line for line in text.split("\n") if line] if len(text) <= IN_PAGE else None
        ends = [end_of_place(place, documents[name] or "", name) for name, place in zip(names, places, strict=True)]
    reach = max((longest_read(run.record) for run in runs), default=int(128 * data.MAX_TRUNCATED_SHARE))
    found = Questions(data.find_file(path), names, asked, places, ends, known, reach, None)
    found.documents, found.lines = about, lines
    found.of_course = content_of(pairs) == COURSE_DEV
    if finetune_corpus_path is not None:
        train_path = data.find_file(finetune_corpus_path)
        rows = data.read_places(train_path)
        found.train, found.train_rows = Counter(place for _, place in rows), len(rows)
        known_rows = {question for question, _ in rows}
        found.trained_on = sum(question in known_rows for question in asked)
        found.train_sha256 = file_sha256(train_path)
    return found


def read_unseen(path: str | Path, text: str | None, characters: set[str]) -> Unseen | None:
    """Questions about people whom the corpus does not mention. Those that it mentions, or cannot spell, are left out.

    Returns None, and tells the user, if nobody remains.
    """
    path = data.find_file(path)
    asked = [question for question, _ in data.read_places(path)]
    texts = Texts(str(path), text)
    keep = [set(question) <= characters and not texts.mentions(name_of(question)) for question in asked]
    kept = [question for question, ok in zip(asked, keep, strict=True) if ok]
    if not kept:
        print(f"{path}: left out: the corpus mentions everyone in it, or lacks letters of their names", file=sys.stderr)
        return None
    traditions = homes = None
    if (path.parent / TRADITIONS_FILE).exists() and (path.parent / HOMES_FILE).exists():
        tradition = dict(data.read_places(path.parent / TRADITIONS_FILE))
        if all(question in tradition for question in asked):
            traditions = [tradition[question] for question in kept]
            homes = {place: (names or "").split() for place, names in data.read_places(path.parent / HOMES_FILE)}
    return Unseen(path, kept, len(asked) - len(kept), traditions, homes)
