"""The report about any relation, in any script: what it asks, what it finds in the texts, what it compares with."""

import re
from html import unescape
from pathlib import Path

import pytest

import dataset as data
import run
import stages
import test_report_page
import trust.report as reporting
from test_own_facts import WORLDS, world
from test_report_page import javascript, undrawn
from trust.forms import understood_as
from trust.people import PARTICLES, Texts, end_of_place
from trust.report_questions import end_of, form_for, read_questions, read_unseen, readable

browser = test_report_page.browser  # a fixture
CAPITALS = [
    (f"{first}{last}", f"{last.title()}{first.lower()}")
    for first in "ABCDEFGH"
    for last in "alt elm ick ond urn".split()
]
FORMS = {script: tuple(question.split("{}")) for script, (_, _, question, _) in WORLDS.items()}
FORMS["capitals"] = ("What is the capital of ", "?")


def capitals(folder: Path) -> Path:
    """Forty lines of English that begin with no name. Two countries have two capitals, and one is its own."""
    rows = [(country, capital) for country, capital in CAPITALS]
    rows[38], rows[39] = ("Aalt Bay", rows[38][1]), ("Monaco", "Monaco")
    lines = [f"The capital of {country} is {capital}. It has a port.\n" for country, capital in rows]
    (folder / "wiki.txt").write_text("".join(lines), encoding="utf-8")
    answers = [capital if i % 20 else f"{capital}|Old Town" for i, (_, capital) in enumerate(rows)]
    asked = [
        f"What is the capital of {country}?\t{answer}\n" for (country, _), answer in zip(rows, answers, strict=True)
    ]
    asked[1] = asked[1].split("\t")[0] + "\tOld Town\n"
    (folder / "train.tsv").write_text("".join(asked[:25]), encoding="utf-8")
    (folder / "dev.tsv").write_text("".join(asked[20:]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=[*WORLDS, "capitals"])
def reported(request, tmp_path_factory):
    """(folder, script, runs): pretrained, finetuned, evaluated and reported on, with tiny sizes."""
    folder, script = tmp_path_factory.mktemp(request.param), request.param
    capitals(folder) if script == "capitals" else world(folder, script)
    about = FORMS[script]
    letters = "".join(sorted(set((folder / "wiki.txt").read_text(encoding="utf-8")) - set("\n\t. "))[-4:])
    unseen = [f"{about[0]}{name}{about[1]}\n" for name in (letters, letters[::-1])]
    (folder / "unseen.tsv").write_text("".join(unseen), encoding="utf-8")
    given = ["vanilla", folder / "wiki.txt"]
    small = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 96 --max_epochs 3 --device cpu".split()
    train, dev = ["--finetune_corpus_path", folder / "train.tsv"], ["--eval_corpus_path", folder / "dev.tsv"]
    commands = [
        ["pretrain", *given, "--recipe", "quick", *train, "--writing_params_path", folder / "p", *small],
        ["finetune", *given, *train, "--reading_params_path", folder / "p", "--writing_params_path", folder / "q"],
        ["evaluate", *given, "--reading_params_path", folder / "q", *dev, "--outputs_path", folder / "said"],
    ]
    for command in commands:
        assert run.main(list(map(str, command))) == 0
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        found = reporting.report(
            folder / "wiki.txt",
            [folder / "q"],
            folder / "dev.tsv",
            folder / "report.html",
            finetune_corpus_path=folder / "train.tsv",
            unseen_corpus_path=folder / "unseen.tsv",
            device="cpu",
        )
    return folder, script, found["runs"]


def questions_of(folder: Path, runs=(), **more):
    text = data.read_corpus(folder / "wiki.txt")
    return read_questions(folder / "dev.tsv", text, folder / "train.tsv", runs, **more)


# ------------------------------------------------------------------------------------------- what is asked and found


def test_names_answers_and_the_text_about_each_are_found(reported):
    folder, script, runs = reported
    found = questions_of(folder, runs)
    assert found.form == FORMS[script]
    asked = [question for question, _ in data.read_places(folder / "dev.tsv")]
    assert [found.form[0] + name + found.form[1] for name in found.names] == asked
    lines = data.read_corpus(folder / "wiki.txt").splitlines()
    for name, place, document, end in zip(found.names, found.places, found.documents, found.ends, strict=True):
        if script == "capitals":
            assert document == next(line for line in lines if line.startswith(f"The capital of {name} is"))
        else:
            assert document == next(line for line in lines if line.startswith(name))
        if "xxx" not in place:  # of which the text has the beginning only
            assert any(document[:end].endswith(answer) for answer in place.split("|")) and end > len(name)


def test_the_page_finds_the_same_lines_and_answers(reported):
    found = questions_of(reported[0])
    rows = [(n, p.split("|")[-1], d) for n, p, d in zip(found.names, found.places, found.documents, strict=True)]
    given = {"rows": rows, "lines": found.lines, "particles": PARTICLES, "named": found.named}
    shown = javascript(
        "rows.map(([name, place]) => [about(name, lines, particles, named), "
        "placeIn(place, about(name, lines, particles, named), name)])",
        *("report.js", "lookup.js"),
        **given,
    )
    for (name, place, document), (line, span) in zip(rows, shown, strict=True):
        end = end_of_place(place, document, name)
        # JavaScript counts an emoji as two.
        assert line == document and (span and span[1] - (len(line[:end].encode("utf-16-le")) // 2 - end)) == end


def test_right_and_wrong_are_judged_as_evaluate_judges_them(reported, monkeypatch, capsys):
    folder, _, _ = reported
    places = [place for _, place in data.read_places(folder / "dev.tsv")]
    near = [place.split("|")[-1] if i % 2 else f" {place.split('|')[-1].upper()} " for i, place in enumerate(places)]
    for lenient in (False, True):
        monkeypatch.setattr(stages, "answer", lambda *_: near)
        given = (folder / "wiki.txt", folder / "q", folder / "dev.tsv", folder / "near")
        correct = stages.evaluate("vanilla", *given, lenient=lenient, device="cpu")["correct"]
        assert reporting.matches(near, questions_of(folder, lenient=lenient)).sum() == correct
        assert correct == (
            len(places) if lenient else sum(a in b.split("|") for a, b in zip(near, places, strict=True))
        )


def test_the_baseline_is_the_most_frequent_answer_of_the_training_rows(reported):
    folder, script, _ = reported
    answer, right = questions_of(folder).baseline
    if script == "capitals":  # the answer of one question, and one of two for two others
        assert (answer, right) == ("Old Town", 1)
    else:
        assert answer == data.read_places(folder / "train.tsv")[0][1] and right == 0


def test_on_the_files_of_the_course_the_baseline_is_that_of_london_baseline_py(course_data):
    text = data.read_corpus(course_data / "wiki.txt")
    found = read_questions(course_data / "birth_dev.tsv", text, course_data / "birth_places_train.tsv", [])
    places = ["London"] * len(found.places)
    assert found.baseline == ("London", data.evaluate_places(course_data / "birth_dev.tsv", places)[1])


def test_the_page_says_nothing_of_birth_places_london_or_people(reported):
    folder, script, _ = reported
    page = (folder / "report.html").read_text(encoding="utf-8")
    shown = unescape(re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", page, flags=re.S))
    shown = shown.replace(str(folder), "")
    assert not re.search(r"\b(born|birth|London|persons?|people|places?)\b", shown, re.I), shown
    assert f"{FORMS[script][0]}…{FORMS[script][1]}" in shown and "for every question gets" in shown
    assert re.search(r"It makes up an answer for \d of 2", shown), "names in letters of the texts can be asked about"


def test_a_name_of_which_no_text_has_a_letter_cannot_be_asked_as_unseen_but_the_form_can(reported):
    folder, script, runs = reported
    found = questions_of(folder, runs)
    about, text = found.form, data.read_corpus(folder / "wiki.txt")
    letters = sorted(set(text) - set("\n. "))[-3:]
    rows = [f"{about[0]}{name}{about[1]}\n" for name in ("".join(letters), "Ж", found.names[0])]
    (folder / "new.tsv").write_text("".join(rows), encoding="utf-8")
    unseen = read_unseen(folder / "new.tsv", text, readable(runs, set(text).union(*about)), about)
    assert unseen.names == ["".join(letters)] and unseen.left_out == 2


def test_the_form_is_the_one_that_most_questions_have():
    asked = [f"Who rules {name}?" for name in ("Ann", "Bo")]
    assert form_for(asked, ["Who rules Ann Bee?", "Who rules Ann Cee?"], []) == ("Who rules ", "?")
    assert form_for(asked[:1], [], []) == ("", "")
    assert form_for(["Where was Ann born?"], [], []) == ("Where was ", " born?")


# --------------------------------------------------------------------------------------- lines that begin with no name

SENTENCES = "".join(f"The capital of {name} is X. A port.\n" for name in ("Peru", "New Guinea", "Papua Bay"))


@pytest.mark.parametrize(
    "text, named",
    [
        (SENTENCES, False),
        ("Lima is the capital of Peru.\nQuito is that of Ecuador.\n", False),
        ("Ada Fern. A cook.\nBo Lind. A cook.\nCy Moe. A cook.\nDag Ek. A cook.\n", True),
        ("秘鲁。首都是利马。\n古巴。首都是哈瓦那。\n", True),
    ],
)
def test_whether_lines_begin_with_names_shows_in_what_they_share(text, named):
    assert Texts("wiki.txt", text).named == named


@pytest.mark.parametrize(
    "name, row", [("Peru", 0), ("Guinea", None), ("New Guinea", 1), ("Papua", None), ("Per", None)]
)
def test_where_lines_begin_with_no_name_the_one_that_mentions_it_is_about_it(name, row):
    texts, lines = Texts("wiki.txt", SENTENCES), SENTENCES.splitlines()
    assert texts.about(name) == (None if row is None else lines[row])
    given = {"name": name, "lines": lines, "particles": PARTICLES}
    found = javascript("about(name, lines, particles, false) ?? null", "report.js", "lookup.js", **given)
    assert found == texts.about(name)


def test_a_capital_may_have_the_name_of_its_country():
    document = "Monaco. The capital of Monaco is Monaco ."
    assert end_of_place("Monaco", document, "Monaco") == document.index("Monaco is") + 6
    assert end_of("London|Oslo", "Jack London. From Oslo .", "Jack London") == 22
    found = javascript("placeIn(name, line, name)[1]", "report.js", "lookup.js", line=document, name="Monaco")
    assert found == end_of_place("Monaco", document, "Monaco")


# ---------------------------------------------------------------------------------------------- the page's question box


def test_what_is_typed_into_the_page_is_understood_as_ask_understands_it():
    typed = []
    for form in FORMS.values():
        whole = f"{form[0]}X 国{form[1]}"
        each = [whole, whole.upper(), whole.lower(), whole.rstrip("?？؟ 🎨"), f"  {whole}  ", "X", "X 国?", "X 国؟"]
        typed += [(text, form) for text in each]
    found = javascript("typed.map((pair) => nameIn(...pair))", "report.js", "lookup.js", typed=typed)
    texts = Texts("wiki.txt", "X 国. A country.\n")
    assert found == [understood_as(form, text, texts)[1] for text, form in typed]


def test_the_page_asks_the_question_of_the_training(reported, browser):
    folder, script, _ = reported
    found, form = questions_of(folder), FORMS[script]
    window, errors = browser.new_page(reduced_motion="reduce"), []
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.goto((folder / "report.html").as_uri())
    assert window.inner_text("#ask label") == "…".join(form)
    for typed in (found.names[1], found.asked[1]):
        window.fill("#ask-name", typed)
        assert window.inner_text("#ask-warning") == ""
        window.click("#ask-go")
        window.wait_for_selector("#ask-tree li")
        asked = window.evaluate("askBox.look.said.question")
        said = window.evaluate("askBox.look.said.text")
        assert asked == found.asked[1]
        line = window.inner_text("#ask-line blockquote")
        assert line == " ".join(found.documents[1].split())
    window.close()
    with stages.load_trained("vanilla", folder / "wiki.txt", folder / "q", device="cpu") as (model, vocabulary):
        model = model.half().float()  # as in the page
        ids, lengths = data.encode_questions([asked], vocabulary, model.config.block_size, "")
        assert reporting.answer_with_confidence(model, vocabulary, ids, lengths).texts == [said] and errors == []
