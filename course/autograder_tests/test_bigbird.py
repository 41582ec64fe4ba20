"""Hidden tests of BigBird."""

import pytest
import torch

from attention import VARIANTS
from efficient_attention import bigbird_pattern
from model import GPTConfig


@pytest.mark.parametrize("n, window, n_global, n_random", [(1, 1, 0, 0), (7, 3, 0, 1), (9, 1, 2, 3), (20, 2, 1, 0)])
def test_other_patterns(n, window, n_global, n_random):
    indices, counts = bigbird_pattern(n, window, n_global, n_random, seed=5)
    for i in range(n):
        seen = indices[i][counts[i]].tolist()
        own = {*range(max(0, i - window + 1), i + 1), *range(min(n_global, i + 1))}
        assert own <= set(seen) and len(seen) == len(set(seen)) == min(i + 1, len(own) + n_random) and max(seen) <= i


@pytest.mark.parametrize("length", [1, 5, 16, 21])
def test_other_sizes(length):
    options = {"sparse_block": 3, "window_blocks": 1, "global_blocks": 2, "random_blocks": 2}
    config = GPTConfig(vocab_size=9, block_size=21, n_head=1, n_embd=6, variant="bigbird", options=options)
    attention = VARIANTS["bigbird"](config).eval()
    q, k, v = torch.randn(3, 2, 1, length, 6)
    odds = (q @ k.mT / 6**0.5).exp() * attention.token_mask(length)
    torch.testing.assert_close(attention.attend(q, k, v), odds @ v / odds.sum(-1, keepdim=True), atol=1e-4, rtol=1e-4)
