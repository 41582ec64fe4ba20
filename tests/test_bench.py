"""The yardstick of the benchmark does the same work as our code. Otherwise their times could not be compared."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import bench
import plain_loop
import stages
from conftest import torchrun_environments
from dataset import encode_questions
from fast.steps import fastest
from starting import python
from trainer import Trainer, TrainerConfig


@pytest.fixture
def pair(make_model):
    """Our model and that of plain_loop.py with the same parameters."""
    ours = make_model()
    plain = plain_loop.PlainGPT(ours.config)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also those that start at 0, as pos_emb does
    ours.load_state_dict(dict(plain.named_parameters()))
    return ours, plain


@pytest.mark.parametrize("who", ["--plain", "ours"])
def test_the_yardstick_has_the_loss_and_gradients_of_our_model(pair, corpus, who):
    ours, plain = pair
    x, y = corpus.batch(torch.arange(len(corpus)))
    if who == "ours":
        our_loss = fastest(ours, corpus, TrainerConfig())[0]["step"].backward(x, y)
    else:
        our_loss = ours(x, y)[1]
        our_loss.backward()
    loss = plain(x, y)[1]
    loss.backward()
    torch.testing.assert_close(our_loss, loss, rtol=1e-5, atol=0, check_device=False)
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("who", ["--plain", "ours"])
def test_the_yardstick_takes_the_steps_of_our_trainer(pair, corpus, who):
    """Batches, rates and updates: two loops over the same fixed row end with the same loss, which has moved."""
    ours, plain = pair
    row = corpus.batch(torch.tensor([0]))

    class OneRow(torch.utils.data.Dataset):
        ignore_index = 0

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
    ways = fastest(ours, OneRow(), config)[0] if who == "ours" else {}
    Trainer(ours, OneRow(), None, config, **ways, on_log=lambda line: log.append(line["loss"])).train()
    # The course's loop sets the rate after its step, ours before it, so that the first step is warmed up already.
    plain_loop.train(plain, OneRow(), config, 0, lambda line: plain_log.append(line["loss"]))
    assert log[0] == pytest.approx(plain_log[0], rel=1e-5)
    assert log[-1] < log[0] - 0.1 and log[-1] == pytest.approx(plain_log[-1], rel=0.1)


def test_the_yardstick_makes_examples_of_the_same_form(corpus, corpus_text):
    plain = plain_loop.PlainCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", corpus.block_size)
    assert plain.stoi == corpus.stoi and len(plain) == len(corpus)
    for i in range(len(plain)):
        x, y = plain[i]
        assert x.shape == y.shape == (corpus.block_size,) and torch.equal(x[1:], y[:-1])
        text = "".join(plain.itos[t] for t in x.tolist()).rstrip(corpus.PAD_CHAR)
        prefix, suffix, span = text.split(corpus.MASK_CHAR)
        assert span and corpus.data[i].startswith(prefix + span + suffix)


@pytest.mark.parametrize("without_cache", [False, True])
def test_the_yardstick_gives_the_same_answers(pair, corpus, without_cache):
    ours, plain = pair
    ours, plain = ours.eval(), plain.eval()
    plain_corpus = plain_loop.PlainCorruptionDataset("\n".join(corpus.data) + "\n", corpus.block_size)
    questions = ["Where was Ada Fern born?", "Where was Bo Lind born?"]
    ids, lengths = encode_questions(questions, corpus.vocabulary, corpus.block_size, "questions")
    answers = [plain_loop.answer(plain, plain_corpus, question, stages.ANSWER_LENGTH) for question in questions]
    assert answers == stages.answer(ours, corpus.vocabulary, ids, lengths, without_cache) and len(set(answers)) == 2


@pytest.mark.parametrize("row", bench.ROWS["cpu"])
def test_every_row_of_the_table_is_measured(folder, monkeypatch, row):
    monkeypatch.setitem(bench.COURSE.model, "n_layer", 1)
    monkeypatch.setitem(bench.COURSE.model, "n_embd", 16)
    monkeypatch.setattr(bench, "matmul_peak", lambda where, precision: 1e9)
    (folder / "birth_dev.tsv").write_text((folder / "train.tsv").read_text(encoding="utf-8"), encoding="utf-8")
    found = bench.measure(row, "cpu", folder, 3, bench.time.time())
    assert found.pop("memory") >= 0 and min(found.values()) > 0
    cells = bench.line_of(row, found | {"memory": 0.0}, found).strip("|").split("|")
    assert cells[0].strip() == row and len(cells) == bench.HEADER.strip("|").count("|") + 1


PROGRAM = f"""
import sys
sys.path[:0] = [{str(Path(bench.__file__).parent)!r}]
import bench
bench.LARGE, bench.LARGE_BATCH, bench.LARGE_STEPS = dict(n_layer=1, n_head=2, n_embd=32, block_size=64), 8, 16
bench.matmul_peak = lambda where, precision: 1e9
bench.main()
"""


@pytest.mark.parametrize("how", ["eager", "sharded"])
def test_a_large_model_is_measured_in_several_processes(folder, how):
    """They train one model together, and only the first of them reports."""
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    words = ["program.py", "--large", how, "--device", "cpu", "--data", folder]

    def started(environment: dict[str, str]) -> subprocess.CompletedProcess:
        return python(*words, cwd=folder, env=environment)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(started, torchrun_environments(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    found = json.loads(first.stdout.splitlines()[-1])
    assert found.keys() == {"step", "targets", "share", "memory"} and min(found.values()) > 0
    assert second.stdout == ""


def test_needed_operations_are_what_one_counts_by_hand(make_model):
    """A linear layer costs 2 operations per weight and position, and each of its two gradients costs as many."""
    model = make_model(n_layer=1, n_head=1)
    y = torch.zeros(2, 64, dtype=torch.long)
    y[0, :3] = 5
    y[1, 0] = 5
    weights = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and not name.startswith("tok_emb"))
    pairs = 3 + 2 + 1 + 1  # of a position and itself or an earlier one
    assert bench.needed_operations(model.config, y) == 3 * (2 * weights * 4 + 4 * 32 * pairs)
