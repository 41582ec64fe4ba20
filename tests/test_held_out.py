"""What is measured on held-out questions during training, and what the progress bar shows of it."""

import io
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import stages
from safe import held_out
from safe.progress import Bar
from trainer import Trainer, TrainerConfig

SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
PEOPLE = {"Ada Fern": "Oslo", "Bo Lind": "Rome", "Cy Moe": "London", "Dag Ash": "Oslo", "Eve Roe": "Rome"}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("wiki.txt").write_text("".join(f"{name}. Born in {place} .\n" for name, place in PEOPLE.items()))
    Path("train.tsv").write_text("".join(f"Where was {name} born?\t{place}\n" for name, place in PEOPLE.items()))
    return tmp_path


def measured(path: str) -> list[float]:
    lines = [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]
    return [line["validation_accuracy"] for line in lines if "validation_loss" in line]


def test_the_last_accuracy_in_the_log_is_what_evaluate_finds(folder):
    rows = ["Ada Fern\tParis|Oslo", "Bo Lind\tParis", "Cy Moe\tLondon", "Eve Roe\tRome"]  # right: the 1st, 3rd and 4th
    text = "".join(f"Where was {row} \n".replace("\t", " born?\t") for row in rows)
    Path("dev.tsv").write_text(text)
    more = dict(max_epochs=80, batch_size=5, finetune_lr=1e-2, eval_corpus_path="dev.tsv", **SIZES)
    stages.finetune("vanilla", "wiki.txt", "p", "train.tsv", **more)
    found = stages.evaluate("vanilla", "wiki.txt", "p", "dev.tsv", "said", device="cpu")
    assert found["correct"] == 3, "it has learned its questions"
    accuracies = measured("p")
    assert len(accuracies) == 20 and accuracies[0] < accuracies[-1] == found["correct"] / found["total"]


def test_of_many_questions_some_from_the_whole_file_are_asked(folder, monkeypatch):
    monkeypatch.setattr(held_out, "ASKED", 3)
    asked = []

    def answer(model, vocabulary, ids, lengths, plain):
        assert plain
        asked.append([vocabulary.decode(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)])
        return ["Oslo"] * len(ids)

    monkeypatch.setattr(stages, "answer", answer)
    more = dict(max_epochs=1, eval_corpus_path="train.tsv", plain=True, **SIZES)
    stages.finetune("vanilla", "wiki.txt", "p", "train.tsv", **more)
    (questions,) = asked
    assert [question[10:16] for question in questions] == ["Ada Fe", "Cy Moe", "Eve Ro"] and measured("p") == [1 / 3]


class Slow(torch.nn.Module):
    """A model whose loss is its parameter, 4 in the first step."""

    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(4.0))

    def forward(self, x, y):
        time.sleep(0.25)  # longer than a bar waits before it is drawn again
        return x, self.w


def test_the_bar_shows_the_loss_from_the_first_step_on_and_the_accuracy_once_it_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)  # where bars redraw, as in a terminal
    shown, rows = io.StringIO(), torch.utils.data.TensorDataset(torch.zeros(3), torch.zeros(3))

    def on_log(line):
        if "validation_loss" in line:
            line["validation_accuracy"] = 0.37

    trainer = Trainer(Slow(), rows, rows, TrainerConfig(max_epochs=2, batch_size=1, learning_rate=1e-9), on_log=on_log)
    bar = Bar(trainer, file=shown, ascii=True, dynamic_ncols=False)
    trainer.bar = bar
    trainer.train()
    draws = shown.getvalue().split("\r")
    assert "1/6" in draws[2] and draws[2].rstrip().endswith("loss 4.000]") and "<" in draws[2]
    assert "loss 4.000, held-out loss 4.000, accuracy 37%" in draws[-1]


@pytest.mark.parametrize("hidden", [False, True])
def test_the_bar_of_a_continued_run_counts_on_and_that_of_a_hidden_one_shows_nothing(hidden):
    shown, rows = io.StringIO(), torch.utils.data.TensorDataset(torch.zeros(3), torch.zeros(3))
    trainer = Trainer(Slow(), rows, None, TrainerConfig(max_epochs=2, batch_size=1), show_progress=not hidden)
    trainer.steps_done = 4
    Bar(trainer, file=shown, ascii=True).close()
    assert ("4/6" in shown.getvalue()) != hidden == (shown.getvalue() == "")


def test_the_questions_asked_are_those_that_were_read_whatever_stands_in_their_file_afterwards(folder, monkeypatch):
    Path("dev.tsv").write_text("Where was Ada Fern born?\tParis|Oslo\nWhere was Bo Lind born?\tRome\n")
    asked, read_text = [], stages.data.read_text

    def replaced_afterwards(path):
        text = read_text(path)
        if Path(path).name == "dev.tsv":
            Path(path).unlink()
        return text

    def answer(model, vocabulary, ids, lengths, plain):
        asked.append(len(ids))
        return ["Oslo"] * len(ids)

    monkeypatch.setattr(stages.data, "read_text", replaced_afterwards)
    monkeypatch.setattr(stages, "answer", answer)
    stages.finetune("vanilla", "wiki.txt", "p", "train.tsv", max_epochs=1, eval_corpus_path="dev.tsv", **SIZES)
    assert asked == [2] and measured("p") == [0.5], "the second answer of the first row is right, too"


def test_tensorboard_gets_the_losses_and_accuracies_of_the_log(folder, monkeypatch):
    drawn = []

    class SummaryWriter:
        def __init__(self, place, purge_step):
            assert place == "expt/finetune/mine_vanilla"

        def add_scalar(self, name, value, step):
            drawn.append((step, name, value))

        def close(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    more = dict(max_epochs=2, eval_corpus_path="train.tsv", tb_expt_name="mine", **SIZES)
    stages.finetune("vanilla", "wiki.txt", "p", "train.tsv", **more)
    lines = [json.loads(line) for line in Path("p.log.jsonl").read_text().splitlines()]
    assert sorted(drawn) == sorted(
        (line["step"], name, line[name]) for line in lines for name in line.keys() - {"step"}
    )
    assert {"loss", "validation_loss", "validation_accuracy"} <= {name for _, name, _ in drawn}
