"""Attention mechanisms and their registry.

A variant of the model is one class under `@register("name")`, here or in efficient_attention.py. The command line's
choices and flags, the contract tests and the tables follow from that line. A mechanism knows nothing of blocks, losses
or optimizers. To understand a training step, read `Rows` and `CausalSelfAttention` and leave the rest for later.

Shapes:  B batch, T tokens, C = n_embd channels, nh = n_head heads, hs = C / nh head size, S keys, M = bottleneck_dim
         latents.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn as nn
from torch import Tensor

VARIANTS: dict[str, Any] = {}  # attention classes by name


@dataclass(frozen=True)
class Option:
    """A setting of a variant, and its flag on the command line."""

    default: Any  # int, float or str: the flag is read as its type. No bool, since bool("False") is True
    help: str
    choices: tuple | None = None


def register(name: str):
    """Class decorator: make an attention class available as the variant `name`. ValueError if the name is taken.

    Besides its forward pass the class says what else makes up the variant, by the attributes whose defaults stand in
    CausalSelfAttention: `position`, `options`, `bottleneck`, `cacheable`, `any_length` and `needs_mask`.
    """

    def add(cls: type[nn.Module]) -> type[nn.Module]:
        if name in VARIANTS:
            raise ValueError(f"the variant {name!r} is registered twice")
        VARIANTS[name] = cls
        return cls

    return add


class Rows:
    """How the tokens of a batch are laid out. Here: whole rows, (B, T, C), each of which starts at position 0.

    Attention asks four questions of a layout: how heads are made of x (`heads`), where each token stands (`at`), which
    keys its query meets (`causal_attention`), and how heads are joined again (`join`). `whole` serves the perceiver.
    src/fast/rows.py has two other answers, which compute the same numbers: rows without their padding, and new tokens
    after cached ones.
    """

    shape: tuple[int, int] | None = None  # (B, T) of the batch; None: that of x
    at: Tensor | None = None  # the position of each token, (T,) or (B, T); None: 0, 1, 2, ...

    def heads(self, x: Tensor, n_head: int, *projections: nn.Linear) -> list[Tensor]:
        """(B, T, C) -> (B, nh, T, hs) for each projection."""
        return [projection(x).unflatten(-1, (n_head, -1)).transpose(1, 2) for projection in projections]

    def causal_attention(self, attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`attention.attend` where a token sees itself and what came before it, all (B, nh, T, hs) -> (B, T, C)."""
        T, mask = q.size(2), None
        if attention.needs_mask:
            mask = torch.ones(T, T, dtype=torch.bool, device=q.device).tril()  # (T, T)
        return self.join(attention.attend(q, k, v, mask))

    def whole(self, x: Tensor) -> Tensor:
        """Heads x as whole rows, (B, nh, T, hs)."""
        return x

    def join(self, y: Tensor) -> Tensor:
        """Whole rows (B, nh, T, hs) -> (B, T, C): `heads` undone."""
        return y.transpose(1, 2).flatten(2)


WHOLE_ROWS = Rows()


@register("vanilla")
class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention in which a token sees itself and what came before it.

        y = [head_1 ... head_nh] W_proj,   head_i = softmax(Q_i K_i' / sqrt(hs) + causal mask) V_i

    x (B, T, C) -> (B, T, C). Time O(T^2 C), memory O(nh T^2).
    Source: arXiv 1706.03762, sections 3.2.1 and 3.2.2.
    """

    position = "learned"  # embedding added to the input for the order of tokens: "learned", "sinusoidal" or "none"
    options: ClassVar[dict[str, Option]] = {}  # settings of the variant, in config.options
    bottleneck = False  # do the middle blocks work on latents?
    cacheable = True  # can forward read new tokens only, if the keys and values of the others are cached?
    any_length = False  # does the model accept more tokens than block_size?
    needs_mask = True  # False: `attend` sees to it that nothing looks ahead

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        q, k, v = rows.heads(x, self.n_head, self.query, self.key, self.value)  # (B, nh, T, hs) each
        y = rows.causal_attention(self, q, k, v)  # (B, T, C)
        return self.resid_drop(self.proj(y))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """softmax(q k' / sqrt(hs)) v: queries (B, nh, T, hs), keys and values (B, nh, S, hs) -> (B, nh, T, hs).

        mask (..., T, S) is True where a query may look.
        """
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, nh, T, S)
        weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)  # infinity: right in every precision
        return self.attn_drop(weights) @ v


@register("sinusoidal")
class SinusoidalAttention(CausalSelfAttention):
    """Vanilla attention over inputs to which fixed waves are added instead of learned positions.

    See `sinusoidal_positions`. It has block_size * C parameters fewer than vanilla and works at any length.
    """

    position = "sinusoidal"
    any_length = True


def sinusoidal_positions(positions: Tensor, dim: int) -> Tensor:
    """The position embedding Phi(t, 2i) = sin(t / 10000^(2i/d)), Phi(t, 2i+1) = cos(t / 10000^(2i/d)).

    positions (...) of any shape -> (..., dim) float32. A shift of t by a fixed amount rotates each pair of channels,
    so relative positions are easy to read off. Source: arXiv 1706.03762, section 3.5.
    """
    pairs = torch.arange(0, dim, 2, device=positions.device)
    angles = positions[..., None] * 10000.0 ** (-pairs / dim)  # (..., ceil(dim/2))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :dim]


def precompute_rotary_emb(dim: int, max_positions: int) -> Tensor:
    """(cos(t theta_i), sin(t theta_i)) for t = 0 .. max_positions - 1 and i = 1 .. dim/2: (max_positions, dim/2, 2).

    theta_i = 10000^(-2(i-1)/dim), so theta_1 = 1: one radian a token. Raises ValueError for an odd dim.
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
    the entries for the positions of each token. Written in real numbers: not every device has complex ones.
    """
    cache = rope_cache[:, None] if rope_cache.dim() == 4 else rope_cache[: x.size(-2)]  # (..., T, hs/2, 2)
    cos, sin = cache.to(x.dtype).unbind(-1)  # (..., T, hs/2) each
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, nh, T, hs/2) each
    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)


@register("rope")
class RotaryAttention(CausalSelfAttention):
    """Vanilla attention whose queries and keys are rotated by angles proportional to their positions.

        q_t . k_s  becomes  (R_t q_t) . (R_s k_s) = q_t . R_(s-t) k_s:  the score depends on the distance only.

    It has no position embedding and works at any length. Time and memory are vanilla's.
    Source: arXiv 2104.09864, equations 14 to 16.
    """

    position = "none"
    any_length = True
    rope_cache: Tensor

    def __init__(self, config):
        super().__init__(config)
        rope_cache = precompute_rotary_emb(config.n_embd // config.n_head, config.block_size)
        self.register_buffer("rope_cache", rope_cache, persistent=False)

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        T, rope_cache = (rows.shape or x.shape)[1], self.rope_cache  # (block_size, hs/2, 2)
        if T > len(rope_cache):  # longer than in training
            rope_cache = precompute_rotary_emb(2 * rope_cache.size(1), T).to(x.device)
        if rows.at is not None:
            rope_cache = rope_cache[rows.at]  # (T, hs/2, 2) or (B, T, hs/2, 2)
        q, k, v = rows.heads(x, self.n_head, self.query, self.key, self.value)  # (B, nh, T, hs) each
        q, k = apply_rotary_emb(q, rope_cache), apply_rotary_emb(k, rope_cache)
        y = rows.causal_attention(self, q, k, v)  # (B, T, C)
        return self.resid_drop(self.proj(y))


# --------------------------------------------------------------------------------------------------- synthesizer


@register("synthesizer")
class SynthesizerAttention(nn.Module):
    """Attention weights that each token makes up on its own, without looking at the others (dense Synthesizer).

        head_i = softmax(ReLU(X A_i + b1_i) B + b2 + causal mask) V_i

    A_i are the columns of `w1` for head i. B is `w2` (hs, W), shared by the heads; a shorter sequence uses the leading
    columns. W is block_size - 1, as in the course: no token looks at the last position. It cannot copy from a token
    because of what the token is, only because of where it is.
    Time O(T^2 C), memory O(nh T^2). Source: Tay et al. (arXiv 2005.00743), section 3.1.
    """

    position, bottleneck, cacheable, any_length, needs_mask = "learned", False, True, False, True
    options: ClassVar[dict[str, Option]] = {
        "synthesizer_width": Option(0, "positions that can be looked at; 0: block_size - 1, as in the course"),
    }

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        width = config.options["synthesizer_width"] or max(1, config.block_size - 1)
        self.w1 = nn.Linear(config.n_embd, config.n_embd)
        self.w2 = nn.Parameter(torch.empty(config.n_embd // config.n_head, width))
        self.b2 = nn.Parameter(torch.zeros(width))
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        nn.init.uniform_(self.w2, -0.001, 0.001)

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        hidden, v = rows.heads(x, self.n_head, self.w1, self.value)  # (B, nh, T, hs) each
        y = rows.causal_attention(self, hidden, v, v)  # (B, T, C); there are no keys
        return self.resid_drop(self.proj(y))

    def attend(self, hidden: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """The weights of each token, made of hidden (B, nh, T, hs), times v (B, nh, S, hs); mask (..., T, S)."""
        S = min(v.size(2), len(self.b2))
        scores = hidden.relu() @ self.w2[:, :S] + self.b2[:S]  # (B, nh, T, S)
        weights = scores.masked_fill(~mask[..., :S], -math.inf).softmax(dim=-1)
        return self.attn_drop(weights) @ v[:, :, :S]


# ------------------------------------------------------------------------------------------------------ perceiver


@register("perceiver")
class PerceiverAttention(CausalSelfAttention):
    """Vanilla attention in a model whose middle blocks work on M latents instead of T tokens (M = bottleneck_dim).

    model.DownProjectBlock makes the latents from the tokens and model.UpProjectBlock hands them back, both by
    `CausalCrossAttention`. A middle block costs O(M^2 C), the ends O(M T C). Each latent sees the tokens up to a
    position of its own, and a token sees the latents that see nothing after it: nothing looks ahead.

    `--latent_reach prefix`, the course's: latent i sees tokens 0 .. i, so *no latent sees token M or what follows it*.
    `past`: latent i sees tokens 0 .. i * block_size / M, rounded down: together they see all but the last few.
    Source: Hawthorne et al., "Perceiver AR" (arXiv 2202.07765), section 3, in the simplified form of the course.
    """

    options: ClassVar[dict[str, Option]] = {
        "bottleneck_dim": Option(32, "number of latents"),
        "latent_reach": Option("prefix", "what latents see: the prefix, as in the course, or all", ("prefix", "past")),
        "projection_norms": Option(2, "LayerNorms of the first and last block; 3: one for the tokens too", (2, 3)),
    }
    bottleneck = True
    cacheable = False


class CausalCrossAttention(CausalSelfAttention):
    """Multi-head attention of one sequence to another.

    forward(x_kv (B, Tk, C), x_q (B, Tq, C), mask (Tq, Tk)) -> (B, Tq, C): queries are made from x_q, keys and values
    from x_kv. The mask is True where a query may look.
    """

    def forward(
        self, x_kv: Tensor, x_q: Tensor, mask: Tensor, rows_kv: Rows = WHOLE_ROWS, rows_q: Rows = WHOLE_ROWS
    ) -> Tensor:
        (q,) = rows_q.heads(x_q, self.n_head, self.query)  # (B, nh, Tq, hs)
        k, v = rows_kv.heads(x_kv, self.n_head, self.key, self.value)  # (B, nh, Tk, hs) each
        y = self.attend(rows_q.whole(q), rows_kv.whole(k), rows_kv.whole(v), mask)  # (B, nh, Tq, hs)
        return self.resid_drop(self.proj(rows_q.join(y)))
