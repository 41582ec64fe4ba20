"""Shows that for every variant the plain code and the fast code agree: loss, gradients, logits, answers, training.

Plain is what src/ computes without src/fast: whole rows, the step in Trainer.train, a full forward pass per new token.
Fast is packing, fused kernels, a KV cache, and the step that `fastest` chooses. Where both call the same functions with
the same numbers, results are equal bit for bit. Elsewhere sums are taken in another order, so that only rounding
differs. In float64 rounding is so small that nothing else could hide in the tolerance; float32, TF32 and bf16 are
tested because runs use them. An error is the norm of a difference, relative to the norm of what was expected.
"""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._functorch._aot_autograd.autograd_cache import check_cacheable

from attention import VARIANTS, WHOLE_ROWS
from conftest import T, V, every_setting, loud, needs_cuda, small_config, tokens
from dataset import encode_questions
from fast import steps
from fast.device import precision, repeatable
from fast.graphed import GraphedStep
from fast.rows import FUSED_ROWS, CachedReader, PackedRows, row_lengths
from fast.steps import ByLengthStep, PackedStep, compile_parts, counted, fastest
from model import GPT
from stages import answer
from trainer import Trainer, TrainerConfig, batches
from vocabulary import MASK, PAD

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@dataclass(frozen=True)
class Precision:
    """What the fast code computes in, and the largest errors against the plain code in the type of the parameters."""

    name: str
    device: torch.device
    dtype: torch.dtype  # of the parameters and of the plain code
    products: str  # precision of matrix products on a GPU: "float32" or "tf32"
    bf16: bool
    loss: float  # error of the loss and of the norm of the gradient
    gradient: float
    trained: float  # error of the parameters after 20 steps, relative to how far they moved
    muon: float  # the same with Muon, which rounds its momentum to bf16: a last bit can change an update by 2**-9


FLOAT32 = Precision("float32", CPU, torch.float32, "float32", False, 1e-5, 2e-5, 1e-4, 5e-2)
FLOAT64 = Precision("float64", CPU, torch.float64, "float32", False, 1e-12, 1e-12, 1e-10, 1e-10)
BF16 = Precision("bf16", CPU, torch.float32, "float32", True, 2e-2, 2e-2, 0.1, 0.15)
ON_GPU = (
    Precision("float32", CUDA, torch.float32, "float32", False, 1e-4, 1e-4, 2e-3, 5e-2),
    Precision("TF32", CUDA, torch.float32, "tf32", False, 5e-3, 1e-2, 5e-2, 0.1),
    Precision("bf16", CUDA, torch.float32, "tf32", True, 2e-2, 2e-2, 0.1, 0.15),
)


def case(within: Precision, *more: str):
    on_gpu = within.device == CUDA
    name = "-".join([f"GPU, {within.name}" if on_gpu else within.name, *more])
    return pytest.param(within, *more, id=name, marks=[needs_cuda] * on_gpu)


def error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))


def joined(tensors: dict[str, Tensor]) -> Tensor:
    """All numbers of a dict but the biases of keys, in double precision.

    Such a bias adds the same to all scores of a query, so in most variants its gradient is zero but for rounding, which
    AdamW scales up to steps of full size.
    """
    return torch.cat([x.detach().double().flatten() for name, x in tensors.items() if not name.endswith("key.bias")])


def gradients(model: GPT) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_each_agrees(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Every tensor within `tolerance`; one that is zero but for rounding, relative to the norm of all together."""
    norm = joined(expected).norm()
    for name, value in expected.items():
        if value.double().norm() > 1e-5 * norm:
            assert error(found[name], value) <= tolerance, name
        else:
            assert (found[name] - value).double().norm() <= tolerance * norm, name


def in_double(model: GPT) -> GPT:
    """The model in float64. Performer computes its features in float32 whatever the type of the model."""
    if model.config.variant == "performer":
        pytest.skip("always computes in float32")
    return model.double()


# ---------------------------------------------------------------------------------------- loss, gradients, logits


def a_batch() -> tuple[Tensor, Tensor]:
    """x and y (6, T): rows of different lengths, one without targets, and one that is a question."""
    x, y = tokens(6, T), tokens(6, T)
    for row, length in enumerate([T, 1, 7, 4, 0, 9]):
        x[row, length:] = y[row, length:] = PAD
    y[2, :5] = PAD
    return x, y


@pytest.mark.parametrize("way", ["packed", "by length", "packed, kernel"])
@pytest.mark.parametrize("within", [FLOAT32, FLOAT64], ids=["float32", "float64"])
def test_loss_and_every_gradient_agree(model, way, within, monkeypatch, request):
    """The kernel of a GPU for packed rows is replaced by the formula, applied to one row after another."""
    if way == "packed, kernel":
        request.getfixturevalue("packed_kernel")
    monkeypatch.setattr(steps, "ROWS_TOGETHER", 2)
    model = model if within is FLOAT32 else in_double(model)
    x, y = a_batch()
    _, loss = model(x, y)
    loss.backward()
    expected = gradients(model)
    model.zero_grad()
    step = (ByLengthStep if way == "by length" else PackedStep)(model, None, TrainerConfig())
    # A part counts in proportion to its targets. This share is a float32, also for a model in float64.
    share = 1e-7 if way == "by length" else 0
    slots = 33 + 7  # seven more than there are positions to compute; a step by length counts its own
    assert error(step.backward(x, y, slots), loss) <= max(within.loss, share)
    assert_each_agrees(gradients(model), expected, max(within.gradient, share))


@pytest.mark.parametrize("length", [1, 7, T])
@pytest.mark.parametrize("within", [FLOAT32, FLOAT64], ids=["float32", "float64"])
def test_logits_agree(model, length, within):
    model, idx = model if within is FLOAT32 else in_double(model), tokens(4, length)
    lengths = torch.randint(1, length + 1, (4,))
    rows = PackedRows(lengths, length, int(lengths.sum()))
    with torch.no_grad():
        plain, _ = model(idx)
        assert error(model(idx, rows=FUSED_ROWS)[0], plain) <= within.loss
        packed, _ = model(rows.pack(idx), rows=rows)
    assert error(packed[0], torch.cat([plain[i, :n] for i, n in enumerate(lengths)])) <= within.loss


@pytest.mark.parametrize("setting", every_setting())
def test_a_mechanism_without_a_fused_kernel_attends_with_the_same_bits(setting):
    attn = loud(GPT(small_config(*setting))).blocks[0].attn
    if setting[0] not in ("synthesizer", "linformer", "bigbird", "performer"):
        pytest.skip("fused kernels add up in another order")
    q, k, v = torch.randn(3, 4, 2, T, 8)
    plain = WHOLE_ROWS.causal_attention(attn, q, k, v)
    assert torch.equal(FUSED_ROWS.causal_attention(attn, q, k, v), plain)
    rows = PackedRows(torch.full((4,), T), T, 4 * T)
    heads = [rows.pack(x.transpose(1, 2)).transpose(1, 2) for x in (q, k, v)]  # (1, nh, N, hs) each
    assert torch.equal(rows.causal_attention(attn, *heads), plain.flatten(0, 1)[None])


@pytest.mark.parametrize("setting", [(name, False) for name in VARIANTS] + [("vanilla", True)], ids=str)
def test_a_compiled_model_agrees_and_keeps_the_names_of_its_parameters(make_model, corpus, monkeypatch, setting):
    """Compiled deterministically, embeddings are left out. A backend that runs the operations stands for a compiler."""
    variant, deterministic = setting
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()  # it gives up on code that has been compiled for many models, as no run does
    model = make_model(variant=variant, n_layer=3)
    compiled, names = copy.deepcopy(model), list(model.state_dict())
    x, y = corpus.batch(torch.arange(6))
    lengths = row_lengths(y, PAD)
    rows = PackedRows(lengths, x.size(1), int(lengths.sum()))
    targets = rows.pack(y).masked_fill(~rows.is_filled, PAD)
    with repeatable() if deterministic else nullcontext():
        compile_parts(compiled, dynamic=None)
        found = compiled(rows.pack(x), targets, rows)
    expected = model(rows.pack(x), targets, rows)
    torch.testing.assert_close(found, expected)
    assert graphs, "something was compiled"
    embeds = ["embedding" in str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert any(embeds) != deterministic, "the compiled gradient of an embedding is slow in a fixed order"
    assert list(compiled.state_dict()) == names
    if variant != "performer":  # it switches autocast off, and torch keeps no code that does
        for graph in graphs:
            check_cacheable(graph)  # raises if torch would trace it anew in the next run


# ------------------------------------------------------------------------------------------------------ generation


PROMPTS = torch.tensor([1, 2, 3, 5, 7, 7])  # lengths


@pytest.mark.parametrize("new", [1, 5, 20])  # the longest prompt outgrows the block after 5 new tokens
def test_generated_tokens_agree_and_so_do_their_log_probabilities(model, new):
    idx = tokens(6, 7)
    plain, plain_log_probs = model.generate(idx, PROMPTS, new, log_probs=True)
    cached, cached_log_probs = model.generate(idx, PROMPTS, new, reader=CachedReader(model), log_probs=True)
    assert torch.equal(cached, plain) and plain.shape == (6, new)
    assert cached_log_probs.shape == plain_log_probs.shape == (6, new, V)
    torch.testing.assert_close(cached_log_probs, plain_log_probs, rtol=1e-4, atol=1e-4)
    both = cached_log_probs, plain_log_probs
    confidence, expected = (log_probs.gather(2, plain[:, :, None]).sum(dim=(1, 2)).exp() for log_probs in both)
    torch.testing.assert_close(confidence, expected, rtol=1e-3, atol=0)


def test_generation_ends_at_the_same_stop_token(model):
    idx = tokens(6, 7)
    for stop in (MASK, int(model.generate(idx, PROMPTS, 3)[0, 1])):  # the second occurs for certain
        plain = model.generate(idx, PROMPTS, 9, stop)
        assert torch.equal(model.generate(idx, PROMPTS, 9, stop, reader=CachedReader(model)), plain)


def test_drawn_tokens_agree(model):
    idx = tokens(6, 7)

    def draw(reader):
        how = dict(temperature=0.8, top_k=5, generator=torch.Generator().manual_seed(1))
        return model.generate(idx, PROMPTS, 12, reader=reader, **how)

    assert torch.equal(draw(CachedReader(model)), draw(None))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("cached", [False, True], ids=["plain", "cached"])
def test_log_probabilities_are_those_of_a_separate_forward_pass(model, temperature, cached):
    """Each row of the answer, read again by itself: log softmax(logits), whatever the temperature of the draw."""
    idx, reader = tokens(6, 7), CachedReader(model) if cached else None
    how = dict(temperature=temperature, generator=torch.Generator().manual_seed(0))
    new, log_probs = model.generate(idx, PROMPTS, 5, reader=reader, log_probs=True, **how)
    assert log_probs.dtype == torch.float32
    for i, length in enumerate(PROMPTS):
        whole = torch.cat([idx[i, :length], new[i]])[None]
        with torch.no_grad():
            expected = model(whole[:, :-1])[0][0, length - 1 :].log_softmax(dim=-1)  # (5, V)
        torch.testing.assert_close(log_probs[i], expected, rtol=1e-4, atol=1e-4)
        if temperature == 0:
            assert torch.equal(log_probs[i].argmax(dim=-1), new[i])


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_agree(corpus, make_model, variant):
    model = loud(make_model(variant=variant, n_layer=3), std=0.3)
    questions = [f"Where was {name} born?" for name in ("Ada Fern", "Bo Lind", "Çem Ok")] + ["Where was it?"]
    prompts = encode_questions(questions, corpus.vocabulary, corpus.block_size, "here")
    plain = answer(model, corpus.vocabulary, *prompts, plain=True)
    assert answer(model, corpus.vocabulary, *prompts) == plain and len(plain) == 4 and any(plain)


# -------------------------------------------------------------------------------------------------------- training


def test_plain_and_fast_steps_see_the_same_batches(corpus):
    """Bit for bit: the split of a packed step adds a number to each batch and changes nothing else."""
    config = TrainerConfig(batch_size=4, seed=3)
    plain = list(batches(corpus, config, CPU, epoch=2))
    fast = list(batches(corpus, config, CPU, epoch=2, split=counted(PAD)))
    for (x, y), (fast_x, fast_y, slots) in zip(plain, fast, strict=True):
        assert torch.equal(x, fast_x) and torch.equal(y, fast_y) and slots == row_lengths(y, PAD).sum()


def trained(corpus, make, config: TrainerConfig, within: Precision, fast: bool, compile: str = "off"):
    """(parameters before, parameters after, log) of 20 steps, plain or fast."""
    torch.manual_seed(0)
    model, log = make().to(within.device, within.dtype), []
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    corpus.to(within.device)
    with precision(within.products if fast else "float32"):
        ways = fastest(model, corpus, config, bf16=within.bf16, compile=compile)[0] if fast else {}
        trainer = Trainer(model, corpus, None, config, **ways, on_log=log.append, show_progress=False)
        trainer.train()
    assert len(log) == 20
    if fast:
        assert type(ways["step"]) is (ByLengthStep if within.device == CPU else GraphedStep)
        assert within.device == CPU or ways["step"].graph is not None
        assert getattr(ways["step"], "step", ways["step"]).bf16 == within.bf16
    return before, dict(model.named_parameters()), log


def assert_training_agrees(corpus, make, config: TrainerConfig, within: Precision, compile: str = "off") -> None:
    before, plain, plain_log = trained(corpus, make, config, within, fast=False)
    _, fast, fast_log = trained(corpus, make, config, within, fast=True, compile=compile)
    tolerance = within.muon if config.optimizer == "muon" else within.trained
    for name in ("loss", "grad_norm"):
        found, wanted = ([line[name] for line in log] for log in (fast_log, plain_log))
        assert found == pytest.approx(wanted, rel=max(within.loss, tolerance / 10)), name
    for name in ("step", "tokens", "lr"):
        assert [line[name] for line in fast_log] == [line[name] for line in plain_log], "bit for bit"
    moved, expected = ({name: end[name] - before[name] for name in end} for end in (fast, plain))
    assert error(joined(moved), joined(expected)) <= tolerance
    if within.dtype == torch.float64:
        assert_each_agrees(moved, expected, tolerance)


def cases_of_training() -> list:
    """AdamW in every precision. Muon in float64, where its rounding to bf16 meets equal numbers; on a GPU once."""
    found = []
    for variant in VARIANTS:
        found += [case(within, variant, "adamw") for within in (FLOAT32, FLOAT64, BF16, *ON_GPU)]
        found.append(case(FLOAT32 if variant == "performer" else FLOAT64, variant, "muon"))
    return found + [case(within, "vanilla", "muon") for within in ON_GPU]


@pytest.mark.parametrize("within, variant, optimizer", cases_of_training())
def test_parameters_agree_after_20_steps(corpus, make_model, within, variant, optimizer, monkeypatch):
    """Without dropout, which plain and fast draw differently, and at a rate that rises and falls."""
    if within.device == CPU:
        monkeypatch.setattr(steps, "has_bf16", lambda device: True)  # slow there, but the same arithmetic

    def make() -> GPT:
        model = make_model(variant=variant, n_layer=3 if VARIANTS[variant].bottleneck else 2)
        return in_double(model) if within.dtype == torch.float64 else model

    schedule = dict(learning_rate=1e-3, lr_decay=True, warmup_tokens=500, final_tokens=2500)
    config = TrainerConfig(max_epochs=4, batch_size=2, log_every=1, optimizer=optimizer, **schedule)
    assert_training_agrees(corpus, make, config, within)


@pytest.mark.parametrize("within", [case(within) for within in ON_GPU])
def test_parameters_agree_after_20_compiled_steps(corpus, make_model, within):
    config = TrainerConfig(max_epochs=4, batch_size=2, log_every=1, learning_rate=1e-3)
    assert_training_agrees(corpus, make_model, config, within, compile="on")


@pytest.mark.parametrize("within, variant", [case(within, v) for within in (BF16, *ON_GPU) for v in VARIANTS])
def test_gradients_agree_in_the_precision_of_a_run(corpus, make_model, variant, within, monkeypatch):
    """All gradients together, against the plain float32 step. On a GPU they come from the third replay of a graph."""
    if within.device == CPU:
        monkeypatch.setattr(steps, "has_bf16", lambda device: True)
    corpus.to(within.device)
    model = make_model(variant=variant, n_layer=3).to(within.device)
    config = TrainerConfig(batch_size=len(corpus), grad_norm_clip=1e9, learning_rate=1e-12)
    x, y = corpus.batch(torch.arange(len(corpus), device=within.device))
    with precision("float32"):
        _, loss = model(x, y)
        loss.backward()
    expected = gradients(model)
    with precision(within.products):
        step = fastest(model, corpus, config, bf16=within.bf16, compile="off")[0]["step"]
        for _ in range(1 if within.device == CPU else 4):
            given = [int(row_lengths(y, PAD).sum())] if within.device == CUDA else []
            fast_loss, grad_norm = step(x, y, *given)
    assert error(fast_loss, loss) <= within.loss
    assert error(joined(gradients(model)), joined(expected)) <= within.gradient
    assert float(grad_norm) == pytest.approx(float(joined(expected).norm()), rel=within.loss)


@needs_cuda
@pytest.mark.parametrize("setting", every_setting())
def test_generated_tokens_agree_on_a_gpu(setting):
    """In full float32, where argmax does not depend on the order of sums."""
    model, idx = loud(GPT(small_config(*setting))).to(CUDA), tokens(6, 7).to(CUDA)
    with precision("float32"):
        plain, plain_log_probs = model.generate(idx, PROMPTS, 12, log_probs=True)
        cached, cached_log_probs = model.generate(idx, PROMPTS, 12, reader=CachedReader(model), log_probs=True)
    assert torch.equal(cached, plain)
    torch.testing.assert_close(cached_log_probs, plain_log_probs, rtol=1e-3, atol=1e-3)
    on_cpu, log_probs = model.cpu().generate(idx.cpu(), PROMPTS, 12, log_probs=True)
    assert torch.equal(on_cpu, plain.cpu()), "as on a CPU"
    torch.testing.assert_close(plain_log_probs.cpu(), log_probs, rtol=1e-3, atol=1e-3)
