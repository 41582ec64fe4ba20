"""Linformer by chunks: python -m pytest -n 0 tests/test_linformer.py"""

import pytest
import torch

from attention import VARIANTS
from model import GPTConfig

CHUNK, HS = 4, 3


@pytest.mark.parametrize("length", [1, 4, 7, 12])
def test_a_token_sees_summaries_of_finished_chunks_and_its_own_chunk_up_to_itself(length):
    torch.manual_seed(0)
    options = {"chunk_size": CHUNK, "summaries": 2}
    config = GPTConfig(vocab_size=20, block_size=12, n_head=2, n_embd=2 * HS, variant="linformer", options=options)
    attention = VARIANTS["linformer"](config).eval()
    torch.nn.init.normal_(attention.compress_key)
    torch.nn.init.normal_(attention.compress_value)
    q, k, v = torch.randn(3, 1, 2, length, HS)
    y = attention.attend(q, k, v)
    assert y.shape == q.shape
    for t in range(length):
        own = t - t % CHUNK  # where the chunk of t begins
        seen_k, seen_v = [k[0, 1, own : t + 1]], [v[0, 1, own : t + 1]]
        for start in range(0, own, CHUNK):
            seen_k.append(attention.compress_key @ k[0, 1, start : start + CHUNK])
            seen_v.append(attention.compress_value @ v[0, 1, start : start + CHUNK])
        odds = (torch.cat(seen_k) @ q[0, 1, t] / HS**0.5).exp()
        torch.testing.assert_close(y[0, 1, t], odds @ torch.cat(seen_v) / odds.sum(), msg=f"token {t}")
