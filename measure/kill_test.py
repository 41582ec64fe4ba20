"""Kill and stop training runs in many ways, a few hundred times, and check that nothing is lost.

    python measure/kill_test.py --kills 200
    python measure/kill_test.py --kills 200 --processes 2            # and with --shard

Each trial starts a small run that saves a checkpoint after every step, and disturbs it once: it kills or stops a
process at a random moment between its start and a little after its end, or at a chosen call that writes to the disk, or
takes away the reader of its output. Then it reads every file that is there and continues the run. In every second trial
that is disturbed too. In the end the parameters must be, byte for byte, those of an undisturbed run. A run that says
that it stopped must have saved that step. A process that does nothing for five minutes is an error.

With several processes a launcher does what torchrun does: it starts them, hands a SIGTERM on, and ends all when one has
failed. One of the kills is its own. Processes are forked, because starting Python and importing torch takes longer than
the run; --torchrun starts the real program instead.
"""

import argparse
import io
import json
import math
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import torch
from tqdm import tqdm

import stages
from safe import job
from safe.files import read_parameters, read_tensors
from safe.unfinished import Log, Stopped

TEXT = "".join(f"Person {i}. Born in {'Oslo Kyoto Turku'.split()[i % 3]}, Where was it?\n" for i in range(15))
STUCK = 300  # seconds: a run takes a few, so after this time it hangs, even on a busy machine
RUN = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu", max_epochs=3, batch_size=4, checkpoint_every=0)
KILL, TERM = signal.SIGKILL, signal.SIGTERM
PLACES: list[tuple[Any, str]] = [(os, "replace"), (os, "fsync"), (Log, "_write"), (job, "save_parameters")]


@dataclass
class Trouble:
    """What happens to a run."""

    kind: str  # who is hit ("one", "all", "launcher") or "display"; with a place: the process that comes there
    signum: int = KILL
    after: float = math.inf  # seconds
    place: int | None = None  # in PLACES
    call: int = 0  # of that place, counted from 1

    def arm(self) -> None:
        """In the process that runs: hit it in the middle of a call."""
        if self.place is None:
            return
        owner, name = PLACES[self.place]
        original, calls = getattr(owner, name), []

        def armed(*given: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == self.call:
                if owner is Log:  # half of a line
                    given[0].file.write(given[0].pending[: len(given[0].pending) // 2])
                os.kill(os.getpid(), self.signum)
            return original(*given, **named)

        setattr(owner, name, armed)


def draw(chance: random.Random, length: float, processes: int, torchrun: bool) -> Trouble:
    after, signum = chance.uniform(0, 1.1 * length), chance.choice([KILL, TERM])
    if chance.random() < 0.3 and not torchrun:
        return Trouble("one", signum, place=chance.randrange(len(PLACES)), call=chance.randint(1, 12))
    kinds = ["one"] if processes == 1 else ["one", "all", "launcher"]
    kind = chance.choice([*kinds, *kinds, "display"])
    return Trouble(kind, signum, after)


def train(resume: bool) -> None:
    Trial().train(resume)


class Trial:
    """Runs of `processes` processes in the current folder."""

    def __init__(self, processes: int = 1, shard: bool = False, torchrun: bool = False):
        self.processes, self.torchrun = processes, torchrun
        self.options: dict[str, Any] = dict(RUN)
        if shard:
            self.options |= dict(shard=True, max_epochs=1)  # a divided model takes ten times as long for a step

    def train(self, resume: bool) -> None:
        stages.pretrain("vanilla", "wiki.txt", "p", resume=resume, **self.options)

    def run(self, resume: bool, trouble: Trouble | None = None) -> int:
        """Run to the end, with trouble. Returns the exit status: negative for a signal, as of subprocess."""
        began, (alive, holds) = time.perf_counter(), os.pipe()
        told, tells = os.pipe()  # the processes, one line each
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        reader, screen = os.pipe() if trouble is not None and trouble.kind == "display" else (None, output)
        for end in (holds, tells, screen):
            os.set_inheritable(end, True)
        if self.torchrun:
            launcher = self.start_torchrun(resume, screen, holds)
        else:
            launcher = fork(lambda: self.launch(resume, trouble or Trouble("none"), tells), screen)
        for end in {holds, tells, output, screen}:
            os.close(end)
        after = trouble.after if trouble is not None else math.inf
        status: int | None = None
        while not ended(alive, 0.002) or status is None:  # somebody is left
            waited = time.perf_counter() - began
            if trouble is not None and waited > after:
                self.hit(trouble, launcher, told, reader)
                reader, after = (None, math.inf) if trouble.kind == "display" else (reader, math.inf)
            if waited > STUCK * (3 if self.torchrun else 1):
                raise AssertionError(f"stuck: {trouble}: {Path('output').read_text()[-3000:]}")
            if status is None and (found := os.waitpid(launcher, os.WNOHANG))[0]:
                status = os.waitstatus_to_exitcode(found[1])
        for end in (alive, told, *([] if reader is None else [reader])):
            os.close(end)
        return status

    def hit(self, trouble: Trouble, launcher: int, told: int, reader: int | None) -> None:
        if trouble.kind == "display":
            os.close(reader or 0)
            return
        members = [int(pid) for pid in os.read(told, 2**16).split()] if ended(told, 0) else []
        if self.torchrun:
            found = subprocess.run(["pgrep", "-P", str(launcher)], capture_output=True, text=True)
            members = [int(pid) for pid in found.stdout.split()]
        if trouble.kind == "one" and self.processes > 1:
            hit = members[-1:]  # not the one that writes; that one is hit when it writes
        else:
            hit = [launcher] if trouble.kind in ("one", "launcher") or trouble.signum == TERM else [launcher, *members]
        for pid in hit:
            with suppress(ProcessLookupError):
                os.kill(pid, trouble.signum)

    def launch(self, resume: bool, trouble: Trouble, tells: int) -> int:
        """Train in this process, or start several and end them as torchrun does. Returns an exit status."""
        if self.processes == 1:
            trouble.arm()
            return status_of(lambda: self.train(resume))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            shared = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=free.getsockname()[1])
        shared |= dict(WORLD_SIZE=self.processes, LOCAL_WORLD_SIZE=self.processes)
        members: dict[int, int] = {}
        signal.pthread_sigmask(signal.SIG_BLOCK, [TERM])  # until everybody knows what to do then
        for rank in range(self.processes):

            def member(rank: int = rank) -> int:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [TERM])
                os.setsid()
                os.environ |= {name: str(value) for name, value in (shared | dict(RANK=rank, LOCAL_RANK=rank)).items()}
                if rank == 0:
                    trouble.arm()
                status = status_of(lambda: self.train(resume))
                if rank > 0 and status == 2:
                    time.sleep(5)  # as safe/exits.py: the first one ends the others
                return status

            members[pid := fork(member)] = rank
            os.write(tells, f"{pid}\n".encode())

        def hand_on(*_: Any) -> None:
            for pid in list(members):
                os.kill(pid, TERM)

        signal.signal(TERM, hand_on)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [TERM])
        status = 0
        while members:
            pid, found = os.wait()
            members.pop(pid)
            if found and not status:
                status = os.waitstatus_to_exitcode(found)
                for other in members:
                    with suppress(ProcessLookupError):
                        os.kill(other, TERM)
        return status if status >= 0 else 128 - status

    def start_torchrun(self, resume: bool, screen: int, holds: int) -> int:
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={self.processes}"]
        words += [str(ROOT / "src" / "run.py"), "pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p"]
        for name, value in (self.options | dict(resume=resume)).items():
            words += [f"--{name}"] * (value is not False) + [str(value)] * (type(value) is not bool)
        return subprocess.Popen(words, stdout=screen, stderr=screen, pass_fds=[holds]).pid


def status_of(function: Callable[[], None]) -> int:
    try:
        function()
    except Stopped as stopped:
        print(stopped)
        return 128 + stopped.signum
    except (OSError, ValueError) as error:
        print(error)
        return 2
    return 0


def fork(function: Callable[[], int], output: int | None = None) -> int:
    """A child that ends with the status that `function` returns."""
    if (pid := os.fork()) > 0:
        return pid
    status = 1
    # tqdm's own lock is shared by all processes. A process that is killed while it holds the lock never frees it.
    tqdm.set_lock(threading.RLock())
    try:
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout = open(1, "w", buffering=1, closefd=False)
            sys.stderr = open(2, "w", buffering=1, closefd=False)
        status = function()
    except BaseException:
        with suppress(OSError):
            traceback.print_exc()
    finally:
        os._exit(status)  # without running what the parent registered for its own end


def ended(pipe: int, seconds: float) -> bool:
    """Is there something to read, or nobody left who could write?"""
    return bool(select.select([pipe], [], [], seconds)[0])


def check_files() -> str:
    """Read every file that is there, and return their names. Raises ValueError if one is damaged."""
    if Path("p").exists() and Path("p.json").exists():
        read_parameters("p")  # with the sha256 of the record
    elif Path("p").exists():
        read_tensors("p")
    if Path("p.resume").exists():
        saved = read_tensors("p.resume")
        for name in saved.get("shards", {"files": ()})["files"]:
            read_tensors(Path("p.resume.shards") / name)
    for log in Path().glob("*.log.jsonl"):
        lines = log.read_text().splitlines()
        for line in lines if log.name == "p.log.jsonl" else lines[:-1]:  # the last line of a killed run may be cut off
            json.loads(line)
    return "+".join(name for name in ("p", "p.json", "p.resume") if Path(name).exists()) or "nothing"


def check_trial(trial: Trial, chance: random.Random, length: float, again: bool, found: Counter) -> int:
    """Disturb a run, and also its continuation if `again`. Returns how many processes or runs were hit in time."""
    hit = 0
    for attempt in range(1 + again):
        trouble = draw(chance, length, trial.processes, trial.torchrun)
        before = len(Path("output").read_text()) if Path("output").exists() else 0
        status = trial.run(attempt > 0, trouble)
        said = Path("output").read_text()[before:] if Path("output").exists() else ""
        what = f"{trouble.kind} {signal.Signals(trouble.signum).name if trouble.kind != 'display' else 'gone'}"
        assert "Traceback" not in said or trial.torchrun, said
        if trouble.kind == "display":
            assert status == 0, f"{trouble}: {status}: {said}"
        hit += status != 0 or trouble.kind == "display"
        files = check_files()
        if "stopped after step" in said:
            step = int(said.split("stopped after step ")[1].split()[0])
            assert read_tensors("p.resume")["trainer"]["steps"] == step, said
        found[f"{what}: {files}" if status else "complete"] += 1
    return hit


def kill_and_resume(
    kills: int,
    seed: int = 0,
    report: Callable[[str], None] = print,
    processes: int = 1,
    shard: bool = False,
    torchrun: bool = False,
) -> Counter:
    """Disturb at least `kills` runs. Returns how often which files were found after what.

    Raises AssertionError or ValueError at the first file that is damaged or different.
    """
    torch.set_num_threads(1)  # only the thread that forks exists in the child, and no lock that another one holds
    tqdm.monitor_interval = 0
    chance, before = random.Random(seed), os.getcwd()
    found: Counter = Counter()
    trial = Trial(processes, shard, torchrun)
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            Path("wiki.txt").write_text(TEXT)
            with redirect_stdout(None), redirect_stderr(io.StringIO()):
                Trial().train(True)  # what torch does only once per process is done before the first fork
            if processes > 1:
                import fast.parallel  # noqa: F401
                import safe.shards  # noqa: F401
            assert threading.active_count() == 1
            length = math.inf  # seconds of the fastest of three runs: a slow one would put kills after the end
            for _ in range(3):
                clear()
                began = time.perf_counter()
                assert trial.run(False) == 0, Path("output").read_text()
                length = min(length, time.perf_counter() - began)
            expected = Path("p").read_bytes()
            assert not Path("p.resume").exists()
            trials = hit = 0
            while hit < kills:
                clear()
                trials += 1
                hit += check_trial(trial, chance, length, trials % 2 == 0, found)
                print(f"\r{hit} of {kills}", end="", file=sys.stderr, flush=True)
                assert trial.run(True) == 0, Path("output").read_text()[-3000:]
                assert Path("p").read_bytes() == expected, f"trial {trials}: the parameters differ"
                left = {file.name for file in Path().iterdir()}
                assert left == {"wiki.txt", "output", "p", "p.json", "p.log.jsonl"}, f"trial {trials}: left {left}"
            print(file=sys.stderr)
            runs = f"{hit} kills in {trials} runs of {length:.2f} s, stops and lost displays included"
            report(f"{runs}: no damaged file, the same bytes every time")
            for what, times in sorted(found.items()):
                report(f"{times:5} {what}")
        finally:
            os.chdir(before)
    return found


def clear() -> None:
    for file in set(Path().iterdir()) - {Path("wiki.txt")}:
        if file.is_dir():
            for part in file.iterdir():
                part.unlink()
            file.rmdir()
        else:
            file.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="runs to kill or stop (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the moments of the kills (default 0)")
    parser.add_argument("--processes", type=int, default=1, help="processes of a run (default 1)")
    parser.add_argument("--shard", action="store_true", help="divide the model among the processes")
    parser.add_argument("--torchrun", action="store_true", help="start each run with torchrun: slow")
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # autograd starts threads for each visible GPU, which a child would lack
    how = dict(processes=arguments.processes, shard=arguments.shard, torchrun=arguments.torchrun)
    kill_and_resume(arguments.kills, arguments.seed, **how)
