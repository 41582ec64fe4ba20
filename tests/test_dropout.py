"""Dropout on a CPU is what torch's is, drawn another way, and every place has the one that is its own."""

import pytest
import torch

from attention import VARIANTS, dot_product_attention, written_out_attention
from dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
def test_each_number_is_dropped_with_probability_p_and_the_mean_stays(p):
    n = 400_003  # not a multiple of the four numbers that one integer serves
    y = Dropout(p)(torch.ones(n))
    kept = y != 0
    assert abs(kept.sum() - (1 - p) * n) < 5 * (p * (1 - p) * n) ** 0.5
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - round(p * 2**16) / 2**16)))
    assert 1 / (1 - round(p * 2**16) / 2**16) == pytest.approx(1 / (1 - p), rel=1e-4)
    for lag in (1, 2, 3, 4, 64):  # neighbours, of one integer or not, know nothing of each other
        both = (kept[lag:] & kept[:-lag]).double().mean().item()
        error = ((1 - p) ** 2 * (1 - (1 - p) ** 2) / n) ** 0.5
        assert abs(both - (1 - p) ** 2) < 5 * 2 * error


def test_gradients_pass_where_numbers_did():
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_it_follows_the_seed_and_draws_anew_every_time():
    drop, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(1)
    first, second = drop(x), drop(x)
    torch.manual_seed(1)
    assert torch.equal(drop(x), first) and not torch.equal(first, second)


def test_without_anything_to_drop_it_is_the_identity():
    x = torch.randn(9)
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(Dropout(0.0)(x), x)
    assert Dropout(0.5)(torch.empty(0, 3)).shape == (0, 3)
    assert Dropout(0.5)(torch.ones(4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("masked", [False, True])
def test_attention_drops_weights(masked):
    """With the identity as values the output is the weights."""
    q, k = torch.randn(2, 64, 3, 8, 5).unbind()
    v = torch.eye(8).expand(64, 3, 8, 8)
    mask = (torch.ones(8, 8).tril() + torch.eye(8).roll(3, 1) > 0) if masked else None
    drop = Dropout(0.25)
    weights = written_out_attention(q, k, v, mask)[1]
    torch.testing.assert_close(dot_product_attention(q, k, v, mask, drop.eval()), weights)
    y = dot_product_attention(q, k, v, mask, drop.train())
    n, dropped = (weights > 0).sum().item(), ((weights > 0) & (y == 0)).sum().item()
    assert abs(dropped - n / 4) < 5 * (n * 3 / 16) ** 0.5
    torch.testing.assert_close(y[y != 0], (weights / 0.75)[y != 0])


def test_probabilities_too_near_to_0_or_1_are_left_to_torch():
    x = torch.ones(1000, dtype=torch.float64)
    assert not Dropout(1 - 1e-6)(x).any()
    assert torch.equal(Dropout(1e-6)(x), x / (1 - 1e-6)), "one number in a million is dropped"
    assert Dropout(0.25)(x).max() == torch.tensor(4 / 3, dtype=torch.float64), "in the precision of x"


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_place_has_its_own_probability(make_model, variant):
    model = make_model(variant=variant, n_layer=3, embd_pdrop=0.1, resid_pdrop=0.2, attn_pdrop=0.3)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            expected = 0.1 if name == "drop" else 0.3 if name.endswith("attn_drop") else 0.2
            assert module.p == expected, name


@pytest.mark.parametrize("name", ["attn_pdrop", "resid_pdrop"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_attention_drops_out_what_it_should(make_model, variant, name):
    if (variant, name) == ("performer", "attn_pdrop"):
        pytest.skip("has no weights to drop out")
    model = make_model(variant=variant, n_layer=3, **{name: 0.5})
    attention, x = model.blocks[0].attn, torch.randn(2, 12, model.config.n_embd)
    assert torch.equal(attention.eval()(x), attention(x))
    attention.train()
    assert not torch.equal(attention(x), attention(x))
