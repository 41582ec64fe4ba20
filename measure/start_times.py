"""How long commands take that do next to nothing: start Python, import torch, read, compute one step, write.

`bench.py --start` calls this. Each is timed from its start to its end, as a user waits for it, on data/quick. Of some
repeats the fastest counts, since other programs can only make a command slower. Old and new take turns.
"""

import subprocess
import sys
import tempfile
import time
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


def seconds_of(checkout: Path, words: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(checkout / "src" / "run.py"), *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench.py: run.py {' '.join(words)}: {done.stderr.strip()}")
    return time.perf_counter() - began


def print_starts(checkouts: dict[str, Path], repeats: int, device: str) -> None:
    print(f"| | {' | '.join(f'{name}, s' for name in checkouts)} |\n|---|{'--:|' * len(checkouts)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, words in commands(Path(folder), device).items():
            # One more than counts: the first of all reads files from the disk.
            times = [[seconds_of(checkout, words) for checkout in checkouts.values()] for _ in range(1 + repeats)]
            best = map(min, zip(*times[1:], strict=True))
            print(f"| {name} | {' | '.join(f'{seconds:.2f}' for seconds in best)} |", flush=True)
