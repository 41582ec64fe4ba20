"""Replay a training step from a CUDA graph: the host asks for hundreds of kernels at once instead of one by one.

A small model's kernels take a few microseconds each, less than the host needs to ask for them.
"""

import gc
from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor


class GraphedStep:
    """Calls `step(x, y, computed) -> (loss, grad_norm)` and, from its second call on, replays it.

    The first call runs as usual and lets libraries, compiler and optimizer allocate what they keep. The second is
    recorded. A graph has fixed shapes and reads from fixed places: batches are copied there, one of fewer than `rows`
    with rows beside it whose targets are ignored. A step that computes another number of positions than `computed`, or
    whose batch has another number of rows and is no smaller one, runs as usual: the same steps do in a run that is
    continued. All rows are of one length.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor, int | None], tuple[Tensor, Tensor]], model: nn.Module, rows: int
    ):
        self.step, self.rows = step, rows
        self.computed: int | None = None  # for a model that leaves padding out, set before the first call
        self.ignore_index = getattr(getattr(model, "config", None), "ignore_index", None)
        self.graph = self.x = None

    def __call__(self, x: Tensor, y: Tensor, computed: int | None) -> tuple[Tensor, Tensor]:
        fits = len(x) == self.rows or (len(x) < self.rows and self.ignore_index is not None)
        if computed != self.computed or not fits:
            with torch.compiler.set_stance("force_eager"):  # not worth compiling for another shape
                return self.step(x, y, computed)
        first = self.x is None
        if first:
            self.x, self.y = x.new_zeros(self.rows, *x.shape[1:]), y.new_zeros(self.rows, *y.shape[1:])
        self.x[: len(x)].copy_(x)
        self.y[: len(y)].copy_(y)
        if len(y) < self.rows:
            self.y[len(y) :].fill_(self.ignore_index)
        with torch.cuda.device(x.device):  # whose streams the next lines mean
            if first:
                return self._on_side_stream()
            if self.graph is None:
                gc.collect()  # of an earlier run: a graph that is freed while another is recorded makes that fail
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph, stream=self.stream):
                    self.result = self.step(self.x, self.y, self.computed)
            self.graph.replay()
        return self.result

    def _on_side_stream(self) -> tuple[Tensor, Tensor]:
        """The first step, on a stream of its own as recording will be: what it allocates must not be the default's."""
        self.stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.step(self.x, self.y, self.computed)
        current.wait_stream(self.stream)
        return result
