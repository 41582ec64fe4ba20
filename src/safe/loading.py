"""A model from a parameter file: what its record says, held against its tensors and against what the caller says."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attention import VARIANTS
from model import GPT, GPTConfig
from recipes import RECIPES, SIZES, Recipe
from vocabulary import Vocabulary


def recipe_of(asked: str | None, record: dict[str, Any] | None, path: str | Path | None) -> str:
    """The recipe that is asked for, or else that of the record, or else `course`."""
    recorded = (record or {}).get("recipe", "course")
    if recorded not in list(RECIPES):
        raise ValueError(f"{path}.json: names the recipe {recorded!r}, which this code does not have")
    return asked or recorded


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """What the caller chose of a GPTConfig: sizes by name, and the variant's `options` if there are any."""
    known = [name for variant in VARIANTS.values() for name in variant.options]
    if unknown := set(settings) - set(SIZES) - set(known):
        raise TypeError(f"unexpected argument {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in settings.items() if value is not None}
    options = {name: chosen.pop(name) for name in known if name in chosen}
    return chosen | ({"options": options} if options else {})


def config_of(
    variant: str,
    vocabulary: Vocabulary,
    params_path: str | Path | None,
    state_dict: dict[str, Tensor] | None,
    record: dict[str, Any] | None,
    recipe: Recipe,
    settings: dict[str, Any],
) -> GPTConfig:
    """What the model is: the record says it if there is one, and what the caller says must agree."""
    chosen = given(settings)
    if record is None or state_dict is None:
        return GPTConfig(vocab_size=len(vocabulary), variant=variant, **recipe.model | chosen)
    if variant != record["variant"]:
        raise ValueError(f"{params_path}: holds a {record['variant']} model, not a {variant} one")
    try:
        config = GPTConfig(**record["config"])
        check_sizes(config, state_dict)
        if config.vocab_size != len(record["vocabulary"]):
            raise ValueError("the vocabulary has another size")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{params_path}.json: its config is not one of this code: {error}") from None
    trained = asdict(config) | config.options
    for name, value in (chosen | chosen.pop("options", {})).items():
        if name not in trained:
            raise ValueError(f"the variant {variant} has no option {name}")
        if value != trained[name]:
            raise ValueError(f"{params_path}: was trained with {name} {trained[name]}, not {value}")
    return config


def check_sizes(config: GPTConfig, state_dict: dict[str, Tensor]) -> None:
    """Raise ValueError if the parameters have other sizes than `config`, before memory is taken for such a model."""
    n_blocks = len({name.split(".")[1] for name in state_dict if name.startswith("blocks.")})
    if n_blocks + 2 * VARIANTS[config.variant].bottleneck != config.n_layer:
        raise ValueError("the parameters have other sizes")
    with torch.device("meta"):
        model = GPT(config)  # shapes without memory
    try:
        model.load_parameters(state_dict)
    except ValueError as error:
        raise ValueError(f"the parameters have other sizes: {error}") from None


def make_model(config: GPTConfig, params_path: str | Path | None, state_dict: dict[str, Tensor] | None) -> GPT:
    """A model, with the parameters of `state_dict` if there are any."""
    model = GPT(config)
    if state_dict is not None:
        try:
            model.load_parameters(state_dict)
        except ValueError as error:
            raise ValueError(f"{params_path}: {error}") from None
    return model


def check_vocabulary(
    vocabulary: Vocabulary, record: dict[str, Any], corpus_path: str | Path, params_path: str | Path | None
) -> None:
    """Raise ValueError if a corpus has another vocabulary than the parameters were trained with."""
    if vocabulary.characters != record["vocabulary"]:
        raise ValueError(
            f"{params_path}: was trained with another vocabulary ({len(record['vocabulary'])} entries) than "
            f"{corpus_path} gives ({len(vocabulary)}): name the corpus it was pretrained on"
        )
