"""GPT and GPTConfig as the notebooks of minGPT call them: every token carries a loss."""

import models
from models import GPT

__all__ = ["GPT", "GPT1Config", "GPTConfig"]


class GPTConfig(models.GPTConfig):
    ignore_index = -100


class GPT1Config(models.GPT1Config):
    ignore_index = -100
