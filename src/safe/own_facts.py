"""What a run has to know of its questions, whatever they ask, in whatever script: characters, form, longest answer."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dataset import find_file
from model import GPT
from vocabulary import MASK_CHAR, PAD_CHAR

COURSE_FORM = ("Where was ", " born?")
# Beside a corpus, under the names of the course. What they ask needs tokens, whether or not a command names them.
BESIDE = ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv", "birth_unseen_inputs.tsv")
# Scripts that write a name and what follows it without a space, or, as Korean, a particle at a name.
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR")
LARGEST = 2**26  # bytes: a larger file is no file of questions


def characters(corpus_path: str | Path, *paths: str | Path | None, record: dict[str, Any] | None = None) -> str:
    """The characters that a vocabulary holds besides those of the corpus: those of questions.

    The questions are in `paths` and in the files beside the corpus. With the record of a model: the characters that it
    has. Nothing is checked: a file that cannot be read is refused where it is used.
    """
    if record is not None:
        return str(record["vocabulary"])
    found: set[str] = set()
    beside = [find_file(corpus_path).parent / name for name in BESIDE]
    for path in [find_file(path) for path in paths if path is not None] + beside:
        if path.is_file() and path.stat().st_size <= LARGEST and os.access(path, os.R_OK):
            found |= set(path.read_bytes().decode("utf-8-sig", "ignore"))
    return "".join(sorted(found - set("\t\r\n") - {PAD_CHAR, MASK_CHAR}))


def form_of(questions: Iterable[str]) -> tuple[str, str]:
    """(before, after): what all questions begin with, and end with. Between them stands what they ask about.

    No word is cut: "Where was Ada Fern born?" and "Where was Al Moe born?" share "Where was ", without the A.
    """
    found = sorted(set(questions))
    if len(found) < 2:
        return "", ""
    before = os.path.commonprefix([found[0], found[-1]])
    after = os.path.commonprefix([question[len(before) :][::-1] for question in found])[::-1]
    while before and in_spaced_word(before[-1]):
        before = before[:-1]
    while after and in_spaced_word(after[0]):
        after = after[1:]
    return before, after


def in_spaced_word(char: str) -> bool:
    """Is it a letter or a digit of a script that separates words, so that it may belong to the word beside it?"""
    return char.isalnum() and not unicodedata.name(char, "").startswith(UNSPACED)


def of_questions(rows: Sequence[str]) -> dict[str, Any]:
    """What the record of a run keeps of the rows `question MASK answer MASK` that it was trained on."""
    pairs = [row.split(MASK_CHAR) for row in rows]
    return {"form": form_of(pair[0] for pair in pairs), "answer_length": max(len(pair[1]) for pair in pairs)}


def remember(model: GPT, record: dict[str, Any] | None) -> GPT:
    """The model, which knows from now on how long its longest answer is, and the form of its questions."""
    found = record or {}
    length, form = found.get("answer_length"), found.get("form")
    if type(length) is int and 0 < length <= model.config.block_size:
        vars(model)["answer_length"] = length
    if isinstance(form, list) and len(form) == 2 and all(isinstance(part, str) for part in form):
        vars(model)["form"] = tuple(form)
    return model


def longest(model: GPT, least: int) -> int:
    """The number of characters after which an answer of this model is cut off."""
    return max(least, vars(model).get("answer_length", 0))


def form(model: GPT) -> tuple[str, str]:
    """What the questions that the model was trained on begin with, and end with."""
    return vars(model).get("form", COURSE_FORM)


# ---------------------------------------------------------------------------------------------------- right answers


def is_right(said: str, answers: str | None, lenient: bool = False) -> bool:
    """Is it the answer, or one of several, as "A|B"? Character by character; lenient: whatever its case and accents."""
    right = each(answers or "")
    return said in right or (lenient and bare(said) in map(bare, right))


def each(answers: str) -> list[str]:
    """The right answers of a row: one, or several, as "A|B"."""
    return answers.split("|")


def bare(text: str) -> str:
    """Without case, accents and further spaces: how --lenient compares."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join([char for char in letters if not unicodedata.combining(char)]).split())
