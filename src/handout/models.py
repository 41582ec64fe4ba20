"""`models` of the handouts: GPT and GPTConfig as a student's run.py calls them, over the model of the core."""

from typing import Any

import torch
from core import model as ours
from core import optimizer, rows
from torch import Tensor

FLAGS = {"synthesizer": "synthesizer", "additive": "synthesizer", "perceiver": "perceiver", "rope": "rope"}


class GPTConfig:
    """Settings by keyword or by assignment. A variant is chosen by its flag: `config.rope = True`."""

    embd_pdrop = resid_pdrop = attn_pdrop = 0.1
    synthesizer = additive = perceiver = rope = False
    bottleneck_dim = 32
    ignore_index = 0  # the course's: PAD carries no loss

    def __init__(self, vocab_size: int, block_size: int, **settings: Any):
        self.vocab_size, self.block_size = vocab_size, block_size
        for name, value in settings.items():
            setattr(self, name, value)


class GPT1Config(GPTConfig):
    """The sizes of GPT-1, about 117 million parameters."""

    n_layer, n_head, n_embd = 12, 12, 768


def config_of(config: Any, variant: str | None = None) -> Any:
    """The GPTConfig of the core that a handout's config means. Raises ValueError for flags of several variants."""
    chosen = {FLAGS[flag] for flag in FLAGS if getattr(config, flag, False)}
    if len(chosen) > 1:
        raise ValueError(f"the config asks for {' and '.join(sorted(chosen))}: set the flag of one variant")
    variant = variant or getattr(config, "variant", None) or next(iter(chosen), "vanilla")
    options = dict(getattr(config, "options", {}))
    if variant == "perceiver":
        options.setdefault("bottleneck_dim", getattr(config, "bottleneck_dim", None) or 32)
    names = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "embd_pdrop", "resid_pdrop", "attn_pdrop")
    given = {name: getattr(config, name) for name in names if hasattr(config, name)}
    ignore_index = getattr(config, "ignore_index", 0)
    return ours.GPTConfig(**given, variant=variant, options=options, ignore_index=ignore_index)


class GPT(ours.GPT):
    """The model of the core, made of a handout's config, with the methods that handouts name."""

    takes_layouts = True  # rows without padding and a KV cache; not with a student's attention

    def __init__(self, config: Any):
        super().__init__(config_of(config))
        self.block_size = self.config.block_size
        print(f"number of parameters: {sum(p.numel() for p in self.parameters())}")

    def get_block_size(self) -> int:
        return self.block_size

    def configure_optimizers(self, train_config: Any) -> torch.optim.Optimizer:
        """AdamW that decays the weights of matrix products."""
        groups = optimizer.parameter_groups(self, getattr(train_config, "weight_decay", 0.1))
        betas = getattr(train_config, "betas", (0.9, 0.95))
        return torch.optim.AdamW(groups, lr=train_config.learning_rate, betas=betas)

    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        do_sample: bool = False,
        top_k: int | None = None,
    ) -> Tensor:
        """idx (B, P) and what follows it, (B, P + max_new_tokens): the likeliest token each time, or drawn ones."""
        drawn = dict(temperature=temperature, top_k=top_k) if do_sample else {}
        reader = rows.CachedReader(self) if self.takes_layouts else None
        return torch.cat([idx, super().generate(idx, None, max_new_tokens, reader=reader, **drawn).clone()], dim=1)
