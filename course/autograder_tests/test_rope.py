"""Hidden tests of the rotary positions."""

import pytest
import torch
from calling import ours

from attention import apply_rotary_emb, precompute_rotary_emb
from model import GPT, GPTConfig

SIZES = dict(vocab_size=19, block_size=20, n_layer=2, n_head=3, n_embd=18, variant="rope")


def turned(x: torch.Tensor) -> torch.Tensor:
    """x (..., T, hs) in complex numbers, rotated."""
    T, hs = x.shape[-2:]
    theta = 10000.0 ** (-torch.arange(0, hs, 2, dtype=torch.float64) / hs)
    turn = torch.polar(torch.ones(T, hs // 2, dtype=torch.float64), torch.arange(T)[:, None] * theta)
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn).flatten(-2).float()


@pytest.mark.parametrize("dim, length", [(2, 3), (6, 40), (32, 128), (64, 300)])
def test_the_table_at_other_sizes(dim, length):
    table = precompute_rotary_emb(dim, length)
    theta = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angles = torch.arange(length)[:, None] * theta
    want = torch.stack([angles.cos(), angles.sin()], dim=-1).float()
    torch.testing.assert_close(table.float(), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (3, 2, 9, 6), (2, 5, 16, 32)])
def test_rotation_at_other_sizes(shape):
    x = torch.randn(shape)
    with ours():
        table = precompute_rotary_emb(shape[-1], shape[-2] + 3)
    torch.testing.assert_close(apply_rotary_emb(x, table), turned(x), atol=1e-4, rtol=1e-4)


def test_a_table_for_each_row_is_taken():
    x = torch.randn(2, 3, 4, 6)
    with ours():
        table = precompute_rotary_emb(6, 12)
        rows = table[torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])]
        want = apply_rotary_emb(x, rows)
    torch.testing.assert_close(apply_rotary_emb(x, rows), want, atol=1e-4, rtol=1e-4)


def test_a_rotation_keeps_lengths_and_the_first_token():
    x = torch.randn(2, 2, 7, 8)
    with ours():
        table = precompute_rotary_emb(8, 7)
    y = apply_rotary_emb(x, table)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(y[:, :, 0], x[:, :, 0])


def test_gradients_flow(student):
    x = torch.randn(1, 2, 5, 6)
    with ours():
        table = precompute_rotary_emb(6, 5)
    call = dict(module="attention", name="apply_rotary_emb", args=[x, table], kwargs={}, wants=True)
    torch.testing.assert_close(student.ask("call", **call)[1], 2 * x, atol=1e-3, rtol=1e-3)  # a rotation keeps |x|^2


def test_a_whole_model_computes_with_them(student):
    with ours():
        model = GPT(GPTConfig(**SIZES)).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        idx = torch.randint(2, 19, (2, 13))
        want = model(idx)[0]
    state = model.state_dict()
    got = student.ask("logits", fields=SIZES, state=state, idx=idx, targets=idx)[0]
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
