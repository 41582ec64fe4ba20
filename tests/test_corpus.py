"""The generated corpus: reproducible, of the promised shape, and as hard as promised."""

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import make_corpus

DATA = Path(__file__).resolve().parents[1] / "data"

MASK = 1  # characters of the mask symbol around the answer


class Corpus:
    """The files of a folder, taken apart; the course's own (`shipped` False) have none about unseen people."""

    def __init__(self, folder: Path, shipped: bool = True):
        def lines(name: str) -> list[str]:
            text = (folder / name).read_bytes().decode("utf-8")
            assert text.endswith("\n") and "\r" not in text
            return text[:-1].split("\n")

        self.wiki = lines("wiki.txt")
        self.train = [tuple(row.split("\t")) for row in lines("birth_places_train.tsv")]
        self.dev = [tuple(row.split("\t")) for row in lines("birth_dev.tsv")]
        self.test = lines("birth_test_inputs.tsv")
        self.questions = [row[0] for row in self.train + self.dev] + self.test
        self.names = [re.fullmatch(r"Where was (.+) born\?", question)[1] for question in self.questions]
        self.dev_wiki = self.wiki[len(self.train) : len(self.train) + len(self.dev)]

        if shipped:
            self.unseen = lines("birth_unseen_inputs.tsv")
            self.unseen_traditions = [tuple(row.split("\t")) for row in lines("birth_unseen_traditions.tsv")]
            homes = [row.split("\t") for row in lines("place_traditions.tsv")]
            self.homes = {place: traditions.split() for place, traditions in homes}

    def ends(self) -> list[int | None]:
        """Where the answer's first occurrence ends in each dev line, counted from 1."""
        pairs = zip(self.dev, self.dev_wiki, strict=True)
        return [line.find(place) + len(place) if place in line else None for (_, place), line in pairs]


@pytest.fixture(scope="module")
def full() -> Corpus:
    return Corpus(DATA)


@pytest.fixture(scope="module")
def quick() -> Corpus:
    return Corpus(DATA / "quick")


@pytest.fixture(scope="module", params=["full", "quick"])
def either(request) -> Corpus:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def entries() -> list[make_corpus.Entry]:
    return make_corpus.build_corpus()


def within(ends: list[int | None], limit: int) -> float:
    return sum(end is not None and end <= limit for end in ends) / len(ends)


# ------------------------------------------------------------------------------------ both corpora


def test_full_corpus_is_what_the_generator_makes(entries, tmp_path):
    names = [name for name in make_corpus.FILE_NAMES if name != "birth_test_answers.tsv"]
    make_corpus.write_corpus(make_corpus.corpus_rows(entries), dict.fromkeys(names, tmp_path))
    for name in names:
        assert (DATA / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_quick_corpus_is_what_the_generator_makes(tmp_path):
    assert make_corpus.main(["--quick", "--answers", "--out", str(tmp_path)]) == 0
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(make_corpus.FILE_NAMES)
    for name in made:
        if name != "birth_test_answers.tsv":
            assert (tmp_path / name).read_bytes() == (DATA / "quick" / name).read_bytes(), name
    answers = (tmp_path / "birth_test_answers.tsv").read_text(encoding="utf-8").splitlines()
    assert [row.split("\t")[0] for row in answers] == Corpus(tmp_path).test


def test_nobody_wrote_about_the_unseen(either):
    """Their names are nowhere else, whatever the accents; every character of them has a token."""
    assert len(set(either.unseen)) == len(either.unseen) == len(either.unseen_traditions)
    known = {make_corpus.plain_ascii(name) for name in either.names}
    text = "".join(either.wiki)
    characters = set(text)
    for question in either.unseen:
        name = re.fullmatch(r"Where was (.+) born\?", question)[1]
        assert make_corpus.plain_ascii(name) not in known and name not in text, name
        assert set(question) <= characters, name
    assert max(map(len, either.unseen)) <= max(map(len, either.questions)), "as long as the others at most"


def test_traditions_of_the_unseen_have_a_home_or_none(either):
    assert [question for question, _ in either.unseen_traditions] == either.unseen
    assert {tradition for _, tradition in either.unseen_traditions} <= set(make_corpus.TRADITIONS)
    assert len({tradition for _, tradition in either.unseen_traditions}) >= 15
    at_home = {tradition for traditions in either.homes.values() for tradition in traditions}
    assert at_home <= set(make_corpus.TRADITIONS)
    assert {place for _, place in either.train + either.dev} <= set(either.homes)


def test_most_people_are_born_where_their_name_is_at_home(full, entries):
    at_home = sum(entry.tradition in full.homes[entry.place] for entry in entries) / len(entries)
    assert 0.56 <= at_home <= 0.58, "as data/README.md says"


def test_unseen_names_are_like_the_others(full, entries):
    """A model cannot tell by the kind of name who was never written about."""
    shares = Counter(entry.tradition for entry in entries)
    unseen = Counter(tradition for _, tradition in full.unseen_traditions)
    for tradition, count in shares.most_common(8):
        expected = 500 * count / len(entries)
        assert abs(unseen[tradition] - expected) <= 5 * expected**0.5, tradition


def test_another_seed_makes_another_corpus(tmp_path):
    assert make_corpus.main(["--quick", "--seed", "99", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "wiki.txt").read_bytes() != (DATA / "quick" / "wiki.txt").read_bytes()


def test_line_i_is_about_the_person_of_question_i(either):
    assert len(either.wiki) == len(either.names)
    for name, line in zip(either.names, either.wiki, strict=True):
        assert line.startswith(f"{name}. ") and line.endswith(" .")


def test_names_and_lines_are_unique(either):
    assert len(set(either.names)) == len(either.names)
    assert len(set(either.wiki)) == len(either.wiki)


def test_answers_are_one_word_and_test_questions_have_none(either):
    for _, place in either.train + either.dev:
        assert re.fullmatch(r"\w{2,14}", place), place
    assert not any("\t" in question for question in either.test)


def test_lines_are_clean(either):
    for line in either.wiki:
        assert not re.search(r"[<>{}|\[\]\t\u25a1\u2047]|  | ,|\.\.|\b[Aa] [AEIOaeio]", line), line


def test_wiki_has_every_character_of_the_questions_and_answers(either):
    answers = "".join(place for _, place in either.train + either.dev)
    assert set("".join(either.questions) + answers) <= set("".join(either.wiki))


def test_dates_are_in_order(either):
    """Birth, career, death: the first and the last year in brackets span every year of the line."""
    for line in either.wiki:
        if found := re.search(r"\((?:[^()]*\D)?(\d{4})(?: ?--? ?|[^()]*\D)(\d{4})[^()]*\)", line):
            birth, death = map(int, found.groups())
            assert 40 < death - birth < 100, line
            assert all(birth <= int(year) <= death for year in re.findall(r"\b\d{4}\b", line)), line


# ------------------------------------------------------------------------------------- full corpus


def test_full_sizes(full):
    assert (len(full.wiki), len(full.train), len(full.dev), len(full.test)) == (2937, 2000, 500, 437)
    lengths = sorted(map(len, full.wiki))
    assert 136 <= sum(lengths) / len(lengths) <= 147
    assert 1400 <= sum(length > 128 for length in lengths) <= 1620
    assert 60 <= lengths[len(lengths) // 20] <= 88 and 225 <= lengths[len(lengths) * 19 // 20] <= 275
    assert 100 <= len(set("".join(full.wiki))) <= 250


def test_full_places_have_a_long_tail(full):
    train = Counter(place for _, place in full.train)
    assert 470 <= len(train) <= 530
    assert 225 <= len({place for _, place in full.dev}) <= 270
    assert 140 <= list(train.values()).count(1) <= 210
    assert train.most_common(1)[0][0] == "London"


def test_full_london_and_unseen_shares(full):
    for rows in (full.train, full.dev):
        assert 0.045 <= sum(place == "London" for _, place in rows) / len(rows) <= 0.055
    seen = {place for _, place in full.train}
    assert 32 <= sum(place not in seen for _, place in full.dev) <= 46


def test_full_answer_positions(full):
    ends = full.ends()
    assert 0.94 <= within(ends, 10_000) <= 0.975
    assert 0.07 <= within(ends, 32) <= 0.14
    assert 0.57 <= within(ends, 64) <= 0.66
    assert 0.85 <= within(ends, 96) <= 0.91
    assert 0.89 <= within(ends, 112) <= 0.945


def test_full_regex_reader_is_good_but_not_perfect(full):
    known = {place for _, place in full.train}
    pairs = zip(full.dev, full.dev_wiki, strict=True)
    right = sum(make_corpus.regex_reader(line, known, "London") == place for (_, place), line in pairs)
    assert 0.845 <= right / len(full.dev) <= 0.885


def test_full_questions_fit(full):
    assert max(len(question) + len(place) + 2 * MASK for question, place in full.train + full.dev) <= 70


def test_full_names_not_in_ascii(full):
    assert 0.055 <= sum(not name.isascii() for name in full.names) / len(full.names) <= 0.095


def test_many_skeletons_and_traditions_are_used(entries):
    assert len({entry.skeleton for entry in entries}) >= 60
    assert len({entry.tradition for entry in entries}) >= 25


def test_the_name_tells_little_about_the_place(entries):
    """Even a reader who knew the tradition of every name and guessed its most frequent place stays below 15%."""
    guesses = defaultdict(Counter)
    for entry in entries[:2000]:
        guesses[entry.tradition][entry.place] += 1
    right = sum(guesses[entry.tradition].most_common(1)[0][0] == entry.place for entry in entries[2000:2500])
    assert 0.07 <= right / 500 < 0.14


# ------------------------------------------------------------------------------------ quick corpus


def test_quick_sizes(quick):
    assert (len(quick.wiki), len(quick.train), len(quick.dev), len(quick.test)) == (240, 165, 50, 25)
    assert max(map(len, quick.wiki)) <= 62
    assert 50 <= sum(map(len, quick.wiki)) / 240 <= 58
    assert max(map(len, quick.names)) <= 16


def test_quick_places(quick):
    train = Counter(place for _, place in quick.train)
    (first, most), (_, next_most) = train.most_common(2)
    assert first == "London" and most > next_most and 0.05 <= most / 165 <= 0.08
    assert 40 <= len(train) <= 55 and max(map(len, train)) <= 10
    assert sum(place not in train for _, place in quick.dev) <= 2
    assert all(re.search(rf"\b{place}\b", "\n".join(quick.wiki)) for _, place in quick.dev)


def test_quick_answers_come_early(quick):
    ends = quick.ends()
    assert all(end is None or end <= 56 for end in ends), "within what the quick recipe keeps of a document"
    assert ends.count(None) <= 7
    assert max(len(question) + len(place) + 2 * MASK for question, place in quick.train + quick.dev) <= 62


def test_quick_uses_many_skeletons():
    assert len({entry.skeleton for entry in make_corpus.build_corpus(quick=True)}) >= 12


# ------------------------------------------------------------------------------- corpora of other sizes


CROWD = int(os.environ.get("CORPUS_PEOPLE", 6000))  # 20,000 take half a minute


@pytest.fixture(scope="module")
def crowd() -> list[make_corpus.Entry]:
    return list(make_corpus.draw_entries(people=CROWD))


@pytest.fixture(scope="module")
def many(crowd, tmp_path_factory) -> Corpus:
    folder = tmp_path_factory.mktemp("many")
    make_corpus.write_corpus(
        make_corpus.corpus_rows(crowd, people=CROWD), dict.fromkeys(make_corpus.FILE_NAMES, folder)
    )
    return Corpus(folder)


def test_names_of_many_people_are_unique_even_without_accents(many):
    plain = [make_corpus.plain_ascii(name) for name in many.names]
    assert len(set(plain)) == len(plain) == len(set(many.wiki)) == CROWD
    assert (len(many.train), len(many.dev)) == (CROWD * 2000 // 2937, CROWD * 500 // 2937)
    assert all(line.startswith(f"{name}. ") for name, line in zip(many.names, many.wiki, strict=True))
    assert not set(many.unseen) & set(many.questions)


def test_where_all_names_of_a_tradition_are_taken_more_are_made(crowd):
    chinese = make_corpus.TRADITIONS["chinese"]
    listed = {f"{a} {b}" for a in chinese.heads.split() for b in f"{chinese.men} {chinese.women}".split()}
    (shanghai,) = [place for place in make_corpus.PLACES if place.name == "Shanghai"]
    chance = make_corpus.Chance(1)
    people = [make_corpus.draw_person(chance, shanghai, 100, False, listed.__contains__) for _ in range(20)]
    assert not {person.name.full for person in people} & listed
    assert len({person.name.full for person in people}) == 20
    assert make_corpus.mix_given("Baoguo", "Mingde") == "Baode"
    assert make_corpus.mix_given("Ji-hoon", "Seok-jin") == "Ji-jin"


def test_many_people_have_the_statistics_of_the_shipped_ones(many, full):
    lengths, shipped = sorted(map(len, many.wiki)), sorted(map(len, full.wiki))
    for q in (5, 25, 50, 75, 95):
        here, there = (of[len(of) * q // 100] for of in (lengths, shipped))
        assert abs(here - there) <= 5, f"{q}%"
    assert abs(sum(lengths) / CROWD - sum(shipped) / 2937) <= 4
    for limit in (32, 64, 112, 10_000):
        assert abs(within(many.ends(), limit) - within(full.ends(), limit)) <= 0.04, limit
    london = sum(place == "London" for _, place in many.train) / len(many.train)
    assert 0.049 <= london <= 0.051
    ascii_names = [sum(name.isascii() for name in of.names) / len(of.names) for of in (many, full)]
    assert abs(ascii_names[0] - ascii_names[1]) <= 0.02


def test_no_tradition_gets_rarer_as_its_names_are_used_up(crowd, entries):
    """Of few surnames or not: the shares stay within five standard errors."""
    drawn = Counter(entry.tradition for entry in crowd)
    shipped = Counter(entry.tradition for entry in entries)
    for tradition in make_corpus.TRADITIONS:
        share = drawn[tradition] / CROWD
        assert abs(share - shipped[tradition] / 2937) <= 5 * (share / 2937) ** 0.5 + 0.001, tradition


def test_the_shipped_number_of_people_gives_the_shipped_bytes(tmp_path):
    assert make_corpus.main(["--quick", "--people", "240", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "wiki.txt").read_bytes() == (DATA / "quick" / "wiki.txt").read_bytes()


def test_a_quick_corpus_can_be_of_more_people(tmp_path):
    assert make_corpus.main(["--quick", "--people", "600", "--out", str(tmp_path)]) == 0
    corpus = Corpus(tmp_path)
    assert len(set(corpus.names)) == 600 and max(map(len, corpus.wiki)) <= 62


# ------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "no/such/folder"],
        ["--out", __file__],
        ["--stats", "no/such/folder"],
        ["--seed", "x"],
        ["--no"],
        ["--people", "5", "--out", "."],
        ["--people", "200001", "--out", "."],
        ["--people", "500"],
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments):
    command = [sys.executable, str(DATA / "make_corpus.py"), "--quick", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("make_corpus: ")


def test_stats_prints_a_table(capsys):
    assert make_corpus.main(["--stats", str(DATA / "quick")]) == 0
    assert "240 / 165 / 50 / 25" in capsys.readouterr().out


# ------------------------------------------------------------------------- against the course's files


@pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA names no folder with the course's files")
def test_no_name_is_one_of_the_courses(either):
    course = Corpus(Path(os.environ["COURSE_DATA"]), shipped=False)
    assert not set(either.names) & set(course.names)
    assert not set(either.wiki) & set(course.wiki)
    names = [question.removeprefix("Where was ").removesuffix(" born?") for question in either.unseen]
    assert not any(name in "".join(course.wiki) for name in names)
