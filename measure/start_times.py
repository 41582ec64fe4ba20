"""How long whole commands take, from their start to their end, as a user waits for them. Old and new take turns.

`bench.py --start` runs commands that do next to nothing: start Python, import torch, read, compute one step, write. Of
some repeats the fastest counts, since other programs can only make a command slower. Where code is compiled, the first
run, which finds nothing in the compiler's cache, stands beside it.

`bench.py --pipeline` runs `./run.sh`, from the start to the table and its report, with an empty cache.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = ROOT / "data" / "quick"
ONE_STEP = ["--recipe", "quick", "--max_epochs", "1", "--batch_size", "100000", "--overwrite"]


def commands(folder: Path, device: str) -> dict[str, list[str]]:
    """Name -> words after `run.py`. The last one asks what the second one trains."""
    corpus, params, questions = str(QUICK / "wiki.txt"), str(folder / "p"), folder / "questions.tsv"
    questions.write_text("".join((QUICK / "birth_dev.tsv").read_text(encoding="utf-8").splitlines(True)[:8]), "utf-8")
    pretrain = ["pretrain", "vanilla", corpus, "--writing_params_path", params, *ONE_STEP, "--device", device]
    compiled = {"the same, compiled": [*pretrain, "--compile", "on"]} if device == "cuda" else {}
    evaluate = ["evaluate", "vanilla", corpus, "--reading_params_path", params, "--eval_corpus_path", str(questions)]
    return {
        "`--help`": ["--help"],
        "`pretrain`, one step": pretrain,
        **compiled,
        "`evaluate`, 8 questions": [*evaluate, "--outputs_path", str(folder / "out"), "--device", device],
    }


def cache_in(folder: Path) -> dict[str, str]:
    """Environment variables: the compiler keeps its code in `folder`."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}


def seconds_of(command: Sequence[str], cache: Path, **environment: str) -> tuple[float, str]:
    """(seconds, output) of a command. The compiler keeps its code in `cache`."""
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", env=os.environ | cache_in(cache) | environment
    )
    if done.returncode:
        sys.exit(f"bench.py: {' '.join(command)}: {done.stderr.strip()}")
    return time.perf_counter() - began, done.stdout


def print_starts(checkouts: dict[str, Path], repeats: int, device: str) -> None:
    print(f"| | {' | '.join(f'{name}, s' for name in checkouts)} |\n|---|{'--:|' * len(checkouts)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, words in commands(Path(folder), device).items():
            times: dict[str, list[float]] = {which: [] for which in checkouts}
            for _ in range(1 + repeats):  # one more than counts: the first of all reads files from the disk
                for which, checkout in checkouts.items():
                    command = [sys.executable, str(checkout / "src" / "run.py"), *words]
                    times[which].append(seconds_of(command, Path(folder) / which)[0])
            first = " (first {:.2f})" if "compiled" in name else ""
            cells = [f"{min(seconds[1:]):.2f}" + first.format(seconds[0]) for seconds in times.values()]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_pipelines(checkouts: dict[str, Path], repeats: int, device: str, data: Path) -> None:
    """The seconds of `./run.sh`, the best of `repeats`, and then the tables that it printed."""
    full = ("full vanilla", "full vanilla --recipe=strong")
    environment = {"DATA_DIR": str(data.resolve())} if device == "cuda" else {}
    print(f"| | {' | '.join(f'{name}, s' for name in checkouts)} |\n|---|{'--:|' * len(checkouts)}", flush=True)
    tables: list[str] = []
    for words in full if device == "cuda" else ["quick --device=cpu"]:
        times: dict[str, list[float]] = {which: [] for which in checkouts}
        for _ in range(repeats):
            for which, checkout in checkouts.items():
                with tempfile.TemporaryDirectory() as folder:
                    command = [str(checkout / "run.sh"), *words.split()]
                    out = {"OUT_DIR": str(Path(folder) / "out")}
                    seconds, output = seconds_of(command, Path(folder) / "cache", **environment, **out)
                times[which].append(seconds)
                tables.append(f"`./run.sh {words}`, {which}:\n\n{output[output.find('Dev questions') :]}")
        print(f"| `./run.sh {words}` | {' | '.join(f'{min(seconds):.0f}' for seconds in times.values())} |", flush=True)
    print("\n" + "\n".join(tables))
