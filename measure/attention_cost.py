"""What each attention mechanism costs: time and peak memory of a forward and backward pass as the length T grows.

    python measure/attention_cost.py                                    # on a GPU, or on the CPU if there is none
    python measure/attention_cost.py --device cpu --lengths 128 1024
    python measure/attention_cost.py --dtype bf16

It prints both as Markdown tables, and the lengths from which a mechanism is cheaper than vanilla attention. Every
registered variant takes part.

Shapes:  as in attention.py. A batch has B = tokens / T sequences, so every T has the same number of tokens.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch
import torch.nn as nn
from torch import Tensor
from tqdm import tqdm

from attention import VARIANTS, WHOLE_ROWS, CausalCrossAttention, Rows
from fast.rows import FusedRows
from model import GPTConfig, last_seen

WRITTEN_OUT = "vanilla, written out"
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
MARGIN = 0.95  # cheaper means by more than 5%, because a smaller difference in time varies from run to run


class Bottleneck(nn.Module):
    """The attention of a perceiver of three layers: from T tokens to M latents, among these, and back to the tokens.

    A deeper model has more layers among the latents. Their cost does not depend on T.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.randn(1, config.options["bottleneck_dim"], config.n_embd))
        self.down, self.up = CausalCrossAttention(config), CausalCrossAttention(config)
        self.middle = VARIANTS[config.variant](config)

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        last, t = last_seen(self.config, x.device), torch.arange(x.size(1), device=x.device)  # (M,), (T,)
        latents = self.latents.expand(x.size(0), -1, -1)  # (B, M, C)
        latents = self.down(x, latents, t <= last[:, None], rows, rows)
        return self.up(self.middle(latents, rows), x, last <= t[:, None], rows, rows)  # (B, T, C)


def build(name: str, T: int, n_embd: int, n_head: int) -> nn.Module:
    """The mechanism of a variant, with its default options and without dropout. WRITTEN_OUT is vanilla's."""
    variant = "vanilla" if name == WRITTEN_OUT else name
    options = {}
    if VARIANTS[variant].bottleneck:
        options["bottleneck_dim"] = min(T, VARIANTS[variant].options["bottleneck_dim"].default)
    sizes = dict(vocab_size=1, block_size=T, n_embd=n_embd, n_head=n_head)
    config = GPTConfig(**sizes, variant=variant, options=options, resid_pdrop=0.0, attn_pdrop=0.0)
    return Bottleneck(config) if VARIANTS[variant].bottleneck else VARIANTS[variant](config)


def rows_for(name: str) -> Rows:
    """The layout that decides which code runs: that of src/attention.py, or the fused one of training."""
    return WHOLE_ROWS if name == WRITTEN_OUT else FusedRows()


def peak_memory(step: Callable, device: str) -> int:
    """The most bytes that step() holds at once, of those that it allocates itself."""
    if device == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    # The resident size of a process is noisy. The profiler records each allocation and release of torch's allocator,
    # including the scratch memory of kernels.
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with quiet_stderr(), torch.profiler.profile(activities=cpu, profile_memory=True) as recording:
        step()
    events = [event for event in recording.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events), default=0)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what C++ code prints to stderr: the profiler reports there that it starts and stops."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def median_seconds(step: Callable, device: str, repeats: int) -> float:
    """The median time of step(), after one run that does not count. On CUDA it includes the kernels of step()."""
    seconds = []
    for _ in range(1 + repeats):
        if device == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize(device)  # a call returns before its kernels have ended
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def cost(name: str, T: int, args: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds and MiB of one forward and backward pass. Both are infinite if it does not fit into memory."""
    torch.manual_seed(0)
    try:
        module = build(name, T, args.n_embd, args.n_head).to(args.device)
        x = torch.randn(max(1, args.tokens // T), T, args.n_embd, device=args.device, requires_grad=True)  # (B, T, C)
        dy = torch.randn_like(x)  # a dense gradient, as from the layer above
        leaves, rows = [x, *module.parameters()], rows_for(name)

        def step() -> None:
            with torch.autocast(args.device, DTYPES[args.dtype], enabled=args.dtype != "float32"):
                y = module(x, rows)
            torch.autograd.grad(y, leaves, dy.to(y.dtype), allow_unused=True)

        return 1e3 * median_seconds(step, args.device, args.repeats), peak_memory(step, args.device) / 2**20
    except RuntimeError as error:
        if "memory" not in str(error):  # "CUDA out of memory", or "DefaultCPUAllocator: can't allocate memory"
            raise
        return math.inf, math.inf


def markdown(head: list, rows: dict[str, list]) -> str:
    """A Markdown table. The first column names the row, and the others are aligned right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def cheaper_from(costs: list[float], vanilla: list[float], lengths: list[int]) -> str:
    """The smallest of `lengths` from which on `costs` stay at least 5% below those of vanilla."""
    cheaper = [ours < MARGIN * theirs for ours, theirs in zip(costs, vanilla, strict=True)]
    suffixes = (T for i, T in enumerate(lengths) if all(cheaper[i:]))
    return f"{next(suffixes, 'never in this range')}"


FOOTNOTES = """\
- `vanilla` is PyTorch's fused kernel, which keeps no (T, T) weights; `vanilla, written out` does.
- Default options: {options}.
- `linformer` summarises a fixed share of the tokens, so its cost stays quadratic, with a smaller constant.
- `perceiver` is the attention of a model of three layers: down to the latents, among them, and up again. The others
  are one layer. The cost of each further layer of a perceiver does not grow with T.
- Memory is the most that a pass holds at once beside parameters and input, {recorded}.
- A dash: out of memory.
"""


def parse(argv: list[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description="Time and memory of each attention mechanism as the length T grows.")
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument("--lengths", type=int, nargs="+", help="default: 128, 256, ... 8192, on a CPU to 2048")
    parser.add_argument("--tokens", type=int, help="tokens of a batch, at least T; default: 16384, on a CPU 2048")
    parser.add_argument("--n_embd", type=int, default=256, help="channels (default 256)")
    parser.add_argument("--n_head", type=int, default=8, help="heads (default 8)")
    parser.add_argument("--repeats", type=int, default=5, help="passes of which the median is taken (default 5)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="float32 (on CUDA TF32), or bf16 (autocast)")
    args = parser.parse_args(argv)
    on_cuda = args.device == "cuda"
    args.lengths = sorted(args.lengths or (2**i for i in range(7, 14 if on_cuda else 12)))
    args.tokens = args.tokens or (16384 if on_cuda else 2048)
    return parser, args


def main(argv: list[str] | None = None) -> None:
    parser, args = parse(argv)
    if args.device == "cuda":
        torch.set_float32_matmul_precision("high")  # as run.py trains
    names = ["vanilla", WRITTEN_OUT, *(name for name in VARIANTS if name != "vanilla")]
    cells = [(name, T) for T in args.lengths for name in names]  # what is compared is measured at about the same time
    try:
        bar = tqdm(cells, "measuring", unit="cell", delay=2, leave=False, disable=None)
        found = {cell: cost(*cell, args) for cell in bar}
    except ValueError as error:  # sizes from which no mechanism can be built
        parser.error(str(error))
    print_tables(names, found, args)


def print_tables(names: list[str], found: dict[tuple[str, int], tuple[float, float]], args: argparse.Namespace) -> None:
    """Print the costs that were found, (name, T): (milliseconds, MiB), and what follows from them."""
    on_cuda, lengths = args.device == "cuda", args.lengths
    where = torch.cuda.get_device_name() if on_cuda else f"a CPU with {torch.get_num_threads()} thread(s)"
    print(
        f"Forward and backward pass of one attention layer: C = {args.n_embd}, {args.n_head} heads, batches of "
        f"{args.tokens:,} tokens in sequences of T, {args.dtype}, no dropout; on {where}.\n"
    )
    ms, mib = ({name: [found[name, T][i] for T in lengths] for name in names} for i in (0, 1))
    for what, costs, digits in ((f"ms, median of {args.repeats}", ms, 1), ("MiB at the peak", mib, 0)):
        rows = {name: [f"{x:,.{digits}f}" if x < math.inf else "-" for x in costs[name]] for name in names}
        print(markdown([f"{what}, at T =", *lengths], rows))
    rows = {name: [cheaper_from(c[name], c["vanilla"], lengths) for c in (ms, mib)] for name in names[1:]}
    print(markdown(["cheaper than vanilla by more than 5% from T =", "time", "memory"], rows))
    options = [
        f"`{name}` {', '.join(f'{key} {o.default}' for key, o in VARIANTS[name].options.items())}"
        for name in VARIANTS
        if VARIANTS[name].options
    ]
    recorded = "as CUDA's allocator counts it" if on_cuda else "as torch's profiler records it"
    print(FOOTNOTES.format(options="; ".join(options), recorded=recorded))


if __name__ == "__main__":
    main()
