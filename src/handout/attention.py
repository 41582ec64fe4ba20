"""`attention` of the handouts, for a student's model.py: the layers by their names, chosen by the flags of a config."""

from typing import Any

import torch
from core import attention as ours
from models import config_of
from torch import Tensor

precompute_rotary_emb, apply_rotary_emb = ours.precompute_rotary_emb, ours.apply_rotary_emb


def CausalSelfAttention(config: Any) -> torch.nn.Module:
    """The layer of the course: with rotations if `config.rope` is true."""
    return (ours.RotaryAttention if getattr(config, "rope", False) else ours.CausalSelfAttention)(config_of(config))


def SynthesizerAttention(config: Any) -> torch.nn.Module:
    return ours.SynthesizerAttention(config_of(config, variant="synthesizer"))


AdditiveSelfAttention = SynthesizerAttention  # as an edition calls it


class CausalCrossAttention(ours.CausalCrossAttention):
    """forward(x_kv (B, Tk, C), x_q (B, Tq, C)) -> (B, Tq, C): query i sees the keys 0 .. i."""

    def __init__(self, config: Any):
        super().__init__(config_of(config))

    def forward(self, x_kv: Tensor, x_q: Tensor) -> Tensor:
        x_q = x_q.expand(len(x_kv), -1, -1)  # a learned basis has one row for all
        mask = torch.ones(x_q.size(1), x_kv.size(1), dtype=torch.bool, device=x_q.device).tril()
        return super().forward(x_kv, x_q, mask)
