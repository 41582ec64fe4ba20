"""An unfinished run of training: its lock, its checkpoint `P.resume`, its log beside it, and how it is stopped.

    with UnfinishedRun(P, identity, machine, command, every=60) as run:   # refuses what would lose something
        trainer = Trainer(..., on_log=run.on_log, on_pause=run.on_pause)
        run.watch(trainer)                                                # restores the checkpoint, if there is one
        trainer.train()
        ...                                                               # write P
        run.complete()

A run is identified by a dict of plain values: everything that its result follows from. A checkpoint continues only the
run with the same identity.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from safe.files import atomic_write, read_tensors, remove_leftovers, write_tensors
from safe.state import restore_trainer, trainer_state
from trainer import Trainer

FORMAT = 2  # of P.resume; raise it when its meaning changes
SHARE = 0.02  # of the time of a run, at most, is spent on checkpoints


class Stopped(KeyboardInterrupt):
    """Training was asked to stop and did, between two steps. str() says where, and how to continue.

    It is a KeyboardInterrupt because that is what it is in a notebook, and so that no `except Exception` continues
    after it.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class UnfinishedRun:
    """See the module. Raises ValueError for a path that another process is writing, for a checkpoint that is neither to
    be resumed nor overwritten, and for a checkpoint of another run.

    machine: what the rounding of results depends on; a checkpoint of another machine continues with a warning
    command: what continues the run, for people
    every: seconds between checkpoints, more where writing takes long; 0: after each step
    first, alone: with several processes only the first one writes files. Signals are not caught then: a process that
        stopped alone would leave the others waiting. So a signal loses what came after the last checkpoint.
    sharded: no process has the whole state, so there are no checkpoints
    """

    def __init__(
        self,
        path: str | Path,
        identity: dict[str, Any],
        machine: dict[str, Any],
        command: str,
        *,
        every: float = 60,
        resume: bool = False,
        overwrite: bool = False,
        tb_expt_name: str | None = None,
        first: bool = True,
        alone: bool = True,
        sharded: bool = False,
    ):
        if sharded and resume:
            raise ValueError("--resume: a run with --shard leaves no checkpoints")
        if not every >= 0:
            raise ValueError(f"checkpoint_every is {every}: it must be a number of seconds, or 0 for every step")
        if resume and overwrite:
            raise ValueError("--resume and --overwrite: choose one")
        self.path, self.checkpoint = Path(path), Path(f"{path}.resume")
        self.identity, self.machine, self.command, self.every = identity, machine, command, every
        self.first, self.alone, self.sharded = first, alone, sharded
        self.saved_step: int | None = None  # of the checkpoint on disk
        self.state: dict[str, Any] | None = None  # to restore
        self.signum: int | None = None  # of the request to stop
        self.trainer: Trainer | None = None
        if not first:
            if self.checkpoint.exists():
                self._read(resume, overwrite)
            return
        self.lock = take_over(self.path)
        try:
            lines = self._read(resume, overwrite) if self.checkpoint.exists() else []
            self.log = Log(f"{self.checkpoint}.log.jsonl", lines, tb_expt_name)
        except BaseException:
            self.lock.release()
            raise

    def _read(self, resume: bool, overwrite: bool) -> list[str]:
        """Take over the checkpoint that is there, or refuse. Returns the lines of its log."""
        if overwrite:
            if self.first:
                self.checkpoint.unlink()
            return []
        if not resume:
            raise ValueError(
                f"{self.checkpoint}: an unfinished run: add --resume to continue it, or --overwrite to start again"
            )
        try:
            saved = read_tensors(self.checkpoint, "checkpoint")
        except ValueError as error:
            raise ValueError(f"{error}: start again with --overwrite") from None
        try:
            if saved["format"] != FORMAT:
                raise ValueError(f"format {saved['format']}")
            self.state, lines, identity = saved["trainer"], saved["log"].splitlines(True), saved["identity"]
            self.saved_step = self.state["steps"]
            differences = _differences(identity, self.identity)
            other_machine = _differences(saved["machine"], self.machine)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.checkpoint}: not a checkpoint of this code ({error})") from None
        if differences:
            raise ValueError(
                f"{self.checkpoint}: a checkpoint of another command: {'; '.join(differences[:5])}. Repeat that "
                "command with --resume, or start again with --overwrite"
            )
        if other_machine:
            warn(f"{self.checkpoint}: the result may differ in rounding: {'; '.join(other_machine)}")
        return lines

    def __enter__(self) -> "UnfinishedRun":
        self.before: dict[int, Any] = {}
        if self.alone and threading.current_thread() is threading.main_thread():  # only there can signals be handled
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                signum = getattr(signal, name, None)  # Windows has no SIGHUP
                # A program started with nohup must go on ignoring SIGHUP.
                if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
                    self.before[signum] = signal.signal(signum, self._ask_to_stop)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        for signum, handler in self.before.items():
            signal.signal(signum, handler)
        if self.first:
            self.log.close()
            self.lock.release()
        if kind is None and self.signum is not None:  # asked to stop when there was no step left
            raise Stopped(f"stopped: {self.path} is complete", self.signum)
        if kind is KeyboardInterrupt:  # where no signals are handled
            how = f": {self._how_to_continue()}" if self.first else ""
            raise Stopped(f"stopped at once{how}", signal.SIGINT) from None

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:  # the second time: at once
            raise Stopped(f"stopped at once: {self._how_to_continue()}", signum)
        self.signum = signum
        if self.trainer is not None:
            self.trainer.pause_at = 0
        with suppress(OSError):  # os.write, because a print may have been interrupted
            os.write(2, b"\nstopping after this step; once more to stop at once\n")

    def watch(self, trainer: Trainer) -> None:
        """Make `trainer` continue from the checkpoint, if there is one, and pause whenever one is due."""
        if self.state is not None:
            try:
                restore_trainer(trainer, self.state)
            except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
                reason = str(error).split("\n")[0]
                raise ValueError(f"{self.checkpoint}: not a checkpoint of this model ({reason})") from None
            self.state = None  # its memory
        self.trainer = trainer
        if self.first and not self.sharded:
            trainer.pause_at = time.monotonic() + self.every
        if self.signum is not None:
            trainer.pause_at = 0

    def on_log(self, line: dict[str, float]) -> None:
        if self.first:
            self.log.add(line)

    def on_pause(self, trainer: Trainer) -> None:
        """Save a checkpoint. Raises Stopped if somebody asked to stop."""
        self._save(trainer)
        if self.signum is not None:
            done = f"stopped after step {trainer.steps_done} of {trainer.total_steps}"
            raise Stopped(f"{done}: {self._how_to_continue()}", self.signum)

    def _save(self, trainer: Trainer) -> None:
        began = time.monotonic()
        content: dict[str, Any] = {"format": FORMAT, "identity": self.identity, "machine": self.machine}
        content |= {"trainer": trainer_state(trainer), "log": "".join(self.log.lines)}
        try:
            write_tensors(self.checkpoint, content)
            self.saved_step = trainer.steps_done
        except OSError as error:
            # Training may outlive a disk that is full for a while.
            kept = f"the one of step {self.saved_step} stays" if self.saved_step is not None else "there is none yet"
            warn(f"{self.checkpoint}: not written, {kept}: {error.strerror or error}")
        took = time.monotonic() - began
        if self.signum is None:
            trainer.pause_at = time.monotonic() + (max(self.every, took / SHARE) if self.every else 0)

    def where(self) -> str:
        """Where the run can be continued from."""
        if self.saved_step is None:
            return "there is no checkpoint"
        return f"{self.checkpoint} holds step {self.saved_step}, the last good one"

    def _how_to_continue(self) -> str:
        return f"{self.where()}\nto continue: {self.command} --resume"

    def complete(self) -> None:
        """The result is written: put the log in place, and remove the checkpoint."""
        self.log.close()
        log = f"{self.path}.log.jsonl"
        try:
            os.replace(self.log.path, log)
        except OSError as error:
            warn(f"{log}: not written, the log is {self.log.path}: {error.strerror or error}")
        self.checkpoint.unlink(missing_ok=True)


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """The differences between two nested dicts, one text for each value."""
    found = []
    for name in sorted(there.keys() | here.keys()):
        a, b = there.get(name), here.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name} is {_short(a)} there and {_short(b)} here")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 24 else f"{text[:21]}..."


def warn(message: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(f"\nwarning: {message}", file=sys.stderr, flush=True)


class Log:
    """A file with one JSON object a line that starts with `lines`; and TensorBoard, under expt/NAME, if it has a name.

    A line that does not fit on a full disk is kept and written together with a later one. Raises ValueError if
    TensorBoard is asked for and not installed, OSError if the file cannot be written.
    """

    def __init__(self, path: str | Path, lines: list[str], tb_expt_name: str | None = None):
        self.path, self.lines = path, list(lines)
        self.writer: Any = None
        if tb_expt_name is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise ValueError("--tb_expt_name needs the package tensorboard: pip install tensorboard") from None
            after = json.loads(lines[-1])["step"] + 1 if lines else None  # what a lost process drew beyond this goes
            try:
                self.writer = SummaryWriter(str(curve_folder(tb_expt_name, new=not lines)), purge_step=after)
            except OSError as error:
                warn(f"expt/{tb_expt_name}: no TensorBoard log: {error.strerror or error}")
        with atomic_write(path) as file:
            file.write("".join(lines).encode())
        self.file: BinaryIO = open(path, "r+b", buffering=0)  # closed by close
        self.written = self.file.seek(0, os.SEEK_END)
        self.pending = b""

    def add(self, line: dict[str, float]) -> None:
        text = json.dumps(line) + "\n"
        self.lines.append(text)
        self.pending += text.encode()
        self._write()
        try:
            for name in line.keys() - {"step"} if self.writer is not None else ():
                self.writer.add_scalar(name, line[name], line["step"])
        except Exception as error:  # its thread may have met a full disk, of which it tells in ways of its own
            self.writer = None
            warn(f"no more lines for TensorBoard: {error}")

    def _write(self) -> None:
        try:
            self.file.seek(self.written)  # over what was written of a line that did not fit
            while self.pending:
                count = self.file.write(self.pending)
                self.written += count
                self.pending = self.pending[count:]
        except OSError as error:
            warn(f"{self.path}: not written for now: {error.strerror or error}")

    def close(self) -> None:
        if self.file.closed:
            return
        if self.pending:
            self._write()
        self.file.close()
        if self.writer is not None:
            with suppress(Exception):
                self.writer.close()


def curve_folder(name: str, new: bool) -> Path:
    """The folder of a curve in TensorBoard: expt/NAME, and expt/NAME_2, ... for later runs of the same name.

    A new run gets a folder that is not there yet; a continued one gets the latest.
    """
    number, folder = 1, Path("expt") / name
    while folder.exists() and (new or folder.with_name(f"{Path(name).name}_{number + 1}").exists()):
        number += 1
        folder = folder.with_name(f"{Path(name).name}_{number}")
    return folder


class Lock:
    """Held by the one process that writes `path`. Raises ValueError if another process holds it.

    The lock is the operating system's, on an open file `.NAME.lock` beside `path`. It ends with the process, however
    that ends. So the file alone means nothing and needs no cleaning up after a crash.
    """

    def __init__(self, path: Path):
        path = path.resolve()
        self.path = path.with_name(f".{path.name}.lock")
        while True:
            file = open(self.path, "a+b")  # closed by release
            try:
                _lock(file)
            except BlockingIOError:
                file.close()
                raise ValueError(f"{path}: another run is writing it: wait for it, or choose another path") from None
            except OSError as error:
                warn(f"{self.path}: this file system has no locks ({error.strerror}): start no second run for {path}")
            # The process that held it before may have removed the file between our opening and our locking it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    break
            file.close()
        self.file = file

    def release(self) -> None:
        if os.name == "nt":  # Windows removes no open file, neither ours nor that of a run that waits for it
            self.file.close()
        with suppress(OSError):
            self.path.unlink()
        self.file.close()


def settle_log(path: str | Path, steps: Any) -> None:
    """Put the log in place for a run of `steps` steps that died right after writing its result."""
    log = Path(f"{path}.resume.log.jsonl")
    with suppress(OSError, ValueError, LookupError, TypeError):  # there is none, or it is another run's
        if json.loads(log.read_bytes().splitlines()[-1])["step"] == steps:
            os.replace(log, f"{path}.log.jsonl")


def take_over(path: str | Path) -> Lock:
    """The lock of `path`. With it, temporary files that killed processes left behind are removed."""
    lock = Lock(Path(path))
    for ending in ("", ".json", ".resume", ".resume.log.jsonl"):
        remove_leftovers(f"{path}{ending}")
    return lock


_lock: Callable[[BinaryIO], None]
if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise BlockingIOError from None
else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
