"""The report: it has every section whatever its input lacks, its numbers are right, and it needs no other file."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import run
import stages
import trust.report as reporting
import trust.report_figures as figures
import trust.report_page as page
from trust import asking
from trust.calibration import wilson

SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
SECTIONS = [
    "training",
    "accuracy",
    "position",
    "frequency",
    "confident",
    "calibration",
    "abstaining",
    "unseen",
    "try",
    "answers",
    "pairs",
    "made",
]
EVIL = "<script>alert('&')</script>"


class Checker(HTMLParser):
    """Collects tags, ids, references and text. Every tag that opens must close."""

    VOID = {"meta", "img", "source", "br", "input"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.text = [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [v for k, v in attributes if k in ("href", "src", "srcset")]
        self.ids += [v for k, v in attributes if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a corpus whose people and places contain HTML, two tiny runs, and the predictions of one."""
    folder = tmp_path_factory.mktemp("runs")
    names = ["Ada Fern", "Bo Lind", EVIL, "Dag Moe", "Eve Ash", "Finn Roe", "Gus Hay", "Ida Ek"]
    places = ["Oslo", "<b>Rome", "London"]
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
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
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
    assert page.ids == SECTIONS
    inside = [f"#{name}" for name in SECTIONS]
    assert all(r in inside or r.startswith("data:image/png;base64,") for r in page.references)
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 2, "the data and report.js"
    style = re.search(r"<style>(.*?)</style>", (runs / "out.html").read_text(encoding="utf-8"), re.S)[1]
    assert "url(" not in style and "@import" not in style and "prefers-color-scheme: dark" in style
    pngs = {path.name: path.read_bytes() for path in (runs / "out-figures").iterdir()}
    assert len(pngs) == page.tags.count("img") == page.tags.count("figure") == 9
    assert all(content.startswith(b"\x89PNG") for content in pngs.values())
    assert not re.search(r"\b(nan|None|inf)\b", page.text), "an unknown number is a dash"


def test_text_from_data_does_not_become_markup(written):
    page, _ = written
    assert EVIL in page.text and page.tags.count("script") == 2 and "b" not in page.tags


def test_numbers_on_the_page_are_counted_from_the_answers(runs, written):
    page, found = written
    finetuned = next(r for r in found["runs"] if r.path.name == "v.finetune.params")
    predictions = (runs / "v.pretrain.dev.predictions").read_text(encoding="utf-8").splitlines()
    assert finetuned.said == predictions and finetuned.filed == (Path("v.pretrain.dev.predictions"), 6)
    assert finetuned.right[:2].all(), "it was trained on the first two of these questions"
    right = int(finetuned.right.sum())
    low, high = wilson(right, 6)
    assert f"{right} of 6 = {right / 6:.1%}" in page.text and f"{100 * low:.1f} to {100 * high:.1f}%" in page.text
    assert "“London” for everyone" in page.text and "2 of 6 = 33.3%" in page.text
    assert "vanilla, with pretraining against vanilla, without pretraining" in page.text


def test_people_whom_the_corpus_mentions_or_cannot_spell_are_left_out(folder, written):
    people = reporting.read_unseen("birth_unseen_inputs.tsv", *reporting.read_for_search(Path("wiki.txt")))
    assert people.asked == ["Where was Ada Moe born?", "Where was Bo Ash born?"] and people.left_out == 2
    assert people.traditions == ["norse", "english"]
    assert "2 questions of birth_unseen_inputs.tsv were left out" in written[0].text


def test_the_page_is_written_even_if_everybody_in_the_unseen_questions_is_known(undrawn, capsys):
    page, _ = write(unseen_corpus_path="dev.tsv")
    assert page.ids == SECTIONS and "dev.tsv: left out" in capsys.readouterr().err


def test_questions_know_where_their_place_stands_in_the_text_and_how_often_it_is_trained_on(folder):
    rows = [("Bo Lind", "<b>Rome"), ("Ada Fern", "Paris"), ("Cy Nobody", "Oslo")]
    text = "".join(f"Where was {name} born?\t{place}\n" for name, place in rows)
    Path("asked.tsv").write_text(text, encoding="utf-8")
    text, _ = reporting.read_for_search(Path("wiki.txt"))
    found = reporting.read_questions("asked.tsv", text, "train.tsv", [])
    assert found.ends == [len("Bo Lind. Born in <b>Rome"), None, None] and found.known == [True, True, False]
    assert found.train == {"Oslo": 2, "<b>Rome": 1, "London": 1} and found.train_rows == 4
    text = "Bo Lind. A painter.\u2028Born in <b>Rome\n"  # one document: only a newline ends it
    assert reporting.read_questions("asked.tsv", text, None, []).ends[0] is not None
    documents = ["Ada Fernandez. Born .", "Ada Fern (1900). Born ."]
    assert reporting.find_document("Ada Fern", documents) == documents[1]


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
    assert page.ids == SECTIONS and sentence in page.text


def test_the_page_is_written_without_logs_and_traditions(undrawn):
    for path in [*undrawn.glob("*.log.jsonl"), undrawn / "place_traditions.tsv"]:
        path.unlink()
    page, _ = write()
    assert page.ids == SECTIONS and "There are no curves" in page.text and "no birth_unseen_traditions.tsv" in page.text


def test_a_corpus_too_large_to_load_is_not_searched_but_the_page_is_written(undrawn, monkeypatch):
    monkeypatch.setattr(stages, "IN_MEMORY", 0)
    page, found = write()
    assert page.ids == SECTIONS and "the corpus is too large to search for people" in page.text
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
    for recipe, reach in (("course", 112), ("strong", 128)):
        assert reporting.longest_read({"config": {"block_size": 128}, "recipe": recipe}) == reach


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
        ("log.jsonl", '{"step": 1, "loss": null, "lr": "x"}', "a step, loss or lr is not a number"),
        ("log.jsonl", "[1]", "not a training log"),
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
