"""What each mechanism promises beyond the contract of all variants, which test_model.py runs over the registry."""

import math

import pytest
import torch
from conftest import by_rows, needs_cuda
from torch import nn
from torch.nn import functional as F

import attention
import run
import startup
from attention import (
    SynthesizerAttention,
    apply_rotary_emb,
    packed_attention,
    precompute_rotary_emb,
    sinusoidal_positions,
)
from dropout import Dropout
from model import GPT, GPTConfig
from packing import Packing

T, C, nh, hs = 10, 16, 2, 8
CONFIG = dict(vocab_size=23, block_size=T, n_layer=3, n_head=nh, n_embd=C)
CONFIG |= dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)


def loud(module: nn.Module) -> nn.Module:
    """The module in evaluation mode with weights large enough that everything in it matters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module.eval()


# --------------------------------------------------------------------------------------------------------- rotary


def test_the_first_pair_turns_by_a_radian_a_token():
    """Mistake 3 of the public copies: an index off by one, or the wrong sign in the exponent."""
    cache = precompute_rotary_emb(hs, T)
    assert cache.shape == (T, hs // 2, 2)
    torch.testing.assert_close(cache[:, 0, 0], torch.arange(T).float().cos())
    torch.testing.assert_close(cache[:, 0, 1], torch.arange(T).float().sin())
    theta = torch.atan2(cache[1, :, 1], cache[1, :, 0])
    torch.testing.assert_close(theta, torch.tensor([10000.0 ** (-2 * i / hs) for i in range(hs // 2)]))


def test_rotation_keeps_norms_and_leaves_the_first_position_alone():
    x = torch.randn(2, nh, T, hs)
    turned = apply_rotary_emb(x, precompute_rotary_emb(hs, T))
    pairs, turned_pairs = x.unflatten(-1, (-1, 2)), turned.unflatten(-1, (-1, 2))
    torch.testing.assert_close(turned_pairs.norm(dim=-1), pairs.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1:], x[:, :, 1:])


def test_rotation_is_multiplication_by_a_complex_number():
    x = torch.randn(2, nh, T, hs, dtype=torch.float64)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    theta = 10000.0 ** (-torch.arange(0, hs, 2, dtype=torch.float64) / hs)
    turns = torch.polar(torch.ones(T, hs // 2, dtype=torch.float64), torch.arange(T)[:, None] * theta)
    expected = torch.view_as_real(pairs * turns).flatten(-2)
    torch.testing.assert_close(apply_rotary_emb(x, precompute_rotary_emb(hs, T)), expected, rtol=1e-5, atol=1e-5)


def test_rotary_scores_depend_on_the_distance_only():
    q, k = torch.randn(2, hs, dtype=torch.float64)
    cache = precompute_rotary_emb(hs, 60).double()
    turned_q, turned_k = (apply_rotary_emb(x.expand(1, 1, 60, hs), cache)[0, 0] for x in (q, k))
    scores = turned_q @ turned_k.T  # (60, 60)
    for distance in (0, 1, 7, 40):
        same = scores.diagonal(-distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-4)
    assert scores.diagonal(-1)[0] != pytest.approx(float(scores.diagonal(-7)[0]), abs=1e-3)


def test_an_odd_head_size_is_refused():
    with pytest.raises(ValueError, match="head size 5 is odd"):
        precompute_rotary_emb(5, T)


def test_rotary_attention_does_not_mind_a_shift():
    """The same text further on in the block is read the same way."""
    attn = loud(GPT(GPTConfig(**CONFIG, variant="rope"))).blocks[0].attn
    x = torch.randn(1, 4, C)
    q, k, v = (attention.split_heads(linear(x), attn.n_head) for linear in (attn.query, attn.key, attn.value))
    q, k = (attn._turn(heads, torch.arange(5, 9)[None]) for heads in (q, k))
    shifted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attn.proj(shifted.transpose(1, 2).flatten(2)), attn(x), rtol=1e-3, atol=1e-4)


# ----------------------------------------------------------------------------------------------------- sinusoidal


def test_sinusoidal_positions_are_those_of_the_formula():
    table = sinusoidal_positions(torch.arange(7), 6)
    for t in range(7):
        for i in range(3):
            assert table[t, 2 * i].item() == pytest.approx(math.sin(t / 10000 ** (2 * i / 6)), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(t / 10000 ** (2 * i / 6)), abs=1e-5)


def test_a_sinusoidal_model_is_a_vanilla_one_with_fixed_positions():
    vanilla = loud(GPT(GPTConfig(**CONFIG)))
    fixed = GPT(GPTConfig(**CONFIG, variant="sinusoidal")).eval()
    fixed.load_state_dict({name: v for name, v in vanilla.state_dict().items() if name != "pos_emb"})
    with torch.no_grad():
        vanilla.pos_emb.copy_(sinusoidal_positions(torch.arange(T), C))
    idx = torch.randint(23, (2, T))
    torch.testing.assert_close(fixed(idx)[0], vanilla(idx)[0])


# ---------------------------------------------------------------------------------------------------- synthesizer


@pytest.mark.parametrize("length", [1, 6, T])
def test_the_synthesizer_equals_three_loops(length):
    attn = loud(SynthesizerAttention(GPTConfig(**CONFIG, variant="synthesizer")))
    x = torch.randn(1, length, C)
    expected = torch.zeros(length, C)
    hidden, v = attn.w1(x[0]).relu(), attn.value(x[0])
    for h in range(nh):
        channels = slice(h * hs, (h + 1) * hs)
        for t in range(length):
            weights = (hidden[t, channels] @ attn.w2[:, : t + 1] + attn.b2[: t + 1]).softmax(0)
            for s in range(t + 1):
                expected[t, channels] += weights[s] * v[s, channels]
    torch.testing.assert_close(attn(x)[0], attn.proj(expected))


def test_the_synthesizer_has_the_courses_names_and_start():
    attn = SynthesizerAttention(GPTConfig(vocab_size=256, block_size=128))
    assert {name.split(".")[0] for name in attn.state_dict()} == {"w1", "w2", "b2", "value", "proj"}
    assert attn.w2.shape == (32, 128) and attn.b2.shape == (128,) and not attn.b2.any()
    assert 0.0009 < attn.w2.abs().max() <= 0.001 and attn.w2.min() < 0
    # The published skeleton, one column narrower, has 3,076,988 parameters.
    parameters = sum(p.numel() for p in GPT(GPTConfig(256, 128, variant="synthesizer")).parameters())
    assert parameters == 3_076_988 + 4 * (32 + 1)


def test_synthesized_weights_do_not_depend_on_the_other_tokens():
    """Change a token in the past: what is read from the others, and how much of it, stays the same."""
    attn = loud(SynthesizerAttention(GPTConfig(**CONFIG)))
    with torch.no_grad():
        attn.value.weight.zero_()  # every token offers the same, so only the weights could make a difference
        x = torch.randn(1, T, C)
        changed = x.clone()
        changed[:, 0] += 1
        torch.testing.assert_close(attn(x)[:, 1:], attn(changed)[:, 1:])


# ------------------------------------------------------------------------------------------------------ perceiver


def perceiver(reach: str, M: int = 4, block_size: int = 32) -> GPT:
    options = {"bottleneck_dim": M, "latent_reach": reach}
    return loud(GPT(GPTConfig(**{**CONFIG, "block_size": block_size}, variant="perceiver", options=options)))


@pytest.mark.parametrize("reach, last_seen", [("prefix", 3), ("past", 24)])
def test_which_tokens_reach_the_latents(reach, last_seen):
    """Mistake 7: with the course's mask everything after the first M tokens never reaches a latent."""
    model = perceiver(reach)
    x = torch.randn(1, 32, C)
    for t in range(32):
        changed = x.clone()
        changed[:, t] += torch.randn(C)
        reached = not torch.equal(model.down_block(changed), model.down_block(x))
        assert reached == (t <= last_seen), t


def test_the_basis_starts_as_xavier_has_it():
    basis = GPT(GPTConfig(256, 128, variant="perceiver")).down_block.C
    bound = math.sqrt(6 / (32 * 256 + 1 * 256))  # of a tensor (1, 32, 256): fan in 32 * 256, fan out 256
    assert basis.shape == (1, 32, 256) and 0.95 * bound < basis.abs().max() <= bound


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(n_layer=2), "n_layer is 2: perceiver needs 3"),
        (dict(options={"bottleneck_dim": 11}), "bottleneck_dim is 11: it must be between 1 and block_size 10"),
        (dict(options={"latent_reach": "all"}), "latent_reach is 'all': choose from prefix, past"),
        (dict(options={"width": 3}), "the variant perceiver has no option width"),
    ],
)
def test_a_perceiver_that_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{**CONFIG, **changes}, variant="perceiver")


# ---------------------------------------------------------------------------------------------------- the registry


def test_a_new_variant_needs_one_class_and_nothing_else(folder):
    """A ninth variant, with an option: registered, it has a command, a flag and a record."""
    @attention.register("toy")
    class Toy(attention.CausalSelfAttention):
        """Vanilla with values scaled by an option."""

        options = {"gain": attention.Option(2.0, "what values are multiplied by")}

        def __init__(self, config):
            super().__init__(config)
            self.gain = config.options["gain"]

        def forward(self, x, *context):
            return self.gain * super().forward(x, *context)

    try:
        sizes = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 64 --max_epochs 1 --device cpu --gain 3".split()
        assert run.main(["pretrain", "toy", "wiki.txt", "--writing_params_path", "pre", *sizes]) == 0
        found = ["--reading_params_path", "pre", "--eval_corpus_path", "test.tsv", "--outputs_path", "out"]
        assert run.main(["evaluate", "toy", "wiki.txt", *found, "--device", "cpu"]) == 0
        assert run.main(["evaluate", "toy", "wiki.txt", *found, "--device", "cpu", "--gain", "4"]) == 2
        assert run.main(["evaluate", "vanilla", "wiki.txt", *found, "--device", "cpu"]) == 2
    finally:
        del attention.VARIANTS["toy"]


# ------------------------------------------------------------------------------------- rows of a packed batch, on a GPU


def packed_rows(dtype: torch.dtype) -> tuple[Packing, list[torch.Tensor], torch.Tensor]:
    """Rows of 0 to 40 tokens in more slots than they fill; queries, keys and values, and a gradient of the output."""
    lengths = torch.tensor([40, 0, 7, 23, 1, 40, 16], device="cuda")
    packing = Packing.of(lengths, 40, N=200)
    tensors = [torch.randn(1, 4, 200, 32, device="cuda", dtype=dtype) for _ in range(4)]
    return packing, [x.requires_grad_() for x in tensors[:3]], tensors[3] / 10_000  # as small as of a mean


@needs_cuda
@pytest.mark.parametrize("dtype, error", [(torch.float32, 2e-3), (torch.bfloat16, 2e-2)], ids=["TF32", "bf16"])
def test_the_kernel_for_packed_rows_attends_within_each(dtype, error):
    with startup.placed("cuda", "tf32"):
        packing, inputs, gradient = packed_rows(dtype)
        assert dtype in packing.kernels
        y = packed_attention(*inputs, packing, Dropout(0.0))
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = by_rows(*exact, packing, Dropout(0.0))
    found = [y, *torch.autograd.grad(y, inputs, gradient)]
    wanted = [expected, *torch.autograd.grad(expected, exact, gradient.double())]
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype and (a - b).norm() < error * b.norm()


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["TF32", "bf16"])
def test_the_kernel_for_packed_rows_drops_the_same_weights_on_its_way_back(dtype):
    """The output is linear in the values, so both products with their gradients are the same."""
    with startup.placed("cuda", "tf32"):
        packing, inputs, gradient = packed_rows(dtype)
        drop = Dropout(0.5)
        y = packed_attention(*inputs, packing, drop)
        assert not torch.equal(y, packed_attention(*inputs, packing, drop)), "weights are dropped"
    v = inputs[2]
    of_values = torch.autograd.grad(y, v, gradient)[0]
    torch.testing.assert_close((y * gradient).double().sum(), (v * of_values).double().sum(), rtol=5e-2, atol=3e-4)


@needs_cuda
def test_a_gradient_far_above_the_mean_s_survives_float16():
    with startup.placed("cuda", "tf32"):
        packing, inputs, gradient = packed_rows(torch.float32)
        small, large = (
            torch.autograd.grad(packed_attention(*inputs, packing, Dropout(0.0)), inputs, gradient * factor)
            for factor in (1, 2**17)  # to some 50
        )
    for a, b in zip(large, small, strict=True):
        torch.testing.assert_close(a, b * 2**17, rtol=1e-2, atol=0.1)


@needs_cuda
def test_full_float32_is_not_rounded():
    with startup.placed("cuda", "float32"):
        assert torch.float32 not in packed_rows(torch.float32)[0].kernels
