"""Parameter files of the course's code, and of ours: how they differ, and how each is turned into the other.

A file of the course holds what ours does, and buffers: the causal mask of every attention and, for rope, the table of
rotations. Wrappers of torch leave prefixes in its names, and it may be in half precision.
"""

from typing import Any

import torch
from torch import Tensor

from attention import VARIANTS, RotaryAttention, precompute_rotary_emb
from model import GPT, GPTConfig
from safe.exits import say

COMPILED, PARALLEL = "_orig_mod.", "module."  # what torch.compile and DistributedDataParallel put before names
# A file with one of these in a name is looked at more closely: it may be in other terms than the model's.
SIGNS = (COMPILED, PARALLEL, ".attn.mask", ".attn.rope_cache", ".attn.w2", "down_block.C", ".ln3.")
# Until 2026-11-26 the first and the last block of our perceiver had three LayerNorms under these names.
OLD_NORMS = {
    "down_block.ln1.": "down_block.ln_tokens.",
    "down_block.ln2.": "down_block.ln1.",
    "down_block.ln3.": "down_block.ln2.",
    "up_block.ln2.": "up_block.ln_tokens.",
    "up_block.ln3.": "up_block.ln2.",
}
SAME = 2e-3  # tables of rotations that differ by less are the same one, in half precision


def in_our_names(path: Any, state_dict: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, tables of rotations) of a file: without prefixes and masks, and with our names.

    Raises ValueError for a mask that is not causal: this code could not compute what the model computed.
    """
    parameters: dict[str, Tensor] = {}
    tables: dict[str, Tensor] = {}
    is_parallel = all(name.startswith(PARALLEL) for name in state_dict)
    is_old = any(name.startswith("down_block.ln3.") for name in state_dict)
    for given, value in state_dict.items():
        name = given.replace(COMPILED, "").removeprefix(PARALLEL if is_parallel else "").replace(COMPILED, "")
        if is_old:
            old = next((old for old in OLD_NORMS if name.startswith(old)), "")
            name = OLD_NORMS[old] + name.removeprefix(old) if old else name
        if name.endswith(".attn.mask"):
            mask = value.squeeze()
            if mask.dim() != 2 or not torch.equal(mask != 0, torch.ones_like(mask, dtype=torch.bool).tril()):
                raise ValueError(f"{path}: {given} is not the causal mask, and no other is computed here")
        elif name.endswith(".attn.rope_cache"):
            tables[name] = value
        elif name in parameters:
            raise ValueError(f"{path}: has the tensor {name} twice, under names with different prefixes")
        else:
            parameters[name] = value
    return parameters, tables


def in_our_terms(
    path: Any, state_dict: dict[str, Tensor], fields: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(parameters, tables of rotations, fields of the GPTConfig), with options that the fields leave out.

    Sizes that a file decides, such as the width of the synthesizer, are read off its parameters.
    """
    parameters, tables = in_our_names(path, state_dict)
    known = getattr(VARIANTS.get(str(fields.get("variant"))), "options", {})
    seen = {name: value for name, value in options_in(parameters).items() if name in known}
    given = fields.get("options")
    return parameters, tables, fields | {"options": seen | (given if isinstance(given, dict) else {})}


def options_in(parameters: dict[str, Tensor]) -> dict[str, Any]:
    """The options of a variant that follow from the shapes of the parameters, under our names."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if name.endswith(".attn.w2") and value.dim() == 2:
            found["synthesizer_width"] = value.size(1)
        if name == "down_block.C" and value.dim() == 3:
            found["bottleneck_dim"] = value.size(1)
            found["projection_norms"] = 2 + ("down_block.ln_tokens.weight" in parameters)
    return found


def use_tables(path: Any, model: GPT, tables: dict[str, Tensor]) -> None:
    """Give `model` the tables of rotations of its file, where they are not the one of RoFormer, and say so.

    Some copies of the course compute another table, such as one that is off by one. A model answers as it was trained
    only with its own. It keeps the table, and writes it with its parameters. Raises ValueError for a table that does
    not fit.
    """
    farthest = 0.0
    for name, table in tables.items():
        attention: Any = model
        for part in name.split(".")[:-1]:
            attention = getattr(attention, part, None)
        if not isinstance(attention, RotaryAttention):
            raise ValueError(f"{path}: has a table {name}, and the model no rotary attention there")
        table = torch.view_as_real(table) if table.is_complex() else table
        wanted = attention.rope_cache
        if table.dim() != 3 or table.shape[1:] != wanted.shape[1:]:
            shape, want = tuple(table.shape), tuple(wanted.shape)
            raise ValueError(f"{path}: {name} has shape {shape}: a table of rotations here has {want}")
        standard = precompute_rotary_emb(2 * wanted.size(1), len(table))
        difference = (table.float() - standard).abs().max().item()
        if difference > SAME and len(table) < len(wanted):
            raise ValueError(f"{path}: {name} is not RoFormer's and ends at position {len(table)} of {len(wanted)}")
        if not difference <= SAME:
            attention.register_buffer("rope_cache", table.float(), persistent=True)
            farthest = max(farthest, difference)
    if farthest:
        text = f"{path}: its table of rotations is not RoFormer's (they differ by up to {farthest:.2g}): it is used"
        say(text, to_stderr=True)


def state_dict_of(model: GPT) -> dict[str, Tensor]:
    """The state_dict of `model` as the course's code saves and loads it: strictly, with its buffers.

    Raises ValueError for a variant or options that the course does not have.
    """
    config: GPTConfig = model.config
    odd = {name: value for name, value in config.options.items() if name in COURSE_OPTIONS}
    odd = {name: value for name, value in odd.items() if value not in COURSE_OPTIONS[name]}
    if config.variant not in COURSE_VARIANTS or odd:
        what = f"variant {config.variant}" if not odd else ", ".join(f"{k} {v}" for k, v in odd.items())
        raise ValueError(f"the course's code has no {what}: its models are {', '.join(COURSE_VARIANTS)}")
    state_dict = model.state_dict()
    for name, module in model.named_modules():
        if not name.endswith(".attn"):
            continue
        # The inner blocks of a perceiver work on so many latents.
        inner = VARIANTS[config.variant].bottleneck and name.startswith("blocks.")
        size = config.options["bottleneck_dim"] if inner else config.block_size
        state_dict[f"{name}.mask"] = torch.ones(size, size).tril()[None, None]
        if isinstance(module, RotaryAttention):
            state_dict[f"{name}.rope_cache"] = module.rope_cache
    return state_dict


COURSE_VARIANTS = ("vanilla", "synthesizer", "perceiver", "rope")
COURSE_OPTIONS = {"projection_norms": (2,), "latent_reach": ("prefix",)}
