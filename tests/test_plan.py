"""run.py plan: what it proposes has room, is what pretrain would do, and is measured on this device."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import run
import stages
from dataset import DATA_FOLDER
from model import GPT
from safe.files import read_record
from trust import plan as planning


def corpus_of(folder: Path, documents: int, answer: str = "Oslo", far: int = 0) -> Path:
    lines = [f"Ada {i}. {'x' * far} Born in {answer} {i % 9}.\n" for i in range(documents)]
    rows = [f"Where was Ada {i} born?\t{answer} {i % 9}\n" for i in range(0, documents, 2)]
    (folder / "wiki.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "birth_places_train.tsv").write_text("".join(rows), encoding="utf-8")
    return folder / "wiki.txt"


@pytest.fixture
def unmeasured(monkeypatch):
    """Every step takes a second."""
    monkeypatch.setattr(planning, "seconds_of_step", lambda job, rows: (1.0, "thin air"))


def value(text: str, pattern: str) -> int:
    return int(re.search(pattern, text)[1].replace(",", ""))


def test_for_the_shipped_corpus_it_proposes_the_model_and_the_steps_that_were_measured(unmeasured):
    said = planning.plan(DATA_FOLDER / "wiki.txt", device="cpu")
    assert "4 layers, 8 heads, 256 channels, a block of 128" in said and "recipe strong" in said
    assert value(said, r"steps +([\d,]+):") == 14_950, "docs/capacity.md"
    assert 1_000 < value(said, r"([\d,]+) a document\n") < 1_200 and "4.2 hours" in said  # 14,950 seconds
    assert "160 rows in a step" in said, "128 documents and 32 questions"
    assert "estimate" in said and "docs/capacity.md" in said
    assert "quick" in planning.plan(DATA_FOLDER / "quick" / "wiki.txt", device="cpu")


@pytest.mark.parametrize("documents, epochs, layers", [(20, 650, 4), (50, 377, 4), (400, 100, 6)])
def test_a_larger_corpus_gets_a_larger_model_and_fewer_epochs_but_not_fewer_than_a_hundred(
    tmp_path, unmeasured, monkeypatch, documents, epochs, layers
):
    monkeypatch.setattr(planning, "LEAST_STEPS", 1)
    monkeypatch.setattr(planning, "READ", 650 * 29)
    monkeypatch.setattr(planning, "ROOM", 10_000)
    said = planning.plan(corpus_of(tmp_path, documents), recipe="strong", device="cpu")
    assert value(said, r"([\d,]+) a document\n") >= 10_000
    assert value(said, r"([\d,]+) epochs") == epochs and value(said, r"(\d+) layers") == layers


def test_the_model_of_the_plan_has_the_parameters_that_it_says_and_the_shapes_grow(tmp_path):
    counts = []
    corpus = stages.open_corpus(corpus_of(tmp_path, 9), None, planning.RECIPES["strong"])
    for n_layer, n_embd in planning.SHAPES[:5]:
        fields = dict(n_layer=n_layer, n_head=1, n_embd=n_embd)
        fields = stages.config_fields("vanilla", corpus.vocabulary, planning.RECIPES["strong"], fields)
        with torch.device("meta"):
            model = GPT(planning.GPTConfig(**fields))
        counts.append(sum(p.numel() for p in model.parameters()))
        assert counts[-1] == pytest.approx(planning.room_in(n_layer, n_embd, corpus), rel=0.03)
    assert counts == sorted(counts)


def test_the_block_holds_questions_with_answers_and_reaches_to_where_the_answers_stand(tmp_path):
    def block(**about) -> int:
        path = corpus_of(tmp_path, 20, **about)
        rows = planning.data.read_places(tmp_path / "birth_places_train.tsv")
        return planning.block_for(rows, path.read_text(encoding="utf-8"))

    assert block() == 32  # "Where was Ada 18 born?", "Oslo 8" and two masks: 30
    assert block(answer="O" * 60) == 96
    assert block(far=100) == 144  # 124 * 8 / 7 = 141
    assert block(far=5000) == planning.LONGEST


def test_the_proposed_command_trains_the_proposed_model_as_often_as_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = corpus_of(tmp_path, 12)
    monkeypatch.setattr(planning, "SHAPES", ((1, 32),))
    monkeypatch.setattr(planning, "LEAST_STEPS", 300)  # 12 lines are one batch, so more than the recipe's 200 epochs
    small = dict(n_layer=1, n_head=1, n_embd=32, block_size=48, attn_pdrop=0.0)
    recipe = planning.replace(planning.RECIPES["quick"], model=small)
    monkeypatch.setitem(planning.RECIPES, "quick", recipe)
    assert run.main(["plan", str(path), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    (command,) = re.findall(r"^command +python src/run.py (.*)$", said, re.M)
    assert re.search(r"time +.* on cpu: [\d,]+ ms a step, measured\nmemory +\d+\.\d+ GB, measured", said)
    assert run.main([*shlex.split(command), "--device", "cpu"]) == 0
    record = read_record(tmp_path / "vanilla.pretrain.params")
    assert record["steps"] == value(said, r"steps +([\d,]+):")
    state = torch.load("vanilla.pretrain.params", weights_only=True)
    assert sum(tensor.numel() for tensor in state.values()) == value(said, r": ([\d,]+) parameters")


def test_few_lines_are_read_more_often(tmp_path, unmeasured):
    assert value(planning.plan(corpus_of(tmp_path, 60), device="cpu"), r"steps +([\d,]+):") >= planning.LEAST_STEPS


def test_a_model_that_memory_cannot_hold_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "memory_of", lambda device: 1e6)
    said = planning.plan(corpus_of(tmp_path, 300), device="cpu")
    assert "not measured on cpu" in said and "of the 0.0 GB" in said and "memory " not in said


def test_a_mistake_is_one_line(tmp_path, capsys):
    assert run.main(["plan", str(tmp_path / "none.txt")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
