"""The synthesizer: python -m pytest -n 0 tests/test_synthesizer.py"""

import pytest
import torch

from attention import VARIANTS
from model import GPT, GPTConfig

SIZES = dict(vocab_size=20, block_size=9, n_layer=2, n_head=2, n_embd=8, variant="synthesizer")


@pytest.fixture
def attention():
    """One attention module with parameters large enough to tell a missing term."""
    torch.manual_seed(0)
    module = VARIANTS["synthesizer"](GPTConfig(**SIZES)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("length", [1, 5, 8])
def test_a_head_is_softmax_of_relu_times_w2_plus_b2(attention, length):
    x = torch.randn(2, length, 8)
    y = attention(x)
    hidden, values = attention.w1(x), attention.value(x)
    rows = torch.zeros(2, length, 8)
    for t in range(length):
        for head in (slice(0, 4), slice(4, 8)):
            scores = torch.clamp(hidden[:, t, head], min=0) @ attention.w2 + attention.b2  # (2, width)
            odds = torch.exp(scores[:, : t + 1])
            odds = odds / odds.sum(dim=1, keepdim=True)
            rows[:, t, head] = torch.einsum("bs,bsd->bd", odds, values[:, : t + 1, head])
    torch.testing.assert_close(y, attention.proj(rows), atol=1e-4, rtol=1e-4)


def test_nothing_looks_ahead():
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SIZES)).eval()
    idx = torch.randint(20, (1, 9))
    other = idx.clone()
    other[0, 5:] = (other[0, 5:] + 1) % 20
    torch.testing.assert_close(model(idx)[0][:, :5], model(other)[0][:, :5])


def test_a_whole_block_is_read():
    logits, _ = GPT(GPTConfig(**SIZES))(torch.randint(20, (2, 9)))
    assert logits.shape == (2, 9, 20) and logits.isfinite().all()
