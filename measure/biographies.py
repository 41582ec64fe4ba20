"""The people of a generated corpus with the facts behind their lines: what data/make_corpus.py drew for each of them.

`write_people` makes a corpus of N people, with `facts.tsv` beside its files, and `read_people` reads it back.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data")]

import make_corpus
from dataset import read_corpus

# What a parent does follows one of these words in the same sentence.
RELATIVE = re.compile(r"\b(father|mother|son|daughter|child|children|family|to an?)\b[^.]*$")


class Biography(NamedTuple):
    """A person, the line about this person, and facts. A fact that the line does not state is ""."""

    name: str
    place: str  # of birth; a few lines do not state it
    year: str  # of birth
    death: str  # the year
    role: str  # "painter"
    birthday: str  # day and month, as the line writes them, up to the year: "June 14, "
    deathday: str
    line: str = ""

    def span(self, fact: str) -> slice:
        """Where the line states one of the facts."""
        start = self.line.index(fact, len(self.name))
        return slice(start, start + len(fact))


def stated_day(date: tuple[int, int, int] | None, line: str) -> str:
    """Day and month as the line has them, with what parts them from the year, or ""."""
    if date is None:
        return ""
    year, month, day = date
    month_name = make_corpus.MONTHS[month - 1]
    found = re.search(rf"\b({day} {month_name} |{month_name} {day}, ){year}\b", line)
    return found[1] if found else ""


def stated(fact: str, line: str) -> str:
    return fact if re.search(rf"\b{re.escape(fact)}\b", line) else ""


def stated_role(role: str, line: str) -> str:
    """The role, unless the line gives it to a parent only: "the son of a painter"."""
    found = re.search(rf"\b{re.escape(role)}\b", line)
    return role if found and not RELATIVE.search(line[: found.start()]) else ""


def biography(entry: make_corpus.Entry, person: make_corpus.Person, quick: bool) -> Biography:
    about = entry.line[len(entry.name) :]
    roles = make_corpus.QUICK_ROLES if quick else (person.role,)  # the quick corpus draws the role with the sentence
    year, death = str(person.birth[0]), str(person.death[0]) if person.death else ""
    return Biography(
        name=entry.name,
        place=entry.place,
        year=stated(year, about),
        death=stated(death, about) if death else "",
        role=next((role for role in roles if stated_role(role, about)), ""),
        birthday=stated_day(person.birth, about),
        deathday=stated_day(person.death, about),
        line=entry.line,
    )


def draw_people(people: int, quick: bool = False, seed: int = make_corpus.SEED) -> Iterator[Biography]:
    """The people of `make_corpus.py --people N`, in its order. The entries of make_corpus do not keep the facts, so
    the last person drawn before each entry is kept here."""
    last: list[make_corpus.Person] = []
    draw_person = make_corpus.draw_person

    def keeping(*arguments, **options) -> make_corpus.Person:
        last[:] = [draw_person(*arguments, **options)]
        return last[0]

    with mock.patch.object(make_corpus, "draw_person", keeping):
        for entry in make_corpus.draw_entries(seed, quick, people):
            yield biography(entry, last[0], quick)


def write_people(folder: Path, people: int, quick: bool = False, seed: int = make_corpus.SEED) -> None:
    """The corpus of `make_corpus.py --people N` and facts.tsv in `folder`. A complete folder is left as it is."""
    if folder.is_dir():
        return
    drawn = list(draw_people(people, quick, seed))
    entries = [make_corpus.Entry(person.name, person.place, person.line, 0, "") for person in drawn]
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    rows = make_corpus.corpus_rows(entries, seed, quick, people)
    make_corpus.write_corpus(rows, dict.fromkeys(make_corpus.FILE_NAMES, unfinished))
    facts = ["\t".join(person[:-1]) + "\n" for person in drawn]
    (unfinished / "facts.tsv").write_text("".join(facts), encoding="utf-8", newline="\n")
    unfinished.rename(folder)


def read_people(folder: Path) -> tuple[list[Biography], list[Biography]]:
    """(those whose questions are for training, those of dev and test) of a folder of `write_people`."""
    facts = (folder / "facts.tsv").read_text(encoding="utf-8").splitlines()
    lines = read_corpus(folder / "wiki.txt").splitlines()
    people = [Biography._make([*row.split("\t"), line]) for row, line in zip(facts, lines, strict=True)]
    trained = len((folder / "birth_places_train.tsv").read_text(encoding="utf-8").splitlines())
    return people[:trained], people[trained:]
