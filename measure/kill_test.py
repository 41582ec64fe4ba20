"""Kill a training run at random moments, a few hundred times, and check that nothing is lost.

    python measure/kill_test.py --kills 200

Each trial starts a small run that saves a checkpoint after every step, in a process of its own. It kills that process
with SIGKILL, which leaves no time to tidy up, at a random moment between its start and a little after its end. Then it
reads every file that is there and starts the run again with resume. In every second trial that process is killed too.
In the end the parameters must be, byte for byte, those of an undisturbed run. A process that does nothing for a minute
is an error as well.

Processes are forked, because starting Python and importing torch takes longer than the run.
"""

import argparse
import io
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
from tqdm import tqdm

import stages
from safe.files import read_parameters, read_tensors

TEXT = "".join(f"Person {i}. Born in {'Oslo Kyoto Turku'.split()[i % 3]}, Where was it?\n" for i in range(15))
STUCK = 60  # seconds: a run takes less than one, so after this time it hangs
RUN = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu", max_epochs=3, batch_size=4, checkpoint_every=0)


def train(resume: bool) -> None:
    stages.pretrain("vanilla", "wiki.txt", "p", resume=resume, **RUN)


def forked(function: Callable[[], None], seconds: float = math.inf) -> int:
    """Run `function` in a child that is killed after `seconds`. Returns 0, 1 after an exception, or -9 if killed."""
    began = time.perf_counter()
    if (pid := os.fork()) == 0:
        status = 1
        # tqdm's own lock is shared by all processes. A process that is killed while it holds the lock never frees it.
        tqdm.set_lock(threading.RLock())
        try:
            with open("output", "a") as output, redirect_stdout(output), redirect_stderr(output):
                try:
                    function()
                    status = 0
                except Exception:
                    traceback.print_exc()
        finally:
            os._exit(status)  # without running what the parent registered for its own end
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if (waited := time.perf_counter() - began) > min(seconds, STUCK):
            os.kill(pid, signal.SIGKILL)
            ended = os.waitpid(pid, 0)
            assert waited < STUCK, f"stuck: {Path('output').read_text()}"
            break
        time.sleep(0.001)
    return os.waitstatus_to_exitcode(ended[1])


def check_files() -> str:
    """Read every file that is there, and return their names. Raises ValueError if one is damaged."""
    if Path("p").exists() and Path("p.json").exists():
        read_parameters("p")  # with the sha256 of the record
    elif Path("p").exists():
        read_tensors("p")
    if Path("p.resume").exists():
        read_tensors("p.resume")
    for log in Path().glob("*.log.jsonl"):
        for line in log.read_text().splitlines():
            json.loads(line)
    return "+".join(name for name in ("p", "p.json", "p.resume") if Path(name).exists()) or "nothing"


def kill_and_resume(kills: int, seed: int = 0, report: Callable[[str], None] = print) -> Counter:
    """Kill at least `kills` processes that are still running. Returns how often which files were found afterwards.

    Raises AssertionError or ValueError at the first file that is damaged or different.
    """
    torch.set_num_threads(1)  # only the thread that forks exists in the child
    chance, found, before = random.Random(seed), Counter(), os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.chdir(folder)
            Path("wiki.txt").write_text(TEXT)
            with redirect_stdout(None), redirect_stderr(io.StringIO()):
                train(True)  # what torch does only once per process is done before the first fork
            Path("p").unlink()
            length = math.inf  # seconds of the fastest of three runs: a slow one would put kills after the end
            for _ in range(3):
                began = time.perf_counter()
                assert forked(lambda: train(False)) == 0, Path("output").read_text()
                length = min(length, time.perf_counter() - began)
            expected = Path("p").read_bytes()
            assert not Path("p.resume").exists()
            trial = killed = 0
            while killed < kills:
                for file in set(Path().iterdir()) - {Path("wiki.txt")}:
                    file.unlink()
                trial += 1
                for attempt in range(1 + trial % 2):
                    status = forked(lambda resume=attempt > 0: train(resume), chance.uniform(0, 1.1 * length))
                    assert status in (0, -signal.SIGKILL), Path("output").read_text()
                    killed += status < 0
                    found[check_files() if status < 0 else "complete"] += 1
                assert forked(lambda: train(True)) == 0, Path("output").read_text()
                assert Path("p").read_bytes() == expected, f"trial {trial}: the parameters differ"
                left = {file.name for file in Path().iterdir()}
                assert left == {"wiki.txt", "output", "p", "p.json", "p.log.jsonl"}, f"trial {trial}: left {left}"
            report(f"{killed} kills in {trial} runs of {length:.2f} s: no damaged file, the same bytes every time")
            report(f"found after a kill: {dict(found)}")
        finally:
            os.chdir(before)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="processes to kill (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the moments of the kills (default 0)")
    arguments = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # autograd starts threads for each visible GPU, which a child would lack
    kill_and_resume(arguments.kills, arguments.seed)
