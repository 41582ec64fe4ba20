"""`model` of the handouts, as some editions call `models`."""

from models import GPT, GPT1Config, GPTConfig, config_of

__all__ = ["GPT", "GPT1Config", "GPTConfig", "config_of"]
