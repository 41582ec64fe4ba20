"""Replay a training step from a CUDA graph: the host asks for hundreds of kernels at once instead of one by one.

A small model's kernels take a few microseconds each, less than the host needs to ask for them.
"""

from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor


class GraphedStep:
    """Calls `step(x, y, computed) -> (loss, grad_norm)` and, from its second call on, replays it.

    The first call runs as usual and lets libraries, compiler and optimizer allocate what they keep. The second is
    recorded. A graph has fixed shapes and reads from fixed places: batches are copied there, a smaller one with rows
    beside it whose targets are ignored, and a step that computes another number of positions runs as usual.
    """

    def __init__(self, step: Callable[[Tensor, Tensor, int | None], tuple[Tensor, Tensor]], model: nn.Module):
        self.step = step
        self.ignore_index = getattr(getattr(model, "config", None), "ignore_index", None)
        self.graph = self.x = None

    def __call__(self, x: Tensor, y: Tensor, computed: int | None) -> tuple[Tensor, Tensor]:
        if self.x is None:
            self.x, self.y, self.computed = x.clone(), y.clone(), computed
            return self._on_side_stream()
        fits = len(x) == len(self.x) or (len(x) < len(self.x) and self.ignore_index is not None)
        if computed != self.computed or not fits:
            with torch.compiler.set_stance("force_eager"):  # not worth compiling for another shape
                return self.step(x, y, computed)
        self.x[: len(x)].copy_(x)
        self.y[: len(y)].copy_(y)
        if len(y) < len(self.y):
            self.y[len(y) :].fill_(self.ignore_index)
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = self.step(self.x, self.y, self.computed)
        self.graph.replay()
        return self.result

    def _on_side_stream(self) -> tuple[Tensor, Tensor]:
        """The first step, on a stream of its own as recording will be: what it allocates must not be the default's."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self.step(self.x, self.y, self.computed)
        current.wait_stream(stream)
        return result
