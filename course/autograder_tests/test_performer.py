"""Hidden tests of Performer."""

import pytest
import torch
from calling import ours

from efficient_attention import causal_linear_attention, random_features


@pytest.mark.parametrize("kind, scaled", [("positive", False), ("positive", True), ("trigonometric", False)])
def test_other_features(kind, scaled):
    x, projection = torch.randn(2, 3, 6), torch.randn(10, 6)
    with ours():
        want = random_features(x, projection, kind, scaled)
    got = random_features(x, projection, kind, scaled)
    quotient = got / got.sum(-1, keepdim=True) if scaled else got  # what cancels may differ
    torch.testing.assert_close(quotient, want / want.sum(-1, keepdim=True) if scaled else want, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("length", [2, 64, 65, 200])
def test_other_lengths(length):
    phi_q, phi_k = torch.rand(2, 2, 1, length, 5) + 0.01
    v = torch.randn(2, 1, length, 3)
    with ours():
        want = causal_linear_attention(phi_q, phi_k, v)
    torch.testing.assert_close(causal_linear_attention(phi_q, phi_k, v), want, atol=1e-4, rtol=1e-3)
