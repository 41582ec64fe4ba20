"""Rotary positions: python -m pytest -n 0 tests/test_rope.py"""

import cmath

import pytest
import torch

from attention import apply_rotary_emb, precompute_rotary_emb
from model import GPT, GPTConfig

HS, LENGTH = 8, 11


def test_the_table_holds_cosine_and_sine_of_every_angle():
    table = precompute_rotary_emb(HS, LENGTH)
    assert table.shape == (LENGTH, HS // 2, 2)
    for t in range(LENGTH):
        for i in range(HS // 2):
            turned = cmath.exp(1j * t * 10000 ** (-2 * i / HS))
            assert table[t, i].tolist() == pytest.approx([turned.real, turned.imag], abs=1e-5), f"t = {t}, pair {i}"


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError):
        precompute_rotary_emb(7, LENGTH)


def table_of(length: int) -> torch.Tensor:
    """The table in a loop, so that apply_rotary_emb can be checked alone."""
    angles = [[t * 10000 ** (-2 * i / HS) for i in range(HS // 2)] for t in range(length)]
    return torch.tensor([[[cmath.cos(a).real, cmath.sin(a).real] for a in row] for row in angles])


def test_every_pair_of_channels_is_turned_by_the_angle_of_its_position():
    x = torch.randn(2, 3, LENGTH, HS)
    y = apply_rotary_emb(x, table_of(LENGTH))
    assert y.shape == x.shape
    for t in range(LENGTH):
        for i in range(HS // 2):
            a, b = x[1, 2, t, 2 * i].item(), x[1, 2, t, 2 * i + 1].item()
            turned = complex(a, b) * cmath.exp(1j * t * 10000 ** (-2 * i / HS))
            pair = y[1, 2, t, 2 * i : 2 * i + 2].tolist()
            assert pair == pytest.approx([turned.real, turned.imag], abs=1e-4), f"t = {t}, pair {i}"


def test_a_short_sequence_uses_the_first_rows_of_a_longer_table():
    x = torch.randn(1, 2, 5, HS)
    torch.testing.assert_close(apply_rotary_emb(x, table_of(LENGTH)), apply_rotary_emb(x, table_of(5)))


def test_a_table_for_each_row_is_taken():
    x, starts = torch.randn(2, 3, 4, HS), (0, 6)
    rows = torch.stack([table_of(LENGTH)[start : start + 4] for start in starts])  # (B, T, HS/2, 2)
    y = apply_rotary_emb(x, rows)
    for b in range(2):
        torch.testing.assert_close(y[b], apply_rotary_emb(x[b : b + 1], rows[b])[0], msg=f"row {b} has its own table")


def test_scores_depend_on_the_distance_only():
    q, k = torch.randn(HS), torch.randn(HS)
    turned_q = apply_rotary_emb(q.expand(1, 1, LENGTH, HS), table_of(LENGTH))[0, 0]
    turned_k = apply_rotary_emb(k.expand(1, 1, LENGTH, HS), table_of(LENGTH))[0, 0]
    scores = turned_q @ turned_k.T
    torch.testing.assert_close(scores.diagonal(-3), scores[3, 0].expand(LENGTH - 3), atol=1e-4, rtol=0)


def test_a_model_computes_logits_and_a_loss():
    model = GPT(GPTConfig(vocab_size=20, block_size=12, n_layer=2, n_head=2, n_embd=16, variant="rope"))
    idx = torch.randint(20, (2, 12))
    logits, loss = model(idx, idx)
    assert logits.shape == (2, 12, 20) and loss.isfinite()
