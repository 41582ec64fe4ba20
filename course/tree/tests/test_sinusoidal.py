"""Sinusoidal positions: python -m pytest -n 0 tests/test_sinusoidal.py"""

import math

import pytest
import torch

from attention import WHOLE_ROWS, sinusoidal_positions
from model import GPT, GPTConfig


@pytest.mark.parametrize("dim", [6, 7])
def test_every_entry_follows_the_formula(dim):
    table = sinusoidal_positions(torch.arange(5), dim)
    assert table.shape == (5, dim)
    for t in range(5):
        for channel in range(dim):
            angle = t / 10000 ** ((channel - channel % 2) / dim)
            want = math.cos(angle) if channel % 2 else math.sin(angle)
            assert table[t, channel].item() == pytest.approx(want, abs=1e-5), f"t = {t}, channel {channel}"


def test_positions_of_any_shape_are_taken():
    table = sinusoidal_positions(torch.arange(12), 8)
    torch.testing.assert_close(sinusoidal_positions(torch.arange(12).view(3, 4), 8), table.view(3, 4, 8))


def test_a_model_adds_them_to_what_tokens_are():
    sizes = dict(vocab_size=20, block_size=12, n_layer=2, n_head=2, n_embd=16)
    model = GPT(GPTConfig(**sizes, variant="sinusoidal")).eval()
    x = model.embed(torch.full((1, 12), 3), WHOLE_ROWS)[0]  # the same token everywhere
    table = sinusoidal_positions(torch.arange(12), 16)
    torch.testing.assert_close(x - x[0], table - table[0])
