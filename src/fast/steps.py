"""Faster training steps: the same numbers as the step in Trainer.train, in fewer milliseconds.

`fastest` picks one for a model, a device and a number of processes. What each saves is measured in docs/speed.md.

Shapes:  B rows of a batch, T tokens of a row.
"""

import importlib
import inspect
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import MethodType
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from fast.device import LEAST_ROWS, has_bf16
from fast.dropout import OF_THREAD, use_fast_dropout
from fast.graphed import GraphedStep, round_up
from fast.rows import PackedRows, row_lengths
from optimizer import make_optimizer
from trainer import TrainerConfig, batches, ignored_by

ROWS_TOGETHER = 16  # the most rows of a part, on a CPU
STEPS_LATER = 8  # a GPU is told what to do so many steps ahead of what it does, at most
STEPS_TO_COMPILE = 10_000  # on a GPU: a step gets 1 ms faster, for 10 to 25 s once and about 5 s in later runs


class PackedStep:
    """Forward, backward, clip and update on a packed batch: padding is not computed.

    model: what is trained; forward: how it is called (wrapped), by default the model itself
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: TrainerConfig,
        forward: Callable[..., Any] | None = None,
        bf16: bool = False,
    ):
        self.model: Any = model
        self.optimizer, self.config = optimizer, config
        self.forward, self.bf16 = forward or model, bf16
        self.device_type = next(model.parameters()).device.type

    def __call__(self, x: Tensor, y: Tensor, slots: int | None = None) -> tuple[Tensor, Tensor]:
        """(loss, norm of the gradient before clipping) of the batch x, y (B, T), both left on the device."""
        self.optimizer.zero_grad()
        loss = self.backward(x, y, slots)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_norm_clip)
        self.optimizer.step()
        return loss, grad_norm

    def backward(self, x: Tensor, y: Tensor, slots: int | None) -> Tensor:
        """Add the gradient of the batch. Returns its loss."""
        lengths = row_lengths(y, self.model.ignore_index)  # (B,)
        loss = self.loss(x, y, lengths, int(lengths.sum()) if slots is None else slots)
        loss.backward()
        return loss.detach()

    def loss(self, x: Tensor, y: Tensor, lengths: Tensor, slots: int) -> Tensor:
        rows = PackedRows(lengths, x.size(1), max(1, slots))
        targets = rows.pack(y).masked_fill(~rows.is_filled, self.model.ignore_index)  # (1, slots)
        with torch.autocast(self.device_type, torch.bfloat16, enabled=self.bf16):
            return self.forward(rows.pack(x), targets, rows)[1]


class ByLengthStep(PackedStep):
    """A packed step on a CPU. The parts of a batch, a few rows of like length each, are computed by several threads.

    Attention on whole rows costs as much as the longest of them. On a GPU many small products cost more than a few wide
    ones; on a CPU they do not.

    Each of `n_threads` threads computes one part after another, and they wait for each other once a step. torch's own
    threads divide every operation and wait at the end of each: if another program holds a core, hundreds of times a
    step. So torch must be set to one thread (`fastest` does so). The result does not depend on which thread ends first:
    gradients are added in the order of the parts, and each part has a seed of its own for dropout. With another number
    of threads the parts are others, and so are rounding and what dropout draws.
    """

    def __init__(self, *arguments: Any, n_threads: int = 1, **named: Any):
        super().__init__(*arguments, **named)
        self.n_threads = n_threads
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.map: Callable[..., Iterable[Any]] | None = None  # decided by the first step

    def backward(self, x: Tensor, y: Tensor, slots: int | None = None) -> Tensor:
        ignore_index = self.model.ignore_index
        total, n_targets = torch.zeros(()), (y != ignore_index).sum()
        lengths = row_lengths(y, ignore_index)  # (B,)

        def part(rows: Tensor, seed: int) -> tuple[Tensor, Sequence[Tensor | None]]:
            """(loss, gradients) of some rows, scaled so that the sum over all parts is the batch's."""
            part_x, part_y = (z[rows, : int(lengths[rows].max())] for z in (x, y))
            # A loss is a mean over targets, and the parts have different numbers of them.
            share = (part_y != ignore_index).sum() / n_targets
            OF_THREAD.generator = torch.Generator().manual_seed(seed)
            try:
                loss = self.loss(part_x, part_y, lengths[rows], int(lengths[rows].sum())) * share
            finally:
                OF_THREAD.generator = None
            return loss.detach(), torch.autograd.grad(loss, self.parameters, allow_unused=True)

        parts = self.parts(lengths)
        seeds = torch.randint(2**62, (len(parts),)).tolist()  # from the generator that checkpoints keep
        before = torch.get_rng_state() if self.map is None else None
        for loss, gradients in (self.map or map)(part, parts, seeds):
            total += loss
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                if gradient is not None and parameter.grad is None:
                    # A gradient may share its memory with another one, or lie in another order than its parameter.
                    parameter.grad = torch.empty_like(parameter).copy_(gradient)
                elif gradient is not None:
                    parameter.grad += gradient
        if before is not None:
            # What draws from torch's generator would draw in the order in which threads come: one after another, then.
            alone = self.n_threads == 1 or not torch.equal(torch.get_rng_state(), before)
            self.map = map if alone else ThreadPoolExecutor(self.n_threads, "step").map
        return total

    def parts(self, lengths: Tensor) -> list[Tensor]:
        """The rows that have targets, the longest first: groups of like length, each dealt out to the threads."""
        rows = lengths.argsort(descending=True)[: int((lengths > 0).sum())]
        n = max(1, min(self.n_threads, len(rows) // LEAST_ROWS))
        return [group[i::n] for group in rows.split(ROWS_TOGETHER * n) for i in range(min(n, len(group)))]


class DistributedStep(PackedStep):
    """A packed step of one of several processes: each computes its own rows, and gradients are averaged.

    DistributedDataParallel or FSDP, in `forward`, average the gradients during the backward pass; on a CPU `processes`
    does so after it.

    The processes also agree on the steps after which they pause: all of them call `on_pause` at the same step. Each one
    wishes a pause once time.monotonic() has reached its `pause_at`. The wish costs no message of its own: it travels
    with the loss, which is averaged over the processes after each step.
    """

    def __init__(self, processes: Any, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.processes = processes
        self.pause_at = math.inf
        self.on_pause: Callable[[], None] = lambda: None
        self.steps_later = STEPS_LATER if self.device_type == "cuda" else 0
        self.wishes: deque[tuple[Tensor, Any]] = deque()  # of the last steps, on their way to the host

    def __call__(self, x: Tensor, y: Tensor, slots: int | None = None) -> tuple[Tensor, Tensor]:
        loss, grad_norm = super().__call__(x, y, slots)
        loss, wish = self.processes.mean_and_any(loss, time.monotonic() >= self.pause_at)
        if self.is_pause(wish):
            self.on_pause()
        return loss, self.processes.whole(grad_norm)

    def is_pause(self, wish: Tensor) -> bool:
        """Did any process wish a pause `steps_later` steps ago? To read the newest wish would wait for the GPU."""
        if self.steps_later == 0:
            return bool(wish > 0)
        arrived = torch.cuda.Event()
        self.wishes.append((wish.to("cpu", non_blocking=True), arrived))
        arrived.record()
        if len(self.wishes) <= self.steps_later:
            return False
        oldest, arrived = self.wishes.popleft()
        arrived.synchronize()
        if oldest > 0:
            self.wishes.clear()  # the same wish, told again
        return bool(oldest > 0)

    def backward(self, x: Tensor, y: Tensor, slots: int | None) -> Tensor:
        own_x, own_y = self.processes.own(x), self.processes.own(y)
        lengths = row_lengths(own_y, self.model.ignore_index)
        loss = self.loss(own_x, own_y, lengths, int(lengths.sum()) if slots is None else slots)
        loss = loss * self.processes.weight(y, self.model.ignore_index)
        loss.backward()
        self.processes.average_gradients(self.model)
        return loss.detach()


def counted(ignore_index: int, own: Callable[[Tensor], Tensor] = lambda rows: rows) -> Callable[..., Iterable[tuple]]:
    """A `split` for Trainer that adds to each batch how many positions its packed step computes.

    The counts of many batches come to the host together: one wait for the device instead of one a step.
    """

    def split(x: Tensor, y: Tensor, size: int) -> Iterable[tuple]:
        lengths = row_lengths(y, ignore_index)  # (B,)
        counts = torch.stack([own(part).sum() for part in lengths.split(size)]).tolist()
        return zip(x.split(size), y.split(size), counts, strict=True)

    return split


def fastest(
    model: Any,
    dataset: Any,
    config: TrainerConfig,
    *,
    bf16: bool = False,
    compile: str = "auto",
    processes: Any = None,
) -> tuple[dict[str, Any], str]:
    """The fastest way to train `model` on `dataset`: (arguments for Trainer, a description for people).

    On a CPU it sets torch to one thread, since the step has threads: call it within `threads_restored`.

    A model whose forward takes no `rows` is trained by the plain step. `compile` is "on", "off" or "auto": on a GPU, if
    the run is long enough and the machine has a compiler.
    """
    if compile not in ("on", "off", "auto"):
        raise ValueError(f"compile is {compile!r}: choose on, off or auto")
    device = next(model.parameters()).device
    bf16 = bf16 and has_bf16(device)
    precision = "bf16" if bf16 else f"float32 ({torch.get_float32_matmul_precision()} precision)"
    if "rows" not in inspect.signature(model.forward).parameters:
        if processes is not None:
            raise ValueError("this model trains in one process: start it with python, not with torchrun")
        return {}, f"{precision}, the plain step"
    on_cuda = device.type == "cuda"
    use_fast_dropout(model)
    model.ignore_index = ignored_by(dataset)
    graphed = on_cuda and processes is None and hasattr(dataset, "batch")
    description = [precision] + ["a CUDA graph a step"] * graphed
    compiled, obstacle = False, None
    sharded = processes is not None and processes.shard
    if compile == "on" or (compile == "auto" and on_cuda and not sharded and long_enough(dataset, config)):
        obstacle = obstacle_to_compiling(device) if compile == "auto" else None
        compiled = obstacle is None
        description += ["compiled" if compiled else f"not compiled ({obstacle})"]
    if compiled:
        compile_parts(model, dynamic=False if graphed else None)
    forward: Callable[..., Any] = model
    if processes is not None:
        forward = processes.wrap(model)
        description += [str(processes)]
    optimizer = make_optimizer(model, config, fused=True, capturable=on_cuda)
    arguments: dict[str, Any] = {"optimizer": optimizer}
    if processes is not None:
        arguments["step"] = DistributedStep(processes, model, optimizer, config, forward, bf16)
        arguments["split"] = counted(ignored_by(dataset), processes.own)
        arguments["show_progress"] = processes.is_first
    elif graphed:
        arguments["split"] = counted(ignored_by(dataset))
        rows, slots = min(config.batch_size, len(dataset)), slots_for(dataset, config, device)
        arguments["step"] = GraphedStep(PackedStep(model, optimizer, config, forward, bf16), rows, slots)
    elif device.type == "cpu":
        n_threads = 1 if compiled else torch.get_num_threads()  # compiled code is not called by several threads
        torch.set_num_threads(torch.get_num_threads() if compiled else 1)
        description += [f"up to {n_threads} parts at a time"] * (n_threads > 1)
        arguments["step"] = ByLengthStep(model, optimizer, config, forward, bf16, n_threads=n_threads)
    else:
        arguments["step"] = PackedStep(model, optimizer, config, forward, bf16)
    return arguments, ", ".join([*description, "no padding"])


def long_enough(dataset: Any, config: TrainerConfig) -> bool:
    return config.max_epochs * -(-len(dataset) // config.batch_size) >= STEPS_TO_COMPILE


def slots_for(dataset: Any, config: TrainerConfig, device: torch.device) -> int:
    """Positions that a graphed step computes: enough for nearly every batch, and the same each time a run continues."""
    first = islice(batches(dataset, config, device, epoch=1, split=counted(ignored_by(dataset))), 64)
    return round_up(max(count for *_, count in first) * 1.02)


def compile_parts(model: Any, dynamic: bool | None) -> None:
    """Compile the embedding and the blocks of `model`, which share one compilation.

    Compiled as one, the model takes longer in TF32 (docs/speed.md). Compiled and deterministic, the gradient of an
    embedding would be added up one position after the other.

    torch keeps what it has compiled for the next run. Code with an autograd.Function (`fast/rows.py` has two) it keeps
    whole only if it is told to, and traces it anew otherwise, which takes as long as all the rest of a second start.
    """
    compiler: Any = importlib.import_module("torch._functorch.config")
    if hasattr(compiler, "autograd_cache_allow_custom_autograd_functions"):  # from torch 2.8 on
        compiler.autograd_cache_allow_custom_autograd_functions = True
    for block in model.blocks:
        block.compile(dynamic=dynamic)
    if not torch.are_deterministic_algorithms_enabled():
        # A method, so that a deep copy of the model has a method of its own.
        model.embed = MethodType(torch.compile(type(model).embed, dynamic=dynamic), model)


def obstacle_to_compiling(device: torch.device) -> str | None:
    """Why no kernels can be made here: no Triton, C compiler or Python headers, or a GPU that is too old."""
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # of many kinds, from several libraries
        return (str(error) or type(error).__name__).splitlines()[0]
    return None
