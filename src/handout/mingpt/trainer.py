"""Trainer and TrainerConfig as the notebooks of minGPT call them."""

from trainer import Trainer, TrainerConfig

__all__ = ["Trainer", "TrainerConfig"]
