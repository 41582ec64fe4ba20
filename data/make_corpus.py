"""Make the corpus: one-line biographies of people who never lived, and questions about where they were born.

    python make_corpus.py                  the full corpus, into the folder of this script
    python make_corpus.py --quick          the quick corpus, into its folder quick/
    python make_corpus.py --people N --out DIR      a corpus of N people
    python make_corpus.py --stats DIR      the statistics of the files in DIR, ours or any others of the same form

These files come out, all UTF-8 with "\\n" line ends:

    wiki.txt                one biography a line; line i is about the person of question i
    birth_places_train.tsv  "Where was NAME born?<TAB>PLACE", the first persons of wiki.txt
    birth_dev.tsv           the same for the next persons
    birth_test_inputs.tsv   the questions about the last persons, without answers (--answers writes those as well)
    birth_unseen_inputs.tsv questions about people of whom no file says anything: there is no answer to know
    birth_unseen_traditions.tsv  the same questions, each with the naming tradition that its name comes from
    place_traditions.tsv    "PLACE<TAB>TRADITION ...": which traditions are at home where

How a line is made: draw a birth place from a long-tailed table of real places; draw a name, half of the time from a
tradition at home in that region and otherwise from any tradition, which is the mild hint that a name gives about a
birth place; draw an occupation, an era and dates that fit; draw a sentence skeleton; fill it in several times and
keep the text whose length is nearest to a length drawn from LENGTHS. A few skeletons put another town before the
birth place (traps) and a few do not name it at all (silent), as real encyclopedias do.

Same seed, same bytes, on every system and every Python from 3.11 on. All chance comes from the random() method of
random.Random(seed), the one method whose sequence Python promises to keep; choices are made from it with integer
weights, and no set or hash order is ever iterated over.
"""

import argparse
import random
import re
import sys
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from corpus_phrases import (
    COUNTRIES,
    EARLY,
    EXTENSIONS,
    MOTHER_JOBS,
    OCCUPATIONS,
    PARENT_JOBS,
    QUICK_PLACES,
    QUICK_ROLES,
    QUICK_SKELETONS,
    SCHOOLS,
    SKELETONS,
    TEAM_WORDS,
    TITLE_ADJECTIVES,
    TITLE_NOUNS,
    TOPICS,
    UNIVERSITIES,
    Occupation,
    Skeleton,
)
from corpus_tables import (
    ACCENTS_DROPPED,
    AVOIDED_SURNAMES,
    DEMONYM_YEARS,
    FEMININE,
    MIDDLE_NAMES,
    MIXED_GIVEN_NAMES,
    PARTICLES,
    PLACE_YEARS,
    QUALIFIER_FROM,
    REGIONS,
    TRADITIONS,
    TWO_WORD_CITIES,
    Region,
)

SEED = 10  # of the committed files
SPLITS = (2000, 500, 437)  # persons for training, dev, test
QUICK_SPLITS = (165, 50, 25)
LEAST_PEOPLE, MOST_PEOPLE = 100, 200_000
UNSEEN, QUICK_UNSEEN = 500, 100  # people who are asked about and never written about
LONDON_PERCENT = 5  # London's exact share of each split: "London" for everyone is the score to beat
QUICK_LONDON_PERCENT = 6
RARE = {1: 1, 2: 7, 3: 44, 4: 80}  # the table's small weights, in the unit 1/20; the others count as they stand
HOME_NAMES = 50  # percent of people whose name is of a tradition at home at their birth place
QUICK_HOME_NAMES = 35

# Line lengths to aim at, as (percent of lines below, characters); straight lines in between. Texts come out a little
# longer than that at the low end.
LENGTHS = ((0, 46), (5, 62), (10, 70), (25, 93), (50, 121), (75, 169), (90, 222), (95, 262), (100, 370))
EXTENSION_GAP = 50  # a text shorter than wanted by more than this gets another sentence
TRIES = 10  # texts to choose from for each line
HASTY_TRIES, NEAR_ENOUGH = 6, 10  # in corpora of more people: the first text that is so many characters off is taken
MAX_NAME = 34
QUICK_MAX_NAME = 16
QUICK_LENGTH = 49  # to aim at
QUICK_MAX_LINE = 62
QUICK_LAST_END = 56  # the birth place ends within so many characters

# Births: (weight, first year, last year). Most people in an encyclopedia are recent.
ERAS = ((5, 1580, 1759), (14, 1760, 1859), (19, 1860, 1919), (62, 1920, 1990))
LAST_YEAR = 2011  # nothing in the corpus happens later

MONTHS = "January February March April May June July August September October November December".split()
FILE_NAMES = (
    "wiki.txt",
    "birth_places_train.tsv",
    "birth_dev.tsv",
    "birth_test_inputs.tsv",
    "birth_test_answers.tsv",
    "birth_unseen_inputs.tsv",
    "birth_unseen_traditions.tsv",
    "place_traditions.tsv",
)


# ------------------------------------------------------------------------------------------- chance


class Chance:
    """Random choices built on random() alone, so that no Python version changes them."""

    def __init__(self, seed: int):
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def percent(self, p: int) -> bool:
        return self._random() * 100 < p

    def choice(self, items):
        return items[int(self._random() * len(items))]

    def weighted(self, items, weights):
        return self.from_sums(items, list(accumulate(weights)))

    def from_sums(self, items, sums):
        """A weighted choice from the running sums of the weights."""
        return items[bisect_right(sums, self.below(sums[-1]))]

    def shuffle(self, items: list) -> None:
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]


class DoesNotFit(Exception):
    """A text or a person cannot be completed as drawn: draw again."""


# ------------------------------------------------------------------------------------------- places


class Place(NamedTuple):
    name: str
    county: str  # "" unless the table gives one
    land: bool  # a country, state or county rather than a town
    weight: int
    region: Region

    def qualifier(self, year: int) -> str:
        """What may follow the name for a birth in that year, "" if nothing truthful can."""
        if self.land or self.region.qualifier == self.name or year < QUALIFIER_FROM.get(self.region.qualifier, 0):
            return ""
        return self.county or self.region.qualifier

    def years(self) -> tuple[int, int]:
        exact = PLACE_YEARS.get(f"{self.name}, {self.region.qualifier}")
        first, last = exact or PLACE_YEARS.get(self.name, (self.region.earliest, ERAS[-1][2]))
        return max(first, self.region.earliest), last


def read_places() -> tuple[Place, ...]:
    form = re.compile(r"(\w+)(?:/(\w+))?(\*?)(?: (\d+))?")
    places = []
    for region in REGIONS:
        for item in region.places.split(", "):
            name, county, star, weight = form.fullmatch(item).groups()
            number = int(weight or 1)
            places.append(Place(name, county or "", star == "*", RARE.get(number, 20 * number), region))
    return tuple(places)


PLACES = read_places()
PLACE_NAMES = frozenset(place.name for place in PLACES)
TOWNS = tuple(place for place in PLACES if not place.land and place.name not in PLACE_YEARS)
EARLIEST = {place.name: place.region.earliest for place in reversed(TOWNS)}  # of two the first


def read_quick_places() -> tuple[Place, ...]:
    by_name: dict[str, Place] = {}
    for place in sorted(PLACES, key=lambda place: -place.weight):  # Perth is the best known Perth
        by_name.setdefault(place.name, place)
    listed = [item.split() for item in QUICK_PLACES.split(", ")]
    return tuple(by_name[name]._replace(weight=int(weight)) for name, weight in listed)


QUICK_TOWNS = read_quick_places()


@cache
def towns_to_mention(quick: bool, country: str = "") -> tuple[list[str], list[int]]:
    """The names of the towns of a country (by default of all) and the running sums of their weights."""
    chosen = [place for place in (QUICK_TOWNS if quick else TOWNS) if country in ("", place.region.country)]
    return [place.name for place in chosen], list(accumulate(place.weight for place in chosen))


def draw_places(
    chance: Chance, places: tuple[Place, ...], count: int, london_percent: int, all_once: bool = False
) -> list[Place]:
    """Birth places for one split: an exact share of London, the others by weight but each below London, shuffled.

    `all_once` begins with one of each other place, so that none is missing.
    """
    london, others = places[0], places[1:]
    drawn = [london] * ((count * london_percent + 50) // 100)
    sums = list(accumulate(place.weight for place in others))
    most = max(1, len(drawn) - 1)
    drawn += others if all_once else ()
    times = Counter(drawn)
    while len(drawn) < count:
        place = chance.from_sums(others, sums)
        if times[place] < most:
            drawn.append(place)
            times[place] += 1
    chance.shuffle(drawn)
    return drawn


# -------------------------------------------------------------------------------------------- names


@dataclass
class Name:
    full: str  # as in the question
    long: str  # with the initial written out
    surname: str
    family: str  # the father's surname: Slavic women's differ from it


def plain_ascii(text: str) -> str:
    """The text without accents: "Jørgen" becomes "Jorgen"."""
    if text.isascii():
        return text
    text = text.translate(str.maketrans("øØłŁđĐıß", "oOlLdDis")).replace("æ", "ae")
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def join_morphemes(head: str, tail: str) -> str:
    """Put a surname together without two vowels or a tripled letter at the seam."""
    two_vowels = tail and all(plain_ascii(c) in "aeiouy" for c in (head[-1], tail[0]))
    tripled = tail and head[-1] == tail[0] and head[-2:-1] == tail[0]
    return (head[:-1] if two_vowels or tripled else head) + tail


@cache
def words_of(text: str) -> list[str]:
    return text.split()


def make_surname(chance: Chance, key: str) -> str:
    tradition = TRADITIONS[key]
    tails = words_of(tradition.tails) or [""]
    while True:
        surname = join_morphemes(chance.choice(words_of(tradition.heads)), chance.choice(tails))
        if surname not in AVOIDED_SURNAMES and surname not in PLACE_NAMES:
            break
    share, particles = PARTICLES.get(key, (0, ()))
    return (chance.choice(particles) if chance.percent(share) else "") + surname


def feminine(surname: str, key: str) -> str:
    for masculine_end, feminine_end in FEMININE.get(key, ()):
        if surname.endswith(masculine_end):
            return surname[: len(surname) - len(masculine_end)] + feminine_end
    return surname


def mix_given(first: str, other: str) -> str:
    """The first syllable of one name and the rest of another: "Baoguo" and "Mingde" give "Baode"."""
    syllable = r"(.+?-|[^aeiou]*[aeiou]+(?:ng|n(?![aeiou]))?)(.+)"
    (head, _), (_, tail) = (re.fullmatch(syllable, name, re.IGNORECASE).groups() for name in (first, other))
    return head + tail


def make_name(
    chance: Chance, key: str, woman: bool, family: str = "", simple: bool = False, mixed: bool = False
) -> Name:
    """A name of the tradition; `family` fixes the surname, `simple` leaves out middle names.

    `mixed` makes more given names in the traditions that have few surnames.
    """
    tradition = TRADITIONS[key]
    firsts = words_of(tradition.women if woman else tradition.men)
    first = chance.choice(firsts)
    if mixed and key in MIXED_GIVEN_NAMES:
        first = mix_given(first, chance.choice(firsts))
    family = family or make_surname(chance, key)
    surname = feminine(family, key) if woman else family
    other = chance.choice(firsts)
    written = spelled = first
    if not simple and key in MIDDLE_NAMES and other != first and chance.percent(18):
        spelled = f"{first} {other}"
        written = f"{first} {other[0]}." if chance.percent(45) else spelled
    elif not simple and key == "french" and other != first and chance.percent(8):
        written = spelled = f"{first}-{other}"
    elif not simple and key == "spanish" and chance.percent(8):
        surname = family = f"{surname} {make_surname(chance, key)}"
    middle = chance.choice(("Thi",) if woman else ("Van", "Dinh", "Huu"))  # used in Vietnamese names only
    full, long = (tradition.form.format(first=f, surname=surname, middle=middle) for f in (written, spelled))
    name = Name(full, long, surname, family)
    if chance.percent(ACCENTS_DROPPED):
        name = Name(*(plain_ascii(part) for part in (full, long, surname, family)))
    return name


# ------------------------------------------------------------------------------------------- people


@dataclass
class Person:
    name: Name
    woman: bool
    tradition: str
    place: Place
    birth: tuple[int, int, int]  # year, month, day
    death: tuple[int, int, int] | None  # None for the living
    occupation: Occupation
    role: str
    nationality: str


def draw_date(chance: Chance, year: int) -> tuple[int, int, int]:
    return year, chance.between(1, 12), chance.between(1, 28)


TRADITION_KEYS = list(TRADITIONS)
TRADITION_SUMS = list(accumulate(tradition.weight for tradition in TRADITIONS.values()))


def draw_tradition(chance: Chance, place: Place, home_percent: int) -> str:
    if chance.percent(home_percent):
        home = words_of(place.region.traditions)
        return chance.weighted(home, [2] + [1] * (len(home) - 1))  # the first is the main one
    return chance.from_sums(TRADITION_KEYS, TRADITION_SUMS)


def draw_birth_year(chance: Chance, place: Place) -> int:
    first, last = place.years()
    eras = [(weight, max(a, first), min(b, last)) for weight, a, b in ERAS if max(a, first) <= min(b, last)]
    _, low, high = chance.weighted(eras, [era[0] for era in eras])
    return chance.between(low, high)


def draw_death(chance: Chance, year: int) -> tuple[int, int, int] | None:
    """The old are dead, a few of the young are too; nobody here dies before forty-two."""
    alive_percent = 0 if year < 1917 else 45 if year < 1935 else 80 if year < 1950 else 95
    last = min(year + 94, LAST_YEAR)
    if chance.percent(alive_percent) or year + 42 > last:
        return None
    return draw_date(chance, max(chance.between(year + 42, last), chance.between(year + 42, last)))


def draw_nationality(chance: Chance, place: Place, tradition: str, year: int) -> str:
    def usable(word: str) -> bool:
        first, last = DEMONYM_YEARS.get(word, (0, 9999))
        return first <= year <= last

    born = [word for word in place.region.demonyms.split() if usable(word)]
    named = [word for word in TRADITIONS[tradition].demonyms.split() if usable(word)]
    if not born:
        born = named
    at_home = tradition in place.region.traditions.split()
    word = chance.choice(born) if at_home or chance.percent(60) else chance.choice(named)
    if word not in born and chance.percent(20):
        word = f"{born[0]}-born {word}"
    elif word in born and not at_home and named[0] not in born and chance.percent(10):
        word = f"{word} of {named[0]} descent"
    return word


@cache
def fitting_jobs(year: int) -> tuple[list[Occupation], list[int]]:
    """The occupations of people born in that year, and the running sums of their weights."""
    fitting = [job for job in OCCUPATIONS if job.births[0] <= year <= job.births[1]]
    return fitting, list(accumulate(job.weight for job in fitting))


def draw_person(
    chance: Chance, place: Place, home_percent: int, quick: bool, refuses: Callable[[str], bool] | None = None
) -> Person:
    """A person born there. A name that `refuses` refuses is replaced by another of the same tradition."""
    tradition = draw_tradition(chance, place, home_percent)
    year = draw_birth_year(chance, place)
    job = chance.from_sums(*fitting_jobs(year))
    women_percent = job.women // 3 if year < 1870 else job.women
    woman = chance.percent(women_percent)
    roles = [role.partition("|") for role in job.roles.split("; ")]
    role = chance.choice([title for title, _, sex in roles if sex in ("", "F" if woman else "M")])
    name = make_name(chance, tradition, woman, simple=quick)
    while refuses and refuses(name.full):
        name = make_name(chance, tradition, woman, simple=quick, mixed=True)
    if quick and chance.percent(85):
        name = Name(*map(plain_ascii, (name.full, name.long, name.surname, name.family)))
    if len(name.full) > (QUICK_MAX_NAME if quick else MAX_NAME) or (quick and len(name.full.split()) != 2):
        raise DoesNotFit
    nationality = draw_nationality(chance, place, tradition, year)
    birth, death = draw_date(chance, year), draw_death(chance, year)
    return Person(name, woman, tradition, place, birth, death, job, role, nationality)


# ---------------------------------------------------------------------------------------- sentences


def a_or_an(phrase: str) -> str:
    sounds_like_consonant = re.match(r"(?i)(uni|uk|ug|uru|uz|eu|one)", phrase)
    return ("a " if phrase[0] not in "AEIOUaeiou" or sounds_like_consonant else "an ") + phrase


def closing(text: str, start: int) -> int:
    """The index of the bracket that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "{[<") - (text[i] in "}]>")
        if depth == 0:
            return i
    raise ValueError(f"no closing bracket in {text!r}")


def alternatives(text: str) -> list[str]:
    """Split at the bars that are not inside brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "{[<") - (c in "}]>")
        if c == "|" and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return parts


@cache
def pieces(text: str) -> tuple[tuple[str, list[str]], ...]:
    """A sentence of the tables taken apart: pairs of a bracket, or "" for plain text, and what it holds."""
    found, at = [], 0
    while opening := re.compile(r"[{\[<]").search(text, at):
        start, end = opening.start(), closing(text, opening.start())
        inner = text[start + 1 : end]
        found += [("", [text[at:start]]), (text[start], alternatives(inner) if text[start] == "{" else [inner])]
        at = end + 1
    return (*found, ("", [text[at:]]))


@cache
def whole_word(name: str) -> re.Pattern:
    return re.compile(rf"\b{name}\b")


class Writer:
    """Fills the slots of one text about one person, remembering what it has said already."""

    def __init__(self, chance: Chance, person: Person, quick: bool):
        self.chance, self.person, self.quick = chance, person, quick
        self.said = [person.place.name]  # towns and phrases are not repeated
        low, high = person.occupation.ages
        self.earliest = person.birth[0] + low  # the next thing in the career cannot happen before this year
        self.latest = min(person.birth[0] + high, person.death[0] - 1 if person.death else LAST_YEAR)
        self.years: list[int] = []
        self.career_begun = False
        self.month_first = chance.percent(80 if person.place.region.country in ("US", "CA", "PH") else 12)

    def expand(self, text: str) -> str:
        done = ""
        for bracket, inner in pieces(text):
            if bracket == "<":
                done += self.slot(inner[0])
            elif bracket == "{":
                done += self.expand(self.chance.choice(inner))
            elif bracket == "[":
                done += self.expand(inner[0]) if self.chance.percent(50) else ""
            else:
                done += inner[0]
        return done

    def slot(self, name: str) -> str:
        if name[0].isupper() and name not in ("N", "S", "S's", "P"):
            text = self.slot(name.lower())
            return text[0].upper() + text[1:]
        return getattr(self, SLOTS[name])(name)

    # Each method below fills the slots that SLOTS lists for it; `name` tells them apart.

    def naming(self, name: str) -> str:
        who = self.person.name
        ending = "'" if who.surname.endswith("s") else "'s"
        return {"N": who.long, "S": who.surname, "S's": who.surname + ending}[name]

    def pronoun(self, name: str) -> str:
        if not self.person.woman:
            return name
        return {"he": "she", "his": "her", "him": "her"}[name]

    def is_or_was(self, name: str) -> str:
        return "was" if self.person.death else "is"

    def role(self, name: str) -> str:
        role = self.chance.choice(QUICK_ROLES) if self.quick else self.person.role
        if name == "a role":
            nationality, of, descent = self.person.nationality.partition(" of ")
            nationality = nationality.replace("-born", "=born").replace("-", " ").replace("=", "-")
            return a_or_an(f"{nationality} {role}{of}{descent.replace('-', ' ')}")
        return role if name == "role" else a_or_an(role)

    def date(self, name: str) -> str:
        year, month, day = self.person.death if name[0] == "d" and name != "date" else self.person.birth
        if name in ("byear", "dyear"):
            return str(year)
        if self.month_first:
            return f"{MONTHS[month - 1]} {day}, {year}"
        return f"{day} {MONTHS[month - 1]} {year}"

    def birthplace(self, name: str) -> str:
        """The birth place: bare, with its state or country, or approached from nearby."""
        place, chance = self.person.place, self.chance
        where, qualifier = place.name, place.qualifier(self.person.birth[0])
        if name == "P":
            return where
        if qualifier and chance.percent(45):
            where += f", {qualifier}"
            if place.region.country == "GB" and place.county and chance.percent(25):
                where += ", England"
        if name == "place":
            return where
        if name == "in a place" and not place.land and chance.percent(65):
            return (
                chance.choice(("in a village near ", "on a farm outside ", "in a suburb of ", "just outside ")) + where
            )
        if place.land:
            return (
                "in " if chance.percent(94) else chance.choice(("in the north of ", "in the south of ", "in rural "))
            ) + where
        way = chance.below(100)
        if way < 5:
            return (
                chance.choice(
                    (
                        "in a small village near ",
                        "in a village near ",
                        "near ",
                        "on a farm near ",
                        "in a suburb of ",
                        "in the old town of ",
                    )
                )
                + where
            )
        return ("at " if way < 16 and self.person.birth[0] < 1925 else "in ") + where

    def town(self, name: str) -> str:
        """Another town: for "home" always of the same country, for "city" half of the time."""
        country, year = self.person.place.region.country, self.person.birth[0]
        if self.quick:
            town = self.chance.from_sums(*towns_to_mention(self.quick))
        elif name == "city" and self.chance.percent(7):
            town = self.chance.choice(TWO_WORD_CITIES)
        else:
            near, sums = towns_to_mention(False, country)
            if len(near) < 3 or (name == "city" and self.chance.percent(50)):
                near, sums = towns_to_mention(self.quick)
            town = self.chance.from_sums(near, sums)
        if town in self.said or EARLIEST.get(town, 0) > year:
            raise DoesNotFit
        self.said.append(town)
        return town

    def country(self, name: str) -> str:
        country = self.chance.choice(COUNTRIES)
        if country in self.said or country == self.person.place.region.qualifier:
            raise DoesNotFit
        self.said.append(country)
        return country

    def landname(self, name: str) -> str:
        return self.person.place.region.qualifier

    def institution(self, name: str) -> str:
        country = self.person.place.region.country
        table = SCHOOLS if name == "school" else UNIVERSITIES
        return self.expand(self.chance.choice(table.get(country) or table[""]))

    def team(self, name: str) -> str:
        return f"{self.town('home' if self.chance.percent(70) else 'city')} {self.chance.choice(TEAM_WORDS)}"

    def title(self, name: str) -> str:
        words = f"{self.chance.choice(TITLE_ADJECTIVES)} {self.chance.choice(TITLE_NOUNS)}"
        if words.endswith(("Witness", "Stranger")) and self.chance.percent(30):
            return f"Who Was the {words}?"
        return f"The {words}" if self.chance.percent(70) else words

    def year(self, name: str) -> str:
        if not self.years:
            raise DoesNotFit
        year = self.years[int(name[1]) - 1]
        self.earliest = max(self.earliest, year)
        return str(year)

    def draw_years(self) -> None:
        """Three years in order for the next clause, none if the career is over."""
        room = self.latest - self.earliest
        first = [self.earliest + 1 + self.chance.below(max(1, min(room - 3, 14)))]
        second = first[0] + 1 + self.chance.below(max(1, min(self.latest - first[0] - 2, 16)))
        third = second + 1 + self.chance.below(max(1, min(self.latest - second - 1, 20)))
        self.years = [first[0], second, third] if third <= self.latest else []

    def phrase(self, name: str) -> str:
        """One of the occupation's predicates ("did") or descriptions ("known"), each at most once."""
        texts = [text for text in getattr(self.person.occupation, name) if text not in self.said]
        if name == "did" and self.career_begun:
            texts = [text for text in texts if not text.startswith(EARLY)]
        if not texts:
            raise DoesNotFit
        self.career_begun = self.career_begun or name == "did"
        text = self.chance.choice(texts)
        self.said.append(text)
        self.draw_years()
        text = self.expand(text)
        if name == "did":
            return text
        return (" " if text.split()[0] in ("who", "known", "and") else ", ") + text

    def relative(self, name: str) -> str:
        """A parent, brother, sister or teacher, with a full name."""
        person, chance = self.person, self.chance
        if name == "colleague":
            tradition = person.tradition if chance.percent(60) else draw_tradition(chance, person.place, 100)
            return make_name(chance, tradition, chance.percent(15), simple=True).full
        woman = name == "mother" or (name == "sibling" and self.chance.percent(50))
        maiden = make_surname(chance, person.tradition)
        relative = make_name(chance, person.tradition, woman, family=person.name.family, simple=True)
        if name == "mother":
            maiden = feminine(maiden, person.tradition)
            first = relative.full.replace(relative.surname, "").strip()
            return f"{first} {maiden}" if chance.percent(50) else f"his wife {first}"
        return relative.full

    def family(self, name: str) -> str:
        offspring = "daughter" if self.person.woman else "son"
        if name == "brother":
            return "sister" if self.person.woman else "brother"
        if name == "child":
            return f"the {offspring}"
        number = self.chance.choice(("two", "three", "four", "five", "six", "eight"))
        return f"the {self.chance.choice(('eldest', 'youngest', 'only'))} {offspring} in a family of {number}"

    def topic(self, name: str) -> str:
        topic = self.chance.choice(TOPICS[self.person.role].split("; "))
        if topic in self.said:
            raise DoesNotFit
        self.said.append(topic)
        return topic

    def trade(self, name: str) -> str:
        return a_or_an(self.chance.choice(MOTHER_JOBS if name == "a mjob" else PARENT_JOBS))


SLOTS = {  # slot name -> the method of Writer that fills it
    "N": "naming",
    "S": "naming",
    "S's": "naming",
    "he": "pronoun",
    "his": "pronoun",
    "him": "pronoun",
    "is": "is_or_was",
    "role": "role",
    "a role": "role",
    "a plain role": "role",
    "P": "birthplace",
    "place": "birthplace",
    "in place": "birthplace",
    "in a place": "birthplace",
    "city": "town",
    "home": "town",
    "country": "country",
    "landname": "landname",
    "uni": "institution",
    "school": "institution",
    "team": "team",
    "title": "title",
    "date": "date",
    "ddate": "date",
    "byear": "date",
    "dyear": "date",
    "y1": "year",
    "y2": "year",
    "y3": "year",
    "did": "phrase",
    "known": "phrase",
    "father": "relative",
    "mother": "relative",
    "sibling": "relative",
    "colleague": "relative",
    "child": "family",
    "kin": "family",
    "brother": "family",
    "a job": "trade",
    "a mjob": "trade",
    "topic": "topic",
}


def draw_length(chance: Chance) -> int:
    """A line length from the table LENGTHS."""
    mark = chance.below(10000)
    for (below, low), (above, high) in zip(LENGTHS, LENGTHS[1:], strict=False):
        if mark < above * 100:
            return low + (high - low) * (mark - below * 100) // ((above - below) * 100)
    raise AssertionError("LENGTHS ends at 100 percent")


SENTENCE_START = re.compile(r"(?:^|(?<=\. ))[a-z]")


def write_line(chance: Chance, person: Person, skeleton: Skeleton, wanted: int, quick: bool) -> str:
    writer = Writer(chance, person, quick)
    writer.draw_years()
    text = writer.expand(skeleton.text)
    if not quick and ". " not in text and wanted - len(person.name.full) - len(text) > EXTENSION_GAP:
        text += writer.expand(chance.choice(EXTENSIONS))
    text = SENTENCE_START.sub(lambda found: found[0].upper(), text)  # sentences that start with "van der"
    return f"{person.name.full}. {text.replace('?.', '?')} ."


# -------------------------------------------------------------------------------------- the corpus


class Entry(NamedTuple):
    name: str
    place: str
    line: str
    skeleton: int  # index in the table
    tradition: str


@cache
def fitting_skeletons(skeletons: tuple[Skeleton, ...], life: str) -> tuple[list[int], list[int]]:
    """The indices of those for the living or the dead, and the running sums of their weights."""
    fitting = [i for i, skeleton in enumerate(skeletons) if skeleton.life in ("any", life)]
    return fitting, list(accumulate(skeletons[i].weight for i in fitting))


def describe(
    chance: Chance, person: Person, skeletons: tuple[Skeleton, ...], quick: bool, hasty: bool = False
) -> tuple[str, int]:
    """A line about the person and the skeleton it has: the best of several tries by length.

    `hasty` takes the first that is near enough, of fewer tries.
    """
    index = chance.from_sums(*fitting_skeletons(skeletons, "dead" if person.death else "alive"))
    silent = skeletons[index].kind == "silent"
    wanted = QUICK_LENGTH if quick else draw_length(chance)
    best = ""
    for _ in range(HASTY_TRIES if hasty else TRIES):
        try:
            line = write_line(chance, person, skeletons[index], wanted, quick)
        except DoesNotFit:
            continue
        if silent == bool(whole_word(person.place.name).search(line)):
            continue
        end = line.find(person.place.name) + len(person.place.name)
        if quick and (len(line) > QUICK_MAX_LINE or end > QUICK_LAST_END):
            continue
        if not best or abs(len(line) - wanted) < abs(len(best) - wanted):
            best = line
            if hasty and abs(len(best) - wanted) <= NEAR_ENOUGH:
                break
    if not best or (not quick and abs(len(best) - wanted) > 30 and chance.percent(70)):
        raise DoesNotFit
    return best, index


def splits(quick: bool = False, people: int | None = None) -> tuple[int, int, int]:
    """How many people there are for training, dev and test: of another number of people the same shares."""
    sizes = QUICK_SPLITS if quick else SPLITS
    train, dev, test = sizes if people is None else (people * size // sum(sizes) for size in sizes)
    return train, dev, test if people is None else people - train - dev


def draw_entries(
    seed: int = SEED,
    quick: bool = False,
    people: int | None = None,
    refuses: Callable[[str], bool] | None = None,
) -> Iterator[Entry]:
    """All entries in order: training, dev, test.

    A person whose name is taken is drawn again. With more people than in the committed files that would make common
    traditions rarer, and so would many names that `refuses` refuses: then only the name is drawn again, and no two
    names differ by accents alone.
    """
    chance = Chance(seed)
    places, skeletons = (QUICK_TOWNS, QUICK_SKELETONS) if quick else (PLACES, SKELETONS)
    sizes = splits(quick, people)
    many = sum(sizes) > sum(splits(quick))
    used: set[str] = set()

    def is_taken(name: str) -> bool:
        return plain_ascii(name) in used or (refuses is not None and refuses(name))

    taken = is_taken if many or refuses else None
    for part, count in enumerate(sizes):
        london_percent = QUICK_LONDON_PERCENT if quick else LONDON_PERCENT
        all_once = quick and part == 0  # the quick training rows name every place of the quick corpus
        for place in draw_places(chance, places, count, london_percent, all_once):
            while True:
                try:
                    person = draw_person(chance, place, QUICK_HOME_NAMES if quick else HOME_NAMES, quick, taken)
                    if person.name.full in used:
                        continue
                    line, skeleton = describe(chance, person, skeletons, quick, hasty=many)
                    break
                except DoesNotFit:
                    continue
            used.update((person.name.full, plain_ascii(person.name.full)) if taken else (person.name.full,))
            yield Entry(person.name.full, place.name, line, skeleton, person.tradition)


def build_corpus(seed: int = SEED, quick: bool = False, people: int | None = None) -> list[Entry]:
    return list(draw_entries(seed, quick, people))


def unseen_people(
    known: set[str], text: str, seed: int = SEED, quick: bool = False, refuses: Callable[[str], bool] | None = None
) -> list[tuple[str, str]]:
    """(name, tradition) of people who are in no line of the corpus, drawn as its people are, birth place included.

    That place is then forgotten: nothing that is written down depends on it but the name. The chance is one of its
    own, so that the other files do not change. No name is one of the `known`, which have no accents, with or without
    its own accents, or stands anywhere in the text; and none has a character that the text lacks, for which a model
    would have no token.
    """
    chance = Chance(2**32 + seed)
    characters, used = set(text), set(known)
    people: list[tuple[str, str]] = []
    count = QUICK_UNSEEN if quick else UNSEEN
    london_percent = QUICK_LONDON_PERCENT if quick else LONDON_PERCENT
    for place in draw_places(chance, QUICK_TOWNS if quick else PLACES, count, london_percent):
        while True:
            try:
                person = draw_person(chance, place, QUICK_HOME_NAMES if quick else HOME_NAMES, quick, refuses)
            except DoesNotFit:
                continue
            name = person.name.full
            if plain_ascii(name) not in used and name not in text and set(name) <= characters:
                break
        used.add(plain_ascii(name))
        people.append((name, person.tradition))
    return people


def home_traditions(quick: bool = False) -> dict[str, list[str]]:
    """The traditions at home at each place, in the order of the table; of places of one name all of them."""
    homes: dict[str, dict[str, None]] = {}
    for place in QUICK_TOWNS if quick else PLACES:
        homes.setdefault(place.name, {}).update(dict.fromkeys(place.region.traditions.split()))
    return {name: list(traditions) for name, traditions in homes.items()}


def corpus_rows(
    entries: Iterable[Entry],
    seed: int = SEED,
    quick: bool = False,
    people: int | None = None,
    refuses: Callable[[str], bool] | None = None,
) -> Iterator[tuple[str, str]]:
    """(name of a file, its next row), for all files, in the order in which the entries come."""
    wiki, train, dev, test_inputs, test_answers, unseen_inputs, unseen_traditions, homes = FILE_NAMES
    sizes = splits(quick, people)
    lines, known = [], set()
    for i, entry in enumerate(entries):
        question = f"Where was {entry.name} born?"
        lines.append(entry.line)
        known.add(plain_ascii(entry.name))
        yield wiki, entry.line
        if i >= sizes[0] + sizes[1]:
            yield test_inputs, question
        yield train if i < sizes[0] else dev if i < sizes[0] + sizes[1] else test_answers, f"{question}\t{entry.place}"
    for name, tradition in unseen_people(known, "\n".join(lines), seed, quick, refuses):
        yield unseen_inputs, f"Where was {name} born?"
        yield unseen_traditions, f"Where was {name} born?\t{tradition}"
    for place, traditions in home_traditions(quick).items():
        yield homes, f"{place}\t{' '.join(traditions)}"


def write_corpus(rows: Iterable[tuple[str, str]], folders: dict[str, Path]) -> None:
    """Write each row into its file of the folder that `folders` names; a file without a folder is left out."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open(folder / name, "w", encoding="utf-8", newline="\n"))
            for name, folder in folders.items()
        }
        for name, row in rows:
            if name in files:
                files[name].write(f"{row}\n")


# --------------------------------------------------------------------------------------- statistics


def regex_reader(line: str, known: set[str], fallback: str) -> str:
    """The answer a small program finds: the place in "born in Place", else the first known place of the line."""
    found = re.search(r"\b[Bb]orn in ([A-Z]\w+)", line)
    if found and found[1] in known:
        return found[1]
    return next((word for word in re.findall(r"\w+", line) if word in known), fallback)


def statistics(folder: Path) -> list[tuple[str, str]]:
    """The rows of the statistics table, for any folder with the four files."""

    def lines(name: str) -> list[str]:
        return (folder / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")

    wiki = lines("wiki.txt")
    train, dev = ([row.split("\t") for row in lines(name)] for name in ("birth_places_train.tsv", "birth_dev.tsv"))
    test = lines("birth_test_inputs.tsv")
    counts = Counter(place for _, place in train)
    dev_places = [place for _, place in dev]
    dev_wiki = wiki[len(train) : len(train) + len(dev)]
    pairs = list(zip(dev_places, dev_wiki, strict=True))
    ends = [line.find(place) + len(place) if place in line else None for place, line in pairs]
    lengths = sorted(map(len, wiki))
    most_common = max(counts, key=lambda place: counts[place])
    read = sum(regex_reader(line, set(counts), most_common) == place for place, line in pairs)
    asked = [question for question, _ in train + dev] + test
    answered = [len(question) + len(place) for question, place in train + dev]

    def share(part: int, whole: int) -> str:
        return f"{part:,} ({100 * part / whole:.1f}%)"

    def within(limit: int) -> str:
        return share(sum(end is not None and end <= limit for end in ends), len(ends))

    def non_ascii(rows: list[str]) -> int:
        return sum(not row.isascii() for row in rows)

    return [
        ("rows: wiki / train / dev / test", f"{len(wiki):,} / {len(train):,} / {len(dev)} / {len(test)}"),
        ("characters in wiki.txt", f"{sum(lengths) + len(wiki):,}"),
        ("distinct characters in wiki.txt", f"{len(set(''.join(wiki)) | {chr(10)})}"),
        ("line length: mean", f"{sum(lengths) / len(lengths):.1f}"),
        (
            "line length: 5 / 25 / 50 / 75 / 95%",
            " / ".join(str(lengths[len(lengths) * q // 100]) for q in (5, 25, 50, 75, 95)),
        ),
        ("lines over 128 characters", share(sum(n > 128 for n in lengths), len(lengths))),
        ("distinct places: train / dev", f"{len(counts)} / {len(set(dev_places))}"),
        (
            "places met 1 / 2 / 3 / 4 times in train",
            " / ".join(str(list(counts.values()).count(n)) for n in (1, 2, 3, 4)),
        ),
        ("most frequent in train", ", ".join(f"{place} {n}" for place, n in counts.most_common(5))),
        ("dev answers never seen in train", share(sum(place not in counts for place in dev_places), len(dev))),
        ("dev answers London", share(dev_places.count("London"), len(dev))),
        ("dev: answer in its line", share(sum(end is not None for end in ends), len(ends))),
        ("dev: answer ends within 32 characters", within(32)),
        ("dev: within 64", within(64)),
        ("dev: within 96", within(96)),
        ("dev: within 112", within(112)),
        ("dev: regex reader", share(read, len(dev))),
        (
            "names not in ASCII: train / dev / test",
            f"{non_ascii([q for q, _ in train])} / {non_ascii([q for q, _ in dev])} / {non_ascii(test)}",
        ),
        ("longest question with answer", f"{max(answered)}"),
        ("longest question", f"{max(map(len, asked))}"),
    ]


# ------------------------------------------------------------------------------------- command line


class OneLineParser(argparse.ArgumentParser):
    """Errors are one line on stderr and exit status 2."""

    def error(self, message: str):
        self.exit(2, f"make_corpus: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    here = Path(__file__).resolve().parent
    parser = OneLineParser(
        prog="make_corpus", description="Make the corpus of fictional biographies, or print the statistics of one."
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="an existing folder to write to (default: this script's, or its quick/)"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}: the committed files")
    parser.add_argument("--quick", action="store_true", help="make the small corpus for quick runs")
    parser.add_argument(
        "--people",
        type=int,
        metavar="N",
        help=f"how many people, {LEAST_PEOPLE:,} to {MOST_PEOPLE:,} (default {sum(SPLITS):,}; quick "
        f"{sum(QUICK_SPLITS)}); their shares for training, dev and test stay. Needs --out",
    )
    parser.add_argument("--answers", action="store_true", help="also write birth_test_answers.tsv")
    parser.add_argument(
        "--stats", type=Path, metavar="DIR", nargs="?", const=here, help="only print the statistics of the files in DIR"
    )
    options = parser.parse_args(arguments)

    if options.stats:
        try:
            rows = statistics(options.stats)
        except (OSError, ValueError) as error:
            parser.error(f"cannot read the corpus in {options.stats}: {error}")
        width = max(len(label) for label, _ in rows)
        sys.stdout.write("".join(f"{label:<{width}}  {value}\n" for label, value in rows))
        return 0

    seed, quick, people = options.seed, options.quick, options.people
    if people is not None and not LEAST_PEOPLE <= people <= MOST_PEOPLE:
        parser.error(f"--people {people}: choose {LEAST_PEOPLE} to {MOST_PEOPLE}")
    if people is not None and options.out is None:
        parser.error("--people needs --out: the committed files stay as they are")
    out = options.out or (here / "quick" if quick else here)
    if options.out is None:
        out.mkdir(exist_ok=True)
    if not out.is_dir():
        parser.error(f"not a folder: {out}")
    names = [name for name in FILE_NAMES if name != "birth_test_answers.tsv" or options.answers]
    try:
        write_corpus(corpus_rows(draw_entries(seed, quick, people), seed, quick, people), dict.fromkeys(names, out))
    except OSError as error:
        parser.error(f"cannot write {error.filename or out}: {error.strerror}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
