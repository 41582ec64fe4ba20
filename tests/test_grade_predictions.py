"""What is handed in, and the predictions in it: only a student's own, and good enough, get points."""

import hashlib
import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from course_submissions import MANY, write_term
from dataset import evaluate_places

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
handed_in, parts = importlib.import_module("handed_in"), importlib.import_module("parts")


@pytest.fixture(scope="module")
def term(tmp_path_factory) -> Path:
    return write_term(tmp_path_factory.mktemp("term"))


FAULTS = {  # what is wrong with predictions: (lines that lose points, what the student is told)
    "a_line_too_few": ({"test", "accuracy"}, "39 lines instead of 40"),
    "other_parameters": ({"dev", "test", "accuracy"}, "was not made with"),
    "another_variant": ({"dev", "test", "accuracy"}, "was made with the variant rope"),
    "questions_of_last_year": ({"test", "accuracy"}, "other questions"),
    "record_thrown_away": ({"dev", "test", "accuracy"}, "gives other answers"),
    "right_answers_written_in": ({"dev", "test", "accuracy"}, "gives other answers"),
    "no_parameters": ({"dev", "test", "accuracy"}, "hand in the parameters"),
    "london_for_everyone": ({"accuracy"}, "are needed"),
    "dev_copied_from_the_answers": ({"dev"}, "not answers of a model"),
    "copied_from_another_variant": ({"dev", "test", "accuracy"}, "under another name"),
    "parameters_of_another_model": ({"dev", "test", "accuracy"}, "cannot be asked"),
}


@pytest.fixture
def files(term, tmp_path) -> Path:
    """Right predictions with their records, and parameters, of which `honest` below knows what they answer."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "vanilla.finetune.params").write_bytes(b"parameters")
    questions = handed_in.Questions(term)
    for split in ("dev", "test"):
        said = [*questions.answers[split][:25], *["Nowhere"] * 15]
        write_predictions(folder, questions, split, said)
    return folder


def write_predictions(folder: Path, questions, split: str, said: list[str], **record: str) -> None:
    path = folder / f"vanilla.pretrain.{split}.predictions"
    path.write_text("".join(f"{place}\n" for place in said), encoding="utf-8")
    about = {"variant": "vanilla", "sha256": sha256(b"parameters"), "questions_sha256": sha256(questions.raw[split])}
    path.with_name(f"{path.name}.json").write_text(json.dumps(about | record))


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def graded_predictions(files: Path, term: Path, honest: dict[str, str], strangers=()) -> dict[str, str]:
    """What is told about each line of part f that loses points. `honest`: what the parameters say to each question."""

    def ask(variant: str, parameters: str, asked: list[str]) -> list[str]:
        if not honest:
            raise ValueError("cannot be asked as vanilla")
        return [] if strangers else [honest[question] for question in asked]

    part = parts.HandIn("f", "vanilla", "pretrain", 5, 10)
    lines, _ = handed_in.grade_predictions(part, files, handed_in.Questions(term), ask, list(strangers))
    names = dict(zip(["dev", "test", "accuracy"], lines, strict=True))
    return {name: line.message for name, line in names.items() if line.points < line.most}


def said_in(files: Path, questions) -> dict[str, str]:
    found = {}
    for split in ("dev", "test"):
        said = (files / f"vanilla.pretrain.{split}.predictions").read_text(encoding="utf-8").splitlines()
        found |= dict(zip(questions.asked[split], said, strict=True))
    return found


def test_predictions_that_belong_and_are_good_enough_get_all_points(files, term):
    assert graded_predictions(files, term, said_in(files, handed_in.Questions(term))) == {}


def test_predictions_without_records_are_held_against_the_parameters_alone(files, term):
    for path in files.glob("*.json"):
        path.unlink()
    assert graded_predictions(files, term, said_in(files, handed_in.Questions(term))) == {}


@pytest.mark.parametrize("name", FAULTS)
def test_predictions_that_are_not_the_students_own_get_no_points(files, term, name):
    questions, strangers = handed_in.Questions(term), []
    honest = said_in(files, questions)
    test = files / "vanilla.pretrain.test.predictions"
    if name == "a_line_too_few":
        test.write_text("".join(test.read_text(encoding="utf-8").splitlines(True)[:-1]), encoding="utf-8")
    elif name == "other_parameters":
        (files / "vanilla.finetune.params").write_bytes(b"parameters of another run")
    elif name == "another_variant":
        for split in ("dev", "test"):
            write_predictions(files, questions, split, [honest[q] for q in questions.asked[split]], variant="rope")
    elif name == "questions_of_last_year":
        said = [honest[question] for question in questions.asked["test"]]
        write_predictions(files, questions, "test", said, questions_sha256=sha256(b"of last year"))
    elif name == "record_thrown_away":
        honest = dict.fromkeys(honest, "Elsewhere")
        for path in files.glob("*.json"):
            path.unlink()
    elif name == "right_answers_written_in":  # few: 12 of 80 lines are not what the parameters say
        for split in ("dev", "test"):
            write_predictions(files, questions, split, [*questions.answers[split][:8], *["Nowhere"] * 32])
        honest = dict.fromkeys(honest, "Nowhere")
        for split in ("dev", "test"):
            honest |= dict(zip(questions.asked[split][:2], questions.answers[split][:2], strict=True))
    elif name == "no_parameters":
        (files / "vanilla.finetune.params").unlink()
    elif name == "london_for_everyone":
        for split in ("dev", "test"):
            write_predictions(files, questions, split, ["London"] * MANY)
        honest = dict.fromkeys(honest, "London")
    elif name == "dev_copied_from_the_answers":
        write_predictions(files, questions, "dev", questions.answers["dev"])
        write_predictions(files, questions, "test", [*questions.answers["test"][:15], *["Nowhere"] * 25])
        honest = said_in(files, questions)
    elif name == "copied_from_another_variant":
        strangers = [path.read_bytes() for path in files.glob("*.predictions")]
    else:
        honest = {}
    lost = graded_predictions(files, term, honest, strangers)
    expected, told = FAULTS[name]
    assert set(lost) == expected and any(told in message for message in lost.values()), lost


def test_a_floor_is_above_london_by_three_standard_deviations(term):
    questions = handed_in.Questions(term)
    london = questions.answers["test"].count("London") / MANY
    assert questions.floor("test", "vanilla") == pytest.approx(
        100 * (london + 3 * (london * (1 - london) / MANY) ** 0.5)
    )
    assert questions.floor("test", "perceiver") < 100 * london < questions.floor("test", "rope")


# ---------------------------------------------------------------------------------------- what is handed in

STARTER = {"src/attention.py": '@register("vanilla")\n', "notes.md": "mine", "data/x.txt": "big"}


def packed_up(folder: Path, as_zip: bool, top: str) -> Path:
    for name, text in STARTER.items():
        (folder / "in" / top / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / top / name).write_text(text)
    if not as_zip:
        return folder / "in"
    return Path(shutil.make_archive(str(folder / "in"), "zip", folder / "in"))


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("top", ["", "assignment5/"])
def test_a_folder_and_a_zip_are_taken_with_a_folder_around_them_or_without(tmp_path, as_zip, top):
    support = tmp_path / "support"
    support.mkdir()
    (support / "model.py").write_text("given = 1\n")
    taken = handed_in.take(packed_up(tmp_path, as_zip, top), tmp_path / "scratch", support)
    found = {path.relative_to(taken.code).as_posix() for path in taken.code.rglob("*") if path.is_file()}
    assert found == {"src/attention.py", "src/model.py"} and not taken.own_edition


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
@pytest.mark.parametrize("text", ['@register("vanilla")\n', "class CausalSelfAttention:\n    pass\n"])
def test_the_user_who_runs_the_students_code_can_read_it_and_what_is_given(tmp_path, text):
    """Everything that comes with the grader is closed to others, and a copy would be as well."""
    submission, support = packed_up(tmp_path, False, ""), tmp_path / "support"
    (submission / "src" / "attention.py").write_text(text)
    (support / "safe").mkdir(parents=True)
    (support / "safe" / "files.py").write_text("given = 1\n")
    for path in [submission, support, *submission.rglob("*"), *support.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    taken = handed_in.take(submission, tmp_path / "scratch", support)
    found = [tmp_path / "scratch", *(tmp_path / "scratch").rglob("*")]
    assert all(path.stat().st_mode & (0o005 if path.is_dir() else 0o004) for path in found)
    given = taken.support if taken.own_edition else taken.code / "src"
    assert (given / "safe" / "files.py") in found


def test_links_out_of_the_submission_are_left_out(tmp_path):
    (tmp_path / "answers.predictions").write_text("secret")
    submission = packed_up(tmp_path, False, "")
    (submission / "vanilla.pretrain.test.predictions").symlink_to(tmp_path / "answers.predictions")
    (submission / "src" / "more").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "support").mkdir()
    taken = handed_in.take(submission, tmp_path / "scratch", tmp_path / "support")
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "scratch").rglob("*") if path.is_file())
    assert list(taken.files.iterdir()) == []


def test_what_is_no_submission_is_refused_in_a_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "not.zip").write_text("no zip")
    for name in ("empty", "not.zip"):
        with pytest.raises(ValueError, match=name):
            handed_in.take(tmp_path / name, tmp_path / "scratch", tmp_path)


def test_several_places_are_counted_as_run_py_counts_them(tmp_path):
    (tmp_path / "wiki.txt").write_text("Bo Lind. Bo Lind was born in Oslo.\n")
    (tmp_path / "birth_dev.tsv").write_text("Where was Bo Lind born?\tOslo | Turku\nWhere was Ada Fern born?\tRome\n")
    (tmp_path / "birth_test_inputs.tsv").write_text("Where was Ada Fern born?\n")
    questions = handed_in.Questions(tmp_path)
    for said, right in ((["Turku", "Rome"], [0, 1]), (["Oslo ", "Oslo"], []), (["Oslo", ""], [0])):
        assert questions.right("dev", said) == right
        assert evaluate_places(tmp_path / "birth_dev.tsv", said) == (2, len(right))
