"""run.sh and collect_submission.sh, as a user calls them."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from safe import flags as grammar

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def script(name: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run `name` with this Python first on the path, so that run.sh has nothing to install."""
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


@pytest.fixture
def without_packages(tmp_path_factory) -> dict[str, str]:
    """An environment in which the packages that run.sh asks for are empty, and import in no time. torch cannot be used.

    run.sh checks that it can be imported, and is right.
    """
    folder = tmp_path_factory.mktemp("packages")
    only_there = "import sys\nif sys.argv[0].endswith('sequence.py'): raise RuntimeError('torch was imported')\n"
    for name in ("torch", "numpy", "tqdm", "matplotlib"):
        (folder / name).mkdir()
        text = "__version__ = '99.0'\nndarray = dtype = None\n"
        (folder / name / "__init__.py").write_text(text if name != "torch" else only_there + text)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def printed(data_folder, without_packages):
    """A function that gives the command which run.sh prints for a stage. Nothing is run."""

    def of(*arguments: str) -> str:
        environment = {"DATA_DIR": ".", "OUT_DIR": "out", **without_packages}
        done = script(ROOT / "run.sh", *arguments, cwd=data_folder, **environment)
        assert done.returncode == 1 and "torch was imported" in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
        return line

    return of


# Drawing takes longer than everything else together, and is tested elsewhere.
BLANK = f"""
import sys

sys.path.insert(0, {str(ROOT / "src")!r})
from trust import report_figures

report_figures.draw = lambda *arguments: report_figures.Picture("<svg>blank</svg>", "<svg></svg>", b"blank")
"""


@pytest.fixture
def with_blank_pictures(tmp_path_factory) -> dict[str, str]:
    """An environment whose python3 runs the stages and draws nothing in the report."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "sitecustomize.py").write_text(BLANK, encoding="utf-8")
    program = folder / "python3"
    how = f'case "$1" in *sequence.py) export PYTHONPATH="{folder}" ;; esac'
    program.write_text(f'#!/bin/sh\n{how}\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


def test_run_sh_makes_everything_for_a_variant_from_any_folder(data_folder, with_blank_pictures):
    options = {"cwd": data_folder, "DATA_DIR": ".", "OUT_DIR": "out", **with_blank_pictures}
    done = script(ROOT / "run.sh", "full", "vanilla", *TINY, **options)
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
        f"What is behind these numbers: {data_folder / 'out' / 'report.html'}",
    ]
    assert all("Correct: " in line for line in table[:-1])
    for params in ("model", "pretrain", "finetune"):
        log = (data_folder / "out" / f"vanilla.{params}.params.log.jsonl").read_text(encoding="utf-8")
        assert "validation_loss" in log
    report = (data_folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "vanilla, with pretraining" in report and "vanilla, without pretraining" in report
    assert "blank" in report
    commands = [line for line in done.stderr.splitlines() if line.startswith("+ ")]
    assert len(commands) == 9 and "src/run.py finetune vanilla" in commands[1]
    assert all("--device cpu" in line for line in commands[1:]), "evaluation runs on the device too"

    predictions = data_folder / "out" / "vanilla.pretrain.test.predictions"
    said = predictions.read_bytes()
    predictions.unlink()
    single = ["vanilla_pretrain", "vanilla_eval_test_with_pretrain", *TINY, "--device=cpu", "--resume"]
    again = script(ROOT / "run.sh", *single, **options)
    assert again.returncode == 0 and "complete already" in again.stdout, "a complete stage is not run again"
    assert predictions.read_bytes() == said and said.count(b"\n") == 8, "a stage alone does what it does among others"


def test_a_flag_does_not_swallow_the_stage_after_it(printed):
    command = printed("--shard", "vanilla_pretrain")
    assert "run.py pretrain vanilla" in command and command.endswith(" --shard")


def test_only_the_recipe_decides_whether_questions_are_mixed_into_pretraining(printed):
    """Another option whose value is the name of a recipe does not."""
    for words, mixes in [
        (["--recipe", "strong", "--tb_expt_name", "course"], True),
        (["--recipe=quick"], True),
        (["--tb_expt_name", "strong"], False),
        (["--recipe", "strong", "--recipe", "course"], False),
    ]:
        assert ("--finetune_corpus_path" in printed("vanilla_pretrain", *words)) == mixes, words


@pytest.mark.parametrize("word", ["test", "notebooks"])
@pytest.mark.parametrize("option", ["--seed=5", "--third_mask", "--plain"])
def test_options_before_test_and_notebooks_are_refused_instead_of_dropped(data_folder, word, option):
    done = script(ROOT / "run.sh", option, word, cwd=data_folder)
    assert done.returncode == 2 and "put them after it" in done.stderr


@pytest.mark.parametrize(
    "stage, trains, masks",
    [
        ("rope_pretrain", True, True),
        ("rope_finetune_with_pretrain", True, False),
        ("rope_finetune_without_pretrain", True, False),
        ("rope_eval_dev_with_pretrain", False, False),
    ],
)
def test_each_option_reaches_the_commands_that_know_it(printed, stage, trains, masks):
    command = printed("--plain", "--third_mask", "--seed=3", "--device", "cpu", stage)
    assert " --plain" in command and " --device cpu" in command
    assert (" --third_mask" in command, " --seed=3" in command) == (masks, trains)


def test_the_loss_on_the_dev_questions_is_logged_only_if_they_have_answers(printed, data_folder):
    assert all("--eval_corpus_path" in printed(f"vanilla_{s}") for s in ("pretrain", "finetune_without_pretrain"))
    shutil.copy("birth_test_inputs.tsv", "birth_dev.tsv")
    assert "--eval_corpus_path" not in printed("vanilla_pretrain")
    (data_folder / "birth_dev.tsv").unlink()  # a single stage of training does not need the file
    assert "--eval_corpus_path" not in printed("vanilla_finetune_with_pretrain")


def test_run_sh_knows_which_options_take_no_value():
    """Those of `run.py pretrain`; an option missing in run.sh would swallow the word after it."""
    commands = grammar.COMMANDS
    flags = {action.option_strings[0] for action in commands["pretrain"]._actions if action.const is True}
    parts = (ROOT / "run.sh").read_text(encoding="utf-8").split("while [ $# -gt 0 ]")[1].split("--*=*")[0]
    assert flags == set(re.findall(r"--\w+(?=[ )])", parts)) - {"--help", "--recipe", "--device"}


def test_help_prints_the_comment_at_the_top(data_folder):
    done = script(ROOT / "run.sh", "--help", cwd=data_folder)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("./run.sh notebooks", "./run.sh test", "--plain", "DATA_DIR", "OUT_DIR"):
        assert word in done.stdout
    assert "set -euo" not in done.stdout and not any(line.startswith("#") for line in done.stdout.splitlines())


def test_the_notebooks_are_opened_with_what_the_user_adds(data_folder, without_packages):
    """Jupyter is replaced by a module that prints its arguments."""
    fake = Path(without_packages["PYTHONPATH"]) / "notebook"
    fake.mkdir()
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text("import os, sys; print(os.listdir(sys.argv[1]), sys.argv[2:])")
    done = script(ROOT / "run.sh", "notebooks", "--no-browser", cwd=data_folder, **without_packages)
    assert done.returncode == 0, done.stderr
    *told, shown = done.stdout.splitlines()
    assert "play_char.ipynb" in shown and shown.endswith("['--no-browser']")
    assert any("Begin with play_char.ipynb" in line for line in told) and any("Ctrl-C" in line for line in told)


def test_an_unknown_stage_is_refused_before_anything_is_made(data_folder):
    done = script(ROOT / "run.sh", "vanilla_pretrian", cwd=data_folder, OUT_DIR="out")
    assert done.returncode == 2 and "run.sh: no stage vanilla_pretrian" in done.stderr
    assert not (data_folder / "out").exists()


def test_mistakes_are_found_before_the_first_training_and_without_torch(data_folder, without_packages):
    options = {"cwd": data_folder, "DATA_DIR": ".", "OUT_DIR": "out", **without_packages}
    typo = script(ROOT / "run.sh", "full", "vanilla", "perciever", *TINY, **options)
    assert typo.returncode == 2 and "run.sh: no variant perciever: choose from vanilla, " in typo.stderr
    typo = script(ROOT / "run.sh", "vanilla_pretrain", "vanilla_eval_dev_wiht_pretrain", *TINY, **options)
    assert typo.returncode == 2 and "in the stage vanilla_eval_dev_wiht_pretrain; " in typo.stderr
    (data_folder / "birth_test_inputs.tsv").unlink()
    missing = script(ROOT / "run.sh", "full", *TINY, **options)
    assert missing.returncode == 2 and "birth_test_inputs.tsv: no such file" in missing.stderr
    assert not list((data_folder / "out").iterdir())


# -------------------------------------------------------------------------------------------- collect_submission.sh


@pytest.fixture
def submission(tmp_path) -> Path:
    """A project folder with a complete set of files to hand in."""
    shutil.copy(ROOT / "collect_submission.sh", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "data").mkdir()
    for name, rows in [("dev", 3), ("test_inputs", 2)]:
        (tmp_path / "data" / f"birth_{name}.tsv").write_text("question\n" * rows)
    for name in ("model", "finetune"):
        (tmp_path / f"vanilla.{name}.params").write_text(f"parameters of {name}")
    for kind, params in [("nopretrain", "model"), ("pretrain", "finetune")]:
        digest = hashlib.sha256(f"parameters of {params}".encode()).hexdigest()
        for part, lines in [("dev", "Oslo\n\nRome\n"), ("test", "Oslo\nRome\n")]:  # an empty prediction is one too
            path = tmp_path / f"vanilla.{kind}.{part}.predictions"
            path.write_text(lines)
            Path(f"{path}.json").write_text(json.dumps({"sha256": digest}))
    return tmp_path


def collect(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return script(f"{folder.name}/collect_submission.sh", *arguments, cwd=folder.parent)


def test_a_complete_set_is_zipped(submission):
    done = collect(submission)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(submission / "assignment5.zip").namelist()
    source = [path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*.py")]
    assert {"src/run.py", "src/fast/rows.py", "src/safe/files.py", "src/trust/report.py"} <= set(source)
    assert {*source, "src/trust/report.js"} == {name for name in names if name.startswith("src/")}
    assert {"vanilla.model.params", "vanilla.pretrain.test.predictions"} <= set(names)


def test_files_of_any_age_are_zipped_and_a_zip_that_fails_is_removed(submission):
    os.utime(submission / "src" / "run.py", (0, 0))  # 1970: zip can store years from 1980 on
    assert collect(submission).returncode == 0
    (submission / "assignment5.zip.unfinished").mkdir()  # cannot be written
    done = collect(submission)
    assert done.returncode == 1 and not (submission / "assignment5.zip").exists()
    assert done.stderr.startswith("collect_submission.sh: assignment5.zip: cannot be written")


def test_predictions_of_another_run_are_refused(submission):
    """A common mistake: predictions of one run are filed under the name of another."""
    for ending in ("", ".json"):
        path = submission / f"vanilla.nopretrain.dev.predictions{ending}"
        shutil.copy(path, submission / f"vanilla.pretrain.dev.predictions{ending}")
    done = collect(submission)
    assert done.returncode == 2 and not (submission / "assignment5.zip").exists()
    assert "vanilla.pretrain.dev.predictions: was not made with vanilla.finetune.params" in done.stderr


def test_every_fault_is_listed_and_no_zip_is_made(submission):
    """A common mistake: prediction files with the wrong number of lines are handed in."""
    (submission / "vanilla.model.params").unlink()
    (submission / "vanilla.finetune.params").write_text("")
    (submission / "vanilla.pretrain.dev.predictions").write_text("Oslo\nRome\n")
    done = collect(submission)
    assert done.returncode == 2 and not (submission / "assignment5.zip").exists()
    for fault in [
        "vanilla.model.params: missing",
        "vanilla.finetune.params: empty",
        "vanilla.pretrain.dev.predictions: 2 lines instead of 3, one per question of data/birth_dev.tsv",
    ]:
        assert fault in done.stderr


def test_help_and_a_mistyped_variant_keep_an_existing_zip(submission):
    assert collect(submission).returncode == 0
    shown = collect(submission, "--help")
    assert shown.returncode == 0 and "./collect_submission.sh [VARIANT ...]" in shown.stdout
    slip = collect(submission, "vanila")
    assert (slip.returncode, slip.stderr) == (2, "collect_submission.sh: no variant vanila\n")
    assert (submission / "assignment5.zip").exists()


def test_other_variants_are_collected_if_their_predictions_are_there(submission):
    (submission / "rope.pretrain.dev.predictions").write_text("Oslo\nRome\nBonn\n")
    done = collect(submission)
    assert done.returncode == 2 and "rope.finetune.params: missing" in done.stderr
    assert "rope.nopretrain" not in done.stderr
