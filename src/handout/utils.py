"""`utils` of the handouts: seeds, sampling, and the scorer."""

import random
from typing import Any

import numpy as np
import torch
from core import dataset, rows
from core import model as ours
from torch import Tensor

evaluate_places = dataset.evaluate_places


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def top_k_logits(logits: Tensor, k: int) -> Tensor:
    """logits (B, V) with -inf for all but the k likeliest tokens."""
    likeliest = logits.topk(min(k, logits.size(-1))).indices
    return torch.full_like(logits, -torch.inf).scatter(1, likeliest, logits.gather(1, likeliest))


@torch.no_grad()
def sample(
    model: Any, x: Tensor, steps: int, temperature: float = 1.0, sample: bool = False, top_k: int | None = None
) -> Tensor:
    """x (B, P) and the `steps` tokens that follow it, (B, P + steps), for any model with `get_block_size`."""
    if isinstance(model, ours.GPT) and not sample:  # with a KV cache
        reader = rows.CachedReader(model) if getattr(model, "takes_layouts", True) else None
        return torch.cat([x, ours.GPT.generate(model, x, None, steps, reader=reader).clone()], dim=1)
    block_size = model.get_block_size()
    model.eval()
    for _ in range(steps):
        logits = model(x[:, -block_size:])[0][:, -1] / temperature  # (B, V)
        if top_k is not None:
            logits = top_k_logits(logits, top_k)
        token = logits.argmax(dim=-1, keepdim=True)  # (B, 1)
        if sample:
            token = torch.multinomial(logits.softmax(dim=-1), 1)
        x = torch.cat([x, token], dim=1)
    return x
