"""A new term: other people, equally hard, and nothing for students that holds the answers."""

import importlib
import json
import sys
from pathlib import Path

import pytest

import make_corpus

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
term = importlib.import_module("term")

ANSWERS = "birth_test_answers.tsv"


@pytest.fixture(scope="module")
def terms(tmp_path_factory) -> dict[int, Path]:
    """Two years in a row. Making a whole term takes seconds, so the second has the size of a quick corpus."""
    folder = tmp_path_factory.mktemp("terms")
    term.make_term(2027, folder / "2027")
    for name in ("public", "public/quick"):
        (folder / "2028" / name).mkdir(parents=True)
        term.make_files(2028, folder / "2028" / name, quick=True)
    return {seed: folder / str(seed) for seed in (2027, 2028)}


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def numbers(folder: Path) -> dict[str, list[float]]:
    """The statistics of a corpus, as numbers: shares in percent, all else as it is printed."""
    found = {}
    for label, value in make_corpus.statistics(folder):
        shown = value.partition("(")[2].rstrip("%)") if "%)" in value else value
        if not label.startswith("most frequent"):
            found[label] = [float(number.replace(",", "")) for number in shown.split(" / ")]
    return found


# How far a term may be from the shipped corpus. Shares of 500 dev questions have a standard error of up to 2 points.
TOLERANCE = {
    "rows: wiki / train / dev / test": 0,
    "characters in wiki.txt": 12_000,
    "distinct characters in wiki.txt": 12,
    "line length: mean": 4,
    "line length: 5 / 25 / 50 / 75 / 95%": 12,
    "lines over 128 characters": 4,
    "distinct places: train / dev": 30,
    "places met 1 / 2 / 3 / 4 times in train": 35,
    "dev answers never seen in train": 3.5,
    "dev answers London": 0,
    "dev: answer in its line": 3,
    "dev: answer ends within 32 characters": 4.5,
    "dev: within 64": 6,
    "dev: within 96": 5,
    "dev: within 112": 4,
    "dev: regex reader": 5,
    "names not in ASCII: train / dev / test": 45,
    "longest question with answer": 8,
    "longest question": 8,
}


def test_a_term_has_the_statistics_of_the_shipped_corpus(terms):
    expected = numbers(ROOT / "data")
    assert expected.keys() == TOLERANCE.keys()
    for label, found in numbers(terms[2027] / "public").items():
        pairs = zip(found, expected[label], strict=True)
        assert all(abs(here - there) <= TOLERANCE[label] for here, there in pairs), (label, found)


def test_a_term_is_of_the_size_of_the_shipped_corpora_also_the_quick_one(terms):
    for name in make_corpus.FILE_NAMES:
        for folder in ("", "quick"):
            if name != ANSWERS:
                shipped = rows(ROOT / "data" / folder / name)
                assert len(rows(terms[2027] / "public" / folder / name)) == len(shipped), name
    quick, shipped = numbers(terms[2027] / "public" / "quick"), numbers(ROOT / "data" / "quick")
    assert abs(quick["line length: mean"][0] - shipped["line length: mean"][0]) <= 2
    assert quick["dev answers never seen in train"] == [0] and quick["dev: answer in its line"][0] >= 86


def test_nobody_is_asked_about_in_two_terms_or_in_a_term_and_the_shipped_corpus(terms):
    """Not even with other accents, and not as a person nobody wrote about."""
    asked = [term.names_in(terms[seed] / "public") | term.names_in(terms[seed] / "public" / "quick") for seed in terms]
    asked.append(term.names_in(ROOT / "data") | term.names_in(ROOT / "data" / "quick"))
    assert len(asked[0]) > 3400 and len(asked[1]) > 200 and len(asked[2]) > 3400
    assert not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2]


def test_the_same_seed_gives_the_same_bytes(terms, tmp_path):
    term.make_files(2027, tmp_path, quick=True)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (terms[2027] / "private" / "quick" / path.name).read_bytes(), path.name


def test_the_public_folder_holds_no_answer_to_a_test_question(terms):
    public, private = terms[2027] / "public", terms[2027] / "private"
    names = {path.name for path in public.rglob("*") if path.is_file()}
    assert names == set(make_corpus.FILE_NAMES) - {ANSWERS}
    for folder in ("", "quick"):
        answers = [question for question, _ in rows(private / folder / ANSWERS)]
        assert [[question] for question in answers] == rows(public / folder / "birth_test_inputs.tsv")
        told = (public / folder).glob("*.tsv")
        text = "".join(path.read_text(encoding="utf-8") for path in told)
        assert not any(f"{question}\t" in text for question in answers)


def test_every_character_of_questions_and_answers_has_a_token(terms):
    private = terms[2027] / "private"
    known = set((private / "wiki.txt").read_text(encoding="utf-8"))
    asked = [cell for name in (*term.QUESTIONS, ANSWERS) for row in rows(private / name) for cell in row]
    assert set("".join(asked)) <= known


def test_the_private_folder_says_how_to_make_the_term_again(terms):
    how = json.loads((terms[2027] / "private" / "term.json").read_text(encoding="utf-8"))
    assert how["seed"] == 2027 and "--seed 2027" in how["command"]
    assert "2027" not in "".join(str(path.relative_to(terms[2027])) for path in (terms[2027] / "public").rglob("*"))


def test_without_a_seed_it_is_drawn_secretly_and_of_this_years_class(monkeypatch):
    seeds = {term.secret_seed() for _ in range(20)}
    assert len(seeds) == 20 and all(seed > term.GUESSABLE for seed in seeds)
    assert len({seed % term.TERMS for seed in seeds}) == 1


@pytest.mark.parametrize("seed, inside, told", [(-1, False, "choose 0 or more"), (1, True, "not an empty folder")])
def test_wrong_requests_write_nothing(tmp_path, seed, inside, told):
    if inside:
        (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=told):
        term.make_term(seed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"] * inside
