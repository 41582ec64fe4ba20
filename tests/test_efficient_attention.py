"""Shows the limits in which the efficient mechanisms are vanilla attention, and what random features estimate."""

import math

import pytest
import torch

from conftest import written_out_attention
from efficient_attention import (
    bigbird_pattern,
    causal_linear_attention,
    random_features,
    random_projection,
)
from model import GPT, GPTConfig

T, C = 24, 16
CONFIG = dict(vocab_size=23, block_size=T, n_layer=2, n_head=2, n_embd=C)
CONFIG |= dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)


def loud(variant: str, **options) -> GPT:
    """A model whose weights are large enough that attention matters."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**CONFIG, variant=variant, options=options)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith(("compress_key", "compress_value")):
                parameter.normal_(std=0.3)
    return model


def logits(model: GPT, length: int = T) -> torch.Tensor:
    torch.manual_seed(1)
    return model(torch.randint(23, (2, length)))[0]


def as_vanilla(model: GPT) -> GPT:
    """A vanilla model with the same parameters, as far as it has them."""
    vanilla = loud("vanilla")
    vanilla.load_state_dict({k: v for k, v in model.state_dict().items() if k in vanilla.state_dict()})
    return vanilla


# ------------------------------------------------------------------------------------------------------ linformer


@pytest.mark.parametrize("length", [1, 7, T])
def test_linformer_with_one_chunk_is_vanilla(length):
    model = loud("linformer", chunk_size=T, summaries=3)
    torch.testing.assert_close(logits(model, length), logits(as_vanilla(model), length))


def test_linformer_with_as_many_summaries_as_tokens_is_vanilla():
    """Each summary starts as one token, so nothing is compressed."""
    model = loud("linformer", chunk_size=5, summaries=5)
    torch.testing.assert_close(logits(model), logits(as_vanilla(model)))


def test_linformer_summaries_start_as_averages():
    weights = loud("linformer", chunk_size=6, summaries=2).blocks[0].attn.compress_key
    torch.testing.assert_close(weights, torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]) / 3)


def test_linformer_that_compresses_is_not_vanilla():
    model = loud("linformer", chunk_size=6, summaries=2)
    far, near = logits(model), logits(as_vanilla(model))
    torch.testing.assert_close(far[:, :6], near[:, :6])  # the first chunk has no summaries to look at
    assert not torch.allclose(far[:, 6:], near[:, 6:], atol=1e-3)


# -------------------------------------------------------------------------------------------------------- bigbird


@pytest.mark.parametrize("length", [1, 7, T])
def test_bigbird_with_a_window_over_everything_is_vanilla(length):
    model = loud("bigbird", sparse_block=5, window_blocks=5, global_blocks=0, random_blocks=0)
    torch.testing.assert_close(logits(model, length), logits(as_vanilla(model), length))


@pytest.mark.parametrize("length", [1, 7, 16, T])
@pytest.mark.parametrize("sparse_block", [1, 3, 5])
def test_sparse_blocks_equal_dense_attention_under_the_mask_of_the_pattern(sparse_block, length):
    attn = loud("bigbird", sparse_block=sparse_block, window_blocks=2, global_blocks=1, random_blocks=1).blocks[0].attn
    q, k, v = torch.randn(3, 2, 2, length, 8, dtype=torch.float64)
    mask = attn.token_mask(length)
    scores = (q @ k.transpose(-2, -1) / math.sqrt(8)).masked_fill(~mask, -math.inf)
    torch.testing.assert_close(attn.attend(q, k, v), scores.softmax(-1) @ v)


def test_the_pattern_is_causal_has_all_its_parts_and_follows_from_the_seed():
    indices, counts = bigbird_pattern(12, window=2, n_global=1, n_random=2, seed=3)
    for i in range(12):
        seen = indices[i][counts[i]].tolist()
        assert len(seen) == len(set(seen)) == min(i + 1, 5) and max(seen) == i
        assert {0, i, max(0, i - 1)} <= set(seen)
    again, other = bigbird_pattern(12, 2, 1, 2, seed=3), bigbird_pattern(12, 2, 1, 2, seed=4)
    assert torch.equal(indices, again[0]) and not torch.equal(indices, other[0])


def test_bigbird_uses_the_pattern_of_its_options():
    options = dict(window_blocks=2, global_blocks=1, random_blocks=3)
    attn = loud("bigbird", sparse_block=1, **options, pattern_seed=4).blocks[0].attn
    indices, counts = bigbird_pattern(T, 2, 1, 3, seed=4)
    assert torch.equal(attn.indices, indices) and torch.equal(attn.counts, counts)


def test_the_number_of_blocks_that_a_query_sees_does_not_grow_with_the_length():
    """So the cost of BigBird grows with T and not with its square."""
    for n in (8, 64, 256):
        assert bigbird_pattern(n, 2, 1, 1, 0)[0].shape == (n, 4)


# ------------------------------------------------------------------------------------------------------ performer


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
def test_causal_linear_attention_equals_the_quadratic_formula(length):
    phi_q, phi_k = torch.rand(2, 1, 2, length, 7, dtype=torch.float64)
    v = torch.randn(1, 2, length, 5, dtype=torch.float64)
    weights = (phi_q @ phi_k.transpose(-2, -1)).tril()
    expected = weights @ v / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(causal_linear_attention(phi_q, phi_k, v), expected, rtol=1e-4, atol=1e-5)


def test_scaling_the_features_of_queries_changes_neither_result_nor_gradients():
    q, k, v = torch.randn(3, 1, 2, 70, 8, requires_grad=True)
    directions = random_projection(16, 8)
    results = []
    for scaled in (False, True):
        y = causal_linear_attention(random_features(q, directions, scaled=scaled), random_features(k, directions), v)
        results.append((y, *torch.autograd.grad(y.square().sum(), (q, k, v))))
    for plain, scaled in zip(*results, strict=True):
        torch.testing.assert_close(plain, scaled, rtol=1e-3, atol=1e-4)


def estimate_error(m: int) -> float:
    q, k, v = torch.randn(3, 4, 2, 30, 16, generator=torch.Generator().manual_seed(5))
    q, k = q / 2, k / 2  # the variance grows exponentially with the norms
    exact = written_out_attention(q, k, v)[0]
    directions = random_projection(m, 16)
    features = (random_features(x, directions) for x in (q, k))
    return float((causal_linear_attention(*features, v) - exact).square().mean().sqrt())


def test_the_estimate_converges_to_softmax_attention():
    errors = [estimate_error(m) for m in (16, 256, 4096)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.05


def kernel_estimates(q, k, kind: str, orthogonal: bool, draws: int = 2000) -> torch.Tensor:
    """`draws` independent estimates of exp(q . k / sqrt(hs)), with as many directions as q has entries."""
    estimates = []
    for _ in range(draws):
        w = random_projection(len(q), len(q), orthogonal)
        estimates.append(random_features(q, w, kind) @ random_features(k, w, kind))
    return torch.stack(estimates).double()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_performer_works_in_other_types_and_keeps_its_features_in_float32(dtype):
    attn, heads = loud("performer").blocks[0].attn, torch.randn(3, 1, 2, T, 8).to(dtype)
    found = attn.to(dtype).attend(*heads)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), attn.float().attend(*heads.float()), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["positive", "trigonometric"])
@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_kernel_estimate_is_unbiased(kind, orthogonal):
    q, k = torch.randn(2, 8) / 2
    estimates = kernel_estimates(q, k, kind, orthogonal)
    exact = math.exp(float(q @ k) / math.sqrt(8))
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / math.sqrt(len(estimates))


def test_orthogonal_directions_have_the_lower_variance():
    q, k = torch.randn(2, 8)
    orthogonal, gaussian = (kernel_estimates(q, k, "positive", kind).var() for kind in (True, False))
    assert orthogonal < 0.9 * gaussian


def test_trigonometric_features_fail_where_the_kernel_is_near_zero():
    """For opposite q and k the kernel is small. Trigonometric features bury it in noise, positive ones do not."""
    q = torch.full((8,), 1.5)
    exact = math.exp(-float(q @ q) / math.sqrt(8))
    positive, trigonometric = (kernel_estimates(q, -q, kind, True) for kind in ("positive", "trigonometric"))
    assert (positive > 0).all() and (trigonometric < 0).double().mean() > 0.2
    assert positive.std() < exact < 0.01 * trigonometric.std()


@pytest.mark.parametrize("projection, is_orthogonal", [("orthogonal", True), ("gaussian", False)])
def test_performer_draws_the_directions_of_its_options(projection, is_orthogonal):
    directions = loud("performer", n_features=8, projection=projection).blocks[0].attn.directions
    unit = torch.nn.functional.normalize(directions, dim=1)
    assert torch.allclose(unit @ unit.T, torch.eye(8), atol=1e-5) == is_orthogonal


@pytest.mark.parametrize("kind", ["positive", "trigonometric"])
def test_performer_uses_the_features_of_its_options(kind):
    attn, (q, k, v) = loud("performer", features=kind).blocks[0].attn, torch.randn(3, 1, 2, T, 8) / 2
    features = (random_features(x, attn.directions, kind) for x in (q, k))
    torch.testing.assert_close(attn.attend(q, k, v), causal_linear_attention(*features, v), rtol=1e-3, atol=1e-4)


def test_queries_too_long_for_their_features_still_differ():
    """Without the division by the largest feature all would have the least value, and the result would be a mean."""
    attn = loud("performer", n_features=16).blocks[0].attn
    q, k, v = torch.randn(3, 1, 2, T, 8)
    q *= 10
    x_q, x_k, directions = q.double() / 8**0.25, k.double() / 8**0.25, attn.directions.double()
    phi_q = x_q @ directions.T  # without |x|^2 / 2, which cancels
    phi_q = (phi_q - phi_q.amax(-1, keepdim=True)).exp()
    phi_k = (x_k @ directions.T - x_k.square().sum(-1, keepdim=True) / 2).exp()
    weights = (phi_q @ phi_k.mT).tril()
    expected = weights / weights.sum(-1, keepdim=True) @ v.double()
    torch.testing.assert_close(attn.attend(q, k, v).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_first_token_reads_its_own_value_whatever_the_length_of_its_key(scale):
    """With one term the quotient is exact, unless numerator and denominator underflow."""
    attn = loud("performer").blocks[0].attn
    q, k, v = torch.randn(3, 2, 2, 5, 8)
    torch.testing.assert_close(attn.attend(scale * q, scale * k, v)[:, :, 0], v[:, :, 0], rtol=1e-3, atol=1e-4)


def test_the_directions_of_performer_are_saved_with_the_parameters():
    assert "blocks.0.attn.directions" in loud("performer", n_features=9).state_dict()


@pytest.mark.parametrize(
    "variant, options, message",
    [
        ("linformer", dict(chunk_size=4, summaries=5), "summaries is 5: it must be between 1 and chunk_size 4"),
        ("bigbird", dict(window_blocks=0), "window_blocks is 0: it must be at least 1"),
        ("performer", dict(n_features=0), "n_features is 0"),
    ],
)
def test_options_of_a_mechanism_that_cannot_be_built_are_refused(variant, options, message):
    with pytest.raises(ValueError, match=message):
        loud(variant, **options)


def test_a_pattern_too_large_to_build_is_refused():
    for n, window in ((2**13 + 1, 1), (2**12, 2**12)):
        with pytest.raises(ValueError, match="is too large: raise sparse_block"):
            bigbird_pattern(n, window, 1, 1, seed=0)


def test_performer_survives_keys_too_long_for_its_features():
    """If all features underflowed, queries would divide by zero, and gradients would not be numbers."""
    q, k, v = (torch.randn(2, 2, 8, 16, requires_grad=True) for _ in range(3))
    projection = random_projection(32, 16)
    phi_q = random_features(q, projection, scaled=True)
    y = causal_linear_attention(phi_q, random_features(40 * k, projection), v)
    y.square().sum().backward()
    assert y.isfinite().all() and all(x.grad.isfinite().all() for x in (q, k, v))
    assert (y.abs() > 1e-6).all(), "still an average of values"
