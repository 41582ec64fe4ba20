"""Hidden tests of the synthesizer."""

import pytest
import torch
from calling import ours

from attention import VARIANTS
from model import GPT, GPTConfig

SIZES = dict(vocab_size=19, block_size=7, n_layer=2, n_head=3, n_embd=12, variant="synthesizer")


@pytest.fixture
def attention():
    module = VARIANTS["synthesizer"](GPTConfig(**SIZES)).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("length", [1, 2, 6, 7])
def test_sequences_of_every_length(attention, length):
    x = torch.randn(3, length, 12)
    with ours():
        want = attention(x)
    torch.testing.assert_close(attention(x), want, atol=1e-4, rtol=1e-4)


def test_large_scores_do_not_break_the_softmax(attention):
    x = 40 * torch.randn(2, 5, 12)
    with ours():
        want = attention(x)
    torch.testing.assert_close(attention(x), want, atol=1e-2, rtol=1e-2)


def test_it_works_in_half_precision(attention):
    x = torch.randn(2, 5, 12)
    with ours():
        want = attention(x)
    y = attention.half()(x.half())
    torch.testing.assert_close(y.float(), want, atol=0.1, rtol=0.1)


def test_gradients_flow(attention, student):
    call = dict(module="attention", cls="SynthesizerAttention", fields=vars(GPTConfig(**SIZES)), name="forward")
    x = torch.randn(1, 4, 12)
    gradient = student.ask("method", **call, state=attention.state_dict(), args=[x], dtype="float32", wants=True)[1]
    with ours():
        attention(x.requires_grad_()).square().sum().backward()
    torch.testing.assert_close(gradient, x.grad, atol=1e-2, rtol=1e-3)


def test_a_whole_model_computes_with_it(student):
    with ours():
        model = GPT(GPTConfig(**SIZES)).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        idx = torch.randint(2, 19, (2, 7))
        want = model(idx)[0]
    got = student.ask("logits", fields=SIZES, state=model.state_dict(), idx=idx, targets=idx)[0]
    torch.testing.assert_close(got, want, atol=1e-3, rtol=1e-3)
