"""The process in which a student's code runs for the grader: it computes values, and reaches nothing else."""

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
autograder, calling, grading, make, parts, student = (
    importlib.import_module(name) for name in ("autograder", "calling", "grading", "make", "parts", "student")
)


@pytest.mark.parametrize("value", [1, None, "é", [1.5, True], {"a": {"b": [1]}}, float("inf")])
def test_values_survive_the_pipe(value):
    assert student.unpacked(json.loads(json.dumps(student.packed(value)))) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.half, torch.bfloat16, torch.long, torch.bool, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3), (1, 0, 4)])
def test_tensors_survive_the_pipe(dtype, shape):
    tensor = torch.ones(shape).to(dtype)
    again = student.unpacked(json.loads(json.dumps(student.packed(tensor))))
    assert again.dtype == dtype and again.shape == tensor.shape and torch.equal(again, tensor)


CODE = """
import os, sys, time, torch

def double(x): return 2 * x
def leave(x): os._exit(0)
def quit(x): sys.exit(0)
def wrong(x): return x.nothing
def hang(x):
    while True: pass
def hog(x): return [torch.ones(2**24) for _ in range(100)][0]
def bomb(x):
    for _ in range(6): os.fork()  # 64 processes
    time.sleep(60)
def forge(x):
    for n in range(3, 20):
        try: os.write(n, b'{"result": true}\\n{"pid": 1}\\n[1, 2]\\nnot json\\n')
        except OSError: pass
    return x
def copy(x):
    os.fork()
    return x
def stay(x):
    if os.fork() == 0:
        os.setsid()
        open("stays", "w").write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    return x
def read(x): return sorted(open(SECRET).read())
def look(x): return [*os.environ.values(), *sys.argv]
def unwritten(x): raise NotImplementedError("part g (rope): write it")
"""


@pytest.fixture(scope="module")
def launcher():
    launcher = calling.Launcher()
    launcher.user = calling.unprivileged() if os.name == "posix" and os.geteuid() == 0 else 0
    yield launcher
    launcher.close()


@pytest.fixture
def session(launcher):
    """A session of CODE, with three seconds for everything, as another user if that is possible here."""
    if not calling.FORKS:
        pytest.skip("a process for each session takes seconds")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "src").mkdir()
        secret = Path(tempfile.mkstemp()[1])  # as all that is written by mkstemp, for this user alone
        (folder / "src" / "theirs.py").write_text(CODE.replace("SECRET", repr(str(secret))))
        folder.chmod(0o777)
        found = launcher.open(folder, False, folder, 3)
        found.folder = folder
        yield found
        found.end()
        secret.unlink()


def call(session, name: str):
    return session.ask("call", module="theirs", name=name, args=[torch.ones(2)], kwargs={})


def test_code_computes_and_its_errors_name_the_line(session):
    assert torch.equal(call(session, "double"), torch.full((2,), 2.0))
    with pytest.raises(calling.StudentError, match=r"src/theirs.py, line 7, in wrong: AttributeError: .*nothing"):
        call(session, "wrong")
    with pytest.raises(NotImplementedError, match="^part g .rope.: write it$"):
        call(session, "unwritten")
    with pytest.raises(calling.StudentError, match="SystemExit"):
        call(session, "quit")
    assert torch.equal(call(session, "double"), torch.full((2,), 2.0))


@pytest.mark.parametrize("name, told", [("leave", "ended the program"), ("hang", "within 3 seconds")])
def test_code_that_ends_the_program_or_never_ends_loses_the_rest_of_its_part(session, name, told):
    for asked in (name, "double"):
        with pytest.raises(calling.LostError, match=told):
            call(session, asked)


def test_code_cannot_take_the_memory_of_the_machine(session):
    with pytest.raises(calling.StudentError, match="memory|allocate"):
        call(session, "hog")


def test_what_code_writes_into_the_pipe_is_no_verdict(session):
    """At best it is taken for a value, which the tests then judge; the next session is not touched."""
    try:
        assert isinstance(call(session, "forge"), (bool, torch.Tensor))
    except calling.StudentError:
        pass


def test_copies_of_the_process_do_not_answer_for_the_next_session(session, launcher, monkeypatch):
    """Not even where they run as the grader's own user, so that nothing else ends them."""
    session.end()
    monkeypatch.setattr(launcher, "user", 0)
    for _ in range(3):  # which of the copies reads the end of its session is a matter of chance
        for name, expected in [("copy", torch.ones(2)), ("double", torch.full((2,), 2.0))]:
            following = launcher.open(session.folder, False, session.folder, 3)
            assert torch.equal(call(following, name), expected)
            following.end()


def test_the_environment_holds_nothing_of_the_grader(session, monkeypatch):
    assert not [value for value in call(session, "look") if "gradescope" in value.lower() or "answers" in value]


needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")


@needs_root
def test_code_runs_as_another_user_who_cannot_read_what_is_the_graders(session):
    with pytest.raises(calling.StudentError, match="PermissionError"):
        call(session, "read")


@needs_root
def test_code_cannot_fill_the_machine_with_processes(session):
    with pytest.raises(calling.StudentError):
        call(session, "bomb")


@needs_root
def test_processes_that_code_leaves_behind_are_ended(session):
    call(session, "stay")
    stays, deadline = session.folder / "stays", time.monotonic() + 5
    while not (stays.exists() and stays.read_text()) and time.monotonic() < deadline:  # it is made before it is written
        time.sleep(0.01)
    pid = int(stays.read_text())
    session.end()
    deadline = time.monotonic() + 5  # on a busy machine it takes a moment until a process that was killed is gone
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


# ------------------------------------------------------------------------------------------------ hidden tests


def test_hidden_tests_are_in_no_students_tree_and_there_are_some_for_every_part(tmp_path):
    make.handout("rope", tmp_path / "tree")
    texts = {path.read_text(encoding="utf-8") for path in (tmp_path / "tree").rglob("*.py")}
    hidden = {path.stem: path.read_text(encoding="utf-8") for path in autograder.HIDDEN.glob("*.py")}
    assert set(hidden) == {f"test_{topic}" for topic in (*parts.PARTS, parts.TRAINING)}
    assert not texts & set(hidden.values())


def test_what_code_says_during_a_hidden_test_is_not_shown():
    shown = [grading.message_of(calling.StudentError("the input was 0.123"), hidden) for hidden in (False, True)]
    assert shown == ["the input was 0.123", "a hidden test, with other inputs than the public ones"]
