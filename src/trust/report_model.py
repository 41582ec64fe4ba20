"""The trained model for the report's page, where model.js computes its answers: its parameters in half precision."""

import base64
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn as nn

import stages
from attention import CausalSelfAttention, RotaryAttention
from model import GPT
from safe.own_facts import longest
from vocabulary import Vocabulary


@dataclass
class Packed:
    """What model.js needs. Without `weights`, `why_not` says for people why the page cannot compute the model."""

    # Config, vocabulary, longest answer, and sizes: (name, number of elements) of each tensor, in their order.
    about: dict[str, Any]
    weights: str  # base64 of all tensors, little-endian float16
    why_not: str = ""


PROJECTIONS = ("query", "key", "value", "proj")


def is_usual(projection: Any) -> bool:
    """Is it a square matrix, as model.js multiplies by?"""
    return type(projection) is nn.Linear and projection.in_features == projection.out_features


def packed(model: GPT, vocabulary: Vocabulary) -> Packed:
    """The model for the page: 2 bytes for each parameter, before base64."""
    config, mechanism, state = model.config, model.mechanism, model.state_dict()
    about: dict[str, Any] = {"vocabulary": vocabulary.characters, "longest": longest(model, stages.ANSWER_LENGTH)}
    nothing = Packed(about, "")
    usual = (CausalSelfAttention.forward, RotaryAttention.forward)  # what model.js computes
    own = mechanism.bottleneck or mechanism.forward not in usual or mechanism.attend is not CausalSelfAttention.attend
    if own or not all(is_usual(getattr(block.attn, name)) for block in model.blocks for name in PROJECTIONS):
        return replace(nothing, why_not=f"this page cannot compute a {config.variant} model")
    if any(name.endswith("rope_cache") for name in state):
        return replace(nothing, why_not="this page cannot compute a model with a table of rotations of its own")
    halves = {name: tensor.detach().cpu().half() for name, tensor in state.items()}
    if not all(bool(torch.isfinite(half).all()) for half in halves.values()):
        return replace(nothing, why_not="this page keeps parameters in half precision, and some are too large for it")
    sizes = {name: getattr(config, name) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")}
    kind = {"position": mechanism.position, "rotary": mechanism.forward is RotaryAttention.forward}
    about |= {"config": sizes | kind, "sizes": [(name, half.numel()) for name, half in halves.items()]}
    numbers = np.concatenate([half.numpy().ravel() for half in halves.values()])
    return Packed(about, base64.b64encode(numbers.astype("<f2").tobytes()).decode())
