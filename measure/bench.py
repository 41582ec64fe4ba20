"""A course's training loop, ours without optimisations (--plain), and ours: time, memory, start-up, evaluation.

    python measure/bench.py                      # on a GPU, or on the CPU where there is none (about 3 minutes)
    python measure/bench.py --device cpu --repeats 3       # the best of three, on a machine with other work
    python measure/bench.py --data DIR           # with the course's files
    python measure/bench.py --gpus 1 2           # a large model on one GPU and on two
    python measure/bench.py --deterministic      # each of our rows again with what --deterministic costs
    python measure/bench.py --old DIR            # each of our rows also with another checkout of this project, in turn
    python measure/bench.py --start [--old DIR]  # whole commands that do next to nothing; see start_times.py
    python measure/bench.py --pipeline [--old DIR]      # ./run.sh from its start to its end; see start_times.py
    python measure/bench.py --shared [--old DIR] # a step of `quick` on two cores that others use too; see sharing.py

The rows "plain" are the loop of plain_loop.py. The rows "plain (--plain)" are the core alone: the Trainer's own step,
and generation without a KV cache. The rows "ours" are what `src/run.py pretrain vanilla` runs. All use the recipe
`course`. Each row of the table is measured in a process of its own. Its columns:

    ms/step, steps/s    median over the intervals between two lines of the log: epochs on a GPU, steps on a CPU
    positions/s         positions of the batches, padding included
    targets/s           positions with a target
    of peak (MFU)       operations that the batch needs without its padding, divided by what a large matrix product in
                        the same precision reaches on this machine, measured in the same process
    memory              of the training step. On a GPU: the most that was allocated at once, parameters included. On a
                        CPU: how far the peak of the process grows beyond what it held before the first step
    start-up            from starting Python to the end of the first step, compilation and recording included
    14,950 steps        start-up and the course's pretraining at this rate
    questions           seconds to answer the dev questions with new parameters, which never end an answer early: up to
                        32 characters each. In brackets: with answers as long as the longest place. The loop of
                        plain_loop.py always takes 32 characters. It, and --plain on a CPU, are measured on a few
                        questions and scaled.

With --gpus the table is about a model of 12 layers, 768 wide, with a block of 1,024. Documents are as long as span
corruption takes them, so that 897 positions have a target. Training is in bf16, and any number of GPUs shares the same
batch of 64. Ratios are to the first row.
"""

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import dataset as data
import plain_loop
import stages
from corpus_size import peak_memory
from fast.device import processes_of_torchrun, threads_restored
from fast.rows import CachedReader, row_lengths
from fast.steps import fastest
from model import GPT, GPTConfig
from recipes import RECIPES
from safe.running import Running
from sharing import print_shared
from start_times import cache_in, print_pipelines, print_starts
from trainer import Trainer, TrainerConfig

ROWS = {
    "cpu": ("plain float32", "plain (--plain) float32", "ours float32"),
    "cuda": (
        "plain float32",
        "plain tf32",
        "plain (--plain) float32",
        "plain (--plain) tf32",
        "ours tf32",
        "ours tf32 compiled",
        "ours bf16",
        "ours bf16 compiled",
    ),
}
STEPS = {"cpu": 6, "cuda": 460}
PLAIN_QUESTIONS = {"cpu": 10, "cuda": 50}
COURSE = RECIPES["course"]
COURSE_STEPS = 14_950
LARGE = dict(n_layer=12, n_head=12, n_embd=768, block_size=1024)
LARGE_BATCH, LARGE_STEPS = 64, 48


class EnoughError(Exception):
    """Raised from the log to end a run after enough steps."""


# ------------------------------------------------------------------------------------------------ measuring a row


def measure(row: str, device: str, folder: Path, n_steps: int, began: float) -> dict[str, float]:
    """The numbers of one row, in this process. `began` is when it was started, in seconds since the epoch."""
    who, (precision, *how) = ("--plain", row.split()[2:]) if "(--plain)" in row else (row.split()[0], row.split()[1:])
    text = data.read_corpus(folder / "wiki.txt")
    running = Running(device=device, dtype=precision, deterministic="deterministic" in how)
    with stages.placed(running) as where:
        torch.manual_seed(0)
        corpus = data.CharCorruptionDataset(text, COURSE.model["block_size"])
        config = GPTConfig(vocab_size=corpus.vocab_size, **COURSE.model, ignore_index=data.PAD)
        steps_per_epoch = math.ceil(len(corpus) / COURSE.pretrain.batch_size)
        every = steps_per_epoch if where.type == "cuda" else 1
        training = TrainerConfig(
            max_epochs=COURSE.pretrain.max_epochs,
            batch_size=COURSE.pretrain.batch_size,
            learning_rate=COURSE.pretrain.learning_rate,
            decay_gains_and_embeddings=COURSE.decay_gains_and_embeddings,
            lr_decay=True,
            warmup_tokens=COURSE.pretrain.warmup_tokens,
            final_tokens=COURSE.pretrain.schedule_epochs * len(corpus) * corpus.block_size,
            log_every=every,
        )
        model = (plain_loop.PlainGPT if who == "plain" else GPT)(config).to(where)
        faster = dict(bf16=precision == "bf16", compile="on" if "compiled" in how else "off") if who == "ours" else None
        before = peak_memory()
        times = train_a_while(model, text, corpus.to(where), training, n_steps, faster)
        seconds = statistics.median(b - a for a, b in itertools.pairwise(times)) / every
        memory = torch.cuda.max_memory_allocated() / 1e6 if where.type == "cuda" else peak_memory() - before

        _, y = corpus.batch(torch.arange(len(corpus), device=where), torch.Generator(where).manual_seed(0))
        peak = matmul_peak(where, precision)
        found = {
            "step": seconds,
            "positions": y.numel() / steps_per_epoch / seconds,
            "targets": (y != data.PAD).sum().item() / steps_per_epoch / seconds,
            "peak": peak,
            "operations": needed_operations(config, y) / steps_per_epoch,
            "memory": memory,
            "start_up": times[0] - began - (every - 1) * seconds,
        }
        return found | measure_answers(who, config, corpus, where, folder / "birth_dev.tsv")


@threads_restored()
def train_a_while(
    model: torch.nn.Module,
    text: str,
    corpus: data.CharCorruptionDataset,
    training: TrainerConfig,
    n_steps: int,
    faster: dict | None,
) -> list[float]:
    """Train for at least `n_steps`. Returns the times at which the lines of the log came, at least three.

    faster: arguments for `fastest`; with None our model takes the plain step
    """
    times: list[float] = []

    def on_log(line: dict[str, float]) -> None:
        times.append(time.time())
        if line["step"] >= n_steps and len(times) >= 3:
            raise EnoughError

    try:
        if isinstance(model, GPT):
            ways = {} if faster is None else fastest(model, corpus, training, **faster)[0]
            Trainer(model, corpus, None, training, **ways, on_log=on_log).train()
        else:
            plain_corpus = plain_loop.PlainCorruptionDataset(text, corpus.block_size)
            # As many workers as the course has. On a CPU they would take the model's cores.
            n_workers = 4 if corpus.device.type == "cuda" else 0
            plain_loop.train(model, plain_corpus, training, n_workers, on_log)
    except EnoughError:
        pass
    return times


def measure_answers(who: str, config: GPTConfig, corpus, where: torch.device, path: Path) -> dict[str, float]:
    """Seconds to answer all questions of `path` with new parameters, without an early end and with one."""
    pairs = data.read_places(path)
    questions = [question for question, _ in pairs]
    longest = max(len(place) for _, place in pairs) + 1  # and the MASK that ends it
    few = questions[:: max(1, len(questions) // PLAIN_QUESTIONS[where.type])]
    if who == "plain":
        plain = plain_loop.PlainGPT(config).to(where)
        plain_corpus = plain_loop.PlainCorruptionDataset("\n".join(corpus.data) + "\n", corpus.block_size)

        def ask():
            for question in few:
                plain_loop.answer(plain, plain_corpus, question, stages.ANSWER_LENGTH)

        seconds = seconds_of(ask) * len(questions) / len(few)
        return {"answers": seconds, "answers_ended": seconds}
    model = GPT(config).to(where)
    asked = few if who == "--plain" and where.type == "cpu" else questions
    ids, lengths = data.encode_questions(asked, corpus.vocabulary, corpus.block_size, path)

    def ask_ended():
        reader = None if who == "--plain" else CachedReader(model)
        model.generate(ids.to(where), lengths, longest, reader=reader).tolist()

    scale = len(questions) / len(asked)
    return {
        "answers": seconds_of(lambda: stages.answer(model, corpus.vocabulary, ids, lengths, who == "--plain")) * scale,
        "answers_ended": seconds_of(ask_ended) * scale,
    }


def seconds_of(function, repeats: int = 3) -> float:
    """The time of the fastest of some calls after a first one. Other programs can only make a call slower."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def needed_operations(config: GPTConfig, y: torch.Tensor) -> float:
    """Floating-point operations of forward and backward over targets y (B, T), without padding and masked-out pairs.

    Forward: two for each weight of a matrix product at each position, and four for each channel at each pair of
    positions. Backward: twice as many.
    """
    lengths = row_lengths(y, config.ignore_index).double()  # (B,)
    C, L = config.n_embd, config.n_layer
    weights = L * 12 * C * C + C * config.vocab_size
    pairs = (lengths * (lengths + 1) / 2).sum().item()
    return 3 * (2 * weights * lengths.sum().item() + 4 * C * L * pairs)


def matmul_peak(where: torch.device, precision: str) -> float:
    """Floating-point operations per second of a large matrix product in a precision."""
    n = 8192 if where.type == "cuda" else 2048
    a = torch.randn(n, n, device=where, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)

    def product():
        for _ in range(3):
            a @ a
        if where.type == "cuda":
            torch.cuda.synchronize()

    return 3 * 2 * n**3 / seconds_of(product)


# ------------------------------------------------------------------------------------------------------ several GPUs


def measure_large(how: str, device: str, folder: Path) -> dict[str, float] | None:
    """The numbers of the large model in this process, which torchrun may have started. None in all but the first."""
    lines = data.read_corpus(folder / "wiki.txt").split("\n")[:-1]
    n = math.ceil(LARGE["block_size"] / min(map(len, lines)))  # so many lines fill a block
    n_documents = LARGE_BATCH * LARGE_STEPS
    documents = [" ".join(lines[(i + j) % len(lines)] for j in range(n)) for i in range(n_documents)]
    longest = int(LARGE["block_size"] * data.MAX_TRUNCATED_SHARE)
    processes = processes_of_torchrun("sharded" in how, plain=False)
    with stages.placed(Running(device=device, dtype="bf16"), processes=processes) as where:
        torch.manual_seed(0)
        corpus = data.CharCorruptionDataset("\n".join(documents) + "\n", LARGE["block_size"], min_length=longest)
        config = GPTConfig(vocab_size=corpus.vocab_size, **LARGE, ignore_index=data.PAD)
        model = GPT(config)
        model = model.to(where) if processes is None else processes.place(model, where)
        training = TrainerConfig(max_epochs=1, batch_size=LARGE_BATCH, log_every=LARGE_STEPS // 8)
        faster = dict(bf16=where.type == "cuda", compile="on" if "compiled" in how else "off", processes=processes)
        ways, _ = fastest(model, corpus.to(where), training, **faster)
        times: list[float] = []
        Trainer(model, corpus, None, training, **ways, on_log=lambda line: times.append(time.time())).train()
        seconds = statistics.median(b - a for a, b in itertools.pairwise(times)) / training.log_every
        _, y = corpus.batch(torch.arange(LARGE_BATCH, device=where))
        count = 1 if processes is None else processes.count
        peak = count * matmul_peak(where, "bf16" if where.type == "cuda" else "float32")
        found = {
            "step": seconds,
            "targets": (y != data.PAD).sum().item() / seconds,
            "share": needed_operations(config, y) / seconds / peak,
            "memory": torch.cuda.max_memory_allocated() / 1e9 if where.type == "cuda" else peak_memory() / 1e3,
        }
    return found if processes is None or processes.is_first else None


def print_large(counts: list[int], device: str, folder: Path) -> None:
    print("| GPUs | ms/step | targets/s | | of peak | GB on the first |\n|---|---|---|---|---|---|", flush=True)
    first = None
    for how in ("eager", "compiled", "sharded"):
        for count in counts:
            if how == "sharded" and count == 1:
                continue
            torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
            found = in_own_process([*torchrun, __file__, "--large", how], device, folder)
            first = first or found
            cells = [f"{count}, {how}", f"{1000 * found['step']:,.1f}", f"{found['targets']:,.0f}"]
            cells += [f"{first['step'] / found['step']:.2f}x", f"{found['share']:.1%}", f"{found['memory']:.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


# --------------------------------------------------------------------------------------------------- the whole table


def print_machine(device: str) -> None:
    """Where, when and from which commit a table was made."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}, ", end="")
    print(f"commit {commit.stdout.strip() or 'unknown'}, {date.today()}\n", flush=True)


def in_own_process(arguments: list[str], device: str, folder: Path) -> dict[str, float]:
    """The last line that this program prints in a process of its own, with more arguments. It compiles all it needs."""
    command = [sys.executable, *arguments, "--device", device, "--data", str(folder), "--began", str(time.time())]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | cache_in(Path(cache)))
    if done.returncode:
        sys.exit(f"bench.py: {' '.join(arguments)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def line_of(row: str, found: dict[str, float], first: dict[str, float]) -> str:
    cells = [
        row,
        f"{1000 * found['step']:,.2f}",
        f"{1 / found['step']:,.3g}",
        f"{first['step'] / found['step']:.1f}x",
        f"{found['positions']:,.0f}",
        f"{found['targets']:,.0f}",
        f"{found['peak'] / 1e12:.3g}",
        f"{found['operations'] / found['step'] / found['peak']:.1%}",
        f"{found['memory']:,.0f}",
        f"{found['start_up']:.1f}",
        f"{found['start_up'] + COURSE_STEPS * found['step']:,.0f}",
        f"{found['answers']:,.2f} ({found['answers_ended']:,.2f})",
        f"{first['answers'] / found['answers']:.0f}x",
    ]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| | ms/step | steps/s | | positions/s | targets/s | peak TFLOP/s | of peak | memory MB | start-up s "
    "| 14,950 steps s | questions s | |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--data",
        type=Path,
        default=data.DATA_FOLDER,
        help="folder of wiki.txt and birth_dev.tsv (not for commands on data/quick)",
    )
    parser.add_argument("--steps", type=int, help="training steps per row")
    parser.add_argument("--repeats", type=int, default=1, help="measure all rows this often and keep the best of each")
    parser.add_argument("--gpus", type=int, nargs="+", help="measure a large model on this many GPUs instead")
    parser.add_argument("--deterministic", action="store_true", help="measure our rows with deterministic kernels too")
    parser.add_argument("--start", action="store_true", help="measure how long commands take to start instead")
    parser.add_argument("--pipeline", action="store_true", help="measure how long ./run.sh takes instead")
    parser.add_argument("--shared", action="store_true", help="measure a step beside other programs instead (Linux)")
    parser.add_argument("--old", type=Path, help="a checkout of the commit to compare with")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--large", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("--repeats must be at least 1")
    n_steps = args.steps or STEPS[args.device]
    if args.row:
        print(json.dumps(measure(args.row, args.device, args.data, n_steps, args.began)))
        return
    if args.large:
        if (found := measure_large(args.large, args.device, args.data)) is not None:
            print(json.dumps(found))
        return
    print_machine(args.device)
    checkouts = ({"old": args.old} if args.old else {}) | {"new": ROOT}
    if args.start:
        print_starts(checkouts, args.repeats, args.device)
        return
    if args.pipeline:
        print_pipelines(checkouts, args.repeats, args.device, args.data)
        return
    if args.shared:
        print_shared(checkouts, args.repeats)
        return
    if args.gpus:
        print_large(args.gpus, args.device, args.data)
        return
    rows = list(ROWS[args.device])
    if args.deterministic:
        rows += [f"{row} deterministic" for row in rows if row.startswith("ours")]
    programs = {row: Path(__file__) for row in rows}
    if args.old:
        programs |= {f"old: {row}": args.old / "measure" / "bench.py" for row in rows if row.startswith("ours")}
    best: dict[str, dict[str, float]] = {}
    for _ in range(args.repeats):
        for row, program in programs.items():
            arguments = [str(program), "--row", row.removeprefix("old: "), "--steps", str(n_steps)]
            found = in_own_process(arguments, args.device, args.data)
            smaller = ("step", "memory", "start_up", "answers", "answers_ended")
            kept = best.get(row, found)
            best[row] = {k: (min if k in smaller else max)(v, kept[k]) for k, v in found.items()}
            print(f"{row}: {1000 * found['step']:,.2f} ms", file=sys.stderr, flush=True)
    print(HEADER + "\n|" + "---|" * (HEADER.count("|") - 1))
    for row, found in best.items():
        print(line_of(row, found, best[ROWS[args.device][0]]))


if __name__ == "__main__":
    main()
