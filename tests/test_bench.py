"""The yardstick of the benchmark does the same work as ours: else their times could not be compared."""

import json
import subprocess
import sys
from pathlib import Path

import bench
import plain_loop
import pytest
import torch
from conftest import torchrun_environments

import stages
from dataset import encode_questions
from trainer import Trainer, TrainerConfig


@pytest.fixture
def pair(make_model):
    """Our model and the plain one with the same parameters."""
    ours = make_model()
    plain = plain_loop.PlainGPT(ours.config)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also those that start at 0, as pos_emb does
    ours.load_parameters(plain.state_dict())
    return ours, plain


def test_the_plain_model_has_our_loss_and_gradients(pair, corpus):
    ours, plain = pair
    x, y = corpus.batch(torch.arange(len(corpus)))
    losses = ours(x, y, computed=int(ours.positions_needed(y).sum()))[1], plain(x, y)[1]
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(loss, list(model.parameters())) for loss, model in zip(losses, pair, strict=True)]
    names = [[name for name, _ in model.named_parameters()] for model in pair]
    ours, plain = (dict(zip(*both, strict=True)) for both in zip(names, gradients, strict=True))
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-3, atol=1e-5)


def test_the_plain_loop_takes_our_steps(pair, corpus):
    """Batches, rates and updates: two loops over the same fixed rows end with the same loss, which has moved."""
    ours, plain = pair
    row = corpus.batch(torch.tensor([0]))

    class OneRow(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return row[0][0], row[1][0]

    config = TrainerConfig(
        max_epochs=6,
        batch_size=1,
        learning_rate=1e-3,
        decay_gains_and_embeddings=True,
        lr_decay=True,
        warmup_tokens=64,
        final_tokens=6 * 64,
        log_every=1,
    )
    log, plain_log = [], []
    Trainer(ours, OneRow(), None, config, lambda line: log.append(line["loss"])).train()
    # The course's loop sets the rate after its step; ours before, so that the first step is already warmed up.
    plain_loop.train(plain, OneRow(), config, 0, lambda line: plain_log.append(line["loss"]))
    assert log[0] == pytest.approx(plain_log[0], rel=1e-5)
    assert log[-1] < log[0] - 0.1 and log[-1] == pytest.approx(plain_log[-1], rel=0.1)


def test_plain_examples_have_the_form_of_ours(corpus, corpus_text):
    plain = plain_loop.PlainCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", corpus.block_size)
    assert plain.stoi == corpus.stoi and len(plain) == len(corpus)
    for i in range(len(plain)):
        x, y = plain[i]
        assert x.shape == y.shape == (corpus.block_size,) and torch.equal(x[1:], y[:-1])
        text = "".join(plain.itos[t] for t in x.tolist()).rstrip(corpus.PAD_CHAR)
        prefix, suffix, span = text.split(corpus.MASK_CHAR)
        assert span and corpus.data[i].startswith(prefix + span + suffix)


def test_the_plain_answers_are_ours(pair, corpus):
    ours, plain = pair
    ours, plain = ours.eval(), plain.eval()
    plain_corpus = plain_loop.PlainCorruptionDataset("\n".join(corpus.data) + "\n", corpus.block_size)
    questions = ["Where was Ada Fern born?", "Where was Bo Lind born?"]
    ids, lengths = encode_questions(questions, corpus.stoi, corpus.block_size, "questions")
    answers = [plain_loop.answer(plain, plain_corpus, question, stages.ANSWER_LENGTH) for question in questions]
    assert answers == stages.answer(ours, corpus, ids, lengths) and len(set(answers)) == 2


PROGRAM = f"""
import sys
sys.path[:0] = [{str(Path(bench.__file__).parent)!r}]
import bench
bench.LARGE, bench.LARGE_BATCH, bench.LARGE_STEPS = dict(n_layer=1, n_head=2, n_embd=32, block_size=64), 8, 16
bench.main()
"""


@pytest.mark.parametrize("how", ["eager", "sharded"])
def test_a_large_model_is_measured_in_several_processes(folder, how):
    """They take the steps of one training, and only the first of them reports."""
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    pipe = subprocess.PIPE
    command = [sys.executable, "program.py", "--large", how, "--device", "cpu", "--data", str(folder)]
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)
        for environment in torchrun_environments(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    found = json.loads(said[0][0].splitlines()[-1])
    assert found.keys() == {"step", "targets", "share", "memory"} and min(found.values()) > 0
    assert said[1][0] == ""


def test_needed_operations_by_hand(make_model):
    """A linear layer costs 2 operations a weight and position; the gradients of inputs and weights as many each."""
    model = make_model(n_layer=1, n_head=1)
    y = torch.zeros(2, 64, dtype=torch.long)
    y[0, :3] = 5
    y[1, 0] = 5
    weights = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith("tok_emb"))
    pairs = 3 + 2 + 1 + 1  # of a position with itself or an earlier one
    assert bench.needed_operations(model.config, y) == 3 * (2 * weights * 4 + 4 * 32 * pairs)
