"""Steps replayed from a CUDA graph are the steps that run as usual, and with --deterministic the same bits every time.

Needs a GPU, except for the last test, most of whose cases do.
"""

import gc
from contextlib import suppress

import pytest
import torch
from conftest import needs_cuda

import startup
from attention import VARIANTS
from dataset import CharCorruptionDataset
from trainer import Trainer, TrainerConfig
from unfinished import Stopped


def losses(corpus_text, make_model, graphed: bool, **settings) -> tuple[list[float], Trainer]:
    """The loss of every step of a run without dropout, on 8 of 9 documents and then on the ninth."""
    torch.manual_seed(0)
    model = make_model().cuda()
    lines = []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-3, log_every=1, **settings)
    corpus = CharCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", 64).to("cuda")
    trainer = Trainer(model, corpus, None, config, lines.append)
    if not graphed:
        trainer.graphed, trainer.update = False, trainer._update
    trainer.train()
    return [line["loss"] for line in lines], trainer


@needs_cuda
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_graph_computes_the_same_steps(corpus_text, make_model, optimizer):
    usual, _ = losses(corpus_text, make_model, graphed=False, optimizer=optimizer)
    replayed, trainer = losses(corpus_text, make_model, graphed=True, optimizer=optimizer)
    assert trainer.update.graph is not None, "a graph was recorded"
    assert replayed == pytest.approx(usual, rel=1e-3)
    assert len(set(replayed)) == len(replayed), "each step reads its own batch"


@needs_cuda
def test_a_step_that_does_not_fit_the_graph_runs_without_it(corpus_text, make_model):
    usual, _ = losses(corpus_text, make_model, graphed=False)
    torch.manual_seed(0)
    corpus = CharCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", 64).to("cuda")
    lines = []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-3, log_every=1)
    trainer = Trainer(make_model().cuda(), corpus, None, config, lines.append)
    trainer.slots = 1  # no step fits
    trainer.train()
    assert [line["loss"] for line in lines] == pytest.approx(usual, rel=1e-3)


@needs_cuda
def test_dropout_draws_anew_at_every_replay(corpus_text, make_model):
    torch.manual_seed(0)
    corpus = CharCorruptionDataset(corpus_text, 64, min_length=56).to("cuda")
    lines = []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-12, log_every=1)
    Trainer(make_model(resid_pdrop=0.5).cuda(), corpus, None, config, lines.append).train()
    assert len({round(line["loss"], 5) for line in lines}) == 6


@needs_cuda
def test_a_graph_nobody_needs_any_more_does_not_disturb_the_next(corpus_text, make_model):
    """A trainer refers to itself, so that only the garbage collector frees its graph: whenever it likes."""
    usual = losses(corpus_text, make_model, graphed=True)[0]  # leaves a trainer behind
    before = gc.get_threshold()
    gc.set_threshold(1)  # from now on at every occasion
    try:
        assert losses(corpus_text, make_model, graphed=True)[0] == pytest.approx(usual, rel=1e-3)
    finally:
        gc.set_threshold(*before)


# ---------------------------------------------------------------------------------------------------- deterministic


def trained(corpus_text, make_model, device: str, stop_after: int | None = None, **settings) -> tuple[list, Trainer]:
    """The parameters after 12 steps with dropout, the last of each epoch smaller; and the trainer that took the last.

    With `stop_after` that is a new one, which goes on from the state after that step.
    """
    states, config = [], TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-2, log_every=1, **settings)

    def make_trainer(seed: int, on_step=None) -> Trainer:
        torch.manual_seed(seed)
        corpus = CharCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", 64).to(where)
        model = make_model(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1).to(where)
        return Trainer(model, corpus, None, config, on_step=on_step)

    def stop(trainer: Trainer) -> None:
        if trainer.step == stop_after:
            states.append(trainer.state())
            raise Stopped("", 0)

    with startup.placed(device, "bf16" if config.bf16 else "tf32", deterministic=True) as where:
        trainer = make_trainer(0, stop)
        with suppress(Stopped):
            trainer.train()
        if states:
            trainer = make_trainer(1)
            trainer.load_state(states[0])
            trainer.train()
        assert trainer.step == trainer.last_step == 12
        return [parameter.detach().cpu() for parameter in trainer.model.parameters()], trainer


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize(
    "device, compile",
    [("cpu", "off"), pytest.param("cuda", "off", marks=needs_cuda), pytest.param("cuda", "on", marks=needs_cuda)],
)
def test_a_deterministic_run_has_the_same_bits_again_also_when_continued(
    corpus_text, make_model, device, compile, bf16, optimizer
):
    how = dict(compile=compile, bf16=bf16, optimizer=optimizer)
    once, trainer = trained(corpus_text, make_model, device, **how)
    assert not trainer.graphed or trainer.update.graph is not None
    for stop_after in (None, 1, 5):  # before a graph is recorded, and between two of its replays
        again, _ = trained(corpus_text, make_model, device, stop_after, **how)
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True)), f"stopped after {stop_after}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_every_variant_can_be_deterministic(corpus_text, make_model, device, variant):
    """No operation of theirs is refused, and what they compute repeats."""

    def make(**changes):
        return make_model(variant=variant, n_layer=3, **changes)

    once, again = (trained(corpus_text, make, device)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu_computes_what_the_first_does(corpus_text, make_model):
    (one, trainer), (other, second) = (trained(corpus_text, make_model, device) for device in ("cuda:0", "cuda:1"))
    assert trainer.update.graph is not None and second.update.graph is not None
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.cuda.current_device() == 0, "as before"


def test_determinism_ends_with_the_run():
    with startup.placed("cpu", deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled() and torch.utils.deterministic.fill_uninitialized_memory
