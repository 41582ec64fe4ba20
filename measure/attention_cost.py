"""What each attention mechanism costs: time and peak memory of a forward and backward pass as the length T grows.

    python src/attention.py [--device cuda] [--lengths 128 1024 8192] [--dtype bf16]

prints both as Markdown, and the lengths from which a mechanism is cheaper than vanilla attention. A variant takes part
by being registered.

Shapes:  as in attention.py; a batch has B = tokens / T sequences, so that its number of tokens is the same for every T.
"""

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate

import torch
import torch.nn as nn
from torch import Tensor
from tqdm import tqdm

from attention import VARIANTS, CausalCrossAttention, CausalSelfAttention, written_out_attention
from model import GPTConfig, after_reach

WRITTEN_OUT = "vanilla, written out"
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
MARGIN = 0.95  # cheaper means by more than 5%: a smaller difference in time comes and goes with the run


class WrittenOutAttention(CausalSelfAttention):
    """Vanilla attention that keeps its weights (B, nh, T, T), as it has to where somebody wants to see them."""

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: None = None) -> Tensor:
        return written_out_attention(q, k, v)[0]


class Bottleneck(nn.Module):
    """The attention of a perceiver of three layers: T tokens to M latents, among these, and back to the tokens.

    Its linear layers cost what those of one vanilla layer do; a deeper model adds only middles, free of T.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.randn(1, config.options["bottleneck_dim"], config.n_embd))
        self.down, self.up = CausalCrossAttention(config), CausalCrossAttention(config)
        self.middle = VARIANTS[config.variant](config)

    def forward(self, x: Tensor) -> Tensor:
        after = after_reach(self.config, x.size(1), x.device)  # (M, T)
        latents = self.down(x, self.latents.expand(x.size(0), -1, -1), after <= 0)  # (B, M, C)
        return self.up(self.middle(latents), x, (after >= 0).T)  # (B, T, C)


def build(name: str, T: int, n_embd: int, n_head: int) -> nn.Module:
    """The mechanism of a variant, or WRITTEN_OUT, with the variant's default options and without dropout."""
    variant = "vanilla" if name == WRITTEN_OUT else name
    options = {}
    if VARIANTS[variant].bottleneck:
        options["bottleneck_dim"] = min(T, VARIANTS[variant].options["bottleneck_dim"].default)
    sizes = dict(vocab_size=1, block_size=T, n_embd=n_embd, n_head=n_head)
    config = GPTConfig(**sizes, variant=variant, options=options, resid_pdrop=0.0, attn_pdrop=0.0)
    if name == WRITTEN_OUT:
        return WrittenOutAttention(config)
    return Bottleneck(config) if VARIANTS[name].bottleneck else VARIANTS[name](config)


def peak_memory(step: Callable, device: str) -> int:
    """Bytes that were allocated during step() and alive at once, at most; what was there before does not count."""
    if device == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    # The resident size of a process is noisy. The profiler records each allocation and release of torch's allocator,
    # the scratch memory of its kernels included.
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with _quiet_stderr(), torch.profiler.profile(activities=cpu, profile_memory=True) as recording:
        step()
    events = [event for event in recording.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events), default=0)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Without what C++ prints there: the profiler reports, below Python, that it starts and stops."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def median_seconds(step: Callable, device: str, repeats: int) -> float:
    """The median time of step() after a first run, on CUDA until its kernels have ended."""
    seconds = []
    for _ in range(1 + repeats):
        if device == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize(device)  # kernels run on after the call has returned
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def cost(name: str, T: int, args: argparse.Namespace) -> tuple[float, float]:
    """Milliseconds and MiB of one forward and backward pass; infinite where the memory does not suffice."""
    torch.manual_seed(0)
    try:
        module = build(name, T, args.n_embd, args.n_head).to(args.device)
        x = torch.randn(max(1, args.tokens // T), T, args.n_embd, device=args.device, requires_grad=True)  # (B, T, C)
        dy = torch.randn_like(x)  # a dense gradient, as from the layer above
        leaves = [x, *module.parameters()]

        def step() -> None:
            with torch.autocast(args.device, DTYPES[args.dtype], enabled=args.dtype != "float32"):
                y = module(x)
            torch.autograd.grad(y, leaves, dy.to(y.dtype), allow_unused=True)

        return 1e3 * median_seconds(step, args.device, args.repeats), peak_memory(step, args.device) / 2**20
    except RuntimeError as error:
        if "memory" not in str(error):  # torch's two messages: CUDA out of memory, DefaultCPUAllocator: can't allocate
            raise
        return math.inf, math.inf


def markdown(head: list, rows: dict[str, list]) -> str:
    """A Markdown table: the first column names the row, the others are aligned right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def cheaper_from(costs: list[float], vanilla: list[float], lengths: list[int]) -> str:
    """The smallest of `lengths` from which on `costs` stay below those of vanilla."""
    cheaper = [ours < MARGIN * theirs for ours, theirs in zip(costs, vanilla, strict=True)]
    suffixes = (T for i, T in enumerate(lengths) if all(cheaper[i:]))
    return f"{next(suffixes, 'never in this range')}"


FOOTNOTES = """\
- `vanilla` is PyTorch's fused kernel, which keeps no (T, T) weights; `vanilla, written out` does.
- {options}: the defaults.
- `linformer`'s summaries are a fixed share of the tokens, so its cost stays quadratic, with a smaller constant.
- `perceiver` is the attention of a model of three layers, down to the latents, among them and up again, beside one
  layer of the others: another layer adds to it what does not grow with T.
- Memory is the most that a pass holds at once beside parameters and input, {recorded}.
- A dash: the memory did not suffice.
"""


def main(argv: list[str] | None = None) -> None:
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    parser = argparse.ArgumentParser(description="Time and memory of each attention mechanism as the length grows.")
    parser.add_argument("--device", choices=devices, default=devices[0])
    parser.add_argument("--lengths", type=int, nargs="+", help="default: 128, 256, ... 8192, on a CPU up to 2048")
    parser.add_argument("--tokens", type=int, help="of a batch, at least one sequence; default: 16384, on a CPU 2048")
    parser.add_argument("--n_embd", type=int, default=256)
    parser.add_argument("--n_head", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="float32 (on CUDA in TF32), or autocast")
    args = parser.parse_args(argv)
    on_cuda = args.device == "cuda"
    lengths = sorted(args.lengths or (2**i for i in range(7, 14 if on_cuda else 12)))
    args.tokens = args.tokens or (16384 if on_cuda else 2048)
    if on_cuda:
        torch.set_float32_matmul_precision("high")  # as run.py trains

    names = ["vanilla", WRITTEN_OUT, *(name for name in VARIANTS if name != "vanilla")]
    cells = [(name, T) for T in lengths for name in names]  # what is compared is measured at about the same time
    try:
        found = {cell: cost(*cell, args) for cell in tqdm(cells, leave=False, disable=None)}
    except ValueError as error:  # sizes of which no mechanism can be built
        parser.error(str(error))
    ms, mib = ({name: [found[name, T][i] for T in lengths] for name in names} for i in (0, 1))

    where = torch.cuda.get_device_name() if on_cuda else f"a CPU with {torch.get_num_threads()} thread(s)"
    print(
        f"Forward and backward pass of one attention layer: C = {args.n_embd}, {args.n_head} heads, batches of "
        f"{args.tokens:,} tokens in sequences of T, {args.dtype}, no dropout; on {where}.\n"
    )
    for what, costs, digits in ((f"ms, median of {args.repeats}", ms, 1), ("MiB at the peak", mib, 0)):
        rows = {name: [f"{x:,.{digits}f}" if x < math.inf else "-" for x in costs[name]] for name in names}
        print(markdown([f"{what}, at T =", *lengths], rows))
    rows = {name: [cheaper_from(c[name], c["vanilla"], lengths) for c in (ms, mib)] for name in names[1:]}
    print(markdown(["cheaper than vanilla, by 5% and more, from T =", "time", "memory"], rows))
    options = [
        f"`{name}` {', '.join(f'{key} {o.default}' for key, o in VARIANTS[name].options.items())}"
        for name in VARIANTS
        if VARIANTS[name].options
    ]
    recorded = "by the count of CUDA's allocator" if on_cuda else "by the allocations that torch's profiler records"
    print(FOOTNOTES.format(options="; ".join(options), recorded=recorded))


if __name__ == "__main__":
    main()
