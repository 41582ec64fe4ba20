"""Cheaper attention: BigBird and Performer, linear in the length, and Linformer, a constant factor below vanilla.

All three are causal versions of mechanisms that were published for encoders. They inherit projections and heads from
vanilla attention and replace the step in which queries meet keys, `attend(q, k, v, mask)`. They need no mask: each
looks at the past only, in a way of its own.

Shapes:  as in attention.py; q, k, v and the result of `attend` are (B, nh, T, hs); n chunks or blocks of c tokens.
"""

import math
from itertools import accumulate
from typing import ClassVar

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

from attention import CausalSelfAttention, Option, register


def chunks(x: Tensor, c: int) -> Tensor:
    """(B, nh, T, d) -> (B, nh, n, c, d), zeros after the last token. No query looks ahead, so none sees the zeros."""
    missing = -x.size(-2) % c
    return (F.pad(x, (0, 0, 0, missing)) if missing else x).unflatten(-2, (-1, c))  # padding by nothing is a copy too


@register("linformer")
class LinformerAttention(CausalSelfAttention):
    """Low-rank attention: what lies chunks back is seen through a few learned summaries of each chunk.

        y_t = softmax([q_t (E K_1)' ... q_t (E K_j)', q_t K_now'] / sqrt(hs)) [F V_1; ...; F V_j; V_now]

    K_1 .. K_j are the chunks that ended before t, K_now the tokens up to t of its own. E and F (summaries, chunk) are
    shared by the heads and start as averages. Linformer compresses the whole sequence at once, which would show a
    token its future; compressing finished chunks does not. With a single chunk this is vanilla attention.
    Time and memory O(T (T r/c + c)) for r summaries of c tokens: c/r times less than vanilla in the long run.
    Source: Wang et al. (arXiv 2006.04768), equation 7.
    """

    options: ClassVar[dict[str, Option]] = {
        "chunk_size": Option(32, "tokens that are compressed together"),
        "summaries": Option(8, "what each chunk of tokens is compressed to"),
    }
    cacheable = needs_mask = False

    def __init__(self, config):
        super().__init__(config)
        c, r = config.options["chunk_size"], config.options["summaries"]
        if c < 1:
            raise ValueError(f"chunk_size is {c}: it must be at least 1")
        if not 1 <= r <= c:
            raise ValueError(f"summaries is {r}: it must be between 1 and chunk_size {c}")
        average = F.interpolate(torch.eye(r)[None], size=c)[0]  # (r, c) summary i averages the i-th part of a chunk
        average /= average.sum(dim=1, keepdim=True)
        self.compress_key = nn.Parameter(average.clone())
        self.compress_value = nn.Parameter(average.clone())

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        r, c = self.compress_key.shape
        T = q.size(-2)
        q, k, v = (chunks(x, c) for x in (q / math.sqrt(q.size(-1)), k, v))  # (B, nh, n, c, hs) each
        n = q.size(2)
        far_k = (self.compress_key @ k).flatten(2, 3)  # (B, nh, n r, hs)
        far_v = (self.compress_value @ v).flatten(2, 3)
        chunk = torch.arange(n, device=q.device)
        finished = chunk.repeat_interleave(r) < chunk.repeat_interleave(c)[:, None]  # (n c, n r)
        past = torch.ones(c, c, dtype=torch.bool, device=q.device).tril().repeat(n, 1)  # (n c, c)
        unseen = ~torch.cat([finished, past], dim=-1)
        # All queries meet the same summaries: one product. With an axis for the chunk it would copy these n times.
        scores = [q.flatten(2, 3) @ far_k.transpose(-2, -1), (q @ k.transpose(-2, -1)).flatten(2, 3)]
        weights = torch.cat(scores, dim=-1).masked_fill_(unseen, -math.inf).softmax(dim=-1)  # (B, nh, n c, n r + c)
        weights = self.attn_drop(weights)
        y_near = weights[..., n * r :].unflatten(2, (n, c)) @ v  # (B, nh, n, c, hs)
        return (weights[..., : n * r] @ far_v + y_near.flatten(2, 3))[:, :, :T]


def bigbird_pattern(n: int, window: int, n_global: int, n_random: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which blocks of keys each block of queries sees: indices and a mask of those that count, both (n, K).

    Block i sees itself and the window - 1 before it, the first n_global blocks, and n_random drawn from the blocks
    before it that it does not see yet; K = min(n, window + n_global + n_random). Never a later block.
    """
    generator = torch.Generator().manual_seed(seed)  # on the host, whatever device the model is made on
    width = min(n, window + n_global + n_random)
    if n > 2**13 or n * width > 2**20:
        raise ValueError(f"a pattern of {n:,} blocks, {width:,} for each, is too large: raise sparse_block")
    indices = torch.zeros(n, width, dtype=torch.long, device="cpu")
    counts = torch.zeros(n, width, dtype=torch.bool, device="cpu")
    for i in range(n):
        seen = sorted({*range(min(n_global, i + 1)), *range(max(0, i - window + 1), i + 1)})
        others = [j for j in range(i) if j not in seen]
        drawn = torch.randperm(len(others), generator=generator, device="cpu")[:n_random].tolist()
        seen += [others[j] for j in drawn]
        indices[i, : len(seen)] = torch.tensor(seen, device="cpu")
        counts[i, : len(seen)] = True
    return indices, counts


@register("bigbird")
class BigBirdAttention(CausalSelfAttention):
    """Sparse attention in blocks: a window of neighbours, the first blocks for everybody, and a few at random.

    The window sees what is near, and random blocks shorten the way to the rest: several layers reach what one does
    not. Two promises of the paper need edges in both directions and are weaker here. Global blocks can be read by
    everybody but see nothing later, so no way between other tokens leads through them; and random edges lead only
    back, so the layers that reach all of the past are few but grow faster than log T. Only the blocks of the pattern
    are computed: time and memory O(T K c) for K blocks of c tokens each. With a window over everything it is vanilla.
    Source: Zaheer et al. (arXiv 2007.14062), section 2, without the edges that lead ahead.
    """

    options: ClassVar[dict[str, Option]] = {
        "sparse_block": Option(16, "tokens in a block of the pattern"),
        "window_blocks": Option(2, "blocks of the window: a token's own and those before it"),
        "global_blocks": Option(1, "blocks at the start that every token sees"),
        "random_blocks": Option(1, "blocks drawn at random from the past"),
        "pattern_seed": Option(0, "seed for the random blocks"),
    }
    cacheable = needs_mask = False
    indices: Tensor
    counts: Tensor

    def __init__(self, config):
        super().__init__(config)
        self.c = min(config.options["sparse_block"], config.block_size)  # longer ones would be filled up with nothing
        o = config.options
        shape = o["window_blocks"], o["global_blocks"], o["random_blocks"]
        for name in self.options:
            least = 1 if name in ("sparse_block", "window_blocks") else 0
            if config.options[name] < least:
                raise ValueError(f"{name} is {config.options[name]}: it must be at least {least}")
        n = math.ceil(config.block_size / self.c)
        indices, counts = bigbird_pattern(n, *shape, o["pattern_seed"])
        self.register_buffer("indices", indices, persistent=False)  # (n, K)
        self.register_buffer("counts", counts, persistent=False)

    def token_mask(self, T: int) -> Tensor:
        """(T, T), True where a token may look: the pattern as a mask for dense attention."""
        n = len(self.indices)
        blocks = torch.zeros(n, n, dtype=torch.bool, device=self.indices.device)
        rows, columns = self.counts.nonzero(as_tuple=True)
        blocks[rows, self.indices[rows, columns]] = True
        return blocks.repeat_interleave(self.c, 0).repeat_interleave(self.c, 1)[:T, :T].tril()

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        T, c = q.size(-2), self.c
        q, k, v = (chunks(x, c) for x in (q, k, v))  # (B, nh, n, c, hs) each
        n = q.size(2)
        indices = self.indices[:n]  # (n, K)
        blocks = indices.flatten()  # index_select: its gradient adds up faster than that of x[:, :, indices]
        k, v = (x.index_select(2, blocks).view(*x.shape[:2], n, -1, x.size(-1)) for x in (k, v))  # (B, nh, n, K c, hs)
        place = torch.arange(c, device=q.device)
        key_place = (indices[:, :, None] * c + place).flatten(1)  # (n, K c)
        query_place = torch.arange(n * c, device=q.device).view(n, c)
        counts = self.counts[:n].repeat_interleave(c, dim=1)  # (n, K c)
        mask = (key_place[:, None] <= query_place[:, :, None]) & counts[:, None]  # (n, c, K c)
        q4, k4, v4 = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)  # torch wants four axes: (B nh, n, c or K c, hs)
        p = self.attn_drop.p if self.training else 0.0
        y = F.scaled_dot_product_attention(q4, k4, v4, attn_mask=mask[None], dropout_p=p)  # (B nh, n, c, hs)
        return y.unflatten(0, q.shape[:2]).flatten(2, 3)[:, :, :T]


def random_projection(m: int, hs: int, orthogonal: bool = True) -> Tensor:
    """(m, hs): directions w ~ N(0, I), drawn from torch's generator; in orthogonal groups of hs if asked for.

    Orthogonal directions keep the norms of Gaussian ones, so that each w alone is still N(0, I) and the estimate
    unbiased, but they repeat each other less: its variance is lower. Source: arXiv 2009.14794, section 2.4.
    """
    if not orthogonal:
        return torch.randn(m, hs)
    groups = [torch.linalg.qr(torch.randn(hs, hs)).Q for _ in range(math.ceil(m / hs))]
    return torch.cat(groups)[:m] * torch.randn(m, hs).norm(dim=1, keepdim=True)


# Long keys have features so small that their sum, a denominator, would be zero, and gradients infinite.
LEAST_EXPONENT = -50


def random_features(x: Tensor, projection: Tensor, kind: str = "positive", scaled: bool = False) -> Tensor:
    """phi(x) with E[phi(q) . phi(k)] = exp(q . k / sqrt(hs)), the numerator of softmax attention.

    x (..., hs), projection (m, hs) -> (..., m) for "positive", (..., 2 m) for "trigonometric":
        positive:       exp(w x - |x|^2 / 2) / sqrt(m)             never below zero, exact where the kernel is near zero
        trigonometric:  exp(|x|^2 / 2) [sin(w x), cos(w x)] / sqrt(m)    its error is largest just there
    with x divided by hs^(1/4) first. `scaled` divides positive features by their largest for each x: for a query that
    cancels in the quotient, and keeps it from underflowing. Source: arXiv 2009.14794, lemma 1 and equation 5.
    """
    m, hs = projection.shape
    x = x.float() / hs**0.25
    projected, half_norm = x @ projection.float().T, x.square().sum(dim=-1, keepdim=True) / 2
    if kind == "positive":
        # What cancels in the quotient needs no gradient. The division by sqrt(m) happens in the exponent, before the
        # tensor with m entries a token is made: it is the largest here, and each copy of it counts.
        shift = projected.detach().amax(dim=-1, keepdim=True) if scaled else half_norm
        return (projected - (shift + math.log(m) / 2)).clamp(min=LEAST_EXPONENT).exp()
    return half_norm.exp() * torch.cat([projected.sin(), projected.cos()], dim=-1) / math.sqrt(m)


def causal_linear_attention(phi_q: Tensor, phi_k: Tensor, v: Tensor, c: int = 64) -> Tensor:
    """y_t = sum over s <= t of (phi_q_t . phi_k_s) v_s, divided by the same sum without v_s.

    phi_q, phi_k (B, nh, T, m), v (B, nh, T, hs) -> (B, nh, T, hs). Sums over the past are kept as matrices (m, hs), one
    a chunk of c tokens, and within a chunk products are written out: time O(T (m hs + c m + c hs)). Together they hold
    T (c + m hs / c) numbers a head, the fewest at c = sqrt(m hs): 64 for the 128 features and the course's sizes.
    """
    T = v.size(-2)
    v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)  # a column of ones adds up the denominator
    phi_q, phi_k, v = (chunks(x, c) for x in (phi_q, phi_k, v))  # (B, nh, n, c, m or hs + 1)
    sums = phi_k.transpose(-2, -1) @ v  # (B, nh, n, m, hs + 1)
    if torch.are_deterministic_algorithms_enabled():  # a GPU adds up in whatever order blocks finish
        running = torch.stack(list(accumulate(sums.unbind(2))), dim=2)
    else:
        running = sums.cumsum(dim=2)
    before = F.pad(running[:, :, :-1], (0, 0, 0, 0, 1, 0))  # of the chunks that are finished
    y = phi_q @ before + (phi_q @ phi_k.transpose(-2, -1)).tril_() @ v  # (B, nh, n, c, hs + 1)
    y = y.flatten(2, 3)[:, :, :T]
    return y[..., :-1] / (y[..., -1:] + 1e-30)  # small: products of features are, where queries and keys are long


@register("performer")
class PerformerAttention(CausalSelfAttention):
    """Softmax attention estimated with random features, so that sums over the past replace products with it (FAVOR+).

        y_t = phi(q_t) S_t / (phi(q_t) z_t),   S_t = sum_{s<=t} phi(k_s)' v_s,   z_t = sum_{s<=t} phi(k_s)'

    Time O(T m C), memory O(T m + T m hs / 64): linear in the length. The features are drawn once and saved with the
    parameters. There are no weights to drop out. `trigonometric` features are there to show why they fail: where the
    kernel is near zero their estimate is mostly noise, of either sign, and so is the denominator.
    Source: Choromanski et al. (arXiv 2009.14794), section 2.
    """

    options: ClassVar[dict[str, Option]] = {
        "n_features": Option(128, "number of random features"),
        "features": Option("positive", "which features", ("positive", "trigonometric")),
        "projection": Option("orthogonal", "how their directions are drawn", ("orthogonal", "gaussian")),
    }
    cacheable = needs_mask = False
    directions: Tensor

    def __init__(self, config):
        super().__init__(config)
        m, self.kind, projection = (config.options[name] for name in self.options)
        if not 1 <= m <= 2**16:
            raise ValueError(f"n_features is {m}: it must be between 1 and {2**16}")
        directions = random_projection(m, config.n_embd // config.n_head, projection == "orthogonal")
        self.register_buffer("directions", directions)  # (m, hs) persistent: a model is trained for its features

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):  # exponentials and long sums need float32
            phi_q = random_features(q, self.directions, self.kind, scaled=True)  # (B, nh, T, m)
            phi_k = random_features(k, self.directions, self.kind)
            return causal_linear_attention(phi_q, phi_k, v.float()).to(v.dtype)
