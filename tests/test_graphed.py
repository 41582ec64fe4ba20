"""Steps replayed from a CUDA graph are the steps that run as usual. Needs a GPU."""

import pytest
import torch

from dataset import CharCorruptionDataset
from trainer import Trainer, TrainerConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_graph_computes_the_same_steps(corpus_text, make_model, optimizer):
    usual, _ = losses(corpus_text, make_model, graphed=False, optimizer=optimizer)
    replayed, trainer = losses(corpus_text, make_model, graphed=True, optimizer=optimizer)
    assert trainer.update.graph is not None, "a graph was recorded"
    assert replayed == pytest.approx(usual, rel=1e-3)
    assert len(set(replayed)) == len(replayed), "each step reads its own batch"


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


def test_dropout_draws_anew_at_every_replay(corpus_text, make_model):
    torch.manual_seed(0)
    corpus = CharCorruptionDataset(corpus_text, 64, min_length=56).to("cuda")
    lines = []
    config = TrainerConfig(max_epochs=6, batch_size=8, learning_rate=1e-12, log_every=1)
    Trainer(make_model(resid_pdrop=0.5).cuda(), corpus, None, config, lines.append).train()
    assert len({round(line["loss"], 5) for line in lines}) == 6
