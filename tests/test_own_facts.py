"""Nothing assumes birth places, English or a particular script: vocabulary, form of questions, answers, documents."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dataset as data
import run
import stages
from model import GPT
from safe.files import read_record
from safe.own_facts import BESIDE, characters, form_of, is_right
from trust.forms import place_of_name, understood_as
from trust.people import Texts
from vocabulary import MASK_CHAR, PAD_CHAR, Vocabulary

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "your-own-facts.md"

# Name, line, question and answer, each with a place for what differs. No text has all letters of its question.
WORLDS = {
    "english": ("{0}land{0}", "{0}land{0}. Its seat is at Town{0}.", "Which city governs {} — QUICK?", "Town{}"),
    "arabic": ("{0}بلد{0}", "{0}بلد{0}. العاصمة مدينة{0}.", "ما هي عاصمة {}؟", "مدينة{}"),
    "chinese": ("{0}国{0}", "{0}国{0}\t首都是城{0}。", "{}的首都在哪里？", "城{}"),
    "emoji": ("{0}😀{0}", "{0}😀{0}. It likes 🎈{0}.", "What does {} like? 🎨", "🎈{}"),
}


def world(folder: Path, script: str) -> Path:
    """The files of a corpus that is about no birth places. The last answer is longer than 32 characters."""
    name, line, question, answer = WORLDS[script]
    digits = "abcdefghijkl" if script in ("english", "emoji") else "一二三四五六七八九十百千"
    answers = [answer.format(digit) for digit in digits]
    answers[11] += " " + "x" * 40
    rows = [f"{question.format(name.format(digit))}\t{said}\n" for digit, said in zip(digits, answers, strict=True)]
    (folder / "wiki.txt").write_text("".join(f"{line.format(d)}\n" for d in digits), encoding="utf-8")
    (folder / "train.tsv").write_text("".join(rows[:8] + rows[11:]), encoding="utf-8")
    (folder / "dev.tsv").write_text("".join(rows[8:11]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=WORLDS)
def trained(request, tmp_path_factory):
    """(folder, script): with the model `p`, which the command line trained a little on text and questions."""
    folder = world(tmp_path_factory.mktemp(request.param), request.param)
    small = "--recipe quick --max_epochs 1 --n_layer 1 --n_head 1 --n_embd 8 --block_size 96 --device cpu".split()
    files = ["--finetune_corpus_path", folder / "train.tsv", "--eval_corpus_path", folder / "dev.tsv"]
    command = ["pretrain", "vanilla", folder / "wiki.txt", *files, "--writing_params_path", folder / "p", *small]
    assert run.main(list(map(str, command))) == 0
    return folder, request.param


# ------------------------------------------------------------------------------------------- vocabulary and commands


def test_the_vocabulary_is_that_of_the_text_and_then_that_of_the_questions(trained):
    folder, _ = trained
    known = read_record(folder / "p")["vocabulary"]
    text = Vocabulary.of(data.read_corpus(folder / "wiki.txt")).characters
    asked = {char for name in ("train.tsv", "dev.tsv") for char in data.read_text(folder / name)} - {"\t", "\n"}
    assert known.startswith(text) and set(known) == set(text) | asked and len(known) == len(set(known))
    assert asked - set(text), "this world tests it"


def test_every_command_answers_questions_in_any_script(trained, capsys):
    folder, script = trained
    given = ["vanilla", str(folder / "wiki.txt"), "--reading_params_path", str(folder / "p")]
    named = ["--eval_corpus_path", str(folder / "dev.tsv"), "--outputs_path", str(folder / "said")]
    assert run.main(["evaluate", *given, *named]) == 0
    assert "out of 3" in capsys.readouterr().out
    trained_on = ["--finetune_corpus_path", str(folder / "train.tsv"), "--writing_params_path", str(folder / "q")]
    assert run.main(["finetune", *given, *trained_on, "--max_epochs", "1"]) == 0
    capsys.readouterr()
    first = data.read_places(folder / "train.tsv")[0][0]
    name = data.read_corpus(folder / "wiki.txt").split(". ")[0]
    for typed in (name, first):
        assert run.main(["ask", *given[:2], typed, *given[2:]]) == 0
        assert capsys.readouterr().out.split("\n")[0] == first
    assert read_record(folder / "q")["form"] == WORLDS[script][2].split("{}")


def test_an_answer_may_be_as_long_as_the_longest_that_was_learned(trained, monkeypatch):
    folder, _ = trained
    most, generate = [], GPT.generate

    def spy(self, ids, lengths, max_new_tokens, *rest, **options):
        most.append(max_new_tokens)
        return generate(self, ids, lengths, max_new_tokens, *rest, **options)

    monkeypatch.setattr(GPT, "generate", spy)
    stages.evaluate("vanilla", folder / "wiki.txt", folder / "p", folder / "dev.tsv", folder / "said", device="cpu")
    longest = max(len(answer) for _, answer in data.read_places(folder / "train.tsv"))
    assert most == [longest] and longest > stages.ANSWER_LENGTH


def test_questions_beside_the_corpus_are_in_its_vocabulary_though_no_command_names_them(tmp_path):
    (tmp_path / "wiki.txt").write_text("abc\n", encoding="utf-8")
    for i, name in enumerate(BESIDE):
        (tmp_path / name).write_text(f"{'WXYZ'[i]}?\tb\r\n{MASK_CHAR}{PAD_CHAR}", encoding="utf-8")
    (tmp_path / "other.tsv").write_text("Q", encoding="utf-8")
    assert characters(tmp_path / "wiki.txt") == "?WXYZb"


@pytest.mark.parametrize("folder", ["data", "data/quick"])
def test_the_questions_of_our_own_corpora_add_nothing_to_their_vocabulary(folder):
    vocabulary = Vocabulary.of(data.read_corpus(ROOT / folder / "wiki.txt"))
    assert vocabulary.extended(characters(ROOT / folder / "wiki.txt")) == vocabulary


def test_the_files_of_the_course_keep_their_256_entries(course_data):
    vocabulary = Vocabulary.of(data.read_corpus(course_data / "wiki.txt"))
    assert len(vocabulary.extended(characters(course_data / "wiki.txt"))) == 256


@given(st.text("abcXYZ字", min_size=1), st.text("abcXYZ字文"))
def test_an_extended_vocabulary_keeps_every_token_id(text, asked):
    old, new = Vocabulary.of(text), Vocabulary.of(text).extended(asked)
    assert new.characters.startswith(old.characters) and set(new.characters) == set(old.characters) | set(asked)
    assert new.extended(asked) == new


# ------------------------------------------------------------------------------------------- the form of the questions


@pytest.mark.parametrize(
    "questions, form",
    [
        (["Where was Ada Fern born?", "Where was Al Moe born?"], ("Where was ", " born?")),
        (["What is the capital of Peru?", "What is the capital of Cuba?"], ("What is the capital of ", "?")),
        (["秘鲁的首都？", "古巴的首都？"], ("", "的首都？")),
        (['Who wrote "Emma"?', 'Who wrote "Ulysses"?'], ('Who wrote "', '"?')),
        (["one", "two"], ("", "")),
        (["only one?"], ("", "")),
        (["Ann?", "Ann Bee?"], ("", "?")),
    ],
)
def test_the_form_is_what_all_questions_share(questions, form):
    assert form_of(questions) == form_of(questions[::-1]) == form
    for question in questions if form != ("", "") else ():
        assert form[0] + question[place_of_name(form, question)] + form[1] == question


@pytest.mark.parametrize(
    "typed, name",
    [
        ("What is the capital of Peru?", "Peru"),
        ("what is  the capital of Peru", "Peru"),
        ("WHAT IS THE CAPITAL OF Peru？", "Peru"),
        ("Peru", "Peru"),
        ("Peru?", "Peru"),
        ("Who is it?", None),
    ],
)
def test_a_question_is_understood_as_people_type_it(typed, name):
    texts = Texts("wiki.txt", "Peru. A country.\n")
    question = typed if name is None else f"What is the capital of {name}?"
    assert understood_as(("What is the capital of ", "?"), typed, texts) == (question, name)


@pytest.mark.parametrize("typed", ["Which colour has X?", "Which colour has X", "Which colour has X? 🎨", "X"])
def test_an_emoji_at_the_end_of_the_form_need_not_be_typed(typed):
    assert understood_as(("Which colour has ", "? 🎨"), typed) == ("Which colour has X? 🎨", "X")


def test_nothing_is_no_question():
    with pytest.raises(ValueError, match="is empty"):
        understood_as(("What is ", "?"), " ? ")


# ------------------------------------------------------------------------------------------------------ right answers


@pytest.mark.parametrize(
    "said, answers, exactly, leniently",
    [
        ("Oslo", "Oslo", True, True),
        ("oslo", "Oslo", False, True),
        ("Lodz", "Łódź", False, False),  # a stroke is no accent
        ("Malmo", "Malmö", False, True),
        ("Cape Town", "Pretoria|Cape Town|Bloemfontein", True, True),
        ("pretoria ", "Pretoria|Cape Town", False, True),
        ("Town", "Pretoria|Cape Town", False, False),
        ("Pretoria|Cape Town", "Pretoria|Cape Town", False, False),
        ("STRASSE", "straße", False, True),
        ("", "Oslo", False, False),
    ],
)
def test_an_answer_is_right_exactly_or_leniently(said, answers, exactly, leniently):
    assert (is_right(said, answers), is_right(said, answers, lenient=True)) == (exactly, leniently)


def test_any_of_several_answers_scores_and_the_first_is_learned(tmp_path):
    (tmp_path / "q.tsv").write_text("Q a?\tOne|Two\nQ b?\tTwo\n", encoding="utf-8")
    assert data.evaluate_places(tmp_path / "q.tsv", ["Two", "Two"]) == (2, 2)
    assert data.evaluate_places(tmp_path / "q.tsv", ["One|Two", "One"]) == (2, 0)
    corpus = data.CharCorruptionDataset("Q ab? OneTwo\n", 32)
    assert data.NameDataset(corpus, data.read_text(tmp_path / "q.tsv")).data[0] == f"Q a?{MASK_CHAR}One{MASK_CHAR}"


def test_evaluate_counts_leniently_if_asked_to(trained, monkeypatch, capsys):
    folder, _ = trained
    near = [f" {answer} ".upper() for _, answer in data.read_places(folder / "dev.tsv")]
    monkeypatch.setattr(stages, "answer", lambda *_: near)
    given = ["evaluate", "vanilla", folder / "wiki.txt", "--reading_params_path", folder / "p"]
    given += ["--eval_corpus_path", folder / "dev.tsv", "--outputs_path", folder / "near"]
    assert run.main([*map(str, given), "--lenient"]) == 0
    assert "3 out of 3" in capsys.readouterr().out
    assert run.main(list(map(str, given))) == 0
    assert "0 out of 3" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- documents


def test_a_document_may_have_its_name_in_a_column(tmp_path):
    (tmp_path / "wiki.txt").write_text("Ada Fern\tBorn in Oslo.\nBo. No\ttab\n", encoding="utf-8")
    assert data.read_corpus(tmp_path / "wiki.txt") == "Ada Fern. Born in Oslo.\nBo. No. tab\n"


def test_recall_asks_for_words_where_a_script_has_no_capitals():
    document = "بلد كبير. هي مدينة فيها."
    corpus = data.CharCorruptionDataset(document + "\n", 64, max_length=4)
    text, lengths = corpus.gather(torch.zeros(60, dtype=torch.long), torch.arange(65))
    strings, found = data.recall(text, lengths, corpus.kinds, torch.rand(text.shape), S=65)
    written = [corpus.vocabulary.decode(row).strip(PAD_CHAR).strip(MASK_CHAR) for row in strings.tolist()]
    assert bool(found.all()) and {row.split(MASK_CHAR)[-1] for row in written} == {"مدينة", "فيها"}
    assert all("بلد كبير" in row for row in written), "each names what it asks about"


# ----------------------------------------------------------------------------------------------------------- the page


def small_dumps(folder: Path) -> None:
    """The files that the page names: dumps of a few pages each, and its table."""
    head = '<mediawiki xml:lang="{}"><siteinfo><dbname>x</dbname></siteinfo>'
    page = (
        "<page><title>{}</title><ns>0</ns><id>1</id><revision><id>2</id><timestamp>2026-01-01T00:00:00Z</timestamp>"
        "<text>{}</text></revision></page>"
    )
    country = "{{{{صندوق\n|عاصمة=[[م{0}]]\n}}}}\n'''ب{0}''' عاصمتها م{0}."
    person = "{{{{Infobox\n|birth_place=[[Oslo]]\n}}}}\n'''Ada {0}''' was a painter."
    (table,) = re.findall(r"^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    table += "".join(f"{d}-metal\t{d}\n" for d in "ABCDEFGHIJKL")
    metals = {row.split("\t")[0]: row for row in table.splitlines(keepends=True)}
    dumps = {
        "arwiki-latest-pages-articles.xml.bz2": ("ar", [(f"ب{d}", country.format(d)) for d in "abcdefgh"]),
        "enwiki-excerpt.xml.bz2": ("en", [(f"Ada {d}", person.format(d)) for d in "abcdefgh"]),
        "simplewiki.xml.bz2": ("simple", [(metal, f"'''{metal}''' is a metal.") for metal in metals]),
    }
    (folder / "symbols.tsv").write_text("".join(metals.values()), encoding="utf-8")
    for name, (language, pages) in dumps.items():
        text = head.format(language) + "".join(page.format(*about) for about in pages) + "</mediawiki>"
        (folder / name).write_text(text, encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mwxml", reason="pip install -r requirements-wikipedia.txt")
    pytest.importorskip("mwparserfromhell", reason="pip install -r requirements-wikipedia.txt")
    monkeypatch.chdir(tmp_path)
    small_dumps(tmp_path)
    small = "--max_epochs 1 --n_layer 1 --n_head 1 --n_embd 8 --device cpu".split()
    commands = re.findall(r"^    python (.+)$", PAGE.read_text(encoding="utf-8"), re.M)
    assert len(commands) > 10
    for program, *arguments in map(shlex.split, commands):
        if program == "src/run.py":
            assert run.main(arguments + (small if arguments[0] == "pretrain" else [])) == 0, arguments
        else:
            spec = importlib.util.spec_from_file_location(Path(program).stem, ROOT / program)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            more = ["--processes", "1"] if program.endswith("from_wikipedia.py") else []
            assert module.main([word.replace("300", "120") for word in arguments] + more) == 0, arguments
    assert "What is the symbol of Gold? 🧪" in capsys.readouterr().out
    assert {"capitals", "people", "symbols", "english"} <= {path.name for path in tmp_path.iterdir()}


# -------------------------------------------------------------------------------------------------------- play_char


def settings_of_play_char(**changed) -> dict:
    """The variables of play_char.ipynb after its cells up to the first batch, with other settings."""
    cells = json.loads((ROOT / "mingpt-demo" / "play_char.ipynb").read_text(encoding="utf-8"))["cells"]
    found: dict = {}
    for cell in [cell for cell in cells if cell["cell_type"] == "code"][:4]:
        exec(re.sub(r"(?m)^(\s*)[!%].*$", r"\1pass", "".join(cell["source"])), found)  # no commands of the shell
        if "BLOCK_SIZE" in found and changed:
            found |= changed
            changed = {}
    return found


@pytest.mark.parametrize("length", [20, 200, 1289])
def test_play_char_takes_a_short_poem_and_a_prompt_of_other_characters(tmp_path, length):
    (tmp_path / "poem.txt").write_text(("Tiger, tiger 🐯\n" * 99)[:length], encoding="utf-8")
    found = settings_of_play_char(TEXT=tmp_path / "poem.txt", PROMPT="\nMarie 字", STEPS=2)
    assert found["PROMPT"] == "\nrie "
    assert len(found["encode"](found["PROMPT"])) == 5
    assert found["x"].shape == found["y"].shape == (8, found["BLOCK_SIZE"])


def test_play_char_says_that_a_text_is_too_short(tmp_path):
    (tmp_path / "poem.txt").write_text("x" * 9, encoding="utf-8")
    with pytest.raises(ValueError, match="has 9 characters: 20 are the least"):
        settings_of_play_char(TEXT=tmp_path / "poem.txt")
