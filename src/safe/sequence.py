"""Several commands one after the other, in one process: what run.sh hands over. Torch is imported and code is compiled
once, and a signal or a kill of run.sh meets the only process there is.

    python src/safe/sequence.py 4 run python src/run.py ... 3 table "Dev questions:" ...

Each step is a number of words, and the words: a verb and what it is about.

    run COMMAND              print it and run it; if it fails, its exit status is ours, and no further step is done
    score TITLE COMMAND      as run, but only its last line of output is printed; with a TITLE it is a row of the table
    table HEADING            print the rows
    last COMPLAINT COMMAND   as run, with its output on stderr; if it fails, COMPLAINT is printed and the status is 2
    say TEXT                 print it

A command is `python SCRIPT.py ARGUMENT ...`. The script's `main(arguments)` is called, so each can be repeated alone.
"""

import gc
import io
import runpy
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # as for src/run.py

from safe.exits import open_streams, say, unread
from safe.startup import settle_threads

SRC = Path(__file__).resolve().parent.parent
ONE_REQUEST = 1.0  # seconds: a terminal's Ctrl-C, or `timeout`, may reach a program twice


class Asked(KeyboardInterrupt):
    """A signal asked us to stop while no training could take it as a request for a checkpoint."""

    def __init__(self, signum: int):
        super().__init__("stopped")
        self.signum = signum


class Sequence:
    """The steps, by their verbs. Each returns an exit status."""

    def __init__(self) -> None:
        self.rows: list[str] = []  # of the table
        self.began: float | None = None  # when the first `run` behind the next row began
        self.signum, self.asked_at = 0, -ONE_REQUEST  # of the signal that asked to stop

    def run(self, *command: str) -> int:
        self.began = self.began or time.monotonic()
        return self.call(command)

    def score(self, title: str, *command: str) -> int:
        with redirect_stdout(io.StringIO()) as output:
            status = self.call(command)
        if status == 0:
            line = output.getvalue().splitlines()[-1]
            say(line)
            if title:
                seconds = "" if self.began is None else f"{time.monotonic() - self.began:5.0f} s"
                self.rows.append(f"{title:40} {line:36} {seconds}".rstrip())
                self.began = None
        return status

    def table(self, heading: str) -> int:
        say(f"\n{heading}", *self.rows)
        return 0

    def last(self, complaint: str, *command: str) -> int:
        with redirect_stdout(sys.stderr):
            status = self.call(command)
        if status and not self.signum:
            say(f"run.sh: {complaint}", to_stderr=True)
            return 2
        return status

    def say(self, text: str) -> int:
        say(text)
        return 0

    def call(self, command: tuple[str, ...]) -> int:
        """The exit status of `python SCRIPT ARGUMENT ...`, whose main is called as if nothing had run before it."""
        say(f"+ {shlex.join(command)}", to_stderr=True)
        path, modules = list(sys.path), dict(sys.modules)
        with warnings.catch_warnings():  # which also forgets what has been warned of
            try:
                status = runpy.run_path(command[1])["main"](list(command[2:]))
            except SystemExit as left:  # its code is a status, nothing, or a message
                if not isinstance(left.code, int | None):
                    say(str(left.code), to_stderr=True)
                status = left.code if isinstance(left.code, int) else int(left.code is not None)
        sys.path[:] = path
        forget(modules)
        return 128 + self.signum if self.signum else status

    def ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles a signal. Training has handlers of its own, but none for SIGQUIT, which here asks for the same."""
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler) and handler != self.ask_to_stop:
            self.signum = signum
            handler(signal.SIGTERM, frame)
        elif time.monotonic() - self.asked_at >= ONE_REQUEST:
            self.signum, self.asked_at = signum, time.monotonic()
            raise Asked(signum)


def forget(modules: dict[str, Any]) -> None:
    """Let go of what a command leaves behind: a student's modules (--modules), memory, code compiled for its model."""
    for name in [path.stem for path in SRC.glob("*.py")]:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and Path(file).parent != SRC:
            del sys.modules[name]
            sys.modules |= {name: modules[name]} if name in modules else {}
    gc.collect()
    torch: Any = sys.modules.get("torch")
    if "torch._dynamo" in sys.modules:  # it compiles no function for more than a few models, and gives up silently
        torch.compiler.reset()
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def steps_of(words: list[str]) -> Iterator[list[str]]:
    while words:
        count = int(words[0])
        yield words[1 : 1 + count]
        words = words[1 + count :]


def main(words: list[str]) -> int:
    open_streams()
    settle_threads()  # before torch is loaded
    sequence = Sequence()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
        signum = getattr(signal, name, None)  # Windows has not all of them
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, sequence.ask_to_stop)
    status = 0
    try:
        for verb, *about in steps_of(words):
            status = status or getattr(sequence, verb)(*about)
        sys.stdout.flush()
    except Asked as asked:  # between two commands
        status = 128 + asked.signum
    except BrokenPipeError:
        unread()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
