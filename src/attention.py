"""Attention mechanisms and their registry.

A variant of the model is one class in this file under `@register("name")`; the command line's choices, the tests of
the contract and the documentation follow from the registry. A mechanism knows nothing of blocks, losses or optimizers.

Shapes:  B batch, T tokens, C = n_embd channels, nh = n_head heads, hs = C / nh head size, S keys held in a cache.
"""

import math

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

VARIANTS: dict[str, type[nn.Module]] = {}


def register(name: str):
    """Class decorator: make an attention class available as the variant `name`."""

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
        self.k = self.v = None

    def update(self, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Store k, v (B, nh, T, hs) at `positions` (B, T).

        Returns all keys and values (B, nh, S, hs) and the causal mask (B, 1, T, S), True where a query may look.
        """
        B, nh, _, hs = k.shape
        if self.k is None:
            self.k = k.new_zeros(B, nh, self.max_positions, hs)
            self.v = torch.zeros_like(self.k)
        rows = torch.arange(B, device=k.device)[:, None]  # (B, 1)
        self.k[rows, :, positions] = k.transpose(1, 2)  # indexed as (B, T, nh, hs)
        self.v[rows, :, positions] = v.transpose(1, 2)
        slots = torch.arange(self.max_positions, device=k.device)
        return self.k, self.v, (slots <= positions[:, :, None])[:, None]  # (B, 1, T, S)


def written_out_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(q k' / sqrt(hs)) v over the past, one step a line: output (B, nh, T, hs), weights (B, nh, T, T).

    The reference for the fused kernel that the model uses, and the way to get at the weights.
    Source: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762), equation 1.
    """
    T = q.size(-2)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, nh, T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(future, -math.inf).softmax(dim=-1)  # minus infinity: right in every precision
    return weights @ v, weights


@register("vanilla")
class CausalSelfAttention(nn.Module):
    """Multi-head scaled dot-product attention in which a token sees itself and what came before it.

        y = [head_1 ... head_nh] W_proj,   head_i = softmax(Q_i K_i' / sqrt(hs) + causal mask) V_i

    x (B, T, C) -> (B, T, C). Time O(T^2 C); memory O(T C) in the fused kernel, O(T^2) where weights are written out.
    Source: arXiv 1706.03762, sections 3.2.1 and 3.2.2.
    """

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_pdrop = config.attn_pdrop
        self.resid_drop = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """`positions` (B, T) and `cache` go together: x then holds only the tokens that the cache has not seen."""
        q, k, v = (self._heads(linear(x)) for linear in (self.query, self.key, self.value))  # (B, nh, T, hs) each
        mask = None
        if cache is not None:
            k, v, mask = cache.update(k, v, positions)  # (B, nh, S, hs), (B, 1, T, S)
        dropout = self.attn_pdrop if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None)
        y = y.transpose(1, 2).flatten(2)  # (B, T, C)
        return self.resid_drop(self.proj(y))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_head, -1)).transpose(1, 2)  # (B, T, C) -> (B, nh, T, hs)
