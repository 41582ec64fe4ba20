"""Faster layouts of a batch: fused kernels, packing (no padding), and a KV cache.

All give what attention.Rows gives, which is the version to read first. They answer the same four questions: how heads
are made of x, where each token stands, which keys its query meets, and how heads are joined again.

Shapes:  B rows, T tokens of a row, N tokens of a packed batch, nh heads of hs channels, C = nh * hs, S cached tokens.
"""

from collections.abc import Sequence

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from attention import CausalSelfAttention, Rows


class FusedRows(Rows):
    """Whole rows, with one matrix product for all projections and a fused kernel for attention."""

    def heads(self, x: Tensor, n_head: int, *projections: nn.Linear) -> Sequence[Tensor]:
        if len(projections) == 1:
            return super().heads(x, n_head, *projections)
        weight = torch.cat([projection.weight for projection in projections])
        bias = torch.cat([projection.bias for projection in projections])
        y = F.linear(x, weight, bias)  # (B, T, n C): one large product is faster than several small ones
        return y.unflatten(-1, (len(projections) * n_head, -1)).transpose(1, 2).chunk(len(projections), dim=1)

    def attend(self, attention: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.join(fused_attention(attention, q, k, v))


def fused_attention(attention: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attention.attend(q, k, v, mask)` with a fused kernel where there is one; without a mask it is causal.

    q (B, nh, T, hs), k and v (B, nh, S, hs) -> (B, nh, T, hs). A mechanism of its own, and dropout on a CPU, have no
    kernel.
    """
    p = attention.attn_drop.p if attention.training else 0.0
    if is_dot_product(attention) and (p == 0 or q.device.type != "cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=mask is None)
    if mask is None:
        mask = torch.ones(q.size(2), k.size(2), dtype=torch.bool, device=q.device).tril()
    return attention.attend(q, k, v, mask)


def is_dot_product(attention: nn.Module) -> bool:
    """Does its class compute softmax(q k' / sqrt(hs)) v? Then torch has kernels for it."""
    return type(attention).attend is CausalSelfAttention.attend


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
        self.B, self.T, self.N = len(lengths), T, N
        ends = lengths.cumsum(0)  # (B,)
        starts = ends - lengths
        slots, place = torch.arange(N, device=ends.device), torch.arange(T, device=ends.device)
        row = torch.searchsorted(ends, slots, right=True).clamp(max=self.B - 1)  # (N,)
        self.is_filled = slots < ends[-1]  # (N,)
        self.place = (slots - starts[row]) * self.is_filled  # (N,) position of each slot in its row
        self.source = (row * T + self.place) * self.is_filled  # (N,) its place in the padded batch, row by row
        self.is_real = place < lengths[:, None]  # (B, T) False for padding
        self.slot = (starts[:, None] + place) * self.is_real  # (B, T) the slot of each position; 0 for padding
        # Row i is [bounds[i], bounds[i + 1]). Empty slots form rows of their own, of at most T.
        beyond = torch.arange(N // T + 2, device=ends.device) * T + ends[-1]
        self.bounds = torch.cat([starts, beyond.clamp(max=N)]).int()

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (1, N, ...)"""
        return Rearrange.apply(x.flatten(0, 1), self.source, self.slot.flatten(), self.is_real.flatten())[None]

    def unpack(self, x: Tensor) -> Tensor:
        """(1, N, ...) -> (B, T, ...). Padding holds the first token's numbers, which nothing reads."""
        return Rearrange.apply(x[0], self.slot.flatten(), self.source, self.is_filled).unflatten(0, self.slot.shape)

    def count(self, x: Tensor) -> int:
        return self.B

    def span(self, x: Tensor) -> int:
        return self.T

    def positions(self, x: Tensor) -> Tensor:
        return self.place  # (N,)

    def whole(self, x: Tensor) -> Tensor:
        return self.unpack(x.transpose(1, 2)).transpose(1, 2)  # (1, nh, N, hs) -> (B, nh, T, hs)

    def join(self, y: Tensor) -> Tensor:
        return self.pack(super().join(y))  # (1, N, C)

    def attend(self, attention: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if is_dot_product(attention) and has_packed_kernel(q):
            p = attention.attn_drop.p if attention.training else 0.0
            return super(PackedRows, self).join(packed_attention(q, k, v, self.bounds, self.T, p))
        return self.join(fused_attention(attention, self.whole(q), self.whole(k), self.whole(v)))


class Rearrange(torch.autograd.Function):
    """x[index], whose gradient is read through the inverse index instead of being summed.

    This equals indexing as long as no gradient arrives at what stands for padding. None does: see PackedRows.
    """

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor, has_inverse: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(inverse, has_inverse)
        return x[index]

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        inverse, has_inverse = ctx.saved_tensors
        return gradient[inverse] * has_inverse.unflatten(0, (-1,) + (1,) * (gradient.dim() - 1)), None, None, None


def has_packed_kernel(q: Tensor) -> bool:
    """Is there a kernel for attention within packed rows, for queries like q (1, nh, N, hs)?"""
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
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[override]
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.scale, None


# -------------------------------------------------------------------------------------------------------- KV cache


class CachedRows(FusedRows):
    """New tokens after cached ones: keys and values of every layer are kept, so one more token costs one token's work.

    Each row has its own positions, so prompts of different lengths share one cache. A slot that was written for padding
    is overwritten when the row's own token gets there, and no query looks ahead of itself.
    """

    def __init__(self, max_positions: int):
        self.max_positions = max_positions
        self.n_read = 0  # tokens of the longest row so far
        self.at = torch.zeros(0)  # (B, T) positions of the tokens that are read now
        self.kept: dict[nn.Module, tuple[Tensor, Tensor]] = {}  # keys and values (B, nh, max_positions, hs) of each layer

    def read(self, at: Tensor) -> "CachedRows":
        """Prepare to read tokens at the positions `at` (B, T), which are below the sum of all T so far."""
        self.at, self.n_read = at, self.n_read + at.size(1)
        return self

    def repeat(self, n: int) -> None:
        """Let the one row that has been read stand for n rows."""
        self.kept = {layer: (k.repeat(n, 1, 1, 1), v.repeat(n, 1, 1, 1)) for layer, (k, v) in self.kept.items()}

    def span(self, x: Tensor) -> int:
        return self.max_positions

    def positions(self, x: Tensor) -> Tensor:
        return self.at

    def attend(self, attention: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, nh, _, hs = k.shape
        if attention not in self.kept:
            self.kept[attention] = k.new_zeros(B, nh, self.max_positions, hs), k.new_zeros(B, nh, self.max_positions, hs)
        keys, values = self.kept[attention]
        row = torch.arange(B, device=k.device)[:, None]  # (B, 1)
        keys[row, :, self.at] = k.transpose(1, 2)  # indexed as (B, T, nh, hs)
        values[row, :, self.at] = v.transpose(1, 2)
        slots = torch.arange(self.n_read, device=k.device)
        mask = (slots <= self.at[:, :, None])[:, None]  # (B, 1, T, S)
        keys, values = keys[:, :, : self.n_read], values[:, :, : self.n_read]  # (B, nh, S, hs) each
        return self.join(fused_attention(attention, q, keys, values, mask))


class CachedReader:
    """`GPT.next_logits` for one call of `GPT.generate`, with a KV cache.

    The first call reads the prompts; what they all begin with is read once. Every later call reads one new token a row.
    Once a row outgrows the block its window slides, every token changes its position, and the cache is void: from then
    on, and for variants without a cache, every call reads whole rows.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.longest = 0  # tokens of the longest row; 0 before the first call
        self.cache: CachedRows | None = None

    def __call__(self, tokens: Tensor, ends: Tensor) -> Tensor:
        block_size = self.model.config.block_size
        first = self.longest == 0
        self.longest = int(ends.max()) if first else self.longest + 1  # the one wait for the device
        if self.longest > block_size or not self.model.variant.cacheable:
            return self.read_whole_rows(tokens, ends)
        if not first and self.cache is not None:
            new = tokens.gather(1, ends[:, None] - 1)  # (B, 1)
            return self.model(new, rows=self.cache.read(ends[:, None] - 1))[0][:, -1]
        self.cache = CachedRows(min(tokens.size(1), block_size))
        shared = self.read_shared_prefix(tokens, ends)
        at = torch.arange(shared, self.longest, device=tokens.device).expand(len(tokens), -1)
        logits, _ = self.model(tokens[:, shared : self.longest], rows=self.cache.read(at))  # (B, longest - shared, V)
        return logits[torch.arange(len(ends), device=ends.device), ends - 1 - shared]

    def read_shared_prefix(self, tokens: Tensor, ends: Tensor) -> int:
        """Read what all prompts begin with, once for all. Returns its length."""
        same = (tokens == tokens[0]).all(dim=0).long().cumprod(dim=0).sum()
        shared = int(torch.minimum(same, ends.min() - 1))  # the last token of every prompt is still to be read
        if len(tokens) == 1 or shared == 0:
            return 0
        at = torch.arange(shared, device=tokens.device)[None]
        self.model(tokens[:1, :shared], rows=self.cache.read(at))
        self.cache.repeat(len(tokens))
        return shared

    def read_whole_rows(self, tokens: Tensor, ends: Tensor) -> Tensor:
        width = min(self.longest, self.model.config.block_size)
        start = (ends - width).clamp(min=0)  # (B,)
        window = start[:, None] + torch.arange(width, device=tokens.device)  # (B, width)
        logits, _ = self.model(tokens.gather(1, window), rows=FUSED_ROWS)  # (B, width, V)
        return logits[torch.arange(len(ends), device=ends.device), ends - start - 1]


FUSED_ROWS = FusedRows()
