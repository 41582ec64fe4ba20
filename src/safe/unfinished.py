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
import math
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from safe.files import atomic_write, read_tensors, write_tensors
from safe.lock import remove_shards_of, take_over
from safe.state import blank_tensors, flat, nested, restore_trainer, tensors_of, trainer_state
from trainer import Trainer
from vocabulary import message_of

FORMAT = 2  # of P.resume; raise it when its meaning changes
SHARE = 0.02  # of the time of a run, at most, is spent on checkpoints
ONE_REQUEST = 1.0  # seconds: a terminal's Ctrl-C reaches a program and its launcher, which hands it on


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

    machine: what rounding and the draws of dropout depend on; a checkpoint of another machine continues with a warning
    command: what continues the run, for people
    every: seconds between checkpoints, more where writing takes long; 0: after each step
    processes: those that train one model together. They save and stop after the same step, whichever is asked to. Only
        the first one writes P.resume. The parts of a divided model are in P.resume.shards/, in files that P.resume
        names. So it is the replacement of P.resume that makes a checkpoint the current one.
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
        processes: Any = None,
    ):
        if not every >= 0:
            raise ValueError(f"checkpoint_every is {every}: it must be a number of seconds, or 0 for every step")
        if resume and overwrite:
            raise ValueError("--resume and --overwrite: choose one")
        self.path, self.checkpoint = Path(path), Path(f"{path}.resume")
        self.identity, self.machine, self.command, self.every = identity, machine, command, every
        self.shards = Path(f"{path}.resume.shards")
        self.processes, self.first = processes, processes is None or processes.is_first
        self.saved_step: int | None = None  # of the checkpoint on disk
        self.state: dict[str, Any] | None = None  # to restore
        self.layout: dict[str, Any] | None = None  # of the shards of the checkpoint on disk
        self.signum: int | None = None  # of the request to stop
        self.asked_at = 0.0
        self.timer: Any = None  # its pause_at is when this process wishes to pause
        if not self.first:
            if self.checkpoint.exists():
                self._read(resume, overwrite)
            return
        self.lock = take_over(self.path)
        try:
            lines = self._read(resume, overwrite) if self.checkpoint.exists() else []
            self._remove_old_shards()
            self.log = Log(f"{self.checkpoint}.log.jsonl", lines, tb_expt_name)
        except BaseException:
            self.lock.release()
            raise

    def _read(self, resume: bool, overwrite: bool) -> list[str]:
        """Take over the checkpoint that is there, or refuse. Returns the lines of its log."""
        if overwrite:
            if self.first:
                self.checkpoint.unlink(missing_ok=True)
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
            self.layout, self.saved_step = saved.get("shards"), self.state["steps"]
            if self.layout is not None and not all(type(self.layout[part]) is dict for part in ("files", "tensors")):
                raise TypeError("shards")
            if not all(type(json.loads(line)["step"]) is int for line in lines):
                raise TypeError("log")
            differences = _differences(identity, self.identity)
            other_machine = _differences(saved["machine"], self.machine)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(f"{self.checkpoint}: not a checkpoint of this code ({error})") from None
        if differences:
            raise ValueError(
                f"{self.checkpoint}: a checkpoint of another command: {'; '.join(differences[:5])}. Repeat that "
                "command with --resume, or start again with --overwrite"
            )
        if other_machine:
            other_draws = any(text.startswith(("processes ", "threads ")) for text in other_machine)
            draws = " and in what dropout draws" * other_draws
            if self.first:
                warn(f"{self.checkpoint}: the result may differ in rounding{draws}: {'; '.join(other_machine)}")
        return lines

    def __enter__(self) -> "UnfinishedRun":
        self.before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # only there can signals be handled
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
        if self.signum is not None and self.processes is not None and isinstance(error, RuntimeError):
            # All have been asked to stop, and one is gone already: torchrun does so when one has failed.
            raise self._stopped(f"stopped at once: {self._how_to_continue()}", self.signum) from None
        if kind is None and self.signum is not None:  # asked to stop when there was no step left
            raise self._stopped(f"stopped: {self.path} is complete", self.signum)
        if kind is KeyboardInterrupt:  # where no signals are handled
            raise self._stopped(f"stopped at once: {self._how_to_continue()}", signal.SIGINT) from None

    def _stopped(self, message: str, signum: int) -> Stopped:
        return Stopped(message if self.first else "", signum)

    def _ask_to_stop(self, signum: int, frame: FrameType | None) -> None:
        again, alone = self.signum is not None, self.processes is None
        if again and alone and time.monotonic() - self.asked_at >= ONE_REQUEST:
            raise Stopped(f"stopped at once: {self._how_to_continue()}", signum)
        if again:  # a process that stopped at once would leave the others waiting
            return
        self.signum, self.asked_at = signum, time.monotonic()
        if self.timer is not None:
            self.timer.pause_at = 0
        if self.first:
            with suppress(OSError):  # os.write, because a print may have been interrupted
                os.write(2, b"\nstopping after this step" + b"; once more to stop at once" * alone + b"\n")

    def watch(self, trainer: Trainer) -> None:
        """Make `trainer` continue from the checkpoint, if there is one, and pause whenever one is due."""
        reason = None
        if self.state is not None:
            try:
                self._restore(trainer, self.state)
            except OSError as error:
                reason = message_of(error)
            except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
                why = str(error).split("\n")[0]
                reason = f"{self.checkpoint}: not a checkpoint of this model ({why})"
        if self.processes is not None:  # all go on, or none
            reason = self.processes.first_of(reason)
        if reason is not None:
            raise ValueError(reason)
        self.state = None  # its memory
        self.timer = trainer
        if self.processes is not None:
            step: Any = trainer.step
            step.on_pause = lambda: setattr(trainer, "pause_at", 0)
            step.steps_later *= self.every > 0
            self.timer = step
        self._next_checkpoint(self.every if self.first else math.inf)

    def _next_checkpoint(self, seconds: float) -> None:
        self.timer.pause_at = time.monotonic() + seconds
        if self.signum is not None:  # also if the signal came during the line above
            self.timer.pause_at = 0

    def _restore(self, trainer: Trainer, state: dict[str, Any]) -> None:
        divided = self.processes is not None and self.processes.shard
        if self.layout is None and not divided:
            restore_trainer(trainer, state, self.processes)
            return
        from safe.shards import from_folder, layout_of_whole, read_shards  # only here: it takes a while to import

        if self.layout is None:
            whole = flat(state["model"], state["optimizer"])
            layout, read = layout_of_whole(whole), lambda file: whole
        else:
            layout, read = self.layout, from_folder(self.shards, self.layout)
        tensors = blank_tensors(trainer, layout["tensors"])
        read_shards(tensors, layout, read)
        restore_trainer(trainer, state | nested(tensors), self.processes)

    def on_log(self, line: dict[str, float]) -> None:
        if self.first:
            self.log.add(line)

    def on_pause(self, trainer: Trainer) -> None:
        """Save a checkpoint. Raises Stopped if somebody asked to stop."""
        signum = 0
        if self.processes is not None:
            trainer.pause_at = math.inf  # until all agree on the next pause
            signum = self.processes.highest(self.signum or 0, trainer.device)
        self._save(trainer)
        if self.processes is None:
            signum = self.signum or 0
        if signum:
            if self.processes is not None:
                self.processes.highest(0, trainer.device)  # torchrun ends all when the first one has ended: wait
            done = f"stopped after step {trainer.steps_done} of {trainer.total_steps}"
            raise self._stopped(f"{done}: {self._how_to_continue()}", signum)

    def _save(self, trainer: Trainer) -> None:
        began = time.monotonic()
        content: dict[str, Any] = {"format": FORMAT, "identity": self.identity, "machine": self.machine}
        content |= {"trainer": trainer_state(trainer, self.processes)}
        layout = None
        try:
            if self.processes is not None and self.processes.shard:
                from safe.shards import write_shards

                content["shards"] = layout = write_shards(self.shards, trainer.steps_done, tensors_of(trainer))
            if self.first:
                write_tensors(self.checkpoint, content | {"log": "".join(self.log.lines)})
        except OSError as error:
            # Training may outlive a disk that is full for a while.
            kept = f"the one of step {self.saved_step} stays" if self.saved_step is not None else "there is none yet"
            if self.first:
                warn(f"{self.checkpoint}: not written, {kept}: {error.strerror or error}")
        else:
            self.saved_step, self.layout = trainer.steps_done, layout
        if self.first:
            self._remove_old_shards()
            took = time.monotonic() - began
            self._next_checkpoint(max(self.every, took / SHARE) if self.every else 0)

    def _remove_old_shards(self) -> None:
        remove_shards_of(self.path, keep=(self.layout or {"files": ()})["files"])

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
        self.layout = None
        self._remove_old_shards()


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


def settle_log(path: str | Path, steps: Any) -> None:
    """Put the log in place for a run of `steps` steps that died right after writing its result."""
    log = Path(f"{path}.resume.log.jsonl")
    with suppress(OSError, ValueError, LookupError, TypeError):  # there is none, or it is another run's
        if json.loads(log.read_bytes().splitlines()[-1])["step"] == steps:
            os.replace(log, f"{path}.log.jsonl")
