"""What corpora of different sizes cost: making their tokens, opening them, memory, and time per batch.

    python measure/corpus_size.py                            # 20 MB, 200 MB and 2 GB, in a temporary folder
    python measure/corpus_size.py --megabytes 100 10000 --folder /a/large/disk

The corpus is data/wiki.txt many times over, with other numbers in every copy. Making the tokens and using them are
measured in a process each. Columns of the output, one line per size:

    MB, documents       size of the text
    make s, peak MB     making the tokens, which reads the text, and peak resident memory
    open s              opening the corpus when its tokens exist
    batch ms            median of 100 batches of 128 random documents
    own MB, peak MB     memory of the process after the batches: its own, and the peak that includes the mapped pages of
                        the tokens, which the system takes back when memory is short (Linux only)
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
    """A text of at least `size` bytes: the biographies, with other digits in every copy."""
    text = np.frombuffer((ROOT / "data" / "wiki.txt").read_bytes(), dtype=np.uint8).copy()
    digits = np.flatnonzero((text >= ord("0")) & (text <= ord("9")))
    generator = np.random.default_rng(0)
    with open(path, "wb") as file:
        while file.tell() < size:
            text[digits] = generator.integers(ord("0"), ord("9") + 1, len(digits), dtype=np.uint8)
            file.write(text)


def peak_memory() -> float:
    """Peak resident memory of this process, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def own_memory() -> float:
    """Memory of this process that is not mapped from a file, in MB. NaN where the system does not report it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("RssAnon")), float("nan"))


def make(path: Path) -> dict[str, float]:
    from fast.corpus_file import open_documents

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its notice would appear between the lines of the table
    began = time.perf_counter()
    documents = len(open_documents(path))
    return {"documents": documents, "make": time.perf_counter() - began, "make_peak": peak_memory()}


def use(path: Path) -> dict[str, float]:
    import torch

    from dataset import CharCorruptionDataset
    from fast.corpus_file import open_documents

    torch.set_num_threads(1)
    began = time.perf_counter()
    corpus = CharCorruptionDataset(open_documents(path), BLOCK_SIZE)
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
    parser.add_argument("--folder", type=Path, help="where to write the corpora; they are removed at the end")
    args = parser.parse_args()
    print("     MB    documents   make s  peak MB   open s  batch ms   own MB  peak MB")
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder, "corpus.txt")
            write_corpus(path, megabytes * 10**6)
            # A fork would begin with the memory of this process, so both processes are spawned.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
                found = pool.submit(make, path).result() | pool.submit(use, path).result()
        print(
            f"{megabytes:7,} {found['documents']:12,} {found['make']:8.1f} {found['make_peak']:8.0f} "
            f"{found['open']:8.3f} {found['batch']:9.2f} {found['own']:8.0f} {found['peak']:8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
