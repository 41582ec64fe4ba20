"""Hidden tests of the perceiver."""

import pytest
import torch
from calling import ours

from attention import CausalCrossAttention
from model import GPT, DownProjectBlock, GPTConfig, UpProjectBlock

M, T, C = 3, 11, 12
SIZES = dict(vocab_size=19, block_size=T, n_layer=3, n_head=3, n_embd=C, variant="perceiver")


def settings(**options) -> GPTConfig:
    return GPTConfig(**SIZES, options={"bottleneck_dim": M, **options})


def bold(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return module.eval()


def test_cross_attention_with_any_mask():
    attention = bold(CausalCrossAttention(settings()))
    tokens, asking, allowed = torch.randn(2, 9, C), torch.randn(2, 5, C), torch.rand(5, 9) < 0.4
    allowed[:, 3] = True
    with ours():
        want = attention(tokens, asking, allowed)
    torch.testing.assert_close(attention(tokens, asking, allowed), want, atol=1e-4, rtol=1e-4)


def test_cross_attention_in_half_precision():
    attention = bold(CausalCrossAttention(settings()))
    tokens, asking, allowed = torch.randn(1, 6, C), torch.randn(1, 6, C), torch.ones(6, 6, dtype=torch.bool).tril()
    with ours():
        want = attention(tokens, asking, allowed)
    y = attention.half()(tokens.half(), asking.half(), allowed)
    torch.testing.assert_close(y.float(), want, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("length", [3, 7, T])
def test_latents_are_made_of_rows_of_every_length(length):
    block, x = bold(DownProjectBlock(settings())), torch.randn(2, length, C)
    with ours():
        want = block(x)
    torch.testing.assert_close(block(x), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [3, 7, T])
def test_tokens_are_made_of_latents_for_rows_of_every_length(length):
    block, latents, x = bold(UpProjectBlock(settings())), torch.randn(2, M, C), torch.randn(2, length, C)
    with ours():
        want = block(latents, x)
    torch.testing.assert_close(block(latents, x), want, atol=1e-4, rtol=1e-4)


def test_latents_that_see_the_whole_past_do(student):
    if student.own_edition:
        pytest.skip("only in this project's tree")
    config, x, latents = settings(latent_reach="past"), torch.randn(2, T, C), torch.randn(2, M, C)
    for block, inputs in [(bold(DownProjectBlock(config)), (x,)), (bold(UpProjectBlock(config)), (latents, x))]:
        with ours():
            want = block(*inputs)
        torch.testing.assert_close(block(*inputs), want, atol=1e-4, rtol=1e-4)


def test_gradients_flow(student):
    block, x = bold(DownProjectBlock(settings())), torch.randn(1, T, C)
    call = dict(module="model", cls="DownProjectBlock", fields=vars(settings()), name="forward", dtype="float32")
    gradient = student.ask("method", **call, state=block.state_dict(), args=[x], wants=True)[1]
    with ours():
        block(x.requires_grad_()).square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, atol=1e-2, rtol=1e-3)


def test_a_whole_model_computes_with_it(student):
    fields = SIZES | {"options": {"bottleneck_dim": M}}
    with ours():
        model = bold(GPT(settings()))
        idx = torch.randint(2, 19, (2, 9))
        want = model(idx)[0]
    got = student.ask("logits", fields=fields, state=model.state_dict(), idx=idx, targets=idx)[0]
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
