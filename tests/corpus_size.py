"""What corpora of different sizes cost: making their tokens, opening them, memory, and a batch.

    python tests/corpus_size.py                            # 20 MB, 200 MB and 2 GB, in a temporary folder
    python tests/corpus_size.py --megabytes 100 10000 --folder /a/large/disk

The corpus is data/wiki.txt over and over, with other numbers in it every time. Making and using the tokens are
measured in a process each. Columns of the output, a line for each size:

    MB, documents       of the text
    make s, peak MB     making the tokens, the only time that the text is read, and the peak of resident memory
    open s              opening the corpus when it has its tokens
    batch ms            median of 100 batches of 128 random documents
    own MB, peak MB     memory of the process after them: its own, and the peak of that and of the pages that the
                        system has mapped for the batches; those it takes back when memory is short (Linux only)
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
BATCHES, BATCH_SIZE, BLOCK_SIZE = 100, 128, 128


def write_corpus(path: Path, size: int) -> None:
    """A text of at least `size` bytes: the biographies with their numbers, years and dates, changed in every copy."""
    text = np.frombuffer((ROOT / "data" / "wiki.txt").read_bytes(), dtype=np.uint8).copy()
    digits = np.flatnonzero((text >= ord("0")) & (text <= ord("9")))
    chance = np.random.default_rng(0)
    with open(path, "wb") as file:
        while file.tell() < size:
            text[digits] = chance.integers(ord("0"), ord("9") + 1, len(digits), dtype=np.uint8)
            file.write(text)


def peak_memory() -> float:
    """The most memory that this process has had resident, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def own_memory() -> float:
    """What of this process's memory is no page of a file, in MB; not a number where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon")), float("nan"))


def make(path: Path) -> dict[str, float]:
    from corpus_file import open_documents

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its notice would stand between the lines of the table
    began = time.perf_counter()
    documents = len(open_documents(path))
    return {"documents": documents, "make": time.perf_counter() - began, "make_peak": peak_memory()}


def use(path: Path) -> dict[str, float]:
    import torch

    from dataset import CharCorruptionDataset, read_corpus

    torch.set_num_threads(1)
    began = time.perf_counter()
    corpus = CharCorruptionDataset(read_corpus(path, in_memory=0), BLOCK_SIZE)
    opened = time.perf_counter() - began
    generator = torch.Generator().manual_seed(0)
    milliseconds = []
    for _ in range(BATCHES):
        indices = torch.randint(len(corpus), (BATCH_SIZE,), generator=generator)
        began = time.perf_counter()
        corpus.batch(indices, generator)
        milliseconds.append(1000 * (time.perf_counter() - began))
    batch = statistics.median(milliseconds)
    return {"open": opened, "batch": batch, "own": own_memory(), "peak": peak_memory()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", nargs="+", type=int, default=[20, 200, 2000])
    parser.add_argument("--folder", type=Path, help="where to make the corpora; they are removed in the end")
    args = parser.parse_args()
    print("     MB    documents   make s  peak MB   open s  batch ms   own MB  peak MB")
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder, "corpus.txt")
            write_corpus(path, megabytes * 10**6)
            # A new process for each of the two, started afresh: a fork would begin with this one's memory.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
                found = pool.submit(make, path).result() | pool.submit(use, path).result()
        print(
            f"{megabytes:7,} {found['documents']:12,} {found['make']:8.1f} {found['make_peak']:8.0f} "
            f"{found['open']:8.3f} {found['batch']:9.2f} {found['own']:8.0f} {found['peak']:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
