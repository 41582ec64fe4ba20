"""data/from_wikipedia.py: dumps in several scripts, real excerpts, kills, and dumps that are none."""

import bz2
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mwxml", reason="pip install -r requirements-wikipedia.txt")
pytest.importorskip("mwparserfromhell", reason="pip install -r requirements-wikipedia.txt")

import from_wikipedia
import make_corpus
import make_dump
import wiki_dump
import wiki_markup
from dataset import CharCorruptionDataset, NameDataset, read_corpus, read_places, read_text
from safe.own_facts import characters
from wiki_dump import BEGINNING, Position, pieces, read_header
from wiki_markup import first_sentences

PROGRAM = Path(from_wikipedia.__file__)
PEOPLE = 100
QUESTION = {
    "latin": "Where was {} born?",
    "cyrillic": "Къде е роден {}?",
    "arabic": "أين ولد {}؟",
    "chinese": "{}在哪里出生？",
}


def run(*arguments, processes: int = 1) -> int:
    return from_wikipedia.main([*map(str, arguments), "--processes", str(processes)])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def counts(folder: Path) -> dict[str, int]:
    """The table of pages in SOURCE.md."""
    table = (folder / "SOURCE.md").read_text(encoding="utf-8").split("## Pages")[1].split("##")[0]
    return {label: int(n.replace(",", "")) for label, n in re.findall(r"^\| (\w.*) \| ([\d,]+) \|$", table, re.M)}


def page(title: str, text: str, more: str = "") -> str:
    return (
        f"<page><title>{title}</title><ns>0</ns><id>1</id>{more}<revision><id>2</id>"
        f"<timestamp>2026-01-01T00:00:00Z</timestamp><text>{text}</text></revision></page>\n"
    )


def person(title: str, place: str, text: str = "") -> str:
    return page(title, f"{{{{Infobox\n|birth_place={place}\n}}}}\n'''{title}''' {text or 'was a painter.'}")


HEAD = '<mediawiki xml:lang="en"><siteinfo><dbname>enwiki</dbname></siteinfo>\n'


def wiki(path: Path, *found: str, end: str = "</mediawiki>") -> Path:
    path.write_text(HEAD + "".join(found) + end, encoding="utf-8")
    return path


FOUR = tuple(person(f"Name {word}", "[[Oslo]]") for word in ("One", "Two", "Three", "Four"))


@pytest.fixture(scope="module")
def dumps(tmp_path_factory) -> dict[str, Path]:
    """A dump in each script."""
    folder = tmp_path_factory.mktemp("dumps")
    for script in make_dump.SCRIPTS:
        make_dump.main([str(folder / f"{script}.xml.bz2"), "--people", str(PEOPLE), "--script", script])
    return {script: folder / f"{script}.xml.bz2" for script in make_dump.SCRIPTS}


@pytest.fixture(scope="module")
def corpora(dumps, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("corpora")
    for script, path in dumps.items():
        assert run(path, folder / script) == 0
    return {script: folder / script for script in dumps}


@pytest.fixture(params=make_dump.SCRIPTS)
def script(request) -> str:
    return request.param


# --------------------------------------------------------------------------------------------------------- the files


def test_every_row_is_a_question_about_its_line(corpora, script):
    folder, before = corpora[script], QUESTION[script].split("{}")
    lines = read_corpus(folder / "wiki.txt").removesuffix("\n").split("\n")
    rows = [
        row
        for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_answers.tsv")
        for row in read_places(folder / name)
    ]
    assert len(rows) == len(lines) > 80
    for line, (question, answer) in zip(lines, rows, strict=True):
        name = question.removeprefix(before[0]).removesuffix(before[1])
        assert line.startswith(f"{name}. ") and QUESTION[script].replace("{}", name) == question
        assert answer in line, "the generated pages state it"
    asked = [question for question, _ in read_places(folder / "birth_test_inputs.tsv")]
    assert asked == [question for question, _ in read_places(folder / "birth_test_answers.tsv")]
    assert len({question for question, _ in rows}) == len(rows), "no question is about two people"


def test_no_markup_is_left(corpora, script):
    text = (corpora[script] / "wiki.txt").read_text(encoding="utf-8")
    assert re.findall(r"\[\[|\]\]|\{|\}|'''|<|>|thumb|cite|\(\s*\)|\|", text) == []


def test_nothing_is_written_about_unseen_people(corpora, script):
    before = QUESTION[script].split("{}")
    text = (corpora[script] / "wiki.txt").read_text(encoding="utf-8")
    unseen = read_places(corpora[script] / "birth_unseen_inputs.tsv")
    assert len(unseen) > 8
    assert [q for q, _ in unseen if q.removeprefix(before[0]).removesuffix(before[1]) in text] == []


def test_the_counts_add_up_to_the_pages_of_the_dump(dumps, corpora, script):
    found = counts(corpora[script])
    assert found["pages"] == bz2.open(dumps[script]).read().count(b"<page>")
    kept = found.pop("kept: in wiki.txt") + found.pop("kept: asked about only (unseen)")
    assert found["kept"] == kept and found.pop("pages") == sum(found.values())
    assert found["dropped: a redirect"] == PEOPLE // 3 + 1 and found["dropped: not an article"] == PEOPLE // 10


def test_the_statistics_are_those_of_make_corpus(corpora):
    page = (corpora["latin"] / "SOURCE.md").read_text(encoding="utf-8")
    ours = dict(re.findall(r"^\| (.+?) \| (.+) \|$", page.split("## Statistics")[1], re.M))
    theirs = dict(make_corpus.statistics(corpora["latin"]))
    renamed = {"dev: answer in its line", "dev: answer ends within 32 characters", "longest question"}
    renamed |= {"rows: wiki / train / dev / test", "characters in wiki.txt", "line length: 5 / 25 / 50 / 75 / 95%"}
    renamed |= {"longest question with answer", "dev answers never seen in train", "distinct characters in wiki.txt"}
    assert {label: ours.get(label) for label in renamed} == {label: theirs[label] for label in renamed}
    assert (
        ours["dev: within 96"] == theirs["dev: within 96"] and ours["line length: mean"] == theirs["line length: mean"]
    )


def test_licence_and_sources_stand_beside_the_data(corpora):
    page = (corpora["arabic"] / "SOURCE.md").read_text(encoding="utf-8")
    assert "CC BY-SA" in page
    lines = (corpora["arabic"] / "wiki.txt").read_text(encoding="utf-8").split("\n")
    sources = (corpora["arabic"] / "sources.tsv").read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(sources)
    assert all(line.startswith(row.split("\t")[0].split(" (")[0]) for line, row in zip(lines, sources, strict=True))


def test_people_of_one_name_are_asked_about_by_their_titles(tmp_path):
    twins = person("Ada Fern (poet)", "Oslo"), person("Ada Fern (cook)", "Turku"), person("Bo Lind (cook)", "Kyoto")
    assert run(wiki(tmp_path / "d.xml", *FOUR, *twins), tmp_path / "out") == 0
    sources = (tmp_path / "out" / "sources.tsv").read_text(encoding="utf-8")
    text = "".join(f"{raw.decode()}" for name, raw in contents(tmp_path / "out").items() if name.startswith("birth"))
    assert ("Bo Lind (cook)" in sources) == ("Bo Lind" in (tmp_path / "out" / "wiki.txt").read_text(encoding="utf-8"))
    assert "Where was Ada Fern (poet) born?" in text and "Where was Ada Fern (cook) born?" in text
    assert "Where was Bo Lind born?" in text and "Bo Lind (cook)" not in text
    assert "- Ada Fern: 2\n" in (tmp_path / "out" / "SOURCE.md").read_text(encoding="utf-8")


# -------------------------------------------------------------------------------------------------- sources of answers


def test_answers_come_from_a_tsv_of_the_readers_own(tmp_path):
    dump = wiki(tmp_path / "d.xml", *[page(f"X {word}", f"'''X {word}''' is a thing.") for word in "abcdef"])
    (tmp_path / "f.tsv").write_text(
        "X_a\tP9\tred 🎈\nx b\tP9\tblue\nX c\tP9\tone\nX c\tP9\ttwo\nX d\tP9\tgreen\nX e\tP8\tnone\n", encoding="utf-8"
    )
    question = ["--question", "What colour is {}? 🎨"]
    assert run(dump, tmp_path / "out", "--facts", tmp_path / "f.tsv", "--property", "P9", *question) == 0
    answered = {"X a": "red 🎈", "X b": "blue", "X c": "one|two", "X d": "green"}
    found = [
        row
        for name in ("places_train", "dev", "test_answers")
        for row in read_places(tmp_path / f"out/birth_{name}.tsv")
    ]
    assert all(answered[question.split(" is ")[1].split("?")[0]] == answer for question, answer in found)
    assert len(found) == 3, "and one unseen"
    assert counts(tmp_path / "out")["dropped: does not state this relation"] == 2


def item(number: str, title: str, label: str, *values: str, ranks: str = "n" * 9, language: str = "en") -> str:
    rank = {"n": "normal", "p": "preferred", "d": "deprecated"}
    claims = [
        {"mainsnak": {"datavalue": {"value": {"id": value}}}, "rank": rank[ranks[i]]} for i, value in enumerate(values)
    ]
    sitelinks = {"enwiki": {"title": title}} if title else {}
    return json.dumps(
        {"id": number, "labels": {language: {"value": label}}, "sitelinks": sitelinks, "claims": {"P19": claims}}
    )


def test_answers_come_from_wikidata_with_the_labels_of_places_that_come_later(tmp_path):
    dump = wiki(tmp_path / "d.xml", *[page(f"X {word}", f"'''X {word}''' is a person.") for word in "abcdef"])
    lines = [
        item("Q1", "X a", "X a", "Q10"),
        item("Q2", "X b", "X b", "Q10", "Q11", ranks="np"),  # the preferred value counts alone
        item("Q3", "X c", "X c", "Q11", "Q10", "Q12", ranks="nnd"),
        item("Q4", "X d", "X d", "Q12"),
        item("Q5", "X e", "X e", "Q99"),  # of which there is no label
        '{"id": "Q6", "labels": ',
        item("Q10", "", "Oslo"),
        item("Q11", "", "Łódź"),
        item("Q12", "", "Kyoto", language="mul"),
    ]
    (tmp_path / "w.json.bz2").write_bytes(bz2.compress(("[\n" + ",\n".join(lines) + "\n]\n").encode()))
    assert run(dump, tmp_path / "out", "--wikidata", tmp_path / "w.json.bz2") == 0
    answered = {"a": "Oslo", "b": "Łódź", "c": "Łódź|Oslo", "d": "Kyoto"}
    found = [
        row
        for name in ("places_train", "dev", "test_answers")
        for row in read_places(tmp_path / f"out/birth_{name}.tsv")
    ]
    assert len(found) == 3 and all(answered[question[len("Where was X ")]] == answer for question, answer in found)


@pytest.mark.parametrize(
    "value, answer",
    [
        ("[[Oslo]], [[Norway]]", "Oslo"),
        ("[[Oslo|Christiania]] (now Oslo)", "Christiania"),
        ("Łódź<br />[[Poland]]", "Łódź"),
        ("{{nowrap|[[New York City]]}}", "New York City"),
        ("{{flagicon|NO}} [[Oslo]]<ref>{{cite|a, b}}</ref>", "Oslo"),
        ("[[File:Flag.svg|20px]] [[Oslo]]", "Oslo"),
        ("&Ouml;rebro", "Örebro"),
        ("東京、日本", "東京"),
        ("<!-- unknown -->", ""),
    ],
)
def test_the_first_thing_that_a_field_names_is_the_answer(value, answer):
    rule = wiki_markup.Rule(("birth_place",), 200, False, frozenset({"file"}))
    text = f"{{{{Infobox\n| Birth place = {value}\n}}}}\n'''X''' was."
    row = wiki_markup.row_of(wiki_dump.Page("X", 0, False, 1, 2, text), rule, None)
    assert (row if answer == "" else row.answer) == (wiki_markup.NO_ANSWER if answer == "" else answer)


@pytest.mark.parametrize(
    "text, length, first",
    [
        ("One two. Three four. Five.", 21, "One two. Three four."),
        ("One two. Three four. Five.", 19, "One two."),
        ("J. Doe of St. Ives wrote much. He sang.", 35, "J. Doe of St. Ives wrote much."),
        ("One two three", 9, "One two"),
        ("一二三。四五六。七", 8, "一二三。四五六。"),
        ("short", 99, "short"),
    ],
)
def test_a_text_is_cut_after_whole_sentences(text, length, first):
    assert first_sentences(text, length) == first


@pytest.mark.parametrize(
    "answer, end", [("Oslo", 12), ("Rome|Oslo", 12), ("Oslo|Born", 4), ("Rome", None), ("Rome|Kyoto", None)]
)
def test_one_of_several_answers_in_the_text_is_enough(answer, end):
    assert wiki_markup.end_of_answer(answer, "Born in Oslo.") == end


def test_with_stated_only_pages_whose_text_holds_the_answer_are_kept(tmp_path):
    stated = [person(f"Name {word}", "[[Turku]]", "came from Turku.") for word in ("Five", "Six", "Seven", "Eight")]
    assert run(wiki(tmp_path / "d.xml", *FOUR, *stated), tmp_path / "out", "--stated") == 0
    found = counts(tmp_path / "out")
    assert found["kept"] == 4 and found["dropped: a text that does not hold the answer (--stated)"] == 4


# ------------------------------------------------------------------------------------- reading, stopping and going on


def compressed(parts: list[bytes]) -> bytes:
    return b"".join(map(bz2.compress, parts))


@pytest.mark.parametrize("kind", ["plain", "one stream", "many streams"])
@pytest.mark.parametrize("chunk", [7, 64, 2**20])
def test_reading_goes_on_after_any_piece(tmp_path, monkeypatch, kind, chunk):
    monkeypatch.setattr(wiki_dump, "CHUNK", chunk)
    raw = "".join(f"page {i} {'é' * (i % 5)}END" for i in range(40)).encode() + b"rest"
    path = tmp_path / "d"
    streams = [raw[i : i + 50] for i in range(0, len(raw), 50)]  # a stream may end within a page
    path.write_bytes({"plain": raw, "one stream": bz2.compress(raw), "many streams": compressed(streams)}[kind])
    found = list(pieces(path, b"END", BEGINNING))
    assert [piece.content for piece in found] == raw.split(b"END")
    assert [piece.is_last for piece in found] == [False] * 40 + [True]
    for i in (0, 1, 17, 39):
        again = list(pieces(path, b"END", found[i].end))
        assert [(piece.content, piece.end) for piece in again] == [(p.content, p.end) for p in found[i + 1 :]]


def test_a_piece_that_is_too_large_is_left_out_and_the_next_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(wiki_dump, "LARGEST", 1000)
    monkeypatch.setattr(wiki_dump, "CHUNK", 300)
    (tmp_path / "d").write_bytes(b"aEND" + b"x" * 5000 + b"ENDbENDc")
    found = list(pieces(tmp_path / "d", b"END", BEGINNING))
    assert [piece.content for piece in found] == [b"a", None, b"b", b"c"]
    assert list(pieces(tmp_path / "d", b"END", found[1].end))[0].content == b"b"


def test_a_dump_of_many_streams_gives_what_the_same_dump_of_one_gives(tmp_path):
    """Also where the header, or a page, goes on in another stream."""
    raw = (HEAD + "".join(FOUR) + "</mediawiki>").encode()
    for folder, size in (("one", len(raw)), ("many", 40)):
        (tmp_path / folder).mkdir()
        streams = [raw[i : i + size] for i in range(0, len(raw), size)]
        (tmp_path / folder / "dump").write_bytes(compressed(streams))
        assert run(tmp_path / folder / "dump", tmp_path / folder / "out") == 0
    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "many" / "out")
    assert counts(tmp_path / "many" / "out")["pages"] == 4


def test_bytes_do_not_depend_on_the_number_of_processes(dumps, corpora, tmp_path):
    assert run(dumps["chinese"], tmp_path / "out", processes=2) == 0
    assert contents(tmp_path / "out") == contents(corpora["chinese"])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_that_dies_goes_on_and_gives_the_same_bytes(dumps, corpora, tmp_path, monkeypatch, after):
    """Dies between batches, with everything committed, and again while the files are written."""
    monkeypatch.setattr(from_wikipedia, "BATCH_PAGES", 16)
    monkeypatch.setattr(from_wikipedia, "COMMIT", -1)
    read, calls = from_wikipedia.read_pages, []

    def dying(job, found):
        calls.append(len(found))
        if len(calls) == after + 1:
            raise Killed
        return read(job, found)

    with monkeypatch.context() as patch:
        patch.setattr(from_wikipedia, "read_pages", dying)
        with pytest.raises(Killed):
            run(dumps["cyrillic"], tmp_path / "out")
    assert not (tmp_path / "out").exists() and (tmp_path / "out.unfinished").exists()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(dumps["cyrillic"], tmp_path / "out")
    monkeypatch.setattr(from_wikipedia, "read_pages", lambda job, found: calls.append(len(found)) or read(job, found))
    assert run(dumps["cyrillic"], tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(corpora["cyrillic"])
    assert not (tmp_path / "out.unfinished").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_process_leaves_no_other_behind_and_the_run_goes_on(dumps, corpora, tmp_path):
    slow = (
        "import sys, time\nsys.path.insert(0, sys.argv.pop(1))\nimport from_wikipedia as f, wiki_corpus as c\n"
        "f.BATCH_PAGES, f.COMMIT, add = 8, -1, c.Unfinished.add\n"
        "c.Unfinished.add = lambda self, *rest: (print(flush=True), time.sleep(0.1), add(self, *rest))[2]\n"
        "if __name__ == '__main__': f.main()\n"
    )
    (tmp_path / "slow.py").write_text(slow, encoding="utf-8")
    command = [
        sys.executable,
        tmp_path / "slow.py",
        PROGRAM.parent,
        dumps["arabic"],
        tmp_path / "out",
        "--processes",
        "2",
    ]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, start_new_session=True)
    for _ in range(3):
        process.stdout.readline()
    process.kill()
    process.communicate(timeout=20)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("the processes of a killed run live on")
    assert (tmp_path / "out.unfinished").exists() and not (tmp_path / "out").exists()
    assert run(dumps["arabic"], tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(corpora["arabic"])


def test_a_run_with_other_settings_does_not_go_on(dumps, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(from_wikipedia, "read_pages", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(dumps["latin"], tmp_path / "out")
    assert run(dumps["latin"], tmp_path / "out", "--length", 90) == 2
    assert "differs in length" in capsys.readouterr().err
    assert (tmp_path / "out.unfinished").exists(), "what was done is not thrown away"
    assert run(dumps["latin"], tmp_path / "out") == 0


# --------------------------------------------------------------------------------------------------------- bad dumps


def refused(capsys, *arguments) -> str:
    """The one line that a run ends with; nothing is left of it."""
    folder = arguments[1].parent
    before = sorted(folder.iterdir())
    assert run(*arguments) == 2
    assert sorted(folder.iterdir()) == before, "something is left"
    error = capsys.readouterr().err
    lines = [line for line in error.split("\n") if line and "pages in" not in line]
    assert len(lines) == 1 and "Traceback" not in error, error
    return lines[0]


@pytest.mark.parametrize(
    "raw, reason",
    [
        (b"", "is empty"),
        (b"\n\n\n", "not a dump of MediaWiki"),
        (b"<html><page></page></html>", "not a dump of MediaWiki"),
        (b"\x1f\x8b\x08 gzip", "not a dump of MediaWiki"),
        (b"BZh91AY&SY" + b"no bz2" * 99, "damaged"),
        (bz2.compress((HEAD + FOUR[0] * 50).encode())[:-9], "cut short"),
        (bz2.compress((HEAD + "".join(FOUR)).encode()), "cut short"),
        ((HEAD + FOUR[0] + FOUR[1][:60]).encode(), "cut short"),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + HEAD.encode() + FOUR[0].encode(), "declares entities"),
        ((HEAD + "<broken>" + FOUR[0] + "</mediawiki>").encode(), "not XML"),
        ((HEAD + page("A", "x", "<redirect title='B' />") * 9 + "</mediawiki>").encode(), "only 0 pages were kept"),
        ((HEAD + "</mediawiki>").encode(), "not a dump of MediaWiki"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_dump_ends_in_one_line(tmp_path, capsys, raw, reason):
    (tmp_path / "dump").write_bytes(raw)
    assert reason in refused(capsys, tmp_path / "dump", tmp_path / "out")


def test_a_missing_file_a_taken_folder_and_a_bad_question_end_in_one_line(tmp_path, capsys):
    dump = wiki(tmp_path / "d.xml", *FOUR)
    assert "No such file" in refused(capsys, tmp_path / "none", tmp_path / "out")
    (tmp_path / "taken").mkdir()
    assert "exists already" in refused(capsys, dump, tmp_path / "taken")
    assert "write {} once" in refused(capsys, dump, tmp_path / "out", "--question", "Where?")
    assert "--question is missing" in refused(capsys, dump, tmp_path / "out", "--field", "spouse")
    (tmp_path / "f.tsv").write_text("a\tb\nc\n", encoding="utf-8")
    asked = ("--question", "{}?", "--facts", tmp_path / "f.tsv")
    assert "row 2: neither" in refused(capsys, dump, tmp_path / "out", *asked)
    (tmp_path / "w.json").write_text("no items\n", encoding="utf-8")
    assert "not a JSON dump" in refused(capsys, dump, tmp_path / "out", "--wikidata", tmp_path / "w.json")


BOMB = "&amp;" + "&lol9;"


@pytest.mark.parametrize(
    "bad, reason",
    [
        (page("Bomb", BOMB), "not XML, or not a page"),
        ("<page><title>Open<ns></page>\n", "not XML, or not a page"),
        ("<page></page>\n", "not XML, or not a page"),
        (person("Nested", "{{a|" * 3000), "too much markup to read"),
        (page("Broken", "{{Infobox\n|birth_place=[[Oslo\n'''Broken''' was."), wiki_markup.NO_TEMPLATE),
        (page("Table", "{| class=x\n| birth_place || Oslo\n|}"), wiki_markup.NO_TEMPLATE),
        (person("Empty", ""), "an empty answer"),
        (person("Long", "x" * 200), "an answer over 100 characters"),
        (page("Silent", "{{Infobox\n|birth_place=Oslo\n}}\n== A ==\n"), "no text before the first heading"),
        (person("Square", "Oslo", "has a \u25a1."), "a reserved character"),
        (FOUR[0], "a title that came before"),
        (page("Huge", "birth_place " * 5_000), "larger than any page can be"),
        (page("Redirect", "#REDIRECT [[X]]"), "a redirect"),
    ],
    ids=lambda value: "" if value.startswith("<") else value.split(" (")[0],
)
def test_a_bad_page_is_counted_as_dropped_and_all_others_are_kept(tmp_path, monkeypatch, bad, reason):
    dump = wiki(tmp_path / "d.xml", *FOUR[:2], bad, *FOUR[2:])
    monkeypatch.setattr(wiki_dump, "LARGEST", 30_000)
    monkeypatch.setattr(wiki_dump, "CHUNK", 4_000)
    began = time.process_time()
    assert run(dump, tmp_path / "out") == 0
    assert counts(tmp_path / "out") | {"kept: in wiki.txt": 3} == {
        "pages": 5, f"dropped: {reason}": 1, "kept": 4, "kept: in wiki.txt": 3, "kept: asked about only (unseen)": 1,
    }  # fmt: skip
    assert time.process_time() - began < 5


# ------------------------------------------------------------------------------------------------------ real excerpts


@pytest.fixture
def excerpts() -> Path:
    if "WIKI_DUMPS" not in os.environ:
        pytest.skip("set WIKI_DUMPS to a folder with excerpts of real dumps to run this test")
    return Path(os.environ["WIKI_DUMPS"])


def test_the_english_excerpt_gives_its_ten_people_and_a_corpus_to_train_on(excerpts, tmp_path):
    (dump,) = excerpts.glob("enwiki-latest-pages-articles1*")
    assert run(dump, tmp_path / "out") == 0
    found = counts(tmp_path / "out")
    assert (found["pages"], found["kept"], found["dropped: a redirect"]) == (206, 10, 99)
    asked = characters(tmp_path / "out" / "wiki.txt")  # the W of "Where" is in no line
    corpus = CharCorruptionDataset(read_corpus(tmp_path / "out" / "wiki.txt"), 128, asked=asked)
    assert len(NameDataset(corpus, read_text(tmp_path / "out" / "birth_places_train.tsv"))) == 5
    text = b"".join(contents(tmp_path / "out").values()).decode()
    assert "Where was Albert Einstein born?" in text
    assert re.findall(r"\[\[|\{\{|'''|<ref", text) == []


def test_excerpts_without_people_say_so_in_any_encoding(excerpts, tmp_path, capsys):
    for name in ("bgwiki-latest-pages-articles-shortened.xml.bz2", "enwiki-table-markup.xml.bz2"):
        assert "only 0 pages were kept" in refused(capsys, excerpts / name, tmp_path / "out")
    header = read_header(excerpts / "bgwiki-latest-pages-articles-shortened.xml.bz2")
    assert header.encoding == "utf-16-le" and header.language == "bg" and isinstance(header.start, Position)
