"""Performer: python -m pytest -n 0 tests/test_performer.py"""

import pytest
import torch

from efficient_attention import causal_linear_attention, random_features

HS = 4


@pytest.mark.parametrize("kind", ["positive", "trigonometric"])
def test_the_features_estimate_the_kernel(kind):
    torch.manual_seed(0)
    q, k, m = 0.7 * torch.randn(HS), 0.7 * torch.randn(HS), 200_000
    projection = torch.randn(m, HS)
    phi_q, phi_k = (random_features(x, projection, kind) for x in (q, k))
    assert phi_q.shape == ((2 if kind == "trigonometric" else 1) * m,)
    assert (phi_q @ phi_k).item() == pytest.approx((q @ k / HS**0.5).exp().item(), rel=0.03)


def test_scaling_cancels_in_the_quotient():
    torch.manual_seed(0)
    q, k, projection = torch.randn(3, HS), torch.randn(5, HS), torch.randn(16, HS)
    phi_k = random_features(k, projection)
    plain = random_features(q, projection) @ phi_k.T
    scaled = random_features(q, projection, scaled=True) @ phi_k.T
    torch.testing.assert_close(plain / plain.sum(1, keepdim=True), scaled / scaled.sum(1, keepdim=True))


@pytest.mark.parametrize("length", [1, 5, 130])
def test_linear_attention_is_a_weighted_mean_of_the_past(length):
    torch.manual_seed(0)
    phi_q, phi_k = torch.rand(2, 1, 2, length, 6)
    v = torch.randn(1, 2, length, HS)
    want = torch.zeros_like(v)
    for t in range(length):
        odds = torch.einsum("bhm,bhsm->bhs", phi_q[:, :, t], phi_k[:, :, : t + 1])
        want[:, :, t] = torch.einsum("bhs,bhsd->bhd", odds, v[:, :, : t + 1]) / odds.sum(-1, keepdim=True)
    torch.testing.assert_close(causal_linear_attention(phi_q, phi_k, v), want, atol=1e-4, rtol=1e-4)
