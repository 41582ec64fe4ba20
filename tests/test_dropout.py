"""Shows that the fast dropout has the distribution of torch's, and that each place of a model has its own rate."""

import pytest
import torch
from torch import nn

from attention import VARIANTS, WHOLE_ROWS, CausalSelfAttention
from conftest import SMALL, written_out_attention
from fast.dropout import Dropout, use_fast_dropout
from fast.rows import FUSED_ROWS, fused_attention
from model import GPTConfig


@pytest.mark.parametrize("p", [0.1, 0.5, 0.97])
def test_each_number_is_dropped_with_probability_p_and_the_mean_is_kept(p):
    n = 400_003  # not a multiple of the four numbers that one integer serves
    y = Dropout(p)(torch.ones(n))
    kept = y != 0
    assert abs(kept.sum() - (1 - p) * n) < 5 * (p * (1 - p) * n) ** 0.5
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - round(p * 2**16) / 2**16)))
    assert 1 / (1 - round(p * 2**16) / 2**16) == pytest.approx(1 / (1 - p), rel=1e-4)
    for lag in (1, 2, 3, 4, 64):  # neighbours are independent, whether or not they share an integer
        both = (kept[lag:] & kept[:-lag]).double().mean().item()
        error = ((1 - p) ** 2 * (1 - (1 - p) ** 2) / n) ** 0.5
        assert abs(both - (1 - p) ** 2) < 5 * 2 * error


def test_gradients_pass_where_numbers_passed():
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.3)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad * x, y)


def test_dropout_follows_the_seed_and_draws_anew_at_every_call():
    drop, x = Dropout(0.5), torch.ones(1000)
    torch.manual_seed(1)
    first, second = drop(x), drop(x)
    torch.manual_seed(1)
    assert torch.equal(drop(x), first) and not torch.equal(first, second)


def test_dropout_is_the_identity_in_evaluation_mode_or_with_probability_0():
    x = torch.randn(9)
    assert torch.equal(Dropout(0.5).eval()(x), x) and torch.equal(Dropout(0.0)(x), x)
    assert Dropout(0.5)(torch.empty(0, 3)).shape == (0, 3)
    assert Dropout(0.5)(torch.ones(4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", [nn.Dropout, Dropout])
def test_attention_drops_weights(masked, fused, kind):
    """With the identity as values the output is the weights."""
    attn = CausalSelfAttention(GPTConfig(**SMALL))
    attn.attn_drop = kind(0.25)
    q, k = torch.randn(2, 64, 3, 8, 5).unbind()
    v = torch.eye(8).expand(64, 3, 8, 8)
    causal = torch.ones(8, 8).tril() > 0
    mask = causal | (torch.eye(8).roll(3, 1) > 0) if masked else causal
    weights = written_out_attention(q, k, v, mask)[1]

    def attend():
        return fused_attention(attn, q, k, v, mask if masked else None) if fused else attn.attend(q, k, v, mask)

    attn.eval()
    torch.testing.assert_close(attend(), weights)
    attn.train()
    y = attend()
    n, dropped = (weights > 0).sum().item(), ((weights > 0) & (y == 0)).sum().item()
    assert abs(dropped - n / 4) < 5 * (n * 3 / 16) ** 0.5
    torch.testing.assert_close(y[y != 0], (weights / 0.75)[y != 0])


def test_probabilities_that_16_bits_round_to_0_or_1_are_left_to_torch():
    x = torch.ones(1000, dtype=torch.float64)
    assert not Dropout(1 - 1e-6)(x).any()
    assert torch.equal(Dropout(1e-6)(x), x / (1 - 1e-6)), "one number in a million is dropped, here none"
    assert Dropout(0.25)(x).max() == torch.tensor(4 / 3, dtype=torch.float64), "in the precision of x"


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_place_has_its_own_probability(make_model, variant, fast):
    model = make_model(variant=variant, n_layer=3, embd_pdrop=0.1, resid_pdrop=0.2, attn_pdrop=0.3)
    if fast:
        use_fast_dropout(model)
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert len(found) == 1 + 3 * 3, "on the embeddings; in each block on attention, on its output, and on the MLP"
    for name, module in found.items():
        expected = 0.1 if name == "drop" else 0.3 if name.endswith("attn_drop") else 0.2
        assert module.p == expected and type(module) is (Dropout if fast else nn.Dropout), name


def test_fast_dropout_keeps_the_mode_of_the_model(make_model):
    for training in (False, True):
        model = make_model(resid_pdrop=0.5).train(training)
        use_fast_dropout(model)
        assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("rows", [WHOLE_ROWS, FUSED_ROWS], ids=["plain", "fused"])
@pytest.mark.parametrize("name", ["attn_pdrop", "resid_pdrop"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_attention_drops_weights_and_outputs_in_training_only(make_model, variant, name, rows):
    if (variant, name) == ("performer", "attn_pdrop"):
        pytest.skip("has no weights to drop out")
    model = make_model(variant=variant, n_layer=3, **{name: 0.5})
    attention, x = model.blocks[0].attn, torch.randn(2, 12, model.config.n_embd)
    attention.eval()
    assert torch.equal(attention(x, rows), attention(x, rows))
    attention.train()
    assert not torch.equal(attention(x, rows), attention(x, rows))
