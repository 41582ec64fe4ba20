"""Faster layouts of a batch: fused kernels, packing (no padding), and a KV cache.

All give what attention.Rows gives, which is the version to read first. They answer the same four questions: how heads
are made of x, where each token stands, which keys its query meets, and how heads are joined again.

Shapes:  B rows, T tokens of a row, N tokens of a packed batch, nh heads of hs channels, C = nh * hs, S cached tokens.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from attention import CausalSelfAttention, Rows


class FusedRows(Rows):
    """Whole rows, with one matrix product for all projections and a fused kernel for attention."""

    def heads(self, x: Tensor, n_head: int, *projections: nn.Linear) -> list[Tensor]:
        alike = all(type(p) is nn.Linear and p.bias is not None for p in projections)
        if len(projections) == 1 or not alike or len({p.weight.shape for p in projections}) > 1:
            return super().heads(x, n_head, *projections)
        weight = torch.cat([projection.weight for projection in projections])
        bias = torch.cat([projection.bias for projection in projections])
        y = F.linear(x, weight, bias)  # (B, T, n C): one large product is faster than several small ones
        return list(y.unflatten(-1, (len(projections) * n_head, -1)).transpose(1, 2).chunk(len(projections), dim=1))

    def causal_attention(self, attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.join(fused_attention(attention, q, k, v))


def fused_attention(attention: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attention.attend(q, k, v, mask)` with a fused kernel where there is one; without a mask it is causal.

    q (B, nh, T, hs), k and v (B, nh, S, hs) -> (B, nh, T, hs). There is none for a mechanism of its own, nor on a CPU
    for dropout.
    """
    p = attention.attn_drop.p if attention.training else 0.0
    if type(attention).attend is CausalSelfAttention.attend and (p == 0 or q.device.type != "cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=mask is None)
    if mask is None and attention.needs_mask:
        mask = torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=q.device).tril()
    return attention.attend(q, k, v, mask)


# --------------------------------------------------------------------------------------------------------- packing


def row_lengths(targets: Tensor, ignore_index: int) -> Tensor:
    """(B,) positions of each row that matter: up to its last target that is not ignored. targets (B, T)."""
    place = torch.arange(1, targets.size(1) + 1, device=targets.device)
    return (place * (targets != ignore_index)).amax(dim=1)


class PackedRows(FusedRows):
    """A padded batch without its padding: the rows end to end, as one row of N tokens.

    Half of a batch of short documents is padding. Everything in a Transformer but attention treats each position alone,
    so it can work on x (1, N, C). Attention is told where rows begin, or lays them out as whole rows and packs its
    result again. In a causal model nothing after a row's last target changes anything before it, so the loss and its
    gradient stay the same.

    lengths (B,): tokens of each row; T: the length of a padded row; N: slots, at least the sum of lengths. N is given
    and not computed, so that shapes are known without waiting for the device. Empty slots hold ignored tokens.
    """

    def __init__(self, lengths: Tensor, T: int, N: int):
        self.shape = B, T = len(lengths), T
        ends = lengths.cumsum(0)  # (B,)
        starts = ends - lengths
        slots, place = torch.arange(N, device=ends.device), torch.arange(T, device=ends.device)
        row = torch.searchsorted(ends, slots, right=True).clamp(max=B - 1)  # (N,)
        self.is_filled = slots < ends[-1]  # (N,)
        self.at = (slots - starts[row]) * self.is_filled  # (N,) position of each slot in its row
        self.source = (row * T + self.at) * self.is_filled  # (N,) its place in the padded batch, row by row
        self.is_real = place < lengths[:, None]  # (B, T) False for padding
        self.slot = (starts[:, None] + place) * self.is_real  # (B, T) the slot of each position; 0 for padding
        # Row i is [bounds[i], bounds[i + 1]). Empty slots form rows of their own, of at most T.
        beyond = torch.arange(N // T + 2, device=ends.device) * T + ends[-1]
        self.bounds = torch.cat([starts, beyond.clamp(max=N)]).int()

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (1, N, ...)"""
        return Rearrange.apply(x.flatten(0, 1), self.source, self.slot.flatten(), self.is_real.flatten())[None]

    def whole(self, x: Tensor) -> Tensor:
        """Packed heads (1, nh, N, hs) -> (B, nh, T, hs). Padding holds the first token's numbers; nothing reads it."""
        x = Rearrange.apply(x[0].transpose(0, 1), self.slot.flatten(), self.source, self.is_filled)  # (B T, nh, hs)
        return x.unflatten(0, self.slot.shape).transpose(1, 2)

    def join(self, y: Tensor) -> Tensor:
        return self.pack(y.transpose(1, 2).flatten(2))  # (B, nh, T, hs) -> (1, N, C)

    def causal_attention(self, attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        same_width = q.size(-1) == v.size(-1)
        if same_width and has_packed_kernel(attention, q):
            p = attention.attn_drop.p if attention.training else 0.0
            y = packed_attention(q, k, v, self.bounds, self.slot.size(1), p)  # (1, nh, N, hs)
            return y.transpose(1, 2).flatten(2)
        if same_width:  # one copy is cheaper than three
            q, k, v = self.whole(torch.cat([q, k, v], dim=1)).chunk(3, dim=1)  # (B, nh, T, hs) each
        else:
            q, k, v = self.whole(q), self.whole(k), self.whole(v)
        return self.join(fused_attention(attention, q, k, v))


class Rearrange(torch.autograd.Function):
    """x[index], whose gradient is read through the inverse index instead of being summed.

    This equals indexing as long as no gradient arrives at what stands for padding. None does: see PackedRows.
    """

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor, has_inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse, has_inverse)
        return x[index]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        inverse, has_inverse = ctx.saved_tensors
        return gradient[inverse] * has_inverse.unflatten(0, (-1,) + (1,) * (gradient.dim() - 1)), None, None, None


def has_packed_kernel(attention: Any, q: Tensor) -> bool:
    """Is there a kernel for this attention within packed rows, for queries like q (1, nh, N, hs)?"""
    if type(attention).attend is not CausalSelfAttention.attend:  # a mechanism of its own
        return False
    if q.device.type != "cuda" or torch.cuda.get_device_capability(q.device) < (8, 0):  # before NVIDIA's Ampere
        return False
    if not torch.backends.cuda.is_flash_attention_available():  # not in all builds of torch for Windows
        return False
    if q.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest":
        return False  # the kernel rounds to float16, which has as many digits as TF32
    return q.size(-1) % 8 == 0 and q.size(-1) <= 192  # some GPUs cannot train larger heads


def packed_attention(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, p: float) -> Tensor:
    """Causal attention within each row of a packed batch; q, k, v and the result are (1, nh, N, hs).

    The kernel is FlashAttention, called as torch's nested tensors call it; torch.nn.attention.varlen has no dropout.
    It has no float32 version, so inputs are cast to float16: the mantissa of TF32, but values above 65,504 overflow.
    The gradient of a mean over N targets is of the order of 1 / N, so it is scaled by N to stay in float16's range.
    """
    dtype, N = q.dtype, q.size(2)
    inputs = [x[0].transpose(0, 1) for x in (q, k, v)]  # (N, nh, hs) each
    if dtype == torch.float32:
        inputs = [ScaleGradient.apply(x, 1 / N).half() for x in inputs]
    y = torch.ops.aten._flash_attention_forward(*inputs, bounds, bounds, longest, longest, p, True, False)[0]
    if dtype == torch.float32:
        y = ScaleGradient.apply(y.float(), N)
    return y.transpose(0, 1)[None]


class ScaleGradient(torch.autograd.Function):
    """x, with its gradient multiplied by a number."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


# -------------------------------------------------------------------------------------------------------- KV cache


@dataclass(eq=False)
class CachedReader(FusedRows):
    """`GPT.next_logits` with a KV cache, for one call of `GPT.generate`.

    Keys and values of every layer are kept, so that one more token costs one token's work. The first call reads the
    prompts; what they all begin with is read once. Every later call reads one new token a row. Each row has its own
    positions, so prompts of different lengths share one cache: a slot that was written for padding is overwritten when
    the row's own token gets there, and no query looks ahead of itself.

    Once a row outgrows the block its window slides, every token changes its position, and the cache is void: from then
    on, and for variants without a cache, every call reads whole rows.
    """

    model: Any
    longest: int = 0  # tokens of the longest row; 0 before the first call
    n_read: int = 0  # tokens of the longest row that are cached
    at: Tensor | None = None  # (B, T) positions of the tokens that are read now
    kept: dict[nn.Module, list[Tensor]] = field(default_factory=dict)  # of each layer: keys, values (B, nh, slots, hs)

    def __call__(self, tokens: Tensor, ends: Tensor) -> Tensor:
        """Logits (B, V) of the token that follows the first `ends` (B,) tokens of each row of `tokens` (B, L)."""
        block_size = self.model.config.block_size
        first = self.longest == 0
        self.longest = int(ends.max()) if first else self.longest + 1  # the one wait for the device
        if self.longest > block_size or not self.model.mechanism.cacheable:
            return self.model.next_logits(tokens, ends, FUSED_ROWS)
        if not first:
            new, self.at, self.n_read = tokens.gather(1, ends[:, None] - 1), ends[:, None] - 1, self.longest  # (B, 1)
            return self.model(new, rows=self)[0][:, -1]
        self.slots = min(tokens.size(1), block_size)
        place = torch.arange(self.longest, device=tokens.device)
        # Read what all prompts begin with, once for all. The last token of every prompt is still to be read.
        same = (tokens[:, : self.longest] == tokens[:1, : self.longest]).all(dim=0).long().cumprod(dim=0).sum()
        shared = int(torch.minimum(same, ends.min() - 1)) if len(tokens) > 1 else 0
        if shared > 0:
            self.at, self.n_read = place[None, :shared], shared
            self.model(tokens[:1, :shared], rows=self)
            for kv in self.kept.values():
                kv[:] = [x.repeat(len(tokens), 1, 1, 1) for x in kv]
        self.at, self.n_read = place[shared:].expand(len(tokens), -1), self.longest
        logits, _ = self.model(tokens[:, shared : self.longest], rows=self)  # (B, longest - shared, V)
        return logits[torch.arange(len(ends), device=ends.device), ends - 1 - shared]

    def causal_attention(self, attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        assert self.at is not None
        if attention not in self.kept:
            self.kept[attention] = [x.new_zeros(*x.shape[:2], self.slots, x.size(3)) for x in (k, v)]
        keys, values = self.kept[attention]  # (B, nh, slots, hs) each
        row = torch.arange(len(k), device=k.device)[:, None]  # (B, 1)
        keys[row, :, self.at] = k.transpose(1, 2)  # indexed as (B, T, nh, hs)
        values[row, :, self.at] = v.transpose(1, 2)
        mask = (torch.arange(self.n_read, device=k.device) <= self.at[:, :, None])[:, None]  # (B, 1, T, S)
        y = fused_attention(attention, q, keys[:, :, : self.n_read], values[:, :, : self.n_read], mask)
        return self.join(y)


FUSED_ROWS = FusedRows()
