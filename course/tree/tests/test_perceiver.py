"""The perceiver: python -m pytest -n 0 tests/test_perceiver.py"""

import pytest
import torch

from attention import CausalCrossAttention
from model import GPT, DownProjectBlock, GPTConfig, UpProjectBlock

M, T, C = 4, 10, 8
SIZES = dict(vocab_size=20, block_size=T, n_layer=3, n_head=2, n_embd=C, variant="perceiver")


@pytest.fixture
def config() -> GPTConfig:
    torch.manual_seed(0)
    return GPTConfig(**SIZES, options={"bottleneck_dim": M})


def bold(module):
    """The module in evaluation mode, with parameters large enough to tell a missing term."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


def test_cross_attention_reads_one_sequence_for_another(config):
    attention = bold(CausalCrossAttention(config))
    tokens, asking = torch.randn(2, 6, C), torch.randn(2, 3, C)
    allowed = torch.rand(3, 6) < 0.5
    allowed[:, 0] = True
    y = attention(tokens, asking, allowed)
    assert y.shape == asking.shape
    want = torch.zeros(2, 3, C)
    for head in (slice(0, 4), slice(4, 8)):
        keys, values = attention.key(tokens)[..., head], attention.value(tokens)[..., head]
        odds = torch.einsum("bqd,bkd->bqk", attention.query(asking)[..., head], keys).div(4**0.5).exp() * allowed
        want[..., head] = torch.einsum("bqk,bkd->bqd", odds / odds.sum(-1, keepdim=True), values)
    torch.testing.assert_close(y, attention.proj(want), atol=1e-4, rtol=1e-4)


def test_a_latent_is_its_basis_plus_attention_plus_an_mlp(config):
    block = bold(DownProjectBlock(config))
    y = block(torch.randn(2, T, C))
    assert y.shape == (2, M, C)
    for part in (block.attn.proj, block.mlp[2]):  # without attention and MLP only the basis is left
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    torch.testing.assert_close(block(torch.randn(2, T, C)), block.C.expand(2, M, C))


def test_tokens_are_kept_when_attention_and_mlp_add_nothing(config):
    block = bold(UpProjectBlock(config))
    for part in (block.attn.proj, block.mlp[2]):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    x = torch.randn(2, T, C)
    torch.testing.assert_close(block(torch.randn(2, M, C), x), x)


def test_latent_i_reads_the_tokens_0_to_i(config):
    block, x = bold(DownProjectBlock(config)), torch.randn(1, T, C)
    before = block(x)
    for t in range(T):
        other = x.clone()
        other[0, t] = torch.randn(C)  # not a multiple: LayerNorm would undo that
        changed = (block(other) - before).abs().amax(dim=-1)[0] > 1e-6  # (M,)
        assert changed.tolist() == [i >= t for i in range(M)], f"token {t} changed"


def test_token_t_reads_the_latents_0_to_t(config):
    block, latents, x = bold(UpProjectBlock(config)), torch.randn(1, M, C), torch.randn(1, T, C)
    before = block(latents, x)
    for i in range(M):
        other = latents.clone()
        other[0, i] = torch.randn(C)
        changed = (block(other, x) - before).abs().amax(dim=-1)[0] > 1e-6  # (T,)
        assert changed.tolist() == [t >= i for t in range(T)], f"latent {i} changed"


def test_a_model_looks_at_nothing_ahead(config):
    model = bold(GPT(config))
    idx = torch.randint(20, (1, T))
    for t in range(1, T):
        other = idx.clone()
        other[0, t:] = (other[0, t:] + 1) % 20
        torch.testing.assert_close(model(idx)[0][:, :t], model(other)[0][:, :t])
