"""The GPT: token and position embeddings, a stack of blocks, and a linear head; and how to generate from it.

Shapes:  B batch, T tokens (at most block_size), C = n_embd, V = vocab_size, P prompt length.
Parameter names are those of the course, so that parameter files made with its code load here.
"""

from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import efficient_attention  # noqa: F401  (registers its variants)
from attention import VARIANTS, CausalCrossAttention, KVCache, sinusoidal_positions
from dropout import Dropout
from packing import Packing, lengths

LARGEST = 2**21  # of all sizes: more than there are characters in Unicode
COURSE_BUFFERS = (".attn.mask", ".attn.rope_cache")  # in the course's parameter files, and computed here


@dataclass(frozen=True)
class GPTConfig:
    """Everything that decides the shape of a model. ValueError for what cannot be built."""

    vocab_size: int
    block_size: int  # longest sequence, in tokens
    n_layer: int = 4
    n_head: int = 8
    n_embd: int = 256
    variant: str = "vanilla"  # a name in attention.VARIANTS
    options: dict[str, Any] = field(default_factory=dict)  # the variant's own settings; it has defaults for all
    embd_pdrop: float = 0.1  # dropout on the sum of the embeddings,
    resid_pdrop: float = 0.1  # on what each sublayer adds to the stream,
    attn_pdrop: float = 0.1  # and on the attention weights
    ignore_index: int = 0  # a target with this id carries no loss: PAD

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
        known = VARIANTS[self.variant].options
        if not isinstance(self.options, dict):
            raise ValueError(f"options is {self.options!r}: it must be a dict")
        for name, value in self.options.items():
            if name not in known:
                raise ValueError(f"the variant {self.variant} has no option {name}")
            if type(value) is not type(known[name].default):
                raise ValueError(f"{name} is {value!r}: it must be like {known[name].default!r}")
            if known[name].choices and value not in known[name].choices:
                raise ValueError(f"{name} is {value!r}: choose from {', '.join(known[name].choices)}")
            if type(value) is int and value > LARGEST:
                raise ValueError(f"{name} is {value}: it must be at most {LARGEST:,}")
        defaults = {name: option.default for name, option in known.items()}
        object.__setattr__(self, "options", defaults | self.options)  # the one write to a frozen instance
        if VARIANTS[self.variant].bottleneck:
            M = self.options["bottleneck_dim"]
            if self.n_layer < 3:
                raise ValueError(f"n_layer is {self.n_layer}: {self.variant} needs 3, of which two change the width")
            if not 1 <= M <= self.block_size:
                raise ValueError(f"bottleneck_dim is {M}: it must be between 1 and block_size {self.block_size}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")


def check_sizes(config: GPTConfig, state_dict: dict[str, Tensor]) -> None:
    """ValueError if parameters are of another size than `config` says, before memory is taken for a model of it."""
    variant = VARIANTS[config.variant]
    layers = {name.split(".")[1] for name in state_dict if name.startswith("blocks.")}
    bottleneck = 2 * variant.bottleneck  # blocks of another name
    shapes = {name: tuple(value.shape) for name, value in state_dict.items()}
    same = len(layers) + bottleneck == config.n_layer
    same &= shapes.get("tok_emb.weight") == (config.vocab_size, config.n_embd)
    widths = (4 * config.n_embd, config.n_embd)
    same = same and all(shapes.get(f"blocks.{i}.mlp.0.weight") == widths for i in range(len(layers)))
    if variant.position == "learned":
        same &= shapes.get("pos_emb") == (1, config.block_size, config.n_embd)
    for name, option in variant.options.items():
        if option.axis is not None:
            parameter, axis = option.axis
            same &= shapes.get(parameter, ())[axis : axis + 1] == (config.options[name],)
    if not same:
        raise ValueError("the parameters have other sizes")


def _mlp(config: GPTConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(config.n_embd, 4 * config.n_embd),
        nn.GELU(),
        nn.Linear(4 * config.n_embd, config.n_embd),
        Dropout(config.resid_pdrop),
    )


class Block(nn.Module):
    """One pre-norm Transformer block: the stream plus attention of it, plus an MLP of it.

    (B, T, C) -> (B, T, C), or (N, C) -> (N, C) with the packing of a batch without its padding.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = VARIANTS[config.variant](config)
        self.mlp = _mlp(config)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """`context` is what attention takes beside x: positions, cache, packing (CausalSelfAttention.forward)."""
        x = x + self.attn(self.ln1(x), *context)
        return x + self.mlp(self.ln2(x))


def after_reach(config: GPTConfig, T: int, device: torch.device) -> Tensor:
    """(M, T): how far token t lies after the last token that latent i sees; see attention.PerceiverAttention."""
    M = config.options["bottleneck_dim"]
    covered = M if config.options["latent_reach"] == "prefix" else config.block_size
    last_seen = torch.arange(M, device=device) * covered // M  # (M,)
    return torch.arange(T, device=device) - last_seen[:, None]


class DownProjectBlock(nn.Module):
    """Tokens to latents, (B, T, C) -> (B, M, C): a learned basis `C` plus its attention to the tokens, plus an MLP.

    With a packing the tokens are (N, C), here and in UpProjectBlock; latents never are, as none of them is padding.
    """

    no_decay = ("C",)  # for the optimizer: an embedding

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.C = nn.Parameter(torch.empty(1, config.options["bottleneck_dim"], config.n_embd))
        nn.init.xavier_uniform_(self.C)
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.ln3 = nn.LayerNorm(config.n_embd)
        self.attn = CausalCrossAttention(config)
        self.mlp = _mlp(config)

    def forward(self, x: Tensor, packing: Packing | None = None) -> Tensor:
        B, T = x.shape[:2] if packing is None else packing.slot.shape
        mask = after_reach(self.config, T, x.device) <= 0  # (M, T)
        latents = self.C.expand(B, -1, -1)  # (B, M, C)
        latents = latents + self.attn(self.ln1(x), self.ln2(latents), mask, packing_kv=packing)
        return latents + self.mlp(self.ln3(latents))


class UpProjectBlock(nn.Module):
    """Latents back to tokens, (B, M, C) and (B, T, C) -> (B, T, C): the tokens plus their attention to the latents."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.ln3 = nn.LayerNorm(config.n_embd)
        self.attn = CausalCrossAttention(config)
        self.mlp = _mlp(config)

    def forward(self, latents: Tensor, x: Tensor, packing: Packing | None = None) -> Tensor:
        T = x.size(1) if packing is None else packing.slot.size(1)
        mask = (after_reach(self.config, T, x.device) >= 0).T  # (T, M)
        x = x + self.attn(self.ln1(latents), self.ln2(x), mask, packing_q=packing)
        return x + self.mlp(self.ln3(x))


class GPT(nn.Module):
    """A decoder-only Transformer over characters (GPT-2's layout, with the course's sizes and names)."""

    no_decay = ("pos_emb",)  # for the optimizer: an embedding, though not an nn.Embedding
    checkpoint_activations = False  # keep only what enters a block, and compute the rest again in the backward pass

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.config = config
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.variant = VARIANTS[config.variant]
        if self.variant.position == "learned":
            self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = Dropout(config.embd_pdrop)
        if self.variant.bottleneck:
            self.down_block, self.up_block = DownProjectBlock(config), UpProjectBlock(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer - 2 * self.variant.bottleneck))
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        # As in GPT-2. Small weights keep the first logits near zero, so the loss starts at ln V.
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def load_parameters(self, state_dict: dict[str, Tensor]) -> None:
        """Copy a state_dict of this code or of the course's into the model.

        Raises ValueError naming the first tensor that is missing, unknown or of another shape.
        """
        given = {name: value for name, value in state_dict.items() if not name.endswith(COURSE_BUFFERS)}
        wanted = self.state_dict()
        for name in sorted(wanted.keys() | given.keys()):
            if name not in given or name not in wanted:
                what = "lacks the" if name in wanted else "has an unknown"
                raise ValueError(f"{what} tensor {name}: not the parameters of a {self.config.variant} model")
            if given[name].shape != wanted[name].shape:
                have, want = tuple(given[name].shape), tuple(wanted[name].shape)
                raise ValueError(f"{name} has shape {have} where the model has {want}: another corpus or other sizes?")
        self.load_state_dict(given)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        positions: Tensor | None = None,
        caches: list[KVCache] | None = None,
        computed: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (B, T, V) for the token after each of idx (B, T), and the mean cross-entropy with targets (B, T).

        The loss, in nats per target, skips targets equal to ignore_index; it is None without targets.
        With `caches` (one a layer), idx holds only new tokens and `positions` (B, T) says where they stand.
        With `computed`, which must be at least `positions_needed(targets).sum()`, only the positions up to each row's
        last target are computed, in so many slots: the same loss for less work, and logits (computed, V) of the slots.
        Raises ValueError if T exceeds block_size and the variant cannot do that.
        """
        packing = None
        if computed is not None:
            packing = Packing.of(lengths(targets, self.config.ignore_index), idx.size(1), computed)
            targets = packing.pack(targets).masked_fill(~packing.is_filled, self.config.ignore_index)  # (N,)
        x = self._embed(idx, positions, packing)  # (B, T, C), or (N, C) with a packing
        inner = packing  # of what the blocks work on
        if self.variant.bottleneck:
            tokens, x, inner = x, self.down_block(x, packing), None  # x (B, M, C)
        for i, block in enumerate(self.blocks):
            arguments = x, positions, caches[i] if caches else None, inner
            again = self.checkpoint_activations and torch.is_grad_enabled()
            x = checkpoint(block, *arguments, use_reentrant=False) if again else block(*arguments)
        if self.variant.bottleneck:
            x = self.up_block(x, tokens, packing)  # as tokens
        return self._predict(x, targets)

    def positions_needed(self, targets: Tensor) -> Tensor:
        """(B,): how many positions of each row `forward` has to compute for the loss with targets (B, T)."""
        return lengths(targets, self.config.ignore_index)

    def compile_parts(self, dynamic: bool | None) -> None:
        """Have kernels made for the blocks, which one compilation serves, and for what comes before and after them."""
        for block in self.blocks:
            block.compile(dynamic=dynamic)
        # Compiled and in a fixed order, the gradient of an embedding would be added up one position after the other.
        in_fixed_order = torch.are_deterministic_algorithms_enabled()
        for name in ("_predict",) if in_fixed_order else ("_embed", "_predict"):
            compiled = torch.compile(getattr(GPT, name), dynamic=dynamic)
            setattr(self, name, MethodType(compiled, self))  # a method, as deepcopy gives a copy methods of its own

    def _embed(self, idx: Tensor, positions: Tensor | None, packing: Packing | None = None) -> Tensor:
        """What the tokens idx (B, T) are and, unless attention sees to that, where they stand: (B, T, C) or packed."""
        T = idx.size(1)
        if T > self.config.block_size and not self.variant.any_length:
            raise ValueError(f"a sequence of {T} tokens does not fit block_size {self.config.block_size}")
        x = self.tok_emb(idx)
        if self.variant.position == "learned":
            x = x + (self.pos_emb[:, :T] if positions is None else self.pos_emb[0, positions])
        elif self.variant.position == "sinusoidal":
            positions = torch.arange(T, device=idx.device) if positions is None else positions
            x = x + sinusoidal_positions(positions, x.size(-1)).to(x.dtype)
        return self.drop(x if packing is None else packing.pack(x))

    def _predict(self, x: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """From what the last block gives, (..., C): logits (..., V), and their loss with targets (...) if there are."""
        logits = self.head(self.ln_f(x))
        if targets is None:
            return logits, None
        loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=self.config.ignore_index)
        return logits, loss

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
        use_cache: bool = True,
    ) -> Tensor:
        """The tokens that follow each prompt, (B, N) with N <= max_new_tokens.

        idx:         prompts (B, P), row i filled up to P with anything after its lengths[i] tokens (default: P)
        stop_token:  a row that produces it has ended and holds nothing else from there on; when all have, it stops
        temperature: 0 takes the likeliest token; otherwise tokens are drawn from softmax(logits / temperature)
        top_k:       draw among the k likeliest only
        use_cache:   keep keys and values of what was read; the result is the same and takes longer without

        Each step reads at most the last block_size tokens of a row, so a continuation may outgrow the block.
        ValueError where P is 0 and for a top_k below 1. Every length is at least 1.
        """
        B, P = idx.shape
        if P == 0:
            raise ValueError("a prompt of no tokens: there is nothing to go on from")
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}: it must be at least 1")
        was_training = self.training
        self.eval()
        lengths = torch.full((B,), P, device=idx.device) if lengths is None else lengths.to(idx.device)
        rows = torch.arange(B, device=idx.device)
        tokens = F.pad(idx, (0, max_new_tokens))  # (B, P + max_new_tokens)
        ended = torch.zeros(B, dtype=torch.bool, device=idx.device)
        # Once a row outgrows the block its window slides, every token changes position, and a cache is void.
        slots = min(P + max_new_tokens, self.config.block_size)
        caches = [KVCache(slots) for _ in self.blocks] if use_cache and self.variant.cacheable else None
        shared = self._read_shared_prefix(idx, lengths, caches) if caches and P <= slots else 0
        new = []
        for step in range(max_new_tokens):
            last = lengths + step - 1  # (B,) position of the newest token
            longest = P + step
            if caches and step > 0 and longest <= slots:
                read = tokens[rows, last][:, None]  # (B, 1) only the newest token is unknown to the cache
                logits = self(read, positions=last[:, None], caches=caches)[0][:, -1]  # (B, V)
            else:
                width = min(longest, self.config.block_size)
                start = (last + 1 - width).clamp(min=0)  # (B,)
                known = shared if step == 0 else 0  # of the width, already in the cache
                window = start[:, None] + torch.arange(known, width, device=idx.device)  # (B, width - known)
                fill_cache = {"positions": window, "caches": caches} if caches and longest <= slots else {}
                logits = self(tokens.gather(1, window), **fill_cache)[0][rows, last - start - known]  # (B, V)
            token = _choose(logits, temperature, top_k, generator)  # (B,)
            if stop_token is not None:
                token = token.masked_fill(ended, stop_token)
                ended |= token == stop_token
            tokens[rows, last + 1] = token
            new.append(token)
            if stop_token is not None and ended.all():  # the one wait for the device in this loop
                break
        self.train(was_training)
        return torch.stack(new, dim=1) if new else idx.new_empty(B, 0)

    def _read_shared_prefix(self, idx: Tensor, lengths: Tensor, caches: list[KVCache]) -> int:
        """Fill the caches with what all prompts (B, P) begin with, read once for all; returns how many tokens."""
        if len(idx) <= 1:
            return 0
        same = (idx == idx[0]).all(dim=0).long().cumprod(dim=0).sum()
        shared = torch.minimum(same, lengths.min() - 1).item()  # the last token of every prompt is still to be read
        if shared == 0:
            return 0
        self(idx[:1, :shared], positions=torch.arange(shared, device=idx.device)[None], caches=caches)
        for cache in caches:
            cache.repeat(len(idx))
        return shared


def _choose(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """One token id a row of logits (B, V) -> (B,)."""
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.size(-1))).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < least, -torch.inf)
    return torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
