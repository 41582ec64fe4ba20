"""Leave padding out of the computation: the real positions of a padded batch, end to end, as one sequence of rows.

Half of a batch of short documents is padding. Everything in a Transformer but attention treats each position alone, so
it can work on a tensor (N, C) of the positions that matter; attention is told where rows begin, or lays them out as
(B, T, C) and takes its result apart again. In a causal model what stands after a row's last target changes nothing
before it, so the loss and its gradient stay what they were.

Shapes:  B rows, T tokens, N positions computed: at least the sum of the rows' lengths.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def lengths(targets: Tensor, ignore_index: int) -> Tensor:
    """(B,): how many positions of each row count, up to its last target that is not ignored. targets (B, T)."""
    place = torch.arange(1, targets.size(1) + 1, device=targets.device)
    return (place * (targets != ignore_index)).amax(dim=1)


class Packing(NamedTuple):
    """Where each position of the padded batch is in the packed one, and the other way round."""

    slot: Tensor  # (B, T) place in the packed sequence; 0 for padding
    is_real: Tensor  # (B, T) False for padding
    source: Tensor  # (N,) place in the padded batch, counted row by row; 0 for slots that nothing fills
    is_filled: Tensor  # (N,) False for those
    place: Tensor  # (N,) place in its row
    bounds: Tensor  # (rows + 1,) int32: row i is [bounds[i], bounds[i + 1]); slots that nothing fills are rows, too
    kernels: tuple[torch.dtype, ...]  # of queries for which there is a kernel for attention within such rows

    @classmethod
    def of(cls, lengths: Tensor, T: int, N: int) -> "Packing":
        """The packing of rows of `lengths` (B,) from a batch (B, T) into N slots, whose sum may not exceed N.

        N is given, not computed, so that shapes are known without waiting for the device.
        """
        ends = lengths.cumsum(0)  # (B,)
        starts = ends - lengths
        slots, place = torch.arange(N, device=ends.device), torch.arange(T, device=ends.device)
        is_real = place < lengths[:, None]  # (B, T)
        is_filled = slots < ends[-1]  # (N,)
        row = torch.searchsorted(ends, slots, right=True).clamp(max=len(lengths) - 1)  # (N,)
        place_in_row = (slots - starts[row]) * is_filled
        beyond = torch.arange(N // T + 2, device=ends.device) * T + ends[-1]  # rows of at most T cover what is left
        bounds = torch.cat([starts, beyond.clamp(max=N)]).int()
        slot = (starts[:, None] + place) * is_real
        source = (row * T + place_in_row) * is_filled
        return cls(slot, is_real, source, is_filled, place_in_row, bounds, _kernels(ends.device))

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, ...)"""
        return _Rearrange.apply(x.flatten(0, 1), self.source, self.slot.flatten(), self.is_real.flatten())

    def unpack(self, x: Tensor) -> Tensor:
        """(N, ...) -> (B, T, ...); padding holds the first position's numbers, for nobody to read."""
        return _Rearrange.apply(x, self.slot.flatten(), self.source, self.is_filled).unflatten(0, self.slot.shape)


def _kernels(device: torch.device) -> tuple[torch.dtype, ...]:
    # The GPUs of NVIDIA that have bfloat16, and builds of torch with FlashAttention: not all for Windows are.
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return ()
    if not torch.backends.cuda.is_flash_attention_available():
        return ()
    # TF32 has no more digits than float16, into which what enters the kernel can be rounded.
    rounded = torch.get_float32_matmul_precision() != "highest"
    return (torch.bfloat16, torch.float16) + (torch.float32,) * rounded


class _Rearrange(torch.autograd.Function):
    """x[index], whose gradient is read through the inverse index instead of added up.

    The same as indexing as long as no gradient arrives at what stands for padding; none does, see above.
    """

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor, has_inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse, has_inverse)
        return x[index]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        inverse, has_inverse = ctx.saved_tensors
        return (gradient[inverse] * has_inverse.unflatten(0, (-1,) + (1,) * (gradient.dim() - 1))), None, None, None
