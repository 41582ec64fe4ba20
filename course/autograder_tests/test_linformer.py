"""Hidden tests of Linformer."""

import pytest
import torch
from calling import ours

from attention import VARIANTS
from model import GPTConfig


@pytest.mark.parametrize("length", [1, 3, 5, 14, 15])
def test_other_sizes(length):
    options = {"chunk_size": 5, "summaries": 3}
    config = GPTConfig(vocab_size=9, block_size=15, n_head=3, n_embd=12, variant="linformer", options=options)
    attention = VARIANTS["linformer"](config).eval()
    torch.nn.init.normal_(attention.compress_key)
    torch.nn.init.normal_(attention.compress_value)
    q, k, v = torch.randn(3, 2, 3, length, 4)
    with ours():
        want = attention.attend(q, k, v)
    torch.testing.assert_close(attention.attend(q, k, v), want, atol=1e-4, rtol=1e-4)
