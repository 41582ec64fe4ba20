"""Attention mechanisms and their registry.

A variant of the model is one class under `@register("name")`, here or, if its cost is the point, in
efficient_attention.py; the command line's choices and flags and the tests of the contract follow from that.
A mechanism knows nothing of blocks, losses or optimizers.

Shapes:  B batch, T tokens, C = n_embd channels, nh = n_head heads, hs = C / nh head size, S keys held in a cache,
         M = bottleneck_dim latents.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from dropout import Dropout
from packing import Packing

VARIANTS: dict[str, type[nn.Module]] = {}


@dataclass(frozen=True)
class Option:
    """A setting of a variant, and its flag on the command line."""

    default: Any
    help: str
    choices: tuple | None = None
    axis: tuple[str, int] | None = None  # which parameter has this many entries along which axis


def register(name: str):
    """Class decorator: make an attention class available as the variant `name`. ValueError for a name in use.

    Beside its forward pass the class says what else makes up the variant, by the attributes for which
    CausalSelfAttention has the defaults: `position`, `options`, `bottleneck`, `cacheable` and `any_length`.
    """

    def add(cls: type[nn.Module]) -> type[nn.Module]:
        if name in VARIANTS:
            raise ValueError(f"the variant {name!r} is registered twice")
        VARIANTS[name] = cls
        return cls

    return add


class KVCache:
    """Keys and values of one layer for tokens already seen, so that generating one more costs one token's work.

    Every row of the batch has its own positions: prompts of different lengths share one cache. A slot written for
    a position of padding is overwritten when the row's own token gets there, and no query looks ahead of itself.
    """

    def __init__(self, max_positions: int):
        self.max_positions = max_positions
        self.n_read = 0  # tokens of the longest row so far: known here, where `positions` may be on a device
        self.k = self.v = None

    def update(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Store k, v (B, nh, T, hs) at `positions` (B, T), which are below the sum of all T so far.

        Returns all keys and values (B, nh, S, hs) and the causal mask (B, 1, T, S), True where a query may look.
        """
        B, nh, T, hs = k.shape
        self.n_read += T
        if self.k is None:
            self.k = k.new_zeros(B, nh, self.max_positions, hs)
            self.v = torch.zeros_like(self.k)
        rows = torch.arange(B, device=k.device)[:, None]  # (B, 1)
        self.k[rows, :, positions] = k.transpose(1, 2)  # indexed as (B, T, nh, hs)
        self.v[rows, :, positions] = v.transpose(1, 2)
        slots = torch.arange(self.n_read, device=k.device)
        mask = (slots <= positions[:, :, None])[:, None]  # (B, 1, T, S)
        return self.k[:, :, : self.n_read], self.v[:, :, : self.n_read], mask

    def repeat(self, n: int) -> None:
        """The one row that was read is from now on n rows."""
        self.k, self.v = self.k.repeat(n, 1, 1, 1), self.v.repeat(n, 1, 1, 1)


def written_out_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, drop: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """softmax(q k' / sqrt(hs)) v, one step a line: output (B, nh, T, hs), weights (B, nh, T, S) before dropout.

    mask (..., T, S) is True where a query may look; without one S is T and a token sees itself and its past.
    The reference for the fused kernel that the model uses, and the way to get at the weights.
    Source: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762), equation 1.
    """
    if mask is None:
        mask = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool, device=q.device).tril()
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, nh, T, S)
    weights = scores.masked_fill_(~mask, -math.inf).softmax(dim=-1)  # minus infinity: right in every precision
    return (weights if drop is None else drop(weights)) @ v, weights


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, drop: nn.Dropout) -> Tensor:
    """The output of `written_out_attention` by the fastest way there is; `drop` says how weights are dropped out."""
    p = drop.p if drop.training else 0.0
    if p > 0 and q.device.type == "cpu":  # where the fused kernel has no dropout
        return written_out_attention(q, k, v, mask, drop)[0]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p, is_causal=mask is None)


def packed_attention(q: Tensor, k: Tensor, v: Tensor, packing: Packing, drop: nn.Dropout) -> Tensor:
    """`dot_product_attention` within each row of a packed batch, all (1, nh, N, hs), without laying the rows out.

    Only where `can_attend_packed`. The kernel, FlashAttention, is the one that torch's nested tensors call, in the same
    way: torch.nn.attention.varlen, which is public, has no dropout. float32 is rounded to float16 for it, which has the
    digits of TF32 but not its range: beyond 65,504 is infinity. A gradient of a mean over N targets is of the order of
    1 / N; times N it is where float16 has its digits, and may grow to 65,504.
    """
    dtype, bounds, longest, N = q.dtype, packing.bounds, packing.slot.size(1), q.size(2)
    inputs = [x[0].transpose(0, 1) for x in (q, k, v)]  # (N, nh, hs) each
    if dtype == torch.float32:
        inputs = [_ScaleGradient.apply(x, 1 / N).half() for x in inputs]
    p = drop.p if drop.training else 0.0
    y = torch.ops.aten._flash_attention_forward(*inputs, bounds, bounds, longest, longest, p, True, False)[0]
    if dtype == torch.float32:
        y = _ScaleGradient.apply(y.float(), N)
    return y.transpose(0, 1)[None]


def can_attend_packed(packing: Packing, dtype: torch.dtype, head_size: int) -> bool:
    """Is there a kernel for this? Heads of more than 192 channels some GPUs cannot train."""
    return dtype in packing.kernels and head_size % 8 == 0 and head_size <= 192


class _ScaleGradient(torch.autograd.Function):
    """x, whose gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def split_heads(x: Tensor, n_head: int, packing: Packing | None = None) -> Tensor:
    """(B, T, C), or (N, C) with its packing, -> (B, nh, T, hs)."""
    x = x if packing is None else packing.unpack(x)
    return x.unflatten(-1, (n_head, -1)).transpose(1, 2)


def join_heads(y: Tensor, packing: Packing | None = None) -> Tensor:
    """(B, nh, T, hs) -> (B, T, C), or (N, C) with a packing."""
    y = y.transpose(1, 2).flatten(2)
    return y if packing is None else packing.pack(y)


@register("vanilla")
class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention in which a token sees itself and what came before it.

        y = [head_1 ... head_nh] W_proj,   head_i = softmax(Q_i K_i' / sqrt(hs) + causal mask) V_i

    x (B, T, C) -> (B, T, C). Time O(T^2 C); memory O(T C) in the fused kernel, O(nh T^2) where weights are written out.
    Source: arXiv 1706.03762, sections 3.2.1 and 3.2.2.
    """

    position = "learned"  # embedding added to the input for the order of tokens: "learned", "sinusoidal" or "none"
    options: dict[str, Option] = {}  # settings of the variant, in config.options
    bottleneck = False  # do the middle blocks work on latents?
    cacheable = True  # can forward read new tokens only, with a KVCache of the others?
    any_length = False  # does the model accept more tokens than block_size?

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = Dropout(config.attn_pdrop)
        self.resid_drop = Dropout(config.resid_pdrop)

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """`positions` (B, T) and `cache` go together: x then holds only the tokens that the cache has not seen.

        With `packing`, x and the result are (N, C): the positions of a batch (B, T) without its padding.
        """
        linears = self.query, self.key, self.value
        weight, bias = (torch.cat([getattr(linear, name) for linear in linears]) for name in ("weight", "bias"))
        qkv = F.linear(x, weight, bias)  # (B, T, 3 C): one large product is faster than three
        if packing is not None and self._attends_packed(packing, qkv.dtype):
            q, k, v = split_heads(qkv[None], 3 * self.n_head).chunk(3, dim=1)  # (1, nh, N, hs) each
            q, k = (self._turn(x, packing.place[None], packing.slot.size(1)) for x in (q, k))
            y = join_heads(packed_attention(q, k, v, packing, self.attn_drop))[0]  # (N, C)
            return self.resid_drop(self.proj(y))
        q, k, v = split_heads(qkv, 3 * self.n_head, packing).chunk(3, dim=1)  # (B, nh, T, hs) each
        longest = cache.max_positions if cache is not None else 0
        q, k = self._turn(q, positions, longest), self._turn(k, positions, longest)
        mask = None
        if cache is not None:
            k, v, mask = cache.update(k, v, positions)  # (B, nh, S, hs), (B, 1, T, S)
        y = join_heads(self._attend(q, k, v, mask), packing)  # (B, T, C)
        return self.resid_drop(self.proj(y))

    def _attends_packed(self, packing: Packing, dtype: torch.dtype) -> bool:
        """Rows are laid out for a class whose queries meet keys in a way of its own, and where there is no kernel."""
        own_way = type(self)._attend is not CausalSelfAttention._attend
        return not own_way and can_attend_packed(packing, dtype, self.proj.in_features // self.n_head)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """What queries (B, nh, T, hs) read from keys and values (B, nh, S, hs), as (B, nh, T, hs).

        mask (..., T, S) is True where a query may look; without one S is T and a token sees itself and its past.
        """
        return dot_product_attention(q, k, v, mask, self.attn_drop)

    def _turn(self, x: Tensor, positions: Tensor | None, T: int = 0) -> Tensor:
        """What is done to queries and keys before they meet: here, nothing. `positions`, if given, are below T."""
        return x


# ----------------------------------------------------------------------------------------------------- positions


@register("sinusoidal")
class SinusoidalAttention(CausalSelfAttention):
    """Vanilla attention over inputs to which fixed waves are added instead of learned positions.

    See `sinusoidal_positions`. Has block_size * C parameters fewer than vanilla and works at any length.
    """

    position = "sinusoidal"
    any_length = True


def sinusoidal_positions(positions: Tensor, dim: int) -> Tensor:
    """The position embedding Phi(t, 2i) = sin(t / 10000^(2i/d)), Phi(t, 2i+1) = cos(t / 10000^(2i/d)).

    positions (...) of any shape -> (..., dim) float32. Shifting t by a fixed amount is a rotation of each pair, so
    relative positions are easy to read off. Source: arXiv 1706.03762, section 3.5.
    """
    pairs = torch.arange(0, dim, 2, device=positions.device)
    angles = positions[..., None] * 10000.0 ** (-pairs / dim)  # (..., ceil(dim/2))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :dim]


def precompute_rotary_emb(dim: int, max_positions: int) -> Tensor:
    """(cos(t theta_i), sin(t theta_i)) for t = 0 .. max_positions - 1 and i = 1 .. dim/2: (max_positions, dim/2, 2).

    theta_i = 10000^(-2(i-1)/dim), so theta_1 = 1: a radian a token. ValueError for an odd dim.
    Source: Su et al., "RoFormer" (arXiv 2104.09864), section 3.2.2.
    """
    if dim % 2:
        raise ValueError(f"rotary positions turn pairs of channels: the head size {dim} is odd")
    theta = 10000.0 ** (-torch.arange(0, dim, 2) / dim)  # (dim/2,)
    angles = torch.arange(max_positions)[:, None] * theta  # (max_positions, dim/2)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def apply_rotary_emb(x: Tensor, rope_cache: Tensor) -> Tensor:
    """Rotate each pair of channels (2i-1, 2i) of x (B, nh, T, hs) by the angle of its position; same shape.

    rope_cache: the result of `precompute_rotary_emb`, of which the first T positions are used, or (B, T, hs/2, 2) with
    the rows for the positions of each token. Written out in real numbers, as not every device has complex ones.
    """
    cache = rope_cache[:, None] if rope_cache.dim() == 4 else rope_cache[: x.size(-2)]  # (..., T, hs/2, 2)
    cos, sin = cache.to(x.dtype).unbind(-1)  # (..., T, hs/2) each
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, nh, T, hs/2) each
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


@register("rope")
class RotaryAttention(CausalSelfAttention):
    """Vanilla attention whose queries and keys are rotated by angles proportional to their positions.

        q_t . k_s  becomes  (R_t q_t) . (R_s k_s) = q_t . R_(s-t) k_s:  the score depends on the distance only.

    No position embedding and no parameters for it; works at any length. Time and memory are vanilla's.
    Source: arXiv 2104.09864, equations 14 to 16.
    """

    position = "none"
    any_length = True

    def __init__(self, config):
        super().__init__(config)
        rope_cache = precompute_rotary_emb(config.n_embd // config.n_head, config.block_size)
        self.register_buffer("rope_cache", rope_cache, persistent=False)

    def _turn(self, x: Tensor, positions: Tensor | None, T: int = 0) -> Tensor:
        cache = self.rope_cache
        T = x.size(-2) if positions is None else T
        if T > len(cache):  # longer than in training: make the angles now
            cache = precompute_rotary_emb(x.size(-1), T).to(x.device)
        return apply_rotary_emb(x, cache if positions is None else cache[positions])


# --------------------------------------------------------------------------------------------------- synthesizer


@register("synthesizer")
class SynthesizerAttention(nn.Module):
    """Attention weights that each token makes up on its own, without looking at the others (dense Synthesizer).

        head_i = softmax(ReLU(X A_i + b1_i) B + b2 + causal mask) V_i

    A_i are the columns of `w1` for head i, B is `w2` (hs, block_size), shared by the heads; a shorter sequence uses the
    leading columns. Cannot copy from a token because of what it is, only because of where it is. Time O(T^2 C), memory
    O(nh T^2): the weights of all heads are written out. Source: Tay et al. (arXiv 2005.00743), section 3.1.
    """

    position, options, bottleneck, cacheable, any_length = "learned", {}, False, True, False

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.w1 = nn.Linear(config.n_embd, config.n_embd)
        self.w2 = nn.Parameter(torch.empty(config.n_embd // config.n_head, config.block_size))
        self.b2 = nn.Parameter(torch.zeros(config.block_size))
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = Dropout(config.attn_pdrop)
        self.resid_drop = Dropout(config.resid_pdrop)
        nn.init.uniform_(self.w2, -0.001, 0.001)

    def forward(
        self,
        x: Tensor,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        hidden, v = (split_heads(linear(x), self.n_head, packing) for linear in (self.w1, self.value))
        T = v.size(-2)
        scores = hidden.relu() @ self.w2 + self.b2  # (B, nh, T, block_size)
        if cache is None:
            mask = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()  # (T, T)
        else:
            _, v, mask = cache.update(v, v, positions)  # there are no keys; (B, nh, S, hs), (B, 1, T, S)
        scores = scores[..., : mask.size(-1)].masked_fill(~mask, -math.inf)  # (B, nh, T, S)
        y = self.attn_drop(scores.softmax(dim=-1)) @ v  # (B, nh, T, hs)
        return self.resid_drop(self.proj(join_heads(y, packing)))  # (B, T, C)


# ------------------------------------------------------------------------------------------------------ perceiver


@register("perceiver")
class PerceiverAttention(CausalSelfAttention):
    """Vanilla attention in a model whose middle blocks work on M latents instead of T tokens (M = bottleneck_dim).

    model.DownProjectBlock makes the latents from the tokens, model.UpProjectBlock hands them back, both by
    `CausalCrossAttention`. A middle block costs O(M^2 C), the ends O(M T C). Each latent sees the tokens up to a
    position of its own, and a token sees the latents that see nothing after it: nothing looks ahead.

    `--latent_reach prefix`, the course's: latent i sees tokens 0 .. i, so that *everything after character M reaches no
    latent at all*. `past`: latent i sees tokens 0 .. i * block_size / M, rounded down: together all but the last few.
    Source: Hawthorne et al., "Perceiver AR" (arXiv 2202.07765), section 3, in the simplified form of the course.
    """

    options = {
        "bottleneck_dim": Option(32, "number of latents", axis=("down_block.C", 1)),
        "latent_reach": Option("prefix", "what latents see: the prefix, as in the course, or all", ("prefix", "past")),
    }
    bottleneck = True
    cacheable = False


class CausalCrossAttention(CausalSelfAttention):
    """Multi-head attention of one sequence to another.

    forward(x_kv (B, Tk, C), x_q (B, Tq, C), mask (Tq, Tk)) -> (B, Tq, C): queries are made from x_q, keys and values
    from x_kv; the mask is True where a query may look. With the packing of a sequence it and its result are (N, C).
    """

    def forward(
        self,
        x_kv: Tensor,
        x_q: Tensor,
        mask: Tensor,
        packing_kv: Packing | None = None,
        packing_q: Packing | None = None,
    ) -> Tensor:
        q = split_heads(self.query(x_q), self.n_head, packing_q)  # (B, nh, Tq, hs)
        linears = self.key, self.value
        k, v = (split_heads(linear(x_kv), self.n_head, packing_kv) for linear in linears)  # (B, nh, Tk, hs) each
        y = join_heads(self._attend(q, k, v, mask), packing_q)  # (B, Tq, C)
        return self.resid_drop(self.proj(y))


if __name__ == "__main__":
    # What each mechanism costs. Run as a program this file is the module __main__, in which efficient_attention, which
    # imports `attention`, registers nothing: the benchmark takes the registry from that second copy.
    import attention_cost

    attention_cost.main()
