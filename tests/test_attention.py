"""Shows what is particular to each mechanism. The contract of all variants is in test_model.py."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import attention
import run
from attention import (
    WHOLE_ROWS,
    CausalSelfAttention,
    SynthesizerAttention,
    apply_rotary_emb,
    precompute_rotary_emb,
    sinusoidal_positions,
)
from conftest import loud, written_out_attention
from model import GPT, GPTConfig
from model import last_seen as last_seen_of
from safe import flags as grammar

T, C, nh, hs = 10, 16, 2, 8
CONFIG = dict(vocab_size=23, block_size=T, n_layer=3, n_head=nh, n_embd=C)
CONFIG |= dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)


# -------------------------------------------------------------------------------------------------------- vanilla


@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_written_out_formula(masked):
    attn = CausalSelfAttention(GPTConfig(**CONFIG))
    q, k, v = torch.randn(3, 2, nh, 9, hs, dtype=torch.float64)
    mask = torch.rand(9, 9) < 0.5 if masked else torch.ones(9, 9).tril() > 0
    mask |= torch.eye(9, dtype=torch.bool)  # a query that may look nowhere has no weights
    expected, weights = written_out_attention(q, k, v, mask)
    torch.testing.assert_close(attn.attend(q, k, v, mask), expected)
    torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, nh, 9, dtype=torch.float64))
    assert torch.equal(weights > 0, mask.expand(2, nh, 9, 9))


def test_whole_rows_are_attended_to_causally():
    """Rows.causal_attention hides the future, and its `heads` and `join` are inverse."""
    attn = CausalSelfAttention(GPTConfig(**CONFIG))
    q, k, v = torch.randn(3, 2, nh, 9, hs)
    expected, weights = written_out_attention(q, k, v)
    assert not weights.triu(1).any()
    torch.testing.assert_close(WHOLE_ROWS.causal_attention(attn, q, k, v), expected.transpose(1, 2).flatten(2))
    x = torch.randn(2, 9, C)
    (heads,) = WHOLE_ROWS.heads(x, nh, attn.query)
    assert heads.shape == (2, nh, 9, hs) and torch.equal(WHOLE_ROWS.join(heads), attn.query(x))


def test_the_vanilla_module_equals_loops_over_tokens_and_heads():
    attn, x = loud(CausalSelfAttention(GPTConfig(**CONFIG)), std=1.0), torch.randn(1, 5, C)
    heads = []
    for h in range(nh):
        channels = slice(hs * h, hs * h + hs)
        q, k, v = (linear(x[0])[:, channels] for linear in (attn.query, attn.key, attn.value))
        rows = [((q[t] @ k[: t + 1].T) / math.sqrt(hs)).softmax(0) @ v[: t + 1] for t in range(5)]
        heads.append(torch.stack(rows))
    torch.testing.assert_close(attn(x)[0], attn.proj(torch.cat(heads, dim=1)), rtol=1e-4, atol=1e-4)


# --------------------------------------------------------------------------------------------------------- rotary


def test_the_first_pair_of_channels_turns_by_one_radian_per_token():
    """Detects an index that is off by one, and a wrong sign in the exponent."""
    cache = precompute_rotary_emb(hs, T)
    assert cache.shape == (T, hs // 2, 2)
    torch.testing.assert_close(cache[:, 0, 0], torch.arange(T).float().cos())
    torch.testing.assert_close(cache[:, 0, 1], torch.arange(T).float().sin())
    theta = torch.atan2(cache[1, :, 1], cache[1, :, 0])
    torch.testing.assert_close(theta, torch.tensor([10000.0 ** (-2 * i / hs) for i in range(hs // 2)]))


def test_rotation_keeps_norms_and_does_not_change_the_first_position():
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


def test_rotary_scores_depend_only_on_the_distance():
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


@pytest.mark.parametrize("positions", [[5, 6, 7, 8], [0, 1, 4, 9]])
@pytest.mark.parametrize("batched", [False, True], ids=["(T,)", "(B, T)"])
def test_rotary_attention_uses_the_positions_of_the_rows(positions, batched):
    attn = loud(GPT(GPTConfig(**CONFIG, variant="rope")), std=0.5).blocks[0].attn
    x, rows = torch.randn(1, 4, C), attention.Rows()
    rows.at = torch.tensor([positions] if batched else positions)
    q, k, v = rows.heads(x, nh, attn.query, attn.key, attn.value)
    q, k = (apply_rotary_emb(heads, precompute_rotary_emb(hs, T)[positions]) for heads in (q, k))
    by_hand = attn.proj(written_out_attention(q, k, v)[0].transpose(1, 2).flatten(2))
    torch.testing.assert_close(attn(x, rows), by_hand, rtol=1e-3, atol=1e-4)
    is_shift = positions == [5, 6, 7, 8]  # the same text later in the block gives the same result
    assert torch.allclose(attn(x, rows), attn(x), rtol=1e-3, atol=1e-4) == is_shift


# ----------------------------------------------------------------------------------------------------- sinusoidal


def test_sinusoidal_positions_follow_the_formula():
    table = sinusoidal_positions(torch.arange(7), 6)
    for t in range(7):
        for i in range(3):
            assert table[t, 2 * i].item() == pytest.approx(math.sin(t / 10000 ** (2 * i / 6)), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(t / 10000 ** (2 * i / 6)), abs=1e-5)


def test_a_sinusoidal_model_is_a_vanilla_model_with_fixed_positions():
    vanilla = loud(GPT(GPTConfig(**CONFIG)), std=0.5)
    fixed = GPT(GPTConfig(**CONFIG, variant="sinusoidal")).eval()
    fixed.load_state_dict({name: v for name, v in vanilla.state_dict().items() if name != "pos_emb"})
    with torch.no_grad():
        vanilla.pos_emb.copy_(sinusoidal_positions(torch.arange(T), C))
    idx = torch.randint(23, (2, T))
    torch.testing.assert_close(fixed(idx)[0], vanilla(idx)[0])


# ---------------------------------------------------------------------------------------------------- synthesizer


@pytest.mark.parametrize("length", [1, 6, T])
def test_the_synthesizer_equals_loops_over_heads_and_tokens(length):
    attn = loud(SynthesizerAttention(GPTConfig(**CONFIG, variant="synthesizer")), std=0.5)
    x = torch.randn(1, length, C)
    expected = torch.zeros(length, C)
    hidden, v = attn.w1(x[0]).relu(), attn.value(x[0])
    for h in range(nh):
        channels = slice(h * hs, (h + 1) * hs)
        for t in range(length):
            seen = min(t + 1, T - 1)  # no token looks at the last position of the block
            weights = (hidden[t, channels] @ attn.w2[:, :seen] + attn.b2[:seen]).softmax(0)
            for s in range(seen):
                expected[t, channels] += weights[s] * v[s, channels]
    torch.testing.assert_close(attn(x)[0], attn.proj(expected))


def test_the_synthesizer_has_the_parameters_of_the_course():
    attn = SynthesizerAttention(GPTConfig(vocab_size=256, block_size=128, variant="synthesizer"))
    assert {name.split(".")[0] for name in attn.state_dict()} == {"w1", "w2", "b2", "value", "proj"}
    assert attn.w2.shape == (32, 127) and attn.b2.shape == (127,) and not attn.b2.any()
    assert 0.0009 < attn.w2.abs().max() <= 0.001 and attn.w2.min() < 0
    parameters = sum(p.numel() for p in GPT(GPTConfig(256, 128, variant="synthesizer")).parameters())
    assert parameters == 3_076_988  # as the published skeleton


def test_synthesized_weights_do_not_depend_on_the_other_tokens():
    attn = loud(SynthesizerAttention(GPTConfig(**CONFIG, variant="synthesizer")), std=0.5)
    with torch.no_grad():
        attn.value.weight.zero_()  # all values are equal, so only the weights could change
        x = torch.randn(1, T, C)
        changed = x.clone()
        changed[:, 0] += 1
        torch.testing.assert_close(attn(x)[:, 1:], attn(changed)[:, 1:])


# ------------------------------------------------------------------------------------------------------ perceiver


def perceiver(reach: str, M: int = 4, block_size: int = 32) -> GPT:
    options = {"bottleneck_dim": M, "latent_reach": reach}
    config = GPTConfig(**{**CONFIG, "block_size": block_size}, variant="perceiver", options=options)
    return loud(GPT(config), std=0.5)


@pytest.mark.parametrize("M, block_size", [(4, 32), (4, 30), (5, 13)])
@pytest.mark.parametrize("reach", ["prefix", "past"])
def test_each_latent_sees_the_tokens_up_to_its_own_last_one(reach, M, block_size):
    """Latent i sees tokens 0 .. i ("prefix"), or 0 .. i * block_size / M, rounded down ("past")."""
    last_seen = [i if reach == "prefix" else math.floor(i * block_size / M) for i in range(M)]
    model = perceiver(reach, M, block_size)
    x = torch.randn(1, block_size, C)
    for t in range(block_size):
        changed = x.clone()
        changed[:, t] += torch.randn(C)
        differs = (model.down_block(changed) != model.down_block(x)).any(dim=-1)[0]  # (M,)
        assert differs.tolist() == [t <= last for last in last_seen], f"token {t}"


@pytest.mark.parametrize("M, block_size", [(4, 32), (4, 30), (5, 13)])
@pytest.mark.parametrize("reach", ["prefix", "past"])
def test_a_token_reads_every_latent_that_sees_nothing_after_it(reach, M, block_size):
    last_seen = [i if reach == "prefix" else math.floor(i * block_size / M) for i in range(M)]
    model = perceiver(reach, M, block_size)
    assert last_seen_of(model.config, torch.device("cpu")).tolist() == last_seen
    latents, x = torch.randn(1, M, C), torch.randn(1, block_size, C)
    for i in range(M):
        changed = latents.clone()
        changed[:, i] += torch.randn(C)
        differs = (model.up_block(changed, x) != model.up_block(latents, x)).any(dim=-1)[0]  # (T,)
        assert differs.tolist() == [last_seen[i] <= t for t in range(block_size)], f"latent {i}"


def test_the_basis_of_the_latents_is_initialised_after_xavier():
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


TOY = """

@register("toy")
class Toy(CausalSelfAttention):
    options = {"gain": Option(2.0, "factor of the values")}

    def __init__(self, config):
        super().__init__(config)
        self.gain = config.options["gain"]

    def attend(self, q, k, v, mask):
        return super().attend(q, k, self.gain * v, mask)
"""


def test_a_new_variant_needs_one_class_and_nothing_else(folder, monkeypatch):
    """One class in attention.py gives the command line a choice and a flag, and its option is in the record."""
    source = Path(attention.__file__).read_text(encoding="utf-8")
    (folder / "attention.py").write_text(source + TOY, encoding="utf-8")
    # The command line reads the choices from the source.
    monkeypatch.setattr(grammar, "__file__", str(folder / "safe" / "flags.py"))
    monkeypatch.setattr(run, "PARSER", grammar.make_parser()[0])
    exec(TOY, vars(attention) | {})
    try:
        sizes = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 64 --max_epochs 1 --device cpu --gain 3".split()
        assert run.main(["pretrain", "toy", "wiki.txt", "--writing_params_path", "pre", *sizes]) == 0
        assert json.loads((folder / "pre.json").read_bytes())["config"]["options"] == {"gain": 3.0}
        found = ["--reading_params_path", "pre", "--eval_corpus_path", "test.tsv", "--outputs_path", "out"]
        assert run.main(["evaluate", "toy", "wiki.txt", *found, "--device", "cpu"]) == 0
        assert run.main(["evaluate", "toy", "wiki.txt", *found, "--device", "cpu", "--gain", "4"]) == 2
        assert run.main(["evaluate", "vanilla", "wiki.txt", *found, "--device", "cpu"]) == 2
    finally:
        del attention.VARIANTS["toy"]
