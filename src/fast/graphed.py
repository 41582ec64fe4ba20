"""Replay a training step from a CUDA graph: the host asks for hundreds of kernels at once instead of one by one.

The kernels of a small model take a few microseconds each, less than the host needs to ask for one.
"""

import gc
from typing import Any

import torch
from torch import Tensor


class GraphedStep:
    """A PackedStep that is replayed from its second call on.

    The first call runs eagerly, so that libraries, compiler and optimizer can allocate what they keep. The second is
    recorded. A CUDA graph replays fixed shapes from fixed memory. A smaller batch is padded with rows whose targets are
    ignored; a step that does not fit runs eagerly. Whether a step fits follows from its batch alone, so a run that is
    continued computes each step in the same way.

    step: a PackedStep; rows: of a full batch; slots: positions that the graph computes
    """

    def __init__(self, step: Any, rows: int, slots: int):
        self.step, self.rows, self.slots = step, rows, slots
        self.ignore_index = step.model.ignore_index
        self.graph: torch.cuda.CUDAGraph | None = None
        self.x: Any = None

    def __call__(self, x: Tensor, y: Tensor, needed: int) -> tuple[Tensor, Tensor]:
        """(loss, norm of the gradient) of the batch x, y (B, T), of which `needed` positions are not padding."""
        if needed > self.slots or len(x) > self.rows:
            with torch.compiler.set_stance("force_eager"):  # not worth compiling for another shape
                return self.step(x, y, round_up(needed))
        first = self.x is None
        if first:
            self.x, self.y = x.new_zeros(self.rows, *x.shape[1:]), y.new_zeros(self.rows, *y.shape[1:])
            self.lr = torch.zeros((), device=x.device)  # a graph reads the rate from where it is
        self.x[: len(x)].copy_(x)
        self.y[: len(y)].copy_(y)
        self.y[len(y) :].fill_(self.ignore_index)
        groups = self.step.optimizer.param_groups
        rate = groups[0]["lr"]
        self.lr.fill_(rate)
        for group in groups:
            group["lr"] = self.lr
        with torch.cuda.device(x.device):  # whose streams the next lines mean
            if first:
                result = self.on_side_stream()
            else:
                result = self.replay()
        for group in groups:
            group["lr"] = rate
        return result

    def replay(self) -> tuple[Tensor, Tensor]:
        if self.graph is None:
            gc.collect()  # a graph of an earlier run that is freed while another is recorded makes that fail
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.result = self.step(self.x, self.y, self.slots)
        self.graph.replay()
        return self.result

    def on_side_stream(self) -> tuple[Tensor, Tensor]:
        """The first step, on a stream of its own as recording will be: what it allocates must not be the default's."""
        self.stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.step(self.x, self.y, self.slots)
        current.wait_stream(self.stream)
        return result


def round_up(slots: float) -> int:
    """The next multiple of 256: few shapes are few sets of kernels."""
    return -int(-slots // 256) * 256
