"""What the report asks, and names in no text; what the corpus and the training rows say about them."""

import hashlib
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import dataset as data
import stages
from fast.corpus_file import open_documents
from recipes import find_recipe
from safe.files import file_sha256
from safe.own_facts import COURSE_FORM, each, form_of, is_right
from trust.forms import fits, place_of_name
from trust.people import Texts, end_of_place
from vocabulary import MASK_CHAR, PAD_CHAR

# The sha256 of the course's dev questions (`content_of`): public results are about these questions and no others.
COURSE_DEV = "a8a13c6ffc781280469582e5b85ec6c6e3b2a07e150e2f02e5a5aeffd5a5bf34"
TRADITIONS_FILE, HOMES_FILE = "birth_unseen_traditions.tsv", "place_traditions.tsv"  # beside the unseen questions
IN_PAGE = 4 * 2**20  # characters of a corpus that fits into the page, for the question box


@dataclass
class Questions:
    """What is asked, and what is known about it."""

    path: Path
    names: list[str]  # what each question is about: what it does not share with the others
    asked: list[str]
    places: list[str]  # the right answer of each, or several as "A|B"
    ends: list[int | None] | None  # where the answer first ends in the document about the name; None: it is not there
    known: list[bool] | None  # is there a document about the name?
    reach: int  # characters of a document that pretraining reads at most
    train: Counter | None  # how often each answer is one in the training rows, the first of them first
    train_rows: int = 0
    trained_on: int = 0  # how many of the questions are training rows themselves
    train_sha256: str | None = None  # of the file of training rows
    of_course: bool = False  # are they the course's own dev questions?
    documents: list[str | None] | None = None  # the text about each name
    corpus: str = "the corpus"  # the name of its file
    lines: list[str] | None = None  # all of its documents, where the page has room for them
    named: bool = True  # do they begin with names?
    form: tuple[str, str] = COURSE_FORM  # what the questions begin with, and end with
    lenient: bool = False  # do case and accents not matter?

    def is_right(self, i: int, said: str) -> bool:
        return is_right(said, self.places[i], self.lenient)

    @property
    def baseline(self) -> tuple[str, int]:
        """The most frequent answer of the training rows, or else of the questions, and how often it is right here."""
        counted = self.train or Counter(answer for place in self.places for answer in each(place))
        answer = max(counted, key=counted.__getitem__)
        return answer, sum(self.is_right(i, answer) for i in range(len(self.places)))


@dataclass
class Unseen:
    """Questions about names in no text, and what is known about the names."""

    path: Path
    asked: list[str]
    names: list[str]
    left_out: int  # questions about a name that the corpus mentions, or with a character that the runs lack
    traditions: list | None  # the naming tradition of each
    homes: dict[str, list[str]] | None  # place: the traditions that are at home there


def read_for_search(corpus_path: Path) -> tuple[str | None, set[str]]:
    """The corpus and its characters. The text is None if it is too large to search."""
    if corpus_path.stat().st_size > stages.IN_MEMORY:
        return None, set(open_documents(corpus_path).vocabulary.characters) - {PAD_CHAR, MASK_CHAR}
    text = data.read_corpus(corpus_path)
    return text, set(text)


def form_for(asked: list[str], trained_on: list[str], runs: Sequence[Any]) -> tuple[str, str]:
    """What most of the questions begin and end with: of what the runs, the course, or either file of questions has."""
    recorded = [run.record.get("form") for run in runs]
    forms = [tuple(form) for form in recorded if isinstance(form, list) and len(form) == 2]
    forms += [COURSE_FORM, form_of(trained_on), form_of(asked)]
    forms = [form for form in forms if any(form) and all(isinstance(part, str) for part in form)]
    best = max(forms, key=lambda form: sum(fits(form, question) for question in asked))
    return best if any(fits(best, question) for question in asked) else ("", "")


def end_of(places: str, document: str, name: str) -> int | None:
    """Where the first of the right answers ends in a document."""
    ends = [end_of_place(place, document, name) for place in each(places)]
    return min((end for end in ends if end is not None), default=None)


def content_of(pairs: list[tuple[str, str | None]]) -> str:
    """The sha256 of questions and places, whatever their order, line ends, spaces around them and Unicode form."""
    rows = sorted(unicodedata.normalize("NFC", f"{question}\t{place}") for question, place in pairs)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def longest_read(record: dict[str, Any]) -> int:
    """Characters of a document that pretraining has read at most, by the recipe of a record."""
    recipe, block_size = find_recipe(record.get("recipe", "course")), record["config"]["block_size"]
    return data.RECALL_BLOCKS * block_size if recipe.recall_share else int(block_size * recipe.max_kept_share)


def read_questions(
    path: str | Path,
    text: str | None,
    finetune_corpus_path: str | Path | None,
    runs: Sequence[Any],
    lenient: bool = False,
) -> Questions:
    """The questions, and what the corpus and the training rows say about them. What is not given stays None."""
    pairs = data.read_places(data.find_file(path))
    if pairs[0][1] is None:
        raise ValueError(f"{path}: has no answers, so nothing can be right or wrong: name the dev rows")
    train_path = None if finetune_corpus_path is None else data.find_file(finetune_corpus_path)
    rows = [] if train_path is None else data.read_places(train_path)
    asked, trained_on = [question for question, _ in pairs], [question for question, _ in rows]
    form = form_for(asked, trained_on, runs)
    places, names = [place or "" for _, place in pairs], [question[place_of_name(form, question)] for question in asked]
    reach = max((longest_read(run.record) for run in runs), default=int(128 * data.MAX_TRUNCATED_SHARE))
    found = Questions(data.find_file(path), names, asked, places, None, None, reach, None)
    found.form, found.lenient = form, lenient
    if text is not None:
        texts = Texts(str(path), text)
        documents = {name: texts.about(name) for name in dict.fromkeys(names)}
        found.named, found.documents = texts.named, [documents[name] for name in names]
        found.known = [document is not None for document in found.documents]
        found.lines = [line for line in text.split("\n") if line] if len(text) <= IN_PAGE else None
        found.ends = [end_of(place, documents[name] or "", name) for name, place in zip(names, places, strict=True)]
    found.of_course = content_of(pairs) == COURSE_DEV and not lenient
    if train_path is not None:
        found.train, found.train_rows = Counter(answer for _, place in rows for answer in each(place or "")), len(rows)
        found.trained_on = sum(question in set(trained_on) for question in asked)
        found.train_sha256 = file_sha256(train_path)
    return found


def readable(runs: Sequence[Any], characters: set[str]) -> set[str]:
    """Those of the characters that every run has a token for."""
    known = [run.record.get("vocabulary") for run in runs]
    return characters.intersection(*[one for one in known if isinstance(one, str)])


def read_unseen(
    path: str | Path, text: str | None, characters: set[str], form: tuple[str, str] = COURSE_FORM
) -> Unseen | None:
    """Questions about names that the corpus does not mention. Those that it mentions, or cannot spell, are left out.

    Returns None, and tells the user, if nobody remains.
    """
    path = data.find_file(path)
    asked = [question for question, _ in data.read_places(path)]
    texts = Texts(str(path), text)
    names = [question[place_of_name(form, question)] for question in asked]
    ok = [set(q) <= characters and not texts.mentions(name) for q, name in zip(asked, names, strict=True)]
    kept, names = list(compress(asked, ok)), list(compress(names, ok))
    if not kept:
        print(f"{path}: left out: the corpus mentions every name in it, or lacks letters of it", file=sys.stderr)
        return None
    traditions = homes = None
    if (path.parent / TRADITIONS_FILE).exists() and (path.parent / HOMES_FILE).exists():
        tradition = dict(data.read_places(path.parent / TRADITIONS_FILE))
        if all(question in tradition for question in asked):
            traditions = [tradition[question] for question in kept]
            homes = {place: (names or "").split() for place, names in data.read_places(path.parent / HOMES_FILE)}
    return Unseen(path, kept, names, len(asked) - len(kept), traditions, homes)
