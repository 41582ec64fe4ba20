"""run.sh and collect_submission.sh, as a user calls them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def script(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """`name` with this Python as the caller's, so that run.sh has nothing to install."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", str(name), *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


# ---------------------------------------------------------------------------------------------------------- run.sh

TINY = ["--n_layer", "1", "--n_head", "1", "--n_embd", "8", "--max_epochs", "1", "--device", "cpu"]


@pytest.fixture
def data_folder(folder) -> Path:
    for name in ("birth_places_train.tsv", "birth_dev.tsv"):
        shutil.copy("train.tsv", name)
    shutil.copy("test.tsv", "birth_test_inputs.tsv")
    return folder


def test_everything_for_a_variant_from_any_folder(data_folder):
    done = script(ROOT / "run.sh", "full", "vanilla", *TINY, cwd=data_folder, DATA_DIR=".", OUT_DIR="out")
    assert done.returncode == 0, done.stderr
    parts = ["model.params", "pretrain.params", "finetune.params"]
    parts += [f"{kind}.{part}.predictions" for kind in ("nopretrain", "pretrain") for part in ("dev", "test")]
    written = {path.name for path in (data_folder / "out").iterdir()}
    assert {f"vanilla.{part}" for part in parts} <= written
    table = done.stdout[done.stdout.index("Dev questions") :].splitlines()[1:]
    assert [line.split("  ")[0] for line in table] == [
        "London for everyone",
        "vanilla, without pretraining",
        "vanilla, with pretraining",
    ]
    assert all("Correct: " in line for line in table)
    commands = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert len(commands) == 8 and "src/run.py finetune vanilla" in commands[1]


def test_stages_one_by_one(data_folder):
    options = {"cwd": data_folder, "DATA_DIR": str(data_folder), "OUT_DIR": str(data_folder)}
    stages = ["vanilla_pretrain", "vanilla_finetune_with_pretrain", "vanilla_eval_test_with_pretrain"]
    done = script(ROOT / "run.sh", *stages, *TINY, **options)
    assert done.returncode == 0, done.stderr
    assert (data_folder / "vanilla.pretrain.test.predictions").read_text(encoding="utf-8").count("\n") == 8
    assert not (data_folder / "vanilla.model.params").exists()


def test_the_first_failure_ends_the_run(data_folder):
    (data_folder / "birth_places_train.tsv").write_text("no tab here\n")
    done = script(ROOT / "run.sh", "full", *TINY, cwd=data_folder, DATA_DIR=".", OUT_DIR="out")
    assert done.returncode == 2 and "birth_places_train.tsv, question 1: no tab" in done.stderr
    assert "pretrain vanilla" not in done.stderr.split("no tab")[1]


def test_an_unknown_stage_is_refused(data_folder):
    done = script(ROOT / "run.sh", "vanilla_pretrian", cwd=data_folder, OUT_DIR="out")
    assert done.returncode == 2 and "run.sh: no stage vanilla_pretrian" in done.stderr


# -------------------------------------------------------------------------------------------- collect_submission.sh


@pytest.fixture
def submission(tmp_path) -> Path:
    """A project folder with a complete set to hand in."""
    shutil.copy(ROOT / "collect_submission.sh", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    for name, rows in [("dev", 3), ("test_inputs", 2)]:
        (tmp_path / "data" / f"birth_{name}.tsv").write_text("question\n" * rows)
    for name in ("model", "finetune"):
        (tmp_path / f"vanilla.{name}.params").write_text("parameters")
    for kind in ("nopretrain", "pretrain"):
        (tmp_path / f"vanilla.{kind}.dev.predictions").write_text("Oslo\n\nRome\n")  # an empty prediction is one too
        (tmp_path / f"vanilla.{kind}.test.predictions").write_text("Oslo\nRome\n")
    return tmp_path


def collect(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return script(folder / "collect_submission.sh", *arguments, cwd=folder.parent)


def test_a_complete_set_is_zipped(submission):
    done = collect(submission)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(submission / "assignment5.zip").namelist()
    assert "src/run.py" in names and "vanilla.pretrain.test.predictions" in names and len(names) == 11


def test_every_fault_is_listed_and_no_zip_is_made(submission):
    """Mistake 10: prediction files with the wrong number of lines are handed in."""
    (submission / "vanilla.model.params").unlink()
    (submission / "vanilla.finetune.params").write_text("")
    (submission / "vanilla.pretrain.dev.predictions").write_text("Oslo\nRome\n")
    done = collect(submission)
    assert done.returncode == 2 and not (submission / "assignment5.zip").exists()
    for fault in [
        "vanilla.model.params: missing",
        "vanilla.finetune.params: empty",
        "vanilla.pretrain.dev.predictions: 2 lines where data/birth_dev.tsv has 3 questions",
    ]:
        assert fault in done.stderr


def test_other_variants_join_when_their_predictions_are_there(submission):
    (submission / "rope.pretrain.dev.predictions").write_text("Oslo\nRome\nBonn\n")
    done = collect(submission)
    assert done.returncode == 2 and "rope.finetune.params: missing" in done.stderr
    assert "rope.nopretrain" not in done.stderr
