"""The GPT: token and position embeddings, a stack of blocks, and a linear head; and how to generate from it.

Shapes:  B batch, T tokens (at most block_size), C = n_embd, V = vocab_size, P prompt length, N new tokens.
Parameter names are those of the course, so that parameter files made with its code load here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F

import efficient_attention  # registers its variants
from attention import VARIANTS, WHOLE_ROWS, CausalCrossAttention, Rows, sinusoidal_positions

LARGEST = 2**21  # limit for every size: more than there are characters in Unicode


@dataclass(frozen=True)
class GPTConfig:
    """The settings of a model. Raises ValueError for what cannot be built; a variant may refuse more when it is."""

    vocab_size: int
    block_size: int  # longest sequence, in tokens
    n_layer: int = 4
    n_head: int = 8
    n_embd: int = 256
    variant: str = "vanilla"  # a name in attention.VARIANTS
    options: dict[str, Any] = field(default_factory=dict)  # the variant's own settings; each has a default
    embd_pdrop: float = 0.1  # dropout on the sum of the embeddings,
    resid_pdrop: float = 0.1  # on what each sublayer adds to the stream,
    attn_pdrop: float = 0.1  # and on the attention weights
    ignore_index: int = -100  # a target with this id carries no loss; a Trainer sets it for its model

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise ValueError(f"no variant {self.variant!r}: choose from {', '.join(VARIANTS)}")
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= LARGEST:
                raise ValueError(f"{name} is {value!r}: it must be a whole number from 1 to {LARGEST:,}")
        for name in ("embd_pdrop", "resid_pdrop", "attn_pdrop"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise ValueError(f"{name} is {value!r}: it must be a number from 0 to less than 1")
        if type(self.ignore_index) is not int or abs(self.ignore_index) >= 2**31:
            raise ValueError(f"ignore_index is {self.ignore_index!r}: it must be a token id, or negative for none")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        known = VARIANTS[self.variant].options
        if not isinstance(self.options, dict):
            raise ValueError(f"options is {self.options!r}: it must be a dict")
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"the variant {self.variant} has no option {name}")
            if type(value) is not type(known[name].default):
                raise ValueError(f"{name} is {value!r}: it must be like {known[name].default!r}")
            if known[name].choices and value not in known[name].choices:
                raise ValueError(f"{name} is {value!r}: choose from {', '.join(map(str, known[name].choices))}")
            if type(value) is int and not 0 <= value <= LARGEST:
                raise ValueError(f"{name} is {value}: it must be from 0 to {LARGEST:,}")
        defaults = {name: option.default for name, option in known.items()}
        object.__setattr__(self, "options", defaults | self.options)  # the one write to a frozen instance
        if VARIANTS[self.variant].bottleneck:
            M = self.options["bottleneck_dim"]
            if self.n_layer < 3:
                raise ValueError(f"n_layer is {self.n_layer}: {self.variant} needs 3, of which two change the width")
            if not 1 <= M <= self.block_size:
                raise ValueError(f"bottleneck_dim is {M}: it must be between 1 and block_size {self.block_size}")


class Block(nn.Module):
    """One pre-norm Transformer block, (B, T, C) -> (B, T, C): the stream plus attention of it, plus an MLP of it."""

    def __init__(self, config: GPTConfig, attention: type[nn.Module] | None = None):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)  # before attention
        self.ln2 = nn.LayerNorm(config.n_embd)  # before the MLP
        self.attn = (attention or VARIANTS[config.variant])(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.GELU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
            nn.Dropout(config.resid_pdrop),
        )

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        x = x + self.attn(self.ln1(x), rows)
        return x + self.mlp(self.ln2(x))


def last_seen(config: GPTConfig, device: torch.device) -> Tensor:
    """(M,) the last token that each latent sees; see attention.PerceiverAttention."""
    M = config.options["bottleneck_dim"]
    covered = M if config.options["latent_reach"] == "prefix" else config.block_size
    return torch.arange(M, device=device) * covered // M


class DownProjectBlock(Block):
    """Tokens to latents, (B, T, C) -> (B, M, C): a learned basis `C` plus its attention to the tokens, plus an MLP."""

    no_decay = ("C",)  # for the optimizer: an embedding. The course's name; in shapes, C is the number of channels

    def __init__(self, config: GPTConfig):
        super().__init__(config, CausalCrossAttention)
        self.config = config
        self.C = nn.Parameter(torch.empty(1, config.options["bottleneck_dim"], config.n_embd))
        self.ln_tokens = nn.LayerNorm(config.n_embd) if config.options["projection_norms"] == 3 else nn.Identity()
        nn.init.xavier_uniform_(self.C)

    def forward(self, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        B, T = rows.shape or x.shape[:2]
        mask = torch.arange(T, device=x.device) <= last_seen(self.config, x.device)[:, None]  # (M, T)
        latents = self.C.expand(B, -1, -1)  # (B, M, C)
        latents = latents + self.attn(self.ln_tokens(x), self.ln1(latents), mask, rows_kv=rows)
        return latents + self.mlp(self.ln2(latents))


class UpProjectBlock(Block):
    """Latents back to tokens, (B, M, C) and (B, T, C) -> (B, T, C): the tokens plus their attention to the latents."""

    def __init__(self, config: GPTConfig):
        super().__init__(config, CausalCrossAttention)
        self.config = config
        self.ln_tokens = nn.LayerNorm(config.n_embd) if config.options["projection_norms"] == 3 else nn.Identity()

    def forward(self, latents: Tensor, x: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        _, T = rows.shape or x.shape[:2]
        mask = last_seen(self.config, x.device) <= torch.arange(T, device=x.device)[:, None]  # (T, M)
        x = x + self.attn(self.ln1(latents), self.ln_tokens(x), mask, rows_q=rows)
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    """A decoder-only Transformer over characters (GPT-2's layout, with the course's sizes and names)."""

    no_decay = ("pos_emb",)  # for the optimizer: an embedding, though not an nn.Embedding

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config, self.ignore_index = config, config.ignore_index
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.mechanism = VARIANTS[config.variant]  # a class
        if self.mechanism.position == "learned":
            self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(config.embd_pdrop)
        if self.mechanism.bottleneck:
            self.down_block, self.up_block = DownProjectBlock(config), UpProjectBlock(config)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer - 2 * self.mechanism.bottleneck)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        # Nearly as in GPT-2. Small weights keep the first logits near zero, so the loss starts at ln V.
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, mean=0.0, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, idx: Tensor, targets: Tensor | None = None, rows: Rows = WHOLE_ROWS
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T, V) for the token after each of idx (B, T), and the mean cross-entropy with targets (B, T).

        The loss, in nats per target, skips targets equal to ignore_index. It is None without targets. `rows` says how
        the tokens of a batch are laid out. Raises ValueError for rows longer than block_size, unless the variant
        takes any length.
        """
        x = self.embed(idx, rows)  # (B, T, C)
        if self.mechanism.bottleneck:
            tokens, latents = x, self.down_block(x, rows)  # (B, M, C)
            for block in self.blocks:
                latents = block(latents)
            x = self.up_block(latents, tokens, rows)  # (B, T, C)
        else:
            for block in self.blocks:
                x = block(x, rows)

        logits = self.head(self.ln_f(x))  # (B, T, V)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=self.ignore_index)

    def embed(self, idx: Tensor, rows: Rows) -> Tensor:
        """What each token is and, unless attention sees to that, where it stands: (B, T) -> (B, T, C)."""
        T = (rows.shape or idx.shape)[1]
        if T > self.config.block_size and not self.mechanism.any_length:
            raise ValueError(f"a sequence of {T} tokens does not fit block_size {self.config.block_size}")
        x = self.tok_emb(idx)  # (B, T, C)
        at = torch.arange(T, device=idx.device) if rows.at is None else rows.at  # (T,) or (B, T)
        if self.mechanism.position == "learned":
            x = x + F.embedding(at, self.pos_emb[0])
        elif self.mechanism.position == "sinusoidal":
            x = x + sinusoidal_positions(at, self.config.n_embd).to(x.dtype)
        return self.drop(x)

    @torch.inference_mode()
    def generate(
        self,
        idx: Tensor,
        lengths: Tensor | None = None,
        max_new_tokens: int = 32,
        stop_token: int | None = None,
        *,
        temperature: float = 0.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
        reader: Callable[[Tensor, Tensor], Tensor] | None = None,
        log_probs: bool = False,
    ) -> Any:
        """The tokens that follow each prompt: (B, N) with N <= max_new_tokens.

        idx:         prompts (B, P). Row i is a prompt of lengths[i] tokens (default: P) and then anything
        stop_token:  a row that produces it has ended and holds only stop_token from there on; when all have, it stops
        temperature: 0 takes the likeliest token; otherwise tokens are drawn from softmax(logits / temperature)
        top_k:       draw among the k likeliest only
        reader:      gives the logits of the next token, as `next_logits` does; fast/rows.py has one with a KV cache
        log_probs:   return (tokens, (B, N, V)): log softmax(logits) of each step as well, before temperature and top_k

        Each step reads at most the last block_size tokens of a row, so a continuation may outgrow the block.
        Raises ValueError if P is 0 or top_k is below 1. Every length must be at least 1.
        """
        B, P = idx.shape
        if P == 0:
            raise ValueError("a prompt of no tokens: there is nothing to continue")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}: it must be at least 1")
        read = self.next_logits if reader is None else reader
        ends = torch.full((B,), P, device=idx.device) if lengths is None else lengths.to(idx.device)  # (B,)
        tokens = F.pad(idx, (0, max_new_tokens))  # (B, P + max_new_tokens)
        ended = torch.zeros(B, dtype=torch.bool, device=idx.device)
        new, chosen_by = [], []
        with evaluation_mode(self):
            for _ in range(max_new_tokens if B else 0):
                logits = read(tokens, ends)  # (B, V)
                token = draw(logits / temperature, top_k, generator) if temperature > 0 else logits.argmax(-1)  # (B,)
                if stop_token is not None:
                    token = token.masked_fill(ended, stop_token)
                    ended |= token == stop_token
                tokens = tokens.scatter(1, ends[:, None], token[:, None])
                ends = ends + 1
                new.append(token)
                if log_probs:
                    chosen_by.append(logits.float().log_softmax(dim=-1))
                if stop_token is not None and ended.all():
                    break
        found = torch.stack(new, dim=1) if new else idx.new_empty(B, 0)
        if not log_probs:
            return found
        return found, torch.stack(chosen_by, dim=1) if new else found.new_empty(B, 0, self.config.vocab_size).float()

    def next_logits(self, tokens: Tensor, ends: Tensor, rows: Rows = WHOLE_ROWS) -> Tensor:
        """Logits (B, V) of the token that follows the first `ends` (B,) tokens of each row of `tokens` (B, L)."""
        # A row that is shorter than the window reads padding behind its end. Attention is causal, so nothing sees it.
        width = min(int(ends.max()), self.config.block_size)
        start = (ends - width).clamp(min=0)  # (B,)
        window = start[:, None] + torch.arange(width, device=tokens.device)  # (B, width)
        logits, _ = self(tokens.gather(1, window), rows=rows)  # (B, width, V)
        return logits[torch.arange(len(ends), device=tokens.device), ends - start - 1]


def draw(logits: Tensor, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One token id for each row of logits (B, V) -> (B,), from softmax(logits) or its top_k likeliest tokens."""
    k = logits.size(-1) if top_k is None else min(top_k, logits.size(-1))
    likeliest, ids = logits.topk(k)  # (B, k) each
    return ids.gather(1, torch.multinomial(likeliest.softmax(dim=-1), 1, generator=generator))[:, 0]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into evaluation mode for a while: no dropout. However the block ends, the mode is restored."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
