"""The student's code, called from the grader's process: a process with limits, and stand-ins for what is called.

Under `stand_ins` the functions that a student writes are replaced by calls of the student's own. So the tests of the
course run here, unchanged and out of reach, against code that runs elsewhere.
"""

import ast
import builtins
import contextlib
import functools
import importlib
import json
import os
import queue
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import MEGABYTES, PARTS, Part
from student import FORKS, packed, unpacked

HERE = Path(__file__).resolve().parent
LONGEST_LINE = 2**26  # characters of one answer
STARTING = 120  # seconds for Python and torch to be loaded
DRAWN_AT_ONCE = 100  # examples of span corruption
UNPRIVILEGED = 61_224  # users that own nothing have numbers from here on


class StudentError(Exception):
    """The student's code failed; the message is for its author. It is also of the kind of Python's own error."""


class LostError(StudentError):
    """The process of the student's code is gone or says nothing sensible: the rest of the part cannot be tested."""


class UnreadableError(LostError):
    """A line that no program of ours wrote."""


class Launcher:
    """Starts processes for the student's code. On Linux one process forks all of them, after importing torch."""

    def __init__(self, preload: Path | None = None):
        self.preload = preload
        self.process: Any = None
        self.lines: queue.Queue[str] = queue.Queue()
        self.user = unprivileged() if can_become_another_user() else 0

    def open(self, folder: Path, own_edition: bool, support: Path, seconds: int) -> "Student":
        if self.process is None or self.process.poll() is not None or not FORKS:
            self.start()
        token = secrets.token_hex(8)  # what earlier sessions left in the pipe does not have it
        settings = {
            "token": token,
            "folder": str(folder),
            "own_edition": own_edition,
            "support": str(support),
            "seconds": seconds,
            "megabytes": MEGABYTES * (2 if self.preload else 1),
            "user": self.user,
            "preload": str(self.preload or ""),
        }
        self.send(settings)
        return Student(self, seconds, self.find("pid", token, STARTING), token, own_edition)

    def find(self, name: str, token: str, seconds: float) -> int:
        """The entry `name` of the line with this token; what stands before it is dropped."""
        ends = time.monotonic() + seconds
        while True:
            with contextlib.suppress(UnreadableError):
                message = self.receive(ends - time.monotonic())
                if message.get("token") == token and name in message:
                    return message[name]

    def start(self) -> None:
        self.close()
        # The locale of a bare container: who opens a file without naming its encoding finds out here.
        environment = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HOME": tempfile.gettempdir()}
        kept = ("SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")  # what Windows and some installations cannot do without
        environment |= {name: os.environ[name] for name in kept if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "student.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
            env=environment,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=read_lines, args=(self.process.stdout, self.lines), daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (OSError, ValueError):
            raise LostError("the program was ended") from None

    def receive(self, seconds: float) -> dict[str, Any]:
        try:
            message = json.loads(self.lines.get(timeout=max(0.0, seconds)))
        except queue.Empty:
            raise TimeoutError from None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            if self.process is None or self.process.poll() is not None:
                raise LostError("the program was ended") from None
            raise UnreadableError("not a line of the program")
        return message

    def close(self) -> None:
        """End every process that was started here, and what these started, as far as the system knows them."""
        if self.process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL) if os.name == "posix" else self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process = None
        end_processes_of(self.user)


def read_lines(stream: Any, lines: queue.Queue) -> None:
    """Put each line of `stream` into the queue; an empty one at its end."""
    with contextlib.suppress(OSError, ValueError):
        while (line := stream.readline(LONGEST_LINE)).endswith("\n"):
            lines.put(line)
        stream.close()
    lines.put("")


def can_become_another_user() -> bool:
    """Is this root, and can others read the Python that runs here?"""
    if os.name != "posix" or os.geteuid() != 0:
        return False
    paths = {Path(entry).resolve() for entry in (sys.executable, os.__file__, pytest.__file__)}
    folders = {folder for path in paths for folder in path.parents}
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def unprivileged() -> int:
    """A user for this grader alone: what one grader ends must not be what another has started."""
    return UNPRIVILEGED + os.getpid() % 4096


def end_processes_of(user: int) -> None:
    """Kill what a user's processes have left behind, also under another session."""
    if not user or not Path("/proc").is_dir():
        return
    for _ in range(20):  # one may start another meanwhile
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == user and b"State:\tZ" not in (entry / "status").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
                    found.append(entry)
        if not found:
            return


class Student:
    """One session: the student's code for one part."""

    def __init__(self, launcher: Launcher, seconds: int, pid: int, token: str, own_edition: bool):
        self.launcher, self.seconds, self.pid, self.token = launcher, seconds, pid, token
        self.own_edition = own_edition
        self.ends = time.monotonic() + seconds
        self.lost: LostError | None = None

    def ask(self, name: str, /, **fields: Any) -> Any:
        """What a call returns. Raises StudentError, also of the kind of error that the code raised."""
        if self.lost:
            raise self.lost
        reply: dict[str, Any] = {}
        try:
            self.launcher.send({"call": name, "with": packed(fields)})
            reply = self.launcher.receive(self.ends - time.monotonic())
            if "error" not in reply:
                return unpacked(reply["result"])
        except TimeoutError:
            self.lose(f"the code of this part did not end within {self.seconds} seconds")
        except (LostError, LookupError, TypeError, ValueError, OverflowError, RuntimeError):
            self.lose("the code ended the program, or used more memory or processor time than it may")
        kind = getattr(builtins, str(reply.get("kind")), None)
        bases: tuple[type, ...] = (StudentError,)
        if isinstance(kind, type) and issubclass(
            kind, (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
        ):
            bases += (kind,)
        raise type("StudentError", bases, {})(str(reply["error"])[:2000])

    def lose(self, reason: str) -> None:
        self.stop()
        self.lost = LostError(reason)
        raise self.lost

    def stop(self) -> None:
        """End the session's processes. The process that forked them goes on if it says that they are gone."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(LostError, TimeoutError):
                self.launcher.find("ended", self.token, 5)
                return end_processes_of(self.launcher.user)
        self.launcher.close()

    def end(self) -> None:
        if not self.lost:
            with contextlib.suppress(LostError, TimeoutError):
                self.launcher.send({"call": "end"})
                self.launcher.find("ended", self.token, 5)
                return end_processes_of(self.launcher.user)
            self.stop()


# ---------------------------------------------------------------------------------------------------- stand-ins


class Desk:
    """Where stand-ins find the student whose turn it is."""

    student: Any = None
    ours = False  # use our own functions instead


desk = Desk()


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """For a test that compares: here the functions that students write are ours."""
    desk.ours = True
    try:
        yield
    finally:
        desk.ours = False


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Replace each function of the list of parts by the student's."""
    undo: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, new: Any) -> None:
        undo.append((owner, name, vars(owner).get(name)))
        setattr(owner, name, new)

    try:
        for gap in [gap for part in PARTS.values() for gap in part.gaps if gap.path.startswith("src/")]:
            module = importlib.import_module(Path(gap.path).stem)
            cls, _, name = gap.function.rpartition(".")
            if not cls:
                old = getattr(module, name)
                users = [module, *[sys.modules[user] for user in ("model", "attention") if user in sys.modules]]
                for user in [user for user in users if vars(user).get(name) is old]:
                    replace(user, name, function_call(module.__name__, name, old))
                continue
            owner = getattr(module, cls)
            if name == "batch":
                replace(owner, "__getitem__", draw(owner.__getitem__))
                continue
            replace(owner, "__init__", remembering(owner.__init__))
            for method in {name, "forward"}:  # attend: older editions have only a forward
                replace(owner, method, layer_call(module.__name__, cls, method, getattr(owner, method)))
        yield
    finally:
        for entry in reversed(undo):
            put_back(*entry)


def put_back(owner: Any, name: str, value: Any) -> None:
    if value is None:
        delattr(owner, name)  # it was inherited
    else:
        setattr(owner, name, value)


def remembering(init: Any) -> Any:
    """__init__ that keeps the settings which another process needs to make the same module."""

    @functools.wraps(init)
    def new(self: Any, config: Any, *rest: Any) -> None:
        init(self, config, *rest)
        object.__setattr__(self, "made_of", {name: getattr(config, name) for name in vars(config)})

    return new


def layer_call(module: str, cls: str, name: str, original: Any) -> Any:
    def method(self: Any, *args: Any, **layouts: Any) -> Any:
        if desk.ours:
            return original(self, *args, **layouts)
        tensors = [arg for arg in args if hasattr(arg, "dtype") or arg is None]  # no layouts: whole rows
        state = self.state_dict()
        dtype = str(tensors[0].dtype).removeprefix("torch.")
        fields = dict(module=module, cls=cls, fields=self.made_of, state=state, name=name, args=tensors, dtype=dtype)
        result = desk.student.ask("method", **fields)
        if isinstance(result, dict):
            pytest.skip(str(result.get("unsupported")))
        return result

    return method


def function_call(module: str, name: str, original: Any) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        if desk.ours:
            return original(*args, **kwargs)
        return desk.student.ask("call", module=module, name=name, args=list(args), kwargs=kwargs)

    return function


def draw(original: Any) -> Any:
    """`__getitem__` that gives the next of the student's examples of one document; they are fetched by the hundred."""

    def method(self: Any, index: int) -> Any:
        if desk.ours:
            return original(self, index)
        ready = self.__dict__.setdefault("drawn", {}).setdefault(index, [])
        if not ready:
            text = "".join(f"{document}\n" for document in self.data)
            settings = {"third_mask": True} if self.third_mask else {}
            fields = dict(text=text, block_size=self.block_size, settings=settings, index=index, count=DRAWN_AT_ONCE)
            x, y = desk.student.ask("rows", **fields)
            ready.extend(zip(x, y, strict=True))
        return ready.pop()

    return method


def gaps_left(source: str, part: Part, path: str) -> list[str]:
    """The functions of a part that still raise NotImplementedError in the source of one file."""
    tree = ast.parse(source)
    found = []
    for gap in [gap for gap in part.gaps if gap.path == path]:
        cls, _, name = gap.function.replace(".batch", ".__getitem__").rpartition(".")
        owners = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls] if cls else [tree]
        functions = [node for owner in owners for node in owner.body if isinstance(node, ast.FunctionDef)]
        for last in [node.body[-1] for node in functions if node.name == name]:
            if isinstance(last, ast.Raise) and isinstance(last.exc, ast.Call) and last.exc.args:
                if ast.unparse(last.exc.func) == "NotImplementedError":
                    found.append(ast.unparse(last.exc.args[0]).strip("'\""))
    return found
