"""Dropout that is not the slowest part of training on a CPU; and how to do without it for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn as nn
from torch import Tensor


class Dropout(nn.Dropout):
    """nn.Dropout: each number is zero with probability p, and otherwise divided by 1 - p.

    On a CPU torch draws a double for each number, on one core: at the course's sizes a tenth to a quarter of a step.
    Here 16 of the 64 bits of an integer are enough for each, which rounds p to a multiple of 2**-16 and is 13 times as
    fast.
    """

    def forward(self, x: Tensor) -> Tensor:
        # The compiler has a generator of its own, and GPUs draw on all cores.
        dropped = round(self.p * 2**16)  # of 2**16 values
        if not self.training or dropped in (0, 2**16) or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        n = x.numel()
        integers = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits
        kept = integers.view(torch.int16)[:n] >= dropped - 2**15
        return x * (kept * torch.tensor(2**16 / (2**16 - dropped), dtype=x.dtype)).view(x.shape)


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode while this lasts, however it ends, and afterwards as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
