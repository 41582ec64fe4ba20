"""run.sh and collect_submission.sh in strange surroundings: shells, links, folders, signals, environments.

Most tests run a copy of the scripts in a folder whose name has a space and an umlaut. There a small program stands for
src/run.py: it notes how it was called and which signals reach it. Empty packages stand for torch and the others.
"""

import csv
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

import dataset
from starting import python

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None or os.name == "nt", reason="needs bash, links and signals")

DATA = ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv")
PACKAGES = ("torch", "numpy", "tqdm", "matplotlib")
TRAINER = """
import json, os, signal, sys, time
from safe.exits import say

def main(words):
    command, told, before = " ".join(words), [], {}
    with open(os.environ["CALLS"], "a", encoding="utf-8", errors="surrogateescape") as calls:
        print(json.dumps([os.getpid(), os.getcwd(), *words]), file=calls)
    if os.environ.get("FAILS", "no stage") in command:
        return 7
    if words[0] != "evaluate":  # training finishes its step, and evaluation is interrupted
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, lambda number, frame: told.append(number))
    try:
        end = time.monotonic() + (20 if os.environ.get("LASTS", "no stage") in command else 0)
        while time.monotonic() < end and not told:
            time.sleep(0.01)
    except KeyboardInterrupt as stopped:
        told.append(stopped.signum)
    for number, handler in before.items():
        signal.signal(number, handler)
    if told:
        with open(os.environ["CALLS"] + ".signals", "a") as signals:
            print(told[0], file=signals)
        return 128 + told[0]
    say("some line", "Correct: 1 out of 2: 50.0%")
    return 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def project(tmp_path) -> Path:
    return make_project(tmp_path)


def make_project(tmp_path: Path) -> Path:
    """A project folder with a stand-in for src/run.py. Its data are in data/ and data/quick/."""
    project = tmp_path / "größe & Maß" / "a project"
    (project / "src" / "safe").mkdir(parents=True)
    for name in ("run.sh", "collect_submission.sh", "src/recipes.py", "src/vocabulary.py"):
        shutil.copy(ROOT / name, project / name)
    for name in ("flags", "running", "exits", "startup", "sequence"):
        shutil.copy(ROOT / f"src/safe/{name}.py", project / "src" / "safe")
    for path in (ROOT / "src").glob("*attention.py"):
        shutil.copy(path, project / "src")
    (project / "src" / "run.py").write_text(TRAINER, encoding="utf-8")
    (project / "london_baseline.py").write_text(
        "def main(words):\n    print('Correct: 0 out of 2: 0.0%')\n    return 0\n"
    )
    make_data(project / "data")
    make_data(project / "data" / "quick")
    for name in PACKAGES:
        (tmp_path / "packages" / name).mkdir(parents=True)
        (tmp_path / "packages" / name / "__init__.py").write_text("__version__ = '99.0'\nndarray = dtype = None")
    return project


def make_data(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in DATA:
        (folder / name).write_text("Where was Ada born?\tOslo\n" if name != "birth_test_inputs.tsv" else "Where?\n")


def environment_of(project: Path, **changes: str) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    packages = str(project.parent.parent / "packages")
    return {**given, "PATH": path, "PYTHONPATH": packages, "CALLS": str(project / "calls"), **changes}


def called(project: Path, *command: str | Path, cwd: Path | None = None, **environment: str):
    """Run a command; the result has `calls` as well, the arguments with which src/run.py was called."""
    (project / "calls").unlink(missing_ok=True)
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd or project,
        env=environment_of(project, **environment),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    done.calls = [arguments[2:] for arguments in calls_of(project)]
    return done


def calls_of(project: Path) -> list[list]:
    path = project / "calls"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    return [json.loads(line) for line in lines[:-1]]  # the last one may not be complete


# ------------------------------------------------------------------------------------------------ shells and words


@pytest.mark.parametrize("shell", ["sh", "dash", "busybox sh", "zsh", "ksh", "mksh", "bash --posix", "bash -u"])
@pytest.mark.parametrize("name", ["run.sh", "collect_submission.sh"])
def test_any_shell_may_be_asked_to_run_a_script(project, shell, name):
    words = shell.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]}")
    if name == "run.sh":
        done = called(project, *words, name, "vanilla_finetune_without_pretrain", "--tb_expt_name", "two  words")
        assert done.returncode == 0, done.stderr
        assert [call[:3] for call in done.calls] == [["finetune", "vanilla", "data/wiki.txt"]]
        assert done.calls[0][-2:] == ["--tb_expt_name", "two  words"], "arguments arrive as they are"
    else:
        done = called(project, *words, name)
        assert done.returncode == 2 and "vanilla.model.params: missing" in done.stderr
        assert "Syntax error" not in done.stderr and "not found" not in done.stderr


@pytest.mark.parametrize("words", [["rope_pretrain", "compile"], ["rope_pretrain", "compile", "--seed", "3"]])
def test_the_word_compile_after_a_stage_is_accepted(project, words):
    done = called(project, "./run.sh", *words)
    assert done.returncode == 0 and [call[:2] for call in done.calls] == [["pretrain", "rope"]]
    assert "compile" not in done.calls[0] and "--compile" not in done.calls[0]
    assert len([line for line in done.stderr.splitlines() if line.startswith("run.sh: compile: ")]) == 1


def test_the_word_compile_alone_is_not_a_stage(project):
    done = called(project, "./run.sh", "compile")
    assert done.returncode == 2 and not done.calls


def test_no_compile_does_not_swallow_the_stage_after_it(project):
    done = called(project, "./run.sh", "--no-compile", "vanilla_pretrain")
    assert done.returncode == 0 and done.calls[0][-1] == "--no-compile"


def test_the_printed_commands_can_be_pasted(project):
    done = called(
        project, "./run.sh", "vanilla_pretrain", "--tb_expt_name", "it's  $HOME", DATA_DIR=str(project / "data")
    )
    (line,) = [line[2:] for line in done.stderr.splitlines() if line.startswith("+ ")]
    again = called(project, "bash", "-c", line)
    assert again.returncode == 0 and again.calls == done.calls


def test_arrays_that_may_be_empty_are_guarded():
    """bash before 4.4, such as that of macOS, calls an empty array unbound under `set -u`."""
    for name, never_empty in [
        ("run.sh", {"names", "BASIC", "WORDS", "STEPS", "params", "predictions", "train_rows"}),
        ("collect_submission.sh", {"variants", "kinds", "manifest", "wrong"}),
    ]:
        text = (ROOT / name).read_text(encoding="utf-8")
        bare = re.sub(r'\$\{(\w+)\[@\]\+"\$\{\1\[@\]\}"\}', "", text)
        assert set(re.findall(r"\$\{(\w+)\[[@*]\]", bare)) <= never_empty
        assert not re.search(r"\b(mapfile|readarray|declare -A|local -n|coproc)\b|\$\{\w+(,,|\^\^|@Q)", text)


# ------------------------------------------------------------------------------------------------ finding the folder


def decoy(folder: Path) -> Path:
    """A folder that looks like the project, and has a zip that must stay."""
    make_data(folder / "data")
    (folder / "src").mkdir()
    (folder / "src" / "run.py").write_text("raise SystemExit('this is the wrong folder')")
    (folder / "assignment5.zip").write_text("stays")
    return folder


def test_a_script_finds_its_folder_through_links(project, tmp_path):
    """A link beside a decoy, a relative link to that one, a link of another name, and a linked folder."""
    other = decoy(tmp_path / "other folder")
    (other / "bin").mkdir()
    (tmp_path / "folder").symlink_to(project.parent.relative_to(tmp_path))
    for name in ("run.sh", "collect_submission.sh"):
        (other / name).symlink_to(os.path.relpath(project / name, other))
        (other / "bin" / name).symlink_to(Path("..") / name)
        (other / "bin" / f"my {name}").symlink_to(other / "bin" / name)
    ways = [  # from which folder, and whether by a relative path
        (other / "run.sh", other / "bin", True),
        (other / "bin" / "run.sh", tmp_path, False),
        (other / "bin" / "my run.sh", project, True),
        (tmp_path / "folder/a project/run.sh", other / "bin", True),
    ]
    for way, cwd, relative in ways:
        path = os.path.join(".", os.path.relpath(way, cwd)) if relative else str(way)
        done = called(project, path, "vanilla_pretrain", cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert done.calls[0][2] == "data/wiki.txt" and calls_of(project)[0][1] == str(project.resolve())
        shown = called(project, path, "--help", cwd=cwd)
        assert shown.returncode == 0 and "./run.sh test" in shown.stdout
        zipped = called(project, way.with_name(way.name.replace("run", "collect_submission")), cwd=cwd)
        assert zipped.returncode == 2 and "vanilla.model.params: missing" in zipped.stderr
    assert (other / "assignment5.zip").read_text() == "stays"


def test_cdpath_sends_no_script_elsewhere(project, tmp_path):
    decoy(tmp_path / "elsewhere" / project.name)
    path = f"{tmp_path / 'elsewhere'}:{tmp_path}"
    for start in ([], ["sh"], ["bash"]):
        done = called(project, *start, f"{project.name}/run.sh", "vanilla_pretrain", cwd=project.parent, CDPATH=path)
        assert done.returncode == 0 and calls_of(project)[0][1] == str(project.resolve()), done.stderr
        assert done.stdout.startswith("some line"), "cd prints where CDPATH has sent it"
        done = called(project, *start, f"{project.name}/collect_submission.sh", cwd=project.parent, CDPATH=path)
        assert "vanilla.model.params: missing" in done.stderr
    assert (tmp_path / "elsewhere" / project.name / "assignment5.zip").read_text() == "stays"


def test_a_script_is_found_on_the_path(project, tmp_path):
    path = os.pathsep.join([str(project), environment_of(project)["PATH"]])
    for command in (["run.sh"], ["bash", "run.sh"]):
        done = called(project, *command, "vanilla_pretrain", cwd=tmp_path, PATH=path)
        assert done.returncode == 0 and calls_of(project)[0][1] == str(project.resolve()), done.stderr


# ------------------------------------------------------------------------------------------------------- data files


def files_taken(project: Path, done) -> list[Path]:
    """The four files, from the commands: wiki.txt and the training rows, dev and test questions."""
    pretrain, finetune, *evaluations = done.calls
    rows = [finetune[finetune.index("--finetune_corpus_path") + 1]]
    rows += [call[call.index("--eval_corpus_path") + 1] for call in evaluations]
    return [(project / name).resolve() for name in (pretrain[2], *rows)]


STAGES = [f"vanilla_{name}" for name in ("pretrain", "finetune_with_pretrain")]
STAGES += [f"vanilla_eval_{part}_with_pretrain" for part in ("dev", "test")]


@pytest.mark.parametrize(
    "caller, beside",
    [
        ("project", DATA),
        ("project", ("wiki.txt",)),
        ("elsewhere", ()),
        ("elsewhere", ("birth_dev.tsv", "birth_test_inputs.tsv")),
    ],
)
def test_data_files_are_found_where_run_py_finds_them(project, tmp_path, monkeypatch, beside, caller):
    """`cp course-data/* . && ./run.sh vanilla_pretrain` trained on the people of data/, who are made up."""
    folder = project if caller == "project" else tmp_path / "else where"
    folder.mkdir(exist_ok=True)
    for name in beside:
        shutil.copy(project / "data" / name, folder)
    done = called(project, project / "run.sh", *STAGES, cwd=folder)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(folder)
    monkeypatch.setattr(dataset, "DATA_FOLDER", project / "data")
    assert files_taken(project, done) == [dataset.find_file(name).resolve() for name in DATA]
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("run.sh: data: ")]
    named = [(project / name).resolve() for name in told.removeprefix("run.sh: data: ").split(", ")]
    assert named == files_taken(project, done), "it prints what it takes"
    assert ("warning" in done.stderr) == (0 < len(beside) < 4), "files of two folders"


def test_files_beside_the_script_are_taken_from_any_folder(project, tmp_path):
    make_data(project)
    done = called(project, project / "run.sh", *STAGES, cwd=tmp_path)
    assert files_taken(project, done) == [(project / name).resolve() for name in DATA]


@pytest.mark.parametrize("given", ["../my  course", "/"])
def test_data_dir_wins(project, tmp_path, given):
    """Over files beside the script and in the caller's folder; a relative one is the caller's, also if it is a link."""
    make_data(project)
    make_data(tmp_path / "caller")
    make_data(tmp_path / "real")
    (tmp_path / "my  course").symlink_to("real")
    folder = given if given != "/" else str(tmp_path / "my  course")
    options = dict(cwd=tmp_path / "caller", DATA_DIR=folder)
    done = called(project, project / "run.sh", *STAGES, **options)
    assert files_taken(project, done) == [(tmp_path / "real" / name).resolve() for name in DATA]
    (tmp_path / "real" / "birth_dev.tsv").unlink()
    done = called(project, project / "run.sh", STAGES[2], **options)
    assert "my  course/birth_dev.tsv" in " ".join(done.calls[0]), "no other file is taken in its place"
    done = called(project, project / "run.sh", "full", **options)
    assert done.returncode == 2 and "my  course/birth_dev.tsv: no such file" in done.stderr and not done.calls


def test_quick_has_data_of_its_own(project):
    make_data(project)
    done = called(project, "./run.sh", "quick")
    assert done.returncode == 0 and all("data/quick/wiki.txt" in call for call in done.calls), done.stderr
    done = called(project, "./run.sh", "quick", DATA_DIR=".")
    assert len(done.calls) == 8 and all(f"{project}/./wiki.txt" in call for call in done.calls)


# -------------------------------------------------------------------------------------------------- failures, signals


@pytest.mark.parametrize("fails, count", [("pretrain vanilla", 1), ("finetune vanilla", 2), ("evaluate vanilla", 3)])
def test_a_stage_that_fails_ends_the_script_with_its_status(project, fails, count):
    done = called(project, "./run.sh", *STAGES, FAILS=fails)
    assert (done.returncode, len(done.calls)) == (7, count)
    assert not list(project.glob(".score*"))


def test_the_table_comes_before_the_report_and_survives_it(project):
    done = called(project, "./run.sh", "full", FAILS="report ")
    assert done.returncode == 2 and done.stdout.count("vanilla, with") == 2
    assert done.stderr.splitlines()[-1].startswith("run.sh: there is no report")


def started(project: Path, *words: str, **environment: str) -> subprocess.Popen:
    """run.sh, once its command that lasts runs. It is the first of a group, as a job of a shell is."""
    running = subprocess.Popen(
        ["./run.sh", *words],
        cwd=project,
        env=environment_of(project, **environment),
        process_group=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: any(environment["LASTS"] in " ".join(call[2:]) for call in calls_of(project)))
    time.sleep(0.2)
    return running


def wait_for(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "this does not happen"
        time.sleep(0.02)


def signals_of(project: Path) -> list[str]:
    return (project / "calls.signals").read_text().split("\n")[:-1]


@pytest.mark.parametrize(
    "name, to_group, lasts",
    [
        ("SIGTERM", False, "pretrain vanilla"),
        ("SIGTERM", True, "evaluate vanilla"),
        ("SIGINT", True, "pretrain vanilla"),
        ("SIGINT", False, "evaluate vanilla"),
        ("SIGHUP", False, "pretrain vanilla"),
        ("SIGHUP", True, "evaluate vanilla"),
        ("SIGQUIT", True, "pretrain vanilla"),
        ("SIGQUIT", False, "evaluate vanilla"),
    ],
)
def test_a_signal_reaches_the_command_and_ends_the_script(project, name, to_group, lasts):
    """`timeout` signals the script and its group."""
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as under nohup, and bash cannot change that")
    running = started(project, *STAGES, LASTS=lasts)
    if to_group:
        os.killpg(running.pid, number)
    running.send_signal(number)
    output, _ = running.communicate(timeout=60)
    # While Python shuts down a signal has its default effect again. A shell sees the same status.
    assert running.returncode in (128 + number, -number), output
    assert lasts in " ".join(calls_of(project)[-1][2:]), "no further stage"
    # Training has no handler for SIGQUIT, and takes it as the other requests to stop.
    reached = signal.SIGTERM if (name, lasts) == ("SIGQUIT", "pretrain vanilla") else number
    assert signals_of(project) == [str(int(reached))]


def test_all_stages_run_in_the_process_that_was_started(project):
    """So whatever kills it leaves nothing behind that trains on."""
    running = started(project, *STAGES, LASTS="evaluate vanilla")
    assert {pid for pid, *_ in calls_of(project)} == {running.pid}
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    assert not children.exists() or children.read_text() == ""
    running.kill()
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL and len(calls_of(project)) == 3


def test_ctrl_c_in_a_terminal_stops_training_and_the_script(project):
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        os.execve("run.sh", ["./run.sh", *STAGES], environment_of(project, LASTS="pretrain"))
    wait_for(lambda: calls_of(project))
    time.sleep(0.2)
    os.write(terminal, b"\x03")
    with suppress(OSError):  # Linux reports the end as an error
        while os.read(terminal, 4096):
            pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert len(calls_of(project)) == 1 and calls_of(project)[0][0] == pid and signals_of(project) == ["2"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the states of processes in /proc")
def test_ctrl_z_pauses_training_and_fg_goes_on(project):
    def state(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    running = started(project, "vanilla_pretrain", LASTS="pretrain")
    for _ in range(2):
        os.killpg(running.pid, signal.SIGTSTP)
        wait_for(lambda: state(running.pid) == "T")
        os.killpg(running.pid, signal.SIGCONT)
        wait_for(lambda: state(running.pid) != "T")
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 143 and signals_of(project) == ["15"]


def test_a_display_that_is_gone_stops_no_stage(project):
    """Its reader leaves at once, stderr is closed, both are; and no file takes the place of what is closed."""
    for display in ("2>&1 | true", "2>&-", ">&- 2>&-"):
        done = called(project, "bash", "-c", f"./run.sh full {display}")
        assert len(done.calls) == 8 and done.calls[-1][0] == "report", (display, done.stderr)


def test_a_signal_leaves_a_checkpoint_and_no_lock(folder):
    """The real trainer."""
    for name in ("birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        shutil.copy("train.tsv", name)
    sizes = ["--n_layer", "1", "--n_head", "1", "--n_embd", "8", "--device", "cpu", "--max_epochs"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = dict(
        env={**os.environ, "PATH": path, "OUT_DIR": "out"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    command = [ROOT / "run.sh", "vanilla_pretrain", "vanilla_finetune_with_pretrain", *sizes, "100000"]
    running = subprocess.Popen([*command, "--checkpoint_every", "0.01"], **options, start_new_session=True)
    checkpoint = folder / "out" / "vanilla.pretrain.params.resume"
    wait_for(checkpoint.exists)
    os.killpg(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 130 and b"stopped after step" in told and b"finetune" not in told, told
    assert not list((folder / "out").glob(".*.lock")), "a lock would forbid --resume"


# ------------------------------------------------------------------------------------------------------- environments

STRANGE = {
    "functions and aliases of BASH_ENV": {"BASH_ENV": "strange.sh", "ENV": "strange.sh"},
    "exported functions": {
        f"BASH_FUNC_{name}%%": "() { echo strange; exit 9; }" for name in ("cd", "printf", "python3")
    },
    "options of the shell": {"SHELLOPTS": "noglob:noclobber:posix", "BASHOPTS": "failglob:nocaseglob"},
    "options of grep": {"GREP_OPTIONS": "--invert-match", "GREP_COLORS": "x", "POSIXLY_CORRECT": "1"},
    "IFS": {"IFS": "/aeiou_ "},
    "GLOBIGNORE": {"GLOBIGNORE": "*"},
    "locale C": {"LC_ALL": "C", "LANG": "C"},
    "a locale that does not exist": {"LC_ALL": "xx_YY.nothing"},
    "no locale": {"LC_ALL": "", "LANG": "", "LC_CTYPE": ""},
    "temporary files have no folder": {"TMPDIR": "/nonexistent"},
    "PYTHONHOME": {"PYTHONHOME": "/nonexistent"},
    "PYTHONSAFEPATH": {"PYTHONSAFEPATH": "1"},
    "MPLBACKEND of a notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
}


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """A project, and what its scripts do in a usual environment."""
    project = make_project(tmp_path_factory.mktemp("usual"))
    return project, both_scripts(project)


def both_scripts(project: Path, **environment: str):
    stages = called(project, "./run.sh", "vanilla_pretrain", "rope_eval_test_with_pretrain", **environment)
    return stages, called(project, "./collect_submission.sh", **environment)


@pytest.mark.parametrize("name", STRANGE)
def test_the_same_commands_follow_in_a_strange_environment(usual, name):
    project, (plain, plain_zip) = usual
    hostile = "shopt -s expand_aliases; alias cd=false grep=false; cd() { exit 9; }; IFS=a; set -f; CDPATH=/"
    (project / "strange.sh").write_text(hostile)
    strange, strange_zip = both_scripts(project, **STRANGE[name])
    assert strange.returncode == 0, strange.stderr
    assert len(plain.calls) == 2 and strange.calls == plain.calls and strange.stdout == plain.stdout
    lines = [line for line in strange_zip.stderr.splitlines() if "setlocale" not in line]
    assert (strange_zip.returncode, lines) == (2, plain_zip.stderr.splitlines())


def wheel(folder: Path, name: str, version: str = "99.0") -> None:
    """A package that holds one empty module."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"__version__ = '{version}'\nndarray = dtype = None\n")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        rows = [
            [f"{name}/__init__.py", "", ""],
            *[[f"{about}/{part}", "", ""] for part in ("METADATA", "WHEEL", "RECORD")],
        ]
        with archive.open(f"{about}/RECORD", "w") as record:
            record.write("\n".join(map(",".join, rows)).encode())


@pytest.fixture
def bare(project, tmp_path) -> dict[str, str]:
    """The environment of a machine whose Python has no packages. pip takes them from a folder."""
    (tmp_path / "wheels").mkdir()
    for name in PACKAGES:
        wheel(tmp_path / "wheels", name)
    (project / "requirements.txt").write_text("\n".join(f"{name}==99.0" for name in PACKAGES))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    pip = dict(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path / "wheels"), PIP_CONFIG_FILE=os.devnull)
    return dict(PATH=f"{tmp_path / 'bare' / 'bin'}:/usr/bin:/bin", PYTHONPATH="", HOME=str(tmp_path), **pip)


# Does as pip does: what its own records call installed stays as it is, except with --ignore-installed.
PIP = """
import os, sys, zipfile
from pathlib import Path

site, given = Path(__file__).parent.parent, Path(os.environ["PIP_FIND_LINKS"])
for line in Path(sys.argv[-1]).read_text().split() if "install" in sys.argv else []:
    name, _, version = line.partition("==")
    (wheel,) = given.glob(f"{name}-{version or '*'}-py3-none-any.whl")
    about = site / f"{wheel.name.rsplit('-', 3)[0]}.dist-info"
    if about.exists() and "--ignore-installed" not in sys.argv:
        continue
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        sizes = [f"{path},,{(site / path).stat().st_size}" for path in archive.namelist() if "dist-info" not in path]
    (about / "RECORD").write_text("\\n".join(sizes))
"""


@pytest.fixture(scope="module")
def venv_with_pip(tmp_path_factory) -> Path:
    """A virtual environment whose pip takes no seconds to start."""
    folder = tmp_path_factory.mktemp("venv") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "pip").mkdir()
    (site / "pip" / "__init__.py").touch()
    (site / "pip" / "__main__.py").write_text(PIP)
    return folder


def test_packages_go_into_venv_whatever_pip_and_python_are_told(project, tmp_path, bare):
    """There is a .venv of a Python that is gone, which is put aside."""
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "notes.txt").write_text("mine")
    (project / ".venv" / "bin" / "python").symlink_to("/nonexistent/python3.9")
    other = tmp_path / "of another Python"
    for name in ("torch", "random"):
        (other / name).mkdir(parents=True)
    (other / "torch" / "__init__.py").write_text("raise ImportError('compiled for another Python')")
    strange = dict(PIP_USER="1", PIP_TARGET=str(tmp_path / "target"), PIP_PREFIX=str(tmp_path / "prefix"))
    strange |= dict(PYTHONHOME="/nonexistent", PYTHONPATH=str(other))
    done = called(project, "./run.sh", "vanilla_pretrain", **{**bare, **strange})
    assert done.returncode == 0 and len(done.calls) == 1, done.stderr
    assert list(project.glob(".venv/lib/python*/site-packages/torch/__init__.py"))
    assert not (tmp_path / "target").exists() and not (tmp_path / "prefix").exists()
    assert "PYTHONPATH" in done.stderr and "pip install" in done.stderr
    (aside,) = project.glob(".venv.*")
    assert (aside / "notes.txt").read_text() == "mine" and aside.name in done.stderr
    moved = project.with_name("moved")
    project.rename(moved)
    for path in (moved, project):
        with suppress(FileNotFoundError):
            (path / "calls").unlink()
    done = called(moved, "./run.sh", "vanilla_pretrain", **bare)
    assert done.returncode == 0 and len(done.calls) == 1 and "pip install" not in done.stderr, "it works where it is"


def test_an_incomplete_installation_is_repaired(project, bare, venv_with_pip):
    """pip was killed, or files are lost. pip alone believes its own records, or cannot remove what has none."""
    shutil.copytree(venv_with_pip, project / ".venv", symlinks=True)
    assert called(project, "./run.sh", "vanilla_pretrain", **bare).returncode == 0
    (package,) = project.glob(".venv/lib/python*/site-packages/torch")
    module = package / "__init__.py"
    losses = {
        "the module": module.unlink,
        "the package, and the record": lambda: (
            shutil.rmtree(package) or next(package.parent.glob("torch-*.dist-info/RECORD")).unlink()
        ),
        "half of a file": lambda: module.write_text("__version__ = '99"),
        "an old version instead": lambda: module.write_text("__version__ = '2.4.1+cpu'"),
    }
    for loss, lose in losses.items():
        lose()
        shutil.rmtree(package / "__pycache__", ignore_errors=True)
        done = called(project, "./run.sh", "vanilla_pretrain", **bare)
        assert done.returncode == 0 and len(done.calls) == 1, (loss, done.stderr)
        assert "--ignore-installed" in done.stderr and "99.0" in module.read_text(), loss
    assert "pip" not in called(project, "./run.sh", "vanilla_pretrain", **bare).stderr


def test_an_installation_that_stays_incomplete_is_an_error(project, tmp_path, bare, venv_with_pip):
    shutil.copytree(venv_with_pip, project / ".venv", symlinks=True)
    wheel(tmp_path / "wheels", "torch", "2.4.0")
    (project / "requirements.txt").write_text("torch==2.4.0\nnumpy\ntqdm\nmatplotlib\n")
    done = called(project, "./run.sh", "vanilla_pretrain", **bare)
    assert done.returncode == 2 and "delete .venv" in done.stderr and not done.calls


def test_a_venv_of_an_older_python_is_put_aside(project, bare, venv_with_pip):
    """It has pip, and refuses what needs a newer Python. The new one is as `python -m venv` would make it."""
    program = project / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\ncase "$*" in *--version*) exit 0 ;; esac\nexit 1\n')
    program.chmod(0o755)
    path = Path(bare["PATH"].split(os.pathsep)[0])
    real = os.readlink(path / "python3")
    (path / "python3").unlink()
    make = f'[ "$1 $2" != "-m venv" ] || exec cp -a "{venv_with_pip}" "$3"'
    (path / "python3").write_text(f'#!/bin/sh\n{make}\nexec "{path / "python"}" "$@"\n')
    (path / "python3").chmod(0o755)
    done = called(project, "./run.sh", "vanilla_pretrain", **bare)
    assert done.returncode == 0 and len(done.calls) == 1, (done.stderr, real)
    (aside,) = project.glob(".venv.*")
    assert aside.name in done.stderr and (aside / "bin" / "python").is_file()


def test_a_stop_during_an_installation_stops(project, tmp_path, bare, venv_with_pip):
    """pip waits for a package that never comes, until the signal."""
    shutil.copytree(venv_with_pip, project / ".venv", symlinks=True)
    os.mkfifo(tmp_path / "wheels" / "torch-99.1-py3-none-any.whl")
    (project / "requirements.txt").write_text("torch==99.1\n")
    running = subprocess.Popen(
        ["./run.sh", "vanilla_pretrain"], cwd=project, env=environment_of(project, **bare), stderr=subprocess.PIPE
    )
    line = b""
    while b"pip install" not in line:
        line = running.stderr.readline()
        assert line, "run.sh has ended"
    time.sleep(0.3)
    running.terminate()
    running.communicate(timeout=30)
    assert running.returncode == 143 and not calls_of(project)


# ----------------------------------------------------------------------------------------------- collect_submission.sh


@pytest.fixture
def complete(project) -> Path:
    """A project with all that is handed in: one dev question and one test question."""
    for params, kind in [("model", "nopretrain"), ("finetune", "pretrain")]:
        (project / f"vanilla.{params}.params").write_text(params)
        digest = subprocess.run(["sha256sum"], input=params, capture_output=True, text=True).stdout.split()[0]
        for part in ("dev", "test"):
            path = project / f"vanilla.{kind}.{part}.predictions"
            path.write_text("Oslo\n")
            path.with_name(f"{path.name}.json").write_text(json.dumps({"sha256": digest}))
    (project / "src" / "trust").mkdir()
    (project / "src" / "trust" / "report.js").write_text("//")
    return project


def test_the_questions_to_hand_in_are_those_of_run_sh(complete, tmp_path):
    """They are counted in the caller's folder, beside the script, in data/, or where a relative DATA_DIR says."""
    three = "Where was A born?\r\rWhere was B born?\r \u3000\rWhere was C born?"  # blank lines are no questions

    def count(cwd: Path, **environment: str) -> int:
        done = called(complete, complete / "collect_submission.sh", cwd=cwd, **environment)
        if done.returncode == 0:
            return 1
        return int(re.search(r"pretrain.dev.predictions: 1 lines instead of (\d+)", done.stderr)[1])

    caller = tmp_path / "caller"
    make_data(caller / "sub folder")
    assert count(caller) == count(complete) == 1
    (caller / "sub folder" / "birth_dev.tsv").write_text(three, encoding="utf-8")
    assert (count(caller), count(caller, DATA_DIR="sub folder")) == (1, 3)
    assert count(caller / "sub folder") == 3, "the caller's own"
    make_data(complete)
    assert count(caller) == 1
    (complete / "birth_dev.tsv").write_text("A?\nB?\n")
    assert (count(caller), count(complete), count(caller / "sub folder")) == (2, 2, 3)


def test_predictions_for_other_questions_of_the_same_number_are_refused(complete):
    path = complete / "vanilla.pretrain.dev.predictions.json"
    record = json.loads(path.read_text())
    digest = subprocess.run(["sha256sum", complete / "data" / "birth_dev.tsv"], capture_output=True, text=True).stdout
    path.write_text(json.dumps({**record, "questions_sha256": digest.split()[0]}))
    assert called(complete, "./collect_submission.sh").returncode == 0
    (complete / "data" / "birth_dev.tsv").write_text("Where was Eve born?\tRome\n")
    done = called(complete, "./collect_submission.sh")
    assert done.returncode == 2 and "vanilla.pretrain.dev.predictions: answers to other questions" in done.stderr


@pytest.mark.parametrize("record", ["[1]", "{", "null", "[" * 100_000, '{"sha256": 3}'])
def test_a_strange_record_is_a_fault_and_no_traceback(complete, record):
    (complete / "vanilla.pretrain.dev.predictions.json").write_text(record)
    done = called(complete, "./collect_submission.sh")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "vanilla.pretrain.dev.predictions: was not made with vanilla.finetune.params" in done.stderr


def test_a_python_that_does_not_start_is_passed_over(complete):
    (complete / ".venv" / "bin").mkdir(parents=True)
    (complete / ".venv" / "bin" / "python").write_text("#!/nonexistent/python3.9\n")
    (complete / ".venv" / "bin" / "python").chmod(0o755)
    done = called(complete, "./collect_submission.sh", PYTHONHOME="/nonexistent", PYTHONPATH="/nonexistent")
    assert done.returncode == 0 and (complete / "assignment5.zip").exists(), done.stderr


def test_the_accuracy_of_london_is_handed_in_if_it_is_there(complete):
    assert called(complete, "sh", "collect_submission.sh").returncode == 0
    assert "london_baseline_accuracy.txt" not in zipfile.ZipFile(complete / "assignment5.zip").namelist()
    (complete / "london_baseline_accuracy.txt").write_text("5.0\n")
    assert called(complete, "./collect_submission.sh").returncode == 0
    assert {"london_baseline_accuracy.txt", "london_baseline.py"} <= set(
        zipfile.ZipFile(complete / "assignment5.zip").namelist()
    )


# -------------------------------------------------------------------------------------------------- london_baseline.py


@pytest.fixture
def london(tmp_path, monkeypatch, capsys):
    """A function that runs london_baseline.py in `tmp_path`: (exit status, stdout, stderr)."""
    about = importlib.util.spec_from_file_location("london_baseline", ROOT / "london_baseline.py")
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return lambda *words: (module.main(list(words)), *capsys.readouterr())


def test_the_london_baseline_needs_no_argument(london, tmp_path):
    with open(ROOT / "data" / "birth_dev.tsv", encoding="utf-8", newline="") as file:
        places = [row[1] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    expected = f"Correct: {places.count('London')} out of {len(places)}: {places.count('London') / len(places):.1%}\n"
    status, told, notes = london()
    assert (status, told) == (0, expected)
    assert str(ROOT / "data" / "birth_dev.tsv") in notes, "it says which file it took"
    assert python(ROOT / "src" / "london_baseline.py", cwd=tmp_path).stdout == expected


def test_the_accuracy_of_london_is_written_as_a_line(london, tmp_path):
    (tmp_path / "birth_dev.tsv").write_text("A?\tLondon\nB?\tOslo\nC?\tLondons\nD?\tlondon\n")
    assert london("--outputs_path", "acc uracy.txt")[:2] == (0, "Correct: 1 out of 4: 25.0%\n")
    assert (tmp_path / "acc uracy.txt").read_text() == "25.0\n"


def test_the_accuracy_of_london_overwrites_no_questions_and_needs_answers(london, tmp_path):
    (tmp_path / "birth_dev.tsv").write_text("A?\tLondon\n")
    assert london("--outputs_path", "./birth_dev.tsv")[0] == 2
    assert (tmp_path / "birth_dev.tsv").read_text() == "A?\tLondon\n"
    (tmp_path / "birth_dev.tsv").write_text("A?\n")
    status, _, notes = london("--outputs_path", "accuracy.txt")
    assert status == 2 and "no answers" in notes and not (tmp_path / "accuracy.txt").exists()
    assert london()[:2] == (0, "no targets provided\n")
