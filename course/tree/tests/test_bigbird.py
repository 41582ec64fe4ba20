"""BigBird: python -m pytest -n 0 tests/test_bigbird.py"""

import pytest
import torch

from attention import VARIANTS
from efficient_attention import bigbird_pattern
from model import GPTConfig


def test_a_block_sees_its_window_the_first_blocks_and_random_ones_before_it():
    n, window, n_global, n_random = 12, 2, 1, 2
    indices, counts = bigbird_pattern(n, window, n_global, n_random, seed=0)
    assert indices.shape == counts.shape == (n, window + n_global + n_random)
    for i in range(n):
        seen = indices[i][counts[i]].tolist()
        assert len(seen) == len(set(seen)), f"block {i} sees a block twice: {seen}"
        assert max(seen) == i, f"block {i} sees {seen}: itself, and none after it"
        assert {0, i, max(0, i - 1)} <= set(seen), f"block {i} lacks its window or the first block: {seen}"
        assert len(seen) == min(i + 1, 5), f"block {i} sees {len(seen)} blocks"


def test_the_random_blocks_follow_from_the_seed():
    one, again, other = (bigbird_pattern(30, 1, 1, 2, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.parametrize("length", [1, 6, 24])
def test_attention_is_softmax_over_the_tokens_of_the_pattern(length):
    torch.manual_seed(0)
    options = {"sparse_block": 2, "window_blocks": 2, "global_blocks": 1, "random_blocks": 1}
    config = GPTConfig(vocab_size=20, block_size=24, n_head=2, n_embd=8, variant="bigbird", options=options)
    attention = VARIANTS["bigbird"](config).eval()
    q, k, v = torch.randn(3, 2, 2, length, 4)
    odds = (q @ k.mT / 2).exp() * attention.token_mask(length)
    torch.testing.assert_close(attention.attend(q, k, v), odds @ v / odds.sum(-1, keepdim=True))
