"""Faster steps (src/fast/steps.py) train the same model as the plain step, and `fastest` picks the right one."""

import copy
import math
import threading
import time
from functools import partial

import pytest
import torch
import torch.nn as nn

import stages
from attention import VARIANTS
from conftest import needs_cuda
from fast import device, steps
from fast.device import threads_restored
from fast.steps import ByLengthStep, PackedStep, fastest
from optimizer import make_optimizer
from trainer import Trainer, TrainerConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("kind", [PackedStep, ByLengthStep, partial(ByLengthStep, n_threads=2)])
def test_a_packed_step_has_the_loss_and_the_gradients_of_the_batch(corpus, make_model, variant, kind, monkeypatch):
    """ByLengthStep computes a few rows at a time, each part as wide as its longest row."""
    monkeypatch.setattr(steps, "ROWS_TOGETHER", 3)
    monkeypatch.setattr(steps, "LEAST_ROWS", 1)
    model = make_model(variant=variant, n_layer=3)
    x, y = corpus.batch(torch.arange(8))
    y[3] = 0  # a row without a target
    expected = model(x, y)[1]
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    widths, packed_rows = [], steps.PackedRows

    def noted(lengths, T, N):
        widths.append(T)
        return packed_rows(lengths, T, N)

    monkeypatch.setattr(steps, "PackedRows", noted)
    config = TrainerConfig(batch_size=8, grad_norm_clip=1e9, learning_rate=1e-12)
    loss, grad_norm = kind(model, make_optimizer(model, config), config)(x, y)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close([p.grad for p in model.parameters()], list(gradients), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(grad_norm, torch.cat([g.flatten() for g in gradients]).norm(), rtol=1e-4, atol=0)
    if kind is ByLengthStep:
        assert len(widths) == 3 and widths == sorted(widths, reverse=True) and widths[0] > widths[-1]
    elif kind is PackedStep:
        assert widths == [64]
    else:
        assert len(widths) == 3


@pytest.fixture
def three_threads(corpus, make_model, monkeypatch):
    """(model, a step on three threads, x, y): eight rows in five parts, with dropout."""
    monkeypatch.setattr(steps, "ROWS_TOGETHER", 2)
    monkeypatch.setattr(steps, "LEAST_ROWS", 1)
    model = make_model(embd_pdrop=0.2, resid_pdrop=0.2, attn_pdrop=0.2)
    steps.use_fast_dropout(model)
    step = ByLengthStep(model.train(), None, TrainerConfig(), n_threads=3)
    return model, step, *corpus.batch(torch.arange(8))


def result_of(model, step, x, y):
    torch.manual_seed(0)
    model.zero_grad()
    loss = step.backward(x, y)
    return [loss, torch.rand(1), *(p.grad for p in model.parameters())]


def test_threads_compute_the_bits_of_one_thread_whichever_ends_first(three_threads):
    model, step, x, y = three_threads
    plain_loss, ends, waits = step.loss, [], iter([0] * 5 + [0.2, 0, 0.1, 0, 0] + [0, 0.1, 0, 0.2, 0])

    def delayed(x, *rest):
        loss = plain_loss(x, *rest)
        time.sleep(next(waits))
        ends.append(threading.get_ident())
        return loss

    step.loss = delayed
    alone = result_of(model, step, x, y)
    assert set(ends) == {threading.get_ident()}, "the first step finds out whether the model may be computed by threads"
    for _ in range(2):
        ends.clear()
        threaded = result_of(model, step, x, y)
        assert len(ends) == 5 and len(set(ends)) > 1 and threading.get_ident() not in ends
        assert all(torch.equal(a, b) for a, b in zip(threaded, alone, strict=True))


def test_parts_draw_different_dropout_and_every_step_draws_anew(three_threads):
    model, step, x, y = three_threads
    seeds = []
    step.map = lambda part, parts, given: seeds.append(given) or map(part, parts, given)
    torch.manual_seed(0)
    losses = [step.backward(x, y).item() for _ in range(2)]
    assert losses[0] != losses[1] and len({seed for given in seeds for seed in given}) == sum(map(len, seeds))
    torch.manual_seed(0)
    assert [step.backward(x, y).item() for _ in range(2)] == losses


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_two_threads_repeat_a_run_bit_for_bit(corpus, make_model, variant):
    def train():
        torch.manual_seed(0)
        model = make_model(variant=variant, n_layer=3, embd_pdrop=0.2, resid_pdrop=0.2, attn_pdrop=0.2)
        config = TrainerConfig(max_epochs=3, batch_size=32)
        with threads_restored():
            torch.set_num_threads(2)
            ways, _ = fastest(model, Repeated(corpus, 64), config)
            Trainer(model, Repeated(corpus, 64), None, config, **ways, show_progress=False).train()
        # BigBird's dropout is drawn by torch itself, from a generator that threads would share.
        assert (ways["step"].map is map) == (variant == "bigbird")
        return [*model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(train(), train(), strict=True))


class Repeated:
    """A corpus of `n` rows, those of another one again and again."""

    def __init__(self, corpus, n: int):
        self.corpus, self.n, self.ignore_index = corpus, n, corpus.ignore_index

    def __len__(self) -> int:
        return self.n

    def batch(self, indices, generator):
        return self.corpus.batch(indices % len(self.corpus), generator)


class Odd(nn.Module):
    """A model whose gradients share memory (a, b), lie in another order (w), are expanded (c), or are missing (d)."""

    def __init__(self):
        super().__init__()
        self.ignore_index = 0
        self.a, self.b, self.c, self.d = (nn.Parameter(torch.randn(8)) for _ in range(4))
        self.w = nn.Parameter(torch.randn(2, 8, 16))
        self.head = nn.Linear(32, 100)

    def forward(self, idx, targets, rows):
        x = torch.nn.functional.one_hot(idx % 8, 8).float() + (self.a + self.b) + self.c.sum()  # (B, T, 8)
        logits = self.head(torch.einsum("btc,hcd->bthd", x, self.w).flatten(2))
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_gradients_that_share_memory_or_lie_in_another_order_are_added_up(corpus, n_threads, monkeypatch):
    monkeypatch.setattr(steps, "ROWS_TOGETHER", 2)
    monkeypatch.setattr(steps, "LEAST_ROWS", 1)
    torch.manual_seed(0)
    plain = Odd()
    fast = copy.deepcopy(plain)
    config = TrainerConfig(grad_norm_clip=0.1)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1, fused=True) for model in (plain, fast)]
    step = ByLengthStep(fast, optimizers[1], config, n_threads=n_threads)
    for i in range(3):
        x, y = corpus.batch(torch.arange(8), torch.Generator().manual_seed(i))
        optimizers[0].zero_grad()
        PackedStep(plain, optimizers[0], config)(x, y)
        step(x, y)
    torch.testing.assert_close(dict(fast.named_parameters()), dict(plain.named_parameters()), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 16])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 24, 33, 128])
def test_every_row_with_targets_is_in_one_part_and_parts_are_balanced(make_model, n_threads, n_rows):
    step = ByLengthStep(make_model(), None, TrainerConfig(), n_threads=n_threads)
    lengths = torch.randint(0, 65, (n_rows,))
    parts = step.parts(lengths)
    assert sorted(torch.cat(parts).tolist() if parts else []) == lengths.nonzero()[:, 0].tolist()
    assert all(1 <= len(part) <= steps.ROWS_TOGETHER for part in parts)
    n_used = min(n_threads, len(parts))
    if n_rows >= n_threads * steps.ROWS_TOGETHER:  # no thread has a whole part more to do than another
        assert len(parts) >= n_threads
    elif n_used > 1:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert min(map(len, parts)) >= steps.LEAST_ROWS


def test_a_stage_gives_torch_its_threads_back(tmp_path):
    (tmp_path / "wiki.txt").write_text("Ada Lovelace. Ada Lovelace was a mathematician born in London .\n" * 3)
    (tmp_path / "questions.tsv").write_text("Where was Ada Lovelace born?\tLondon\n")
    small = {"device": "cpu", "max_epochs": 1, "n_embd": 16, "n_layer": 1}
    with threads_restored():
        torch.set_num_threads(3)
        stages.pretrain("vanilla", tmp_path / "wiki.txt", tmp_path / "p", **small)
        assert torch.get_num_threads() == 3
        stages.finetune("vanilla", tmp_path / "wiki.txt", tmp_path / "q", tmp_path / "questions.tsv", **small)
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("where, tolerance", [("cpu", 1e-4), pytest.param("cuda", 1e-2, marks=needs_cuda)])
def test_plain_and_fast_steps_train_the_same_parameters(corpus, make_model, variant, where, tolerance):
    """21 steps without dropout. Numbers are added up in another order, so only rounding differs."""
    config = TrainerConfig(max_epochs=7, batch_size=3, learning_rate=1e-3, log_every=1)

    def train(fast: bool):
        torch.manual_seed(0)
        model, log = make_model(variant=variant, n_layer=3).to(where), []
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        ways = fastest(model, corpus.to(where), config)[0] if fast else {}
        Trainer(model, corpus.to(where), None, config, **ways, on_log=log.append, show_progress=False).train()
        return before, dict(model.named_parameters()), log

    (before, plain, plain_log), (_, fast, fast_log) = train(False), train(True)
    for name in ("loss", "grad_norm", "lr"):
        assert [line[name] for line in fast_log] == pytest.approx([line[name] for line in plain_log], rel=tolerance)
    for name, value in plain.items():
        if name.endswith("key.bias"):  # its gradient is zero but for rounding, which AdamW scales up
            continue
        assert (fast[name] - value).norm() <= tolerance * (value - before[name]).norm(), name


def test_fastest_on_a_cpu_is_a_step_by_length(corpus, make_model):
    model, config = make_model(), TrainerConfig()
    arguments, description = fastest(model, corpus, config, bf16=True)
    assert type(arguments["step"]) is ByLengthStep and arguments.keys() == {"optimizer", "step"}
    assert not arguments["step"].bf16, "slower than float32 on a CPU"
    assert description == f"float32 ({torch.get_float32_matmul_precision()} precision), no padding"


@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_cpu_torch_has_one_thread_and_the_step_the_others(corpus, make_model, compiled, monkeypatch):
    monkeypatch.setattr(steps, "compile_parts", lambda model, dynamic: None)
    with threads_restored():
        torch.set_num_threads(3)
        arguments, description = fastest(make_model(), corpus, TrainerConfig(), compile="on" if compiled else "auto")
        assert torch.get_num_threads() == (3 if compiled else 1), "a compiled model runs in one thread of Python"
        assert arguments["step"].n_threads == (1 if compiled else 3)
        assert ("3 parts at a time" in description) == (not compiled)


def test_fastest_leaves_a_model_that_takes_no_rows_to_the_plain_step():
    arguments, description = fastest(nn.Linear(1, 1), [0], TrainerConfig())
    assert arguments == {} and description.endswith("the plain step")


@pytest.mark.parametrize("capability, fast", [((7, 5), False), ((8, 0), True)], ids=["Turing", "Ampere"])
def test_bf16_is_used_only_on_gpus_that_are_fast_in_it(monkeypatch, capability, fast):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert device.has_bf16(torch.device("cuda")) == fast
    assert not device.has_bf16(CPU)


@pytest.mark.parametrize("fast", [False, True])
def test_a_step_computes_in_bf16_if_the_device_is_fast_in_it(monkeypatch, corpus, make_model, fast):
    monkeypatch.setattr(steps, "has_bf16", lambda device: fast)
    model, config = make_model(), TrainerConfig()
    arguments, description = fastest(model, corpus, config, bf16=True)
    assert description.startswith("bf16" if fast else "float32")
    dtypes = []
    model.head.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    arguments["step"](*corpus.batch(torch.arange(4)))
    assert set(dtypes) == {torch.bfloat16 if fast else torch.float32}
    assert all(p.dtype == torch.float32 for p in model.parameters()), "what is stored stays float32"


# ---------------------------------------------------------------------------------------------------- compiling


def no_compiler(*arguments, **options):
    def compiled(*arguments):
        raise RuntimeError("No working C compiler found\nand so on")

    return compiled


def test_whether_a_machine_can_compile_is_tried_beforehand(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert steps.obstacle_to_compiling(CPU) is None
    monkeypatch.setattr(torch, "compile", no_compiler)
    assert steps.obstacle_to_compiling(CPU) == "No working C compiler found"


@pytest.mark.parametrize("compile, expected", [("on", True), ("off", False), ("auto", False)])
def test_on_a_cpu_a_model_is_compiled_only_if_that_is_asked_for(monkeypatch, corpus, make_model, compile, expected):
    monkeypatch.setattr(steps, "STEPS_TO_COMPILE", 1)
    compiled = []
    monkeypatch.setattr(steps, "compile_parts", lambda model, dynamic: compiled.append(model))
    model = make_model()
    _, description = fastest(model, corpus, TrainerConfig(), compile=compile)
    assert (compiled == [model], "compiled" in description) == (expected, expected)


@needs_cuda
def test_a_long_run_is_not_compiled_where_there_is_no_compiler(monkeypatch, corpus, make_model):
    monkeypatch.setattr(steps, "STEPS_TO_COMPILE", 1)
    monkeypatch.setattr(torch, "compile", no_compiler)
    model, config = make_model().cuda(), TrainerConfig(max_epochs=2, batch_size=4)
    ways, how = fastest(model, corpus.to("cuda"), config)
    assert "not compiled (No working C compiler found)" in how
    assert math.isfinite(Trainer(model, corpus, None, config, **ways, show_progress=False).train()["loss"])
