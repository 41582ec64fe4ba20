"""A step of `quick` on two cores that others use as well: what waiting threads cost. `bench.py --shared` calls this.

The program that is measured is `src/run.py pretrain` itself, old and new in turn. "Old" is the commit of another
checkout (`git worktree add ../old COMMIT`). Busy processes count and do nothing else. All of them share the two cores.

A fair scheduler gives every thread that wants to run an equal share. Beside k busy processes the two threads of a run
get two of k + 2 shares, so that a step takes (k + 2) / 2 times as long. Among n runs at once it takes n times as long.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 30  # 300 steps of data/quick: some ten seconds on two idle cores
BUSY = "while True: pass"
# name, busy processes, runs at once, how many times as long a step takes with a fair share
ROWS = [
    ("alone", 0, 1, 1.0),
    ("beside one busy process", 1, 1, 1.5),
    ("beside two busy processes", 2, 1, 2.0),
    ("two runs at once", 0, 2, 2.0),
    ("four runs at once", 0, 4, 4.0),
]
ALLOWED, SLOWER_ALONE = 1.3, 1.02  # times a fair share; times the old step


def start(command: list[str], cores: list[int]) -> subprocess.Popen:
    """A process on these cores only."""
    pin = f"import os, sys; os.sched_setaffinity(0, {cores}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-c", pin, *command], stdout=quiet, stderr=subprocess.PIPE)


@contextmanager
def busy(count: int, cores: list[int]) -> Iterator[None]:
    processes = [start(["-c", BUSY], cores) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def seconds_of_step(checkout: Path, n_busy: int, n_runs: int, cores: list[int]) -> float:
    """The median over the log's intervals of 50 steps, and over the runs at once."""
    data = ROOT / "data" / "quick"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(busy(n_busy, cores))
        command = [str(checkout / "src" / "run.py"), "pretrain", "vanilla", str(data / "wiki.txt"), "--recipe", "quick"]
        command += ["--finetune_corpus_path", str(data / "birth_places_train.tsv"), "--device", "cpu"]
        command += ["--max_epochs", str(EPOCHS), "--writing_params_path"]
        runs = [start([*command, str(folder / str(i))], cores) for i in range(n_runs)]
        for run in runs:
            stack.callback(run.kill)  # if one of them fails; those that have ended do not mind
        for run in runs:
            _, told = run.communicate()
            if run.returncode:
                sys.exit(f"bench.py: {' '.join(command)}: {told.decode().strip()}")
        return statistics.median(seconds_from(folder / f"{i}.log.jsonl") for i in range(n_runs))


def seconds_from(log: Path) -> float:
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    at = [(line["step"], line["tokens"] / line["tokens_per_second"]) for line in lines if "tokens_per_second" in line]
    return statistics.median((t - s) / (n - m) for (m, s), (n, t) in itertools.pairwise(at))


def print_shared(checkouts: dict[str, Path], repeats: int) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    columns = [f"{name} ms/step | | of fair" for name in checkouts]
    print(f"| | fair | {' | '.join(columns)} | within |\n|---|--:|{'--:|--:|--:|' * len(checkouts)}---|", flush=True)
    alone: dict[str, float] = {}
    for row, n_busy, n_runs, fair in ROWS:
        cells, within = [row, f"{fair:.1f}x"], True
        # Other programs on the machine can only make a step slower: the best of several counts.
        found = [[seconds_of_step(each, n_busy, n_runs, cores) for each in checkouts.values()] for _ in range(repeats)]
        for name, seconds in zip(checkouts, map(min, zip(*found, strict=True)), strict=True):
            times = seconds / alone.setdefault(name, seconds)
            cells += [f"{1000 * seconds:.1f}", f"{times:.2f}x", f"{times / fair:.2f}"]
            limit = ALLOWED if fair > 1 else SLOWER_ALONE * alone.get("old", seconds) / seconds
            within = times / fair <= limit
        print(f"| {' | '.join(cells)} | {'yes' if within else 'no'} |", flush=True)
