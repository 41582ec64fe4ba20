"""Steps replayed from a CUDA graph equal steps that run as usual; with --deterministic runs repeat their bits.

Most tests need a GPU. What a GraphedStep gives the step that it records is tested on any machine.
"""

import gc
from contextlib import nullcontext, suppress

import pytest
import torch

import stages
from attention import VARIANTS
from conftest import needs_cuda
from dataset import CharCorruptionDataset
from fast.graphed import GraphedStep
from fast.steps import PackedStep, counted, fastest
from optimizer import make_optimizer
from safe.running import Running
from safe.state import restore_trainer, trainer_state
from safe.unfinished import Stopped
from trainer import Trainer, TrainerConfig


def make_corpus(corpus_text: str, device: str | torch.device) -> CharCorruptionDataset:
    return CharCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", 64).to(device)


def losses(corpus_text, make_model, graphed: bool, slots: int | None = None, **settings) -> tuple[list[float], Trainer]:
    """The loss of every step of a run without dropout, on 8 of 9 documents and then on the ninth."""
    torch.manual_seed(0)
    model, lines = make_model().cuda(), []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-3, log_every=1, **settings)
    corpus = make_corpus(corpus_text, "cuda")
    ways, _ = fastest(model, corpus, config)
    assert isinstance(ways["step"], GraphedStep)
    if not graphed:
        ways["step"] = PackedStep(model, ways["optimizer"], config)
    elif slots is not None:
        ways["step"].slots = slots
    trainer = Trainer(model, corpus, None, config, **ways, on_log=lines.append, show_progress=False)
    trainer.train()
    return [line["loss"] for line in lines], trainer


@needs_cuda
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_graph_computes_the_same_steps(corpus_text, make_model, optimizer):
    usual, _ = losses(corpus_text, make_model, graphed=False, optimizer=optimizer)
    replayed, trainer = losses(corpus_text, make_model, graphed=True, optimizer=optimizer)
    assert trainer.step.graph is not None, "a graph was recorded"
    assert replayed == pytest.approx(usual, rel=1e-3)
    assert len(set(replayed)) == len(replayed), "each step reads its own batch"


@needs_cuda
def test_a_step_that_does_not_fit_the_graph_runs_without_it(corpus_text, make_model):
    usual, _ = losses(corpus_text, make_model, graphed=False)
    found, trainer = losses(corpus_text, make_model, graphed=True, slots=1)  # no step fits
    assert trainer.step.graph is None
    assert found == pytest.approx(usual, rel=1e-3)


@needs_cuda
def test_dropout_draws_anew_at_every_replay(corpus_text, make_model):
    torch.manual_seed(0)
    corpus = CharCorruptionDataset(corpus_text, 64, min_length=56).to("cuda")
    model, lines = make_model(resid_pdrop=0.5).cuda(), []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-12, log_every=1)
    ways, _ = fastest(model, corpus, config)
    Trainer(model, corpus, None, config, **ways, on_log=lines.append, show_progress=False).train()
    assert len({round(line["loss"], 5) for line in lines}) == 6


@needs_cuda
def test_freeing_an_old_graph_does_not_disturb_the_recording_of_a_new_one(corpus_text, make_model):
    """Objects that refer to each other are freed by the garbage collector, at any time."""
    usual, old = losses(corpus_text, make_model, graphed=True)
    old.itself = old
    del old
    before = gc.get_threshold()
    gc.set_threshold(1)  # from now on at every occasion
    try:
        assert losses(corpus_text, make_model, graphed=True)[0] == pytest.approx(usual, rel=1e-3)
    finally:
        gc.set_threshold(*before)


# -------------------------------------------------------------------------------------------- without a GPU


class WithoutGraph(GraphedStep):
    """Calls the step on the graph's own tensors where a GPU would record or replay it."""

    def on_side_stream(self):
        return self.step(self.x, self.y, self.slots)

    replay = on_side_stream


def test_the_step_of_a_graph_gets_full_batches_at_the_rate_of_the_schedule(monkeypatch, corpus, make_model):
    """A smaller batch is padded with rows whose targets are ignored, and computes the same as by itself."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    config = TrainerConfig(batch_size=8)

    def train(graphed: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model, calls = make_model(), []
        optimizer = make_optimizer(model, config, fused=True)
        step = PackedStep(model, optimizer, config)

        def noted(x, y, slots):
            calls.append((len(x), slots, float(optimizer.param_groups[0]["lr"])))
            return step(x, y, slots)

        noted.optimizer, noted.model = optimizer, model
        way, found = WithoutGraph(noted, rows=8, slots=512) if graphed else step, []
        for i, size in enumerate((8, 3, 8, 1)):
            rate = 0.01 * (i + 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, y = corpus.batch(torch.arange(size), torch.Generator().manual_seed(i))
            found += [value.clone() for value in way(x, y, int((y != 0).sum()))] if graphed else way(x, y)
            assert all(group["lr"] is rate for group in optimizer.param_groups), "a number again, not a tensor"
        if graphed:
            assert calls == [(8, 512, pytest.approx(0.01 * (i + 1))) for i in range(4)]
        # The gradient of attn.key.bias is zero but for rounding, which AdamW scales up.
        return found + [p.detach() for name, p in model.named_parameters() if not name.endswith("key.bias")]

    torch.testing.assert_close(train(True), train(False), rtol=1e-3, atol=1e-4)


def test_a_step_with_too_many_positions_or_rows_does_not_use_the_graph(corpus, make_model):
    config = TrainerConfig(batch_size=8)
    model, calls = make_model(), []
    step = PackedStep(model, make_optimizer(model, config), config)

    def noted(x, y, slots):
        calls.append((len(x), slots))
        return step(x, y, slots)

    noted.model = model
    for rows, slots in ((8, 10), (7, 512)):
        graphed = GraphedStep(noted, rows, slots)
        graphed(*corpus.batch(torch.arange(8)), 300)
        assert graphed.x is None and graphed.graph is None
    assert calls == [(8, 512), (8, 512)], "300 positions, rounded up to a multiple of 256"


def test_each_batch_comes_with_the_number_of_its_positions(corpus):
    x, y = corpus.batch(torch.arange(9))
    place = torch.arange(1, y.size(1) + 1)
    lengths = [max([int(p) for p, target in zip(place, row, strict=True) if target != 0]) for row in y]
    cut = list(counted(0)(x, y, 4))
    assert [len(part) for part, *_ in cut] == [4, 4, 1]
    assert [count for *_, count in cut] == [sum(lengths[:4]), sum(lengths[4:8]), lengths[8]]
    assert torch.equal(torch.cat([part for part, *_ in cut]), x)
    halves = list(counted(0, own=lambda rows: rows[:2])(x, y, 4))
    assert [count for *_, count in halves] == [sum(lengths[:2]), sum(lengths[4:6]), lengths[8]]


# ---------------------------------------------------------------------------------------------------- deterministic


def trained(
    corpus_text, make_model, device: str, stop_after: int | None = None, compile="off", bf16=False, **settings
) -> tuple[list[torch.Tensor], Trainer]:
    """The parameters after 12 steps with dropout, the last of each epoch smaller; and the trainer that took the last.

    With `stop_after` that is another trainer, which continues from the state after that step.
    """
    states, config = (
        [],
        TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-2, log_every=1, **settings),
    )

    def make(seed: int, on_pause=None) -> Trainer:
        torch.manual_seed(seed)
        corpus = make_corpus(corpus_text, where)
        model = make_model(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1).to(where)
        ways, _ = fastest(model, corpus, config, compile=compile, bf16=bf16)
        return Trainer(model, corpus, None, config, **ways, on_pause=on_pause, show_progress=False)

    def stop(trainer: Trainer) -> None:
        if trainer.steps_done == stop_after:
            states.append(trainer_state(trainer))
            raise Stopped("", 0)

    with stages.placed(Running(device=device, deterministic=True), "bf16" if bf16 else "tf32") as where:
        trainer = make(0, stop)
        trainer.pause_at = 0
        with suppress(Stopped):
            trainer.train()
        if states:
            trainer = make(1)
            restore_trainer(trainer, states[0])
            trainer.train()
        assert trainer.steps_done == trainer.total_steps == 12
        return [parameter.detach().cpu() for parameter in trainer.model.parameters()], trainer


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "device, compile, bf16",
    [("cpu", "off", False)]
    + [pytest.param("cuda", how, bf16, marks=needs_cuda) for how in ("off", "on") for bf16 in (False, True)],
)
def test_a_deterministic_run_repeats_its_bits_also_when_it_is_continued(
    corpus_text, make_model, device, compile, bf16, optimizer
):
    how = dict(compile=compile, bf16=bf16, optimizer=optimizer)
    once, trainer = trained(corpus_text, make_model, device, **how)
    assert device == "cpu" or trainer.step.graph is not None
    for stop_after in (None, 1, 5):  # before a graph is recorded, and between two of its replays
        again, _ = trained(corpus_text, make_model, device, stop_after, **how)
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True)), f"stopped after {stop_after}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_every_variant_can_be_deterministic(corpus_text, make_model, device, variant):
    """None of its operations is refused, and its results repeat."""

    def make(**changes):
        return make_model(variant=variant, n_layer=3, **changes)

    once, again = (trained(corpus_text, make, device)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu_computes_the_same_as_the_first(corpus_text, make_model):
    (one, trainer), (other, second) = (trained(corpus_text, make_model, device) for device in ("cuda:0", "cuda:1"))
    assert trainer.step.graph is not None and second.step.graph is not None
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.cuda.current_device() == 0, "as before"


def test_deterministic_operations_end_with_the_run():
    with stages.placed(Running(device="cpu", deterministic=True)):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory
