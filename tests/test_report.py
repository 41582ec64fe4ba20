"""The report: it has every section whatever its input lacks, its numbers are right, and it needs no other file."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

import run
import stages
import trust.report as reporting
import trust.report_figures as figures
import trust.report_page as page
import trust.report_questions as gathered
from dataset import DATA_FOLDER, read_places
from trust import asking, report_training
from trust.calibration import wilson

SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
SECTIONS = "look answers try training accuracy position frequency calibration unseen pairs made".split()
EVIL = "<script>alert('&')</script>"


class Checker(HTMLParser):
    """Collects tags, sections, ids, references, and text outside scripts. Every tag that opens must close."""

    VOID = {"meta", "img", "source", "br", "input"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.sections, self.ids, self.references, self.text = [], [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [v for k, v in attributes if k in ("href", "src", "srcset")]
        self.ids += [v for k, v in attributes if k == "id"]
        self.sections += [v for k, v in attributes if k == "id" and tag == "section"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "script" not in self.open else ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a corpus whose people and places contain HTML, two tiny runs, and the predictions of one."""
    folder = tmp_path_factory.mktemp("runs")
    names = ["Ada Fern", "Bo Lind", EVIL, "Dag Moe", "Eve Ash", "Finn Roe", "Gus Hay", "Ida Ek"]
    places = ["Oslo", "<u>Rome", "London"]
    people = [(name, places[i % 3]) for i, name in enumerate(names)]
    lines = [f"{name}. Born in {place} .\n" for name, place in people]
    (folder / "wiki.txt").write_text("".join(lines) + "Where was it? Nobody knows .\n", encoding="utf-8")
    rows = [f"Where was {name} born?\t{place}\n" for name, place in people]
    (folder / "train.tsv").write_text("".join(rows[:4]), encoding="utf-8")
    (folder / "dev.tsv").write_text("".join(rows[2:]), encoding="utf-8")
    unseen = ["Where was Ada Moe born?", "Where was Bo Ash born?", "Where was Eve Ash born?", "Where was Жук born?"]
    (folder / "birth_unseen_inputs.tsv").write_text("".join(f"{q}\n" for q in unseen), encoding="utf-8")
    traditions = ["norse", "english", "english", "russian"]
    text = "".join(f"{q}\t{t}\n" for q, t in zip(unseen, traditions, strict=True))
    (folder / "birth_unseen_traditions.tsv").write_text(text, encoding="utf-8")
    (folder / "place_traditions.tsv").write_text("Oslo\tnorse\nLondon\tenglish norse\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stages.pretrain("vanilla", "wiki.txt", "v.pretrain.params", max_epochs=2, **SIZES)
        for name, epochs in (("v.model.params", 1), ("v.finetune.params", 60)):
            pretrained = {} if epochs == 1 else {"reading_params_path": "v.pretrain.params"}
            stages.finetune(
                "vanilla", "wiki.txt", name, "train.tsv", max_epochs=epochs, finetune_lr=1e-2, **pretrained, **SIZES
            )
        paths = ("wiki.txt", "v.finetune.params", "dev.tsv", "v.pretrain.dev.predictions")
        stages.evaluate("vanilla", *paths, device="cpu")
    return folder


@pytest.fixture
def folder(runs, tmp_path, monkeypatch) -> Path:
    made = shutil.ignore_patterns("out.html", "out-figures", "*.calibration.json")  # by the fixture `written`
    shutil.copytree(runs, tmp_path, ignore=made, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL = dict(
    params_paths=["v.model.params", "v.pretrain.params", "v.finetune.params"],
    predictions_paths=["v.pretrain.dev.predictions"],
    finetune_corpus_path="train.tsv",
    unseen_corpus_path="birth_unseen_inputs.tsv",
)


def write(**changes) -> tuple[Checker, dict]:
    given = {**ALL, **changes}
    found = reporting.report("wiki.txt", given.pop("params_paths"), "dev.tsv", "out.html", device="cpu", **given)
    return Checker(Path("out.html").read_text(encoding="utf-8")), found


@pytest.fixture(scope="module")
def written(runs) -> tuple[Checker, dict]:
    """The page with everything in it. It is made once, because drawing takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(runs)
        return write()


@pytest.fixture
def undrawn(folder, monkeypatch) -> Path:
    """A copy of the folder in which every picture is a dot, for tests that are not about pictures."""
    dot = figures.draw(0.1, lambda figure: None)
    monkeypatch.setattr(figures, "draw", lambda *arguments: dot)
    return folder


# ------------------------------------------------------------------------------------------------------- the page


def test_the_page_has_every_section_and_loads_nothing(runs, written):
    page, _ = written
    assert page.sections == SECTIONS
    assert {r.removeprefix("#") for r in page.references} == set(SECTIONS) and len(set(page.ids)) == len(page.ids)
    assert not {"link", "iframe", "object", "img"} & set(page.tags)
    assert page.tags.count("script") == 4, "the data of two kinds, the parameters, and the script"
    style = re.search(r"<style>(.*?)</style>", (runs / "out.html").read_text(encoding="utf-8"), re.S)[1]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style
    pngs = {path.name: path.read_bytes() for path in (runs / "out-figures").iterdir()}
    assert len(pngs) == page.tags.count("figure") == page.tags.count("svg") / 2 == 7
    assert all(content.startswith(b"\x89PNG") for content in pngs.values())
    assert not re.search(r"\b(nan|None|inf)\b", page.text), "an unknown number is a dash"


def test_text_from_data_does_not_become_markup(written):
    page, _ = written
    assert EVIL in page.text and page.tags.count("script") == 4 and "u" not in page.tags


def test_numbers_on_the_page_are_counted_from_the_answers(runs, written):
    page, found = written
    finetuned = next(r for r in found["runs"] if r.path.name == "v.finetune.params")
    predictions = (runs / "v.pretrain.dev.predictions").read_text(encoding="utf-8").splitlines()
    assert finetuned.said == predictions and finetuned.filed == (Path("v.pretrain.dev.predictions"), 6)
    assert finetuned.right[:2].all(), "it was trained on the first two of these questions"
    right = int(finetuned.right.sum())
    low, high = wilson(right, 6)
    assert f"{right} of 6 = {right / 6:.1%}" in page.text and f"{100 * low:.1f} to {100 * high:.1f}%" in page.text
    assert "“Oslo” for every question" in page.text and "2 of 6 = 33.3%" in page.text
    assert "vanilla, with pretraining against vanilla, without pretraining" in page.text


def test_people_whom_the_corpus_mentions_or_cannot_spell_are_left_out(folder, written):
    people = reporting.read_unseen("birth_unseen_inputs.tsv", *reporting.read_for_search(Path("wiki.txt")))
    assert people.asked == ["Where was Ada Moe born?", "Where was Bo Ash born?"] and people.left_out == 2
    assert people.traditions == ["norse", "english"]
    assert "2 questions of birth_unseen_inputs.tsv were left out" in written[0].text


def test_the_page_is_written_even_if_everybody_in_the_unseen_questions_is_known(undrawn, capsys):
    page, _ = write(unseen_corpus_path="dev.tsv")
    assert page.sections == SECTIONS and "dev.tsv: left out" in capsys.readouterr().err


def test_questions_know_where_their_place_stands_in_the_text_and_how_often_it_is_trained_on(folder):
    rows = [("Bo Lind", "<u>Rome"), ("Ada Fern", "Paris"), ("Cy Nobody", "Oslo")]
    text = "".join(f"Where was {name} born?\t{place}\n" for name, place in rows)
    Path("asked.tsv").write_text(text, encoding="utf-8")
    text, _ = reporting.read_for_search(Path("wiki.txt"))
    found = reporting.read_questions("asked.tsv", text, "train.tsv", [])
    assert found.ends == [len("Bo Lind. Born in <u>Rome"), None, None] and found.known == [True, True, False]
    assert found.train == {"Oslo": 2, "<u>Rome": 1, "London": 1} and found.train_rows == 4
    text = "Bo Lind. A painter.\u2028Born in <u>Rome\n"  # one document: only a newline ends it
    assert reporting.read_questions("asked.tsv", text, None, []).ends[0] is not None


def test_people_and_places_are_found_by_their_whole_names(folder):
    rows = [("Bo Lind", "Lima"), ("Bo Lind Ek", "Lima"), ("Ida Roe", "Oman"), ("Al Fox", "Nice")]
    Path("asked.tsv").write_text("".join(f"Where was {name} born?\t{place}\n" for name, place in rows))
    documents = [
        "Bo Lind Ek. Lived in Limassol .",
        "Bo Lind. From Lima .",
        "Ida Roeder. Oman .",
        "Al Fox. A Nice-Rome race .",
    ]
    found = reporting.read_questions("asked.tsv", "\n".join(documents) + "\n", None, [])
    assert found.known == [True, True, False, True]
    assert found.ends == [len("Bo Lind. From Lima"), None, None, None]
    asked = ["Where was Bo Lind born?", "Where was Lind Ek born?", "Where was Ida Roe born?"]
    Path("unseen.tsv").write_text("\n".join(asked) + "\n")
    text = "\n".join(documents)
    assert reporting.read_unseen("unseen.tsv", text, set("".join(asked))).asked == asked[1:]


@pytest.mark.parametrize("data_folder", [DATA_FOLDER, DATA_FOLDER / "quick"], ids=["full", "quick"])
def test_every_question_of_the_shipped_data_finds_its_persons_text_and_no_invented_person_is_in_one(data_folder):
    text, characters = reporting.read_for_search(data_folder / "wiki.txt")
    rows = data_folder / "birth_places_train.tsv"
    found = reporting.read_questions(data_folder / "birth_dev.tsv", text, rows, [])
    assert all(found.known) and found.trained_on == 0 and not found.of_course
    # The oracle: a person's text begins with the name and a full stop; a word ends where a regular expression says.
    for name, place, end in zip(found.names, found.places, found.ends, strict=True):
        document = next(line for line in text.split("\n") if line.startswith(f"{name}. "))
        ends = [match.end() for match in re.finditer(rf"(?<![\w'-]){re.escape(place)}(?![\w-])", document)]
        assert end in ends if end is not None else not ends
    unseen = reporting.read_unseen(data_folder / "birth_unseen_inputs.tsv", text, characters)
    assert unseen.left_out == 0


# ------------------------------------------------------------------------------------------------------- the curves


def test_finetuning_goes_on_where_the_pretraining_that_it_started_from_ended(runs):
    read = [reporting.read_run(runs / f"v.{name}.params") for name in ("model", "finetune", "pretrain")]
    curves = {curve.stage: curve for curve in report_training.curves_of(read)}
    steps = read[2].record["steps"]
    assert curves["Pretraining"].offset == curves["Finetuning without pretraining"].offset == 0
    after = curves["Finetuning after pretraining"]
    assert after.offset == steps > 0 and not after.begins_new
    assert after.of("loss")[0][-1] == steps + read[1].record["steps"]
    assert report_training.start_of(read) == pytest.approx(math.log(len(read[0].record["vocabulary"])))


def test_accuracy_that_was_logged_during_training_is_the_first_picture(undrawn):
    page, _ = write()
    assert "during training was not logged" in page.text
    log = Path("v.pretrain.params.log.jsonl")
    last = json.loads(log.read_text().splitlines()[-1])["step"]
    with open(log, "a") as file:
        for step in (1, last):
            line = {"step": step, "validation_loss": 2.0, "validation_accuracy": step / last / 2}
            file.write(json.dumps(line) + "\n")
    page, found = write()
    pictures = {path.stem for path in Path("out-figures").iterdir()}
    assert "during training was not logged" not in page.text and {"growth", "accuracy"} <= pictures
    (curve,) = [c for c in report_training.curves_of(found["runs"]) if c.stage == "Pretraining"]
    assert curve.of("validation_accuracy") == ([1, last], [1 / last / 2, 0.5])


def test_every_curve_of_training_is_drawn_from_step_0_and_no_mark_at_an_end_of_an_axis_is_cut():
    figures.imported()
    from matplotlib.figure import Figure

    log = [{"step": step, "loss": 1.0, "lr": 0.1} for step in (50, 100)]
    held_out = [{"step": 100, "validation_loss": 2.0, "validation_accuracy": 1.0}]
    curves = [figures.Curve("a", "Pretraining", 0, log, held_out)]
    curves.append(figures.Curve("a", "Finetuning after pretraining", 100, log, [], begins_new=False))
    drawn = Figure(figsize=(figures.WIDE, 3))
    figures.losses(drawn, curves, 4.0)
    left, right = drawn.axes
    (first,) = [line for line in left.lines if len(line.get_xdata()) == 3]
    assert left.get_xlim()[0] == 0 and first.get_xydata().tolist() == [[0, 4], [50, 1], [100, 1]]
    assert right.get_xlim()[0] == 100 and left.get_ylim()[1] > 4
    drawn = Figure()
    figures.growth(drawn, curves)
    assert all(not line.get_clip_on() for line in drawn.axes[0].lines if len(line.get_xdata()))
    for painter, given in (
        (figures.groups, [["x"], {"a": [(0, 5)], "b": [(5, 5)]}, ""]),
        (figures.reliability, [[("a", [figures.Bin(0, 1, 5, 5, 1.0)])]]),
        (figures.coverage, [[("a", [figures.Coverage(1.0, 9, 9)])]]),
    ):
        drawn = Figure()
        painter(drawn, *given)
        low, high = drawn.axes[0].get_ylim()
        assert low < 0 and high > 1


# ------------------------------------------------------------------------------------------ claims about other things


def test_public_results_stand_only_beside_the_questions_that_they_are_about(undrawn, monkeypatch):
    page, _ = write()
    assert "public" not in page.text
    rows = "".join(f"Where was Ada Fern born?\t{place}\n" for place in ["Oslo", "London"] * 250)
    Path("many.tsv").write_text(rows)
    assert not reporting.read_questions("many.tsv", None, None, []).of_course, "500 rows are not yet the course's"
    monkeypatch.setattr(gathered, "COURSE_DEV", gathered.content_of(read_places("dev.tsv")))
    page, _ = write()
    assert "public, course's files: vanilla" in page.text and "public, course's files: no pretraining" in page.text
    assert "cannot be compared" in page.text
    Path("dev.tsv").write_text(Path("dev.tsv").read_text().replace("London", "Berlin"))
    assert "public" not in write(predictions_paths=[])[0].text


def test_questions_are_the_same_in_any_order_line_ends_and_unicode_form():
    pairs = [("Where was Zoé born?", "Łódź"), ("Where was Bo born?", "Oslo")]
    same = [(unicodedata.normalize("NFD", q), unicodedata.normalize("NFD", p)) for q, p in reversed(pairs)]
    assert gathered.content_of(pairs) == gathered.content_of(same)
    changed = [pairs[:1], [*pairs, pairs[0]], [(pairs[0][0], "Oslo"), pairs[1]], [(q, None) for q, _ in pairs]]
    assert len({gathered.content_of(rows) for rows in [pairs, *changed]}) == 5


@pytest.mark.course
def test_the_courses_dev_questions_are_recognised_by_content(course_data, tmp_path):
    text = (course_data / "birth_dev.tsv").read_text(encoding="utf-8")
    (tmp_path / "again.tsv").write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    for path in (course_data / "birth_dev.tsv", tmp_path / "again.tsv"):
        assert reporting.read_questions(path, None, None, []).of_course
    assert not reporting.read_questions(course_data / "birth_places_train.tsv", None, None, []).of_course
    (tmp_path / "fewer.tsv").write_text(text[: text.rindex("\n", 0, -1) + 1], encoding="utf-8")
    assert not reporting.read_questions(tmp_path / "fewer.tsv", None, None, []).of_course


@pytest.mark.parametrize("name", ["v.pretrain.params", "v.finetune.params"])
def test_a_report_with_another_corpus_than_a_runs_is_refused(undrawn, capsys, name):
    lines = Path("wiki.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    Path("other.txt").write_text("".join(reversed(lines)), encoding="utf-8")  # with the same characters
    arguments = ["--reading_params_path", "v.model.params", name, "--eval_corpus_path", "dev.tsv"]
    command = ["report", "other.txt", *arguments, "--outputs_path", "page.html", "--device", "cpu"]
    for path in ("v.model.params", "v.pretrain.params", "v.finetune.params"):
        if path != name:
            record = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
            record.pop("corpus_sha256")
            Path(f"{path}.json").write_text(json.dumps(record), encoding="utf-8")
    assert run.main(command) == 2
    error = capsys.readouterr().err
    assert f"{name}: was trained on another corpus than other.txt" in error and len(error.splitlines()) == 1
    assert not Path("page.html").exists() and not asking.calibration_path(name).exists()


def test_a_run_whose_corpus_is_not_known_is_marked(undrawn):
    record = json.loads(Path("v.finetune.params.json").read_text(encoding="utf-8"))
    record.pop("corpus_sha256")
    assert "does not say on which texts" not in write()[0].text
    Path("v.finetune.params.json").write_text(json.dumps(record), encoding="utf-8")
    assert "does not say on which texts it was trained: vanilla, with pretraining." in write()[0].text


def test_claims_about_training_rows_follow_from_the_rows(undrawn):
    page, _ = write()
    assert "6 questions of dev.tsv, 2 of them among the training rows." in page.text
    assert "trained on other rows" not in page.text
    Path("rows.tsv").write_text("Where was Zoe born?\tOslo\n")
    page, _ = write(finetune_corpus_path="rows.tsv")
    assert "6 questions of dev.tsv, none of them among the training rows." in page.text
    assert "vanilla, without pretraining, which was trained on other rows" in page.text
    assert "among the training rows" not in write(finetune_corpus_path=None)[0].text


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_parameters_that_are_no_numbers_give_an_error_and_no_score(undrawn, capsys, number):
    state, record = torch.load("v.finetune.params"), json.loads(Path("v.finetune.params.json").read_bytes())
    state["blocks.0.ln1.weight"][0] = number
    torch.save(state, "bad.params")
    record["sha256"] = asking.file_sha256("bad.params")
    Path("bad.params.json").write_text(json.dumps(record), encoding="utf-8")
    given = [
        "--reading_params_path",
        "v.model.params",
        "bad.params",
        "--eval_corpus_path",
        "dev.tsv",
        "--device",
        "cpu",
    ]
    assert run.main(["report", "wiki.txt", *given, "--outputs_path", "page.html"]) == 2
    shown = capsys.readouterr()
    assert "bad.params: blocks.0.ln1.weight holds NaN or infinite numbers" in shown.err and shown.out == ""
    assert len(shown.err.splitlines()) == 1 and not list(undrawn.glob("*.calibration.json"))
    assert not Path("page.html").exists()


def test_parameters_that_are_replaced_in_the_meantime_are_not_reported_under_the_first_ones_hash(undrawn, monkeypatch):
    load = stages.load_trained

    def replaced_first(*arguments, **options):
        for ending in ("", ".json"):
            shutil.copy(f"v.model.params{ending}", f"v.finetune.params{ending}")
        return load(*arguments, **options)

    monkeypatch.setattr(stages, "load_trained", replaced_first)
    with pytest.raises(ValueError, match="v.finetune.params: was replaced while"):
        write(params_paths=["v.finetune.params"])


# ---------------------------------------------------------------------------------------------- without a matplotlib

DRAW = "import sys; sys.path.insert(0, sys.argv[1]); import trust.report_figures as f; "
DRAW += "picture = f.draw(2.0, f.coverage, [('a', [f.Coverage(0.5, 9, 7), f.Coverage(0.2, 12, 7)])]); "
DRAW += "import os; sys.stdout.buffer.write(picture.png + str(sorted(os.environ.items())).encode())"


def drawn(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """A picture, drawn by a process in `folder`, and the environment that the process then has."""
    src = str(Path(figures.__file__).parent.parent)
    command = [sys.executable, "-c", DRAW, src]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True)


def test_no_setting_of_the_user_changes_or_prevents_a_picture(tmp_path):
    for name in ("plain", "here", "home", "fake"):
        (tmp_path / name).mkdir()
    expected = drawn(tmp_path / "plain")
    assert expected.stdout.startswith(b"\x89PNG") and expected.stderr == b""
    png = expected.stdout[: expected.stdout.index(b"IEND")]
    settings = b"text.usetex: True\nfont.size: 40\nfigure.dpi: 9\nlines.linewidth: 9\nsavefig.bbox: tight\n"
    (tmp_path / "here" / "matplotlibrc").write_bytes(settings + b"no setting\n\xff\n")
    (tmp_path / "home" / "matplotlibrc").write_bytes(settings)
    (tmp_path / "home" / "stylelib").mkdir()
    (tmp_path / "home" / "stylelib" / "broken.mplstyle").write_bytes(b"\xff")
    home = {"MPLCONFIGDIR": str(tmp_path / "home")}
    cases = [
        ("plain", {"MPLBACKEND": "module://missing", "MATPLOTLIBRC": str(tmp_path / "here" / "matplotlibrc")}),
        ("here", home | {"MPLBACKEND": "TkAgg"}),
    ]
    for folder, environment in cases:
        found = drawn(tmp_path / folder, **environment)
        assert found.stdout.startswith(png), (folder, environment, found.stderr)
        assert str(sorted((os.environ | environment).items())).encode() in found.stdout.replace(b"'LC_CTYPE'", b""), (
            folder
        )


def test_settings_of_the_same_process_change_no_picture_and_stay(tmp_path):
    painted = [[("a", [figures.Coverage(0.5, 9, 7)])]]
    before = figures.draw(2.0, figures.coverage, *painted)
    with matplotlib.rc_context({"font.size": 40, "axes.facecolor": "red", "savefig.dpi": 9, "lines.linewidth": 9}):
        assert figures.draw(2.0, figures.coverage, *painted) == before
        assert matplotlib.rcParams["font.size"] == 40 and matplotlib.rcParams["savefig.dpi"] == 9


@pytest.mark.parametrize(
    "content, error",
    [
        ("", "No module named"),
        ("import matplotlib.half", "ModuleNotFoundError"),
        ("def", "SyntaxError"),
        ("1 / 0", "Zero"),
    ],
)
def test_a_matplotlib_that_is_installed_by_half_is_met_when_the_first_picture_is_drawn(tmp_path, content, error):
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text(content)
    done = drawn(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and error in done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        ImportError("No module\nnamed x"),
        AttributeError("no Figure"),
        SyntaxError("x"),
        OSError(28, "No space"),
        RuntimeError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_report_that_cannot_draw_says_so_in_a_line_and_writes_all_the_rest(folder, capsys, monkeypatch, error):
    def broken():
        raise error

    monkeypatch.setattr(figures, "imported", broken)
    with pytest.raises(reporting.Undrawn) as undrawn:
        write()
    assert undrawn.value.status == 3
    command = ["report", "wiki.txt", "--reading_params_path", *ALL["params_paths"], "--eval_corpus_path", "dev.tsv"]
    capsys.readouterr()
    assert run.main([*command, "--outputs_path", "page.html", "--device", "cpu"]) not in (0, 1)
    shown = capsys.readouterr()
    assert shown.out == "The report: page.html\n" and len(shown.err.splitlines()) == 1
    assert (
        "page.html: written without pictures: matplotlib cannot draw" in shown.err and type(error).__name__ in shown.err
    )
    assert "pip install" in shown.err and not Path("page-figures").exists()
    for name in ("out.html", "page.html"):
        page = Checker(Path(name).read_text(encoding="utf-8"))
        assert page.sections == SECTIONS and "figure" not in page.tags and "A picture is missing" in page.text
        assert "for every question" in page.text
    assert asking.calibration_path("v.finetune.params").exists()


def test_a_picture_that_fails_leaves_the_earlier_ones_and_none_of_another_page(folder, monkeypatch):
    Path("out-figures").mkdir()
    for name in ("calibration.png", "accuracy.png", "mine.png"):
        (Path("out-figures") / name).write_bytes(b"")
    dot, draw = figures.draw(0.1, lambda figure: None), figures.draw

    def failing(height, painter, *arguments):
        return draw(height, lambda figure: 1 / 0) if painter is figures.reliability else dot

    monkeypatch.setattr(figures, "draw", failing)
    with pytest.raises(reporting.Undrawn, match="ZeroDivisionError"):
        write()
    page = Checker(Path("out.html").read_text(encoding="utf-8"))
    beside = {path.name: path.stat().st_size for path in Path("out-figures").iterdir()}
    assert beside.pop("mine.png") == 0 and "calibration.png" not in beside and min(beside.values()) > 0
    assert 0 < page.tags.count("figure") == len(beside) < 7


# ------------------------------------------------------------------------------------------------ what may be missing


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"finetune_corpus_path": None}, "--finetune_corpus_path"),
        ({"unseen_corpus_path": None}, "--unseen_corpus_path"),
        ({"predictions_paths": []}, "What this was made from"),
        ({"params_paths": ["v.finetune.params"]}, "there is only one run"),
        ({"params_paths": []}, "no parameters were given"),
    ],
)
def test_every_section_says_what_is_missing_and_stays(undrawn, changes, sentence):
    page, _ = write(**changes)
    assert page.sections == SECTIONS and sentence in page.text


def test_the_page_is_written_without_logs_and_traditions(undrawn):
    for path in [*undrawn.glob("*.log.jsonl"), undrawn / "place_traditions.tsv"]:
        path.unlink()
    page, _ = write()
    assert (
        page.sections == SECTIONS
        and "There are no curves" in page.text
        and "no birth_unseen_traditions.tsv" in page.text
    )


def test_a_corpus_too_large_to_load_is_not_searched_but_the_page_is_written(undrawn, monkeypatch):
    monkeypatch.setattr(stages, "IN_MEMORY", 0)
    page, found = write()
    assert page.sections == SECTIONS and "the corpus is too large to search for names" in page.text
    asked = found["runs"][0].unseen.texts
    assert len(asked) == 3, "nobody counts as mentioned, but a name that the corpus cannot spell is left out"


def test_predictions_of_unknown_parameters_are_a_run_of_their_own(undrawn):
    Path("other.dev.predictions").write_text("London\n" * 6)
    page, found = write(params_paths=[], predictions_paths=["other.dev.predictions", "v.pretrain.dev.predictions"])
    assert [r.label for r in found["runs"]] == ["other", "v.pretrain"]
    assert "other against v.pretrain" in page.text or "v.pretrain against other" in page.text


def test_runs_of_the_same_kind_are_labelled_with_their_file_names(undrawn):
    for ending in ("", ".json"):
        shutil.copy(f"v.finetune.params{ending}", f"again.params{ending}")
    _, found = write(params_paths=["v.finetune.params", "again.params"], predictions_paths=[])
    labels = ["vanilla, with pretraining (v.finetune)", "vanilla, with pretraining (again)"]
    assert [r.label for r in found["runs"]] == labels


# ------------------------------------------------------------------------------------------------ beside the page


def test_runs_with_the_same_file_name_are_labelled_with_their_folders(undrawn):
    for folder in ("x", "y"):
        Path(folder).mkdir()
        for ending in ("", ".json", ".log.jsonl"):
            shutil.copy(f"v.finetune.params{ending}", folder)
    _, found = write(params_paths=["x/v.finetune.params", "y/v.finetune.params", "y/v.finetune.params"])
    labels = [run.label for run in found["runs"] if run.record]
    assert labels == [f"vanilla, with pretraining ({f}/v.finetune)" for f in "xy"]


def test_the_recipe_decides_how_much_of_a_document_pretraining_reads():
    for recipe, reach in (("course", 112), ("strong", 256)):
        assert gathered.longest_read({"config": {"block_size": 128}, "recipe": recipe}) == reach


def test_the_report_writes_the_record_that_ask_reads(undrawn):
    _, found = write()
    best = next(r for r in found["runs"] if r.path.name == "v.finetune.params")
    record = json.loads(asking.calibration_path("v.finetune.params").read_text())
    assert sum(b["total"] for b in record["bins"]) == 6 and sum(b["right"] for b in record["bins"]) == best.right.sum()
    assert sum(record["unseen_share_of_bin"]) == pytest.approx(1)
    counts = [b["total"] for b in record["bins"]]
    where = np.minimum((best.answers.confidence * len(counts)).astype(int), len(counts) - 1)
    assert counts == np.bincount(where, minlength=len(counts)).tolist()
    assert "about other parameters" not in asking.trust(0.9, "v.finetune.params")
    assert not asking.calibration_path("v.pretrain.params").exists(), "it answered no questions"


def test_the_report_command_names_the_page_that_it_wrote(undrawn, capsys):
    arguments = ["report", "wiki.txt", "--reading_params_path", "v.model.params", "v.finetune.params"]
    arguments += ["--device", "cpu", "--eval_corpus_path", "dev.tsv", "--outputs_path"]
    assert run.main([*arguments, "page.html"]) == 0
    assert capsys.readouterr().out == "The report: page.html\n" and Path("page.html").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (["--outputs_path", "wiki.txt"], "give it a name that ends in .html"),
        (["--eval_corpus_path", "birth_unseen_inputs.tsv"], "has no answers"),
        (["--predictions_path", "train.tsv"], "4 predictions for the 6"),
        (["--reading_params_path", "v.pretrain.params"], "nothing to report about"),
        (["--reading_params_path", "bare"], "there is no bare.json that says which variant"),
        (["--reading_params_path", "v.finetune.params", "missing"], "missing: No such file"),
    ],
)
def test_a_mistake_is_one_line_and_no_page_is_written(undrawn, capsys, change, message):
    shutil.copy("v.finetune.params", "bare")
    given = {"--reading_params_path": ["v.finetune.params"], "--eval_corpus_path": ["dev.tsv"]}
    given |= {"--outputs_path": ["page.html"], change[0]: change[1:]}
    assert run.main(["report", "wiki.txt", *(word for flag, values in given.items() for word in (flag, *values))]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("run.py: ") and len(error.splitlines()) == 1
    assert not Path("page.html").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("json", '{"variant": "vanilla"}', "config is missing"),
        ("json", '{"variant": "vanilla", "config": [], "vocabulary": ""}', "config is missing or of the wrong kind"),
        ("json", '{"variant": "vanilla", "config": {}, "vocabulary": ""}', "final_loss or seconds is not a number"),
        *(
            ("json", json.dumps({"variant": "vanilla", "vocabulary": "", "config": config, **more}), "is not a number")
            for config, more in [
                ({"block_size": 10**400}, {}),
                ({"block_size": True}, {}),
                ({"block_size": [[64]]}, {}),
                ({"block_size": 64}, {"final_loss": math.nan}),
                ({"block_size": 64}, {"final_loss": 10**400}),
                ({"block_size": 64}, {"seconds": -math.inf}),
            ]
        ),
        ("log.jsonl", '{"step": 1, "loss": null, "lr": "x"}', "a step, loss or lr is not a number"),
        ("log.jsonl", "[1]", "not a training log"),
        ("log.jsonl", f'{{"step": {10**400}, "loss": 1, "lr": 1}}', "a step, loss or lr is not a number"),
        ("log.jsonl", '{"step": 1, "loss": NaN, "lr": 1}', "a step, loss or lr is not a number"),
        ("log.jsonl", '{"step": 1, "loss": 1, "lr": Infinity}', "a step, loss or lr is not a number"),
        ("log.jsonl", "[" * 100_000, "not a training log"),
    ],
)
def test_a_damaged_record_or_log_is_refused_in_one_line(undrawn, capsys, name, content, message):
    Path(f"v.finetune.params.{name}").write_text(content)
    arguments = ["--reading_params_path", "v.finetune.params", "--eval_corpus_path", "dev.tsv"]
    assert run.main(["report", "wiki.txt", *arguments, "--outputs_path", "page.html"]) == 2
    error = capsys.readouterr().err
    assert f"v.finetune.params.{name}: not a" in error and message in error and len(error.splitlines()) == 1


def test_a_log_with_another_number_of_steps_is_not_taken_for_the_runs_own(undrawn):
    assert reporting.read_run("v.finetune.params").log
    log = Path("v.finetune.params.log.jsonl")
    first, *_ = log.read_text().splitlines()
    log.write_text(json.dumps(json.loads(first) | {"step": 10**6}))
    assert reporting.read_run("v.finetune.params").log == []


def test_validation_losses_in_a_log_are_not_taken_for_training_losses(undrawn):
    log = Path("v.finetune.params.log.jsonl")
    before = reporting.read_run("v.finetune.params").log
    last = before[-1]["step"]
    with open(log, "a") as file:
        file.write(json.dumps({"step": last, "epoch": 1, "tokens": 1, "validation_loss": 2.0}) + "\n")
    assert reporting.read_run("v.finetune.params").log == before


def test_a_share_is_never_rounded_to_0_or_100_percent():
    shown = [page.percent(share) for share in (0, 0.0001, 0.5, 0.9999, 1)]
    assert shown == ["0.0%", "below 0.1%", "50.0%", "above 99.9%", "100.0%"]
    assert page.percent(float("nan")) == "–" and page.percent(0.999, 0) == "above 99%"
