"""What a recipe and a command line say is what reaches the trainer, in every stage."""

import os
from dataclasses import MISSING, fields
from functools import partial

import pytest
import torch

import dataset as data
import run
import stages
from model import GPTConfig
from recipes import RECIPES, Recipe, Stage
from trainer import Trainer, TrainerConfig
from unfinished import UnfinishedRun

DOCUMENTS, QUESTIONS = 9, 8  # in the files of `folder`
BLOCK_SIZE = 48
SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=BLOCK_SIZE)  # no recipe has any of these
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
PRETRAIN = "pretrain vanilla wiki.txt --writing_params_path pre".split()
FINETUNE = "finetune vanilla wiki.txt --finetune_corpus_path train.tsv --writing_params_path fine".split()
MIXING = ["--finetune_corpus_path", "train.tsv"]

# The recipes leave much at its default, where nobody would notice that it does not arrive. This one leaves nothing.
UNUSUAL = Recipe(
    pretrain=Stage(max_epochs=3, batch_size=7, learning_rate=1e-3, schedule_epochs=5, warmup_tokens=11),
    finetune=Stage(max_epochs=4, batch_size=6, learning_rate=2e-3, warmup_tokens=12, optimizer="adamw"),
    scratch=Stage(max_epochs=5, batch_size=5, learning_rate=3e-3, schedule_epochs=2, warmup_tokens=13),
    refine=Stage(max_epochs=6, batch_size=4, learning_rate=4e-3, schedule_epochs=9, warmup_tokens=14),
    model=dict(n_layer=2, n_head=3, n_embd=24, block_size=52, embd_pdrop=0.2, resid_pdrop=0.3, attn_pdrop=0.4),
    max_kept_share=0.75,
    min_kept_share=0.25,
    recall_share=0.6,
    question_share=0.7,
    optimizer="muon",
    weight_decay=0.02,
    decay_gains_and_embeddings=True,
    min_lr_share=0.03,
    dtype="float32",
)
ALL_RECIPES = RECIPES | {"unusual": UNUSUAL}
STAGES = ("pretrain", "mixed", "finetune", "refine", "scratch")


class Untrained(Trainer):
    """Notes what holds when training would begin, and leaves the model as it is."""

    made: list["Untrained"] = []
    shard = False

    def train(self):
        self.seed, self.precision = torch.initial_seed(), torch.get_float32_matmul_precision()
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.made.append(self)
        return {"loss": 0.0, "epoch": self.config.max_epochs, "step": 0, "tokens": 0, "seconds": 0.0}

    @property
    def keep(self) -> dict:
        return self.on_step.__self__.keep


class NotedRun(UnfinishedRun):
    """Remembers what it was asked for, and does without TensorBoard."""

    def __init__(self, *arguments, **keep):
        super().__init__(*arguments, **keep | {"tb_expt_name": None})
        self.keep = keep


@pytest.fixture(autouse=True)
def untrained(folder, monkeypatch):
    """Stages that end where training would begin, in a folder with their files."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # half of the time, for files that no test keeps
    monkeypatch.setattr(Untrained, "made", [])
    monkeypatch.setattr(stages, "Trainer", Untrained)
    monkeypatch.setattr(stages, "UnfinishedRun", NotedRun)
    monkeypatch.setitem(RECIPES, "unusual", UNUSUAL)


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A device "cuda" on every machine: what would move there says so and stays where it is."""

    def stay(self, where: torch.device):
        self.moved_to = where.type
        return self

    zeros = torch.zeros  # by which a device is tried
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **options: zeros(*size, **options))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))  # the oldest that has bf16
    monkeypatch.setattr(stages.GPT, "to", stay)
    monkeypatch.setattr(data.RowDataset, "to", stay)


def command(*words: str, device: str = "cpu") -> Untrained:
    """The trainer of a command, given as a user gives it."""
    assert run.main([*words, "--device", device]) == 0
    return Untrained.made[-1]


def reach(name: str, stage: str) -> Untrained:
    """The trainer of a stage, after the stages before it."""
    if stage == "scratch":
        return command(*FINETUNE, *TINY, "--recipe", name)
    trainer = command(*PRETRAIN, *TINY, "--recipe", name, *(MIXING if stage in ("mixed", "refine") else []))
    if stage in ("finetune", "refine"):  # recipe and sizes are those of the parameters
        trainer = command(*FINETUNE, "--reading_params_path", "pre")
    return trainer


def reachable() -> list[tuple[str, str]]:
    mixing = ("mixed", "refine")
    mixers = [name for name, recipe in ALL_RECIPES.items() if recipe.question_share]
    return [(name, stage) for name in ALL_RECIPES for stage in STAGES if name in mixers or stage not in mixing]


# --------------------------------------------------------------------------------------------------------- recipes


def test_the_unusual_recipe_leaves_nothing_at_its_default():
    def default(field):
        return field.default if field.default_factory is MISSING else field.default_factory()

    of_stages = [UNUSUAL.pretrain, UNUSUAL.finetune, UNUSUAL.scratch, UNUSUAL.refine]
    assert all(getattr(UNUSUAL, field.name) != default(field) for field in fields(Recipe))
    for field in fields(Stage):
        assert any(getattr(stage, field.name) != default(field) for stage in of_stages), field.name


@pytest.mark.parametrize("name, stage", reachable())
def test_the_trainer_is_given_what_the_recipe_says(name, stage):
    recipe, trainer = ALL_RECIPES[name], reach(name, stage)
    table = {"mixed": recipe.pretrain, "refine": recipe.refine or recipe.finetune}.get(stage) or getattr(recipe, stage)
    rows = DOCUMENTS if stage in ("pretrain", "mixed") else QUESTIONS
    batch_size = table.batch_size
    if stage == "mixed":  # as many documents a batch as without, and questions on top
        rows += round(DOCUMENTS * recipe.question_share)
        batch_size = round(table.batch_size * rows / DOCUMENTS)
    scheduled = table.max_epochs * rows if table.schedule_epochs is None else table.schedule_epochs * DOCUMENTS
    assert trainer.config == TrainerConfig(
        max_epochs=table.max_epochs,
        batch_size=batch_size,
        learning_rate=table.learning_rate,
        optimizer=table.optimizer or recipe.optimizer,
        weight_decay=recipe.weight_decay,
        decay_gains_and_embeddings=recipe.decay_gains_and_embeddings,
        lr_decay=True,
        warmup_tokens=table.warmup_tokens,
        final_tokens=scheduled * BLOCK_SIZE,
        min_lr_share=recipe.min_lr_share,
    )
    vocab_size = len(set(data.read_text("wiki.txt"))) + 2  # and PAD and MASK
    assert trainer.model.config == GPTConfig(**recipe.model | SIZES, vocab_size=vocab_size)
    check_rows(trainer.train_dataset, recipe, stage)
    assert len(trainer.train_dataset) == rows and trainer.test_dataset is None


def check_rows(rows, recipe: Recipe, stage: str) -> None:
    corpus, questions = (rows.documents, rows.questions) if stage == "mixed" else (rows, rows)
    if stage in ("pretrain", "mixed"):
        longest = int(BLOCK_SIZE * recipe.max_kept_share)
        assert (corpus.min_length, corpus.max_length) == (max(4, int(longest * recipe.min_kept_share)), longest)
        assert corpus.recall_share == recipe.recall_share and len(corpus) == DOCUMENTS
    if stage != "pretrain":
        assert isinstance(questions, data.NameDataset) and len(questions) == QUESTIONS


@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
@pytest.mark.parametrize("name", ALL_RECIPES)
def test_without_flags_the_sizes_are_the_recipes(name, words):
    config = command(*words, "--recipe", name).model.config
    assert {size: getattr(config, size) for size in ALL_RECIPES[name].model} == ALL_RECIPES[name].model


@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
@pytest.mark.parametrize(
    "name, dtype", [(name, None) for name in ALL_RECIPES] + [("strong", dtype) for dtype in ("float32", "tf32", "bf16")]
)
def test_how_precise_products_are_on_a_gpu_and_elsewhere(pretended_gpu, name, dtype, words):
    expected = {"float32": (False, "highest"), "tf32": (False, "high"), "bf16": (True, "high")}
    words = [*words, *TINY, "--recipe", name, *(["--dtype", dtype] if dtype else [])]
    trainer = command(*words, device="cuda")
    assert (trainer.config.bf16, trainer.precision) == expected[dtype or ALL_RECIPES[name].dtype]
    trainer = command(*words, device="cpu")
    assert (trainer.config.bf16, trainer.precision) == (False, "highest")


def test_products_are_as_precise_afterwards_as_before(request):
    request.addfinalizer(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision("high")
    assert command(*PRETRAIN, *TINY).precision == "highest"
    assert torch.get_float32_matmul_precision() == "high"


def test_bf16_is_not_for_gpus_that_only_imitate_it(pretended_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not command(*PRETRAIN, *TINY, "--recipe", "strong", device="cuda").config.bf16


# ----------------------------------------------------------------------------------------------------------- flags

# For every field of Running a value that is not its default, and all the places where it acts.
ACTS = {
    "max_epochs": (2, lambda t: [t.config.max_epochs]),
    "batch_size": (3, lambda t: [t.config.batch_size]),
    "dtype": ("bf16", lambda t: ["bf16" if t.config.bf16 else t.precision]),
    "seed": (7, lambda t: [t.config.seed, t.seed]),
    "device": ("cpu", lambda t: [t.model.moved_to, t.train_dataset.moved_to]),
    "compile": ("off", lambda t: [t.config.compile]),
    "deterministic": (True, lambda t: [t.deterministic]),
    "skip_nonfinite": (True, lambda t: [t.config.skip_nonfinite]),
    "checkpoint_activations": (True, lambda t: [t.model.checkpoint_activations]),
    "shard": (True, lambda t: [t.shard]),
    "tb_expt_name": ("name", lambda t: [t.keep["tb_expt_name"]]),
    "checkpoint_every": (5.0, lambda t: [t.keep["every"]]),
    "resume": (True, lambda t: [t.keep["resume"]]),
    "overwrite": (True, lambda t: [t.keep["overwrite"]]),
}


def by_keyword(function: str, **options) -> Untrained:
    if function == "pretrain":
        stages.pretrain("vanilla", "wiki.txt", "by_keyword", **SIZES, **options)
    else:
        stages.finetune("vanilla", "wiki.txt", "by_keyword", "train.tsv", **SIZES, **options)
    return Untrained.made[-1]


def by_flag(function: str, **options) -> Untrained:
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value)) if word != "True"]
    assert run.main([*(PRETRAIN if function == "pretrain" else FINETUNE), *TINY, *flags]) == 0
    return Untrained.made[-1]


@pytest.fixture
def noted_shard(monkeypatch):
    """Whether the processes of torchrun, which are not there, were to divide the model."""

    def processes_of_torchrun(shard: bool) -> None:
        monkeypatch.setattr(Untrained, "shard", shard)

    monkeypatch.setattr(stages, "processes_of_torchrun", processes_of_torchrun)


@pytest.mark.parametrize("function", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", [field.name for field in fields(stages.Running)])
def test_how_to_run_arrives_where_it_acts(pretended_gpu, noted_shard, name, function):
    value, places = ACTS[name]
    for give in (by_keyword, by_flag):
        there = places(give(function, **{"device": "cuda", name: value}))
        assert there == [value] * len(there), give.__name__


@pytest.mark.parametrize("function", ["pretrain", "finetune"])
def test_what_is_not_given_is_the_same_either_way(pretended_gpu, noted_shard, function):
    keyword, flag = by_keyword(function, device="cuda"), by_flag(function, device="cuda")
    for name, (value, places) in ACTS.items():
        assert places(keyword) == places(flag), name
        assert value not in places(keyword), f"the test above would see nothing of {name}"


def test_the_seed_decides_what_a_new_model_starts_from():
    for words in (PRETRAIN, FINETUNE):
        model = command(*words, *TINY, "--seed", "7").model
        torch.manual_seed(7)
        for ours, again in zip(model.parameters(), stages.GPT(model.config).parameters(), strict=True):
            assert torch.equal(ours, again)


def test_each_stage_has_a_rate_of_its_own():
    both = ["--pretrain_lr", "0.25", "--finetune_lr", "0.125", *TINY]
    assert command(*PRETRAIN, *both).config.learning_rate == 0.25
    assert command(*FINETUNE, *both).config.learning_rate == 0.125


def test_a_batch_given_counts_documents_and_the_rate_ends_with_the_epochs_given():
    given = ["--batch_size", "6", "--max_epochs", "2", *TINY, *MIXING, "--recipe"]
    config = command(*PRETRAIN, *given, "quick").config  # a question to three documents
    assert config.batch_size == 8 and config.final_tokens == 2 * 12 * BLOCK_SIZE
    unusual = command(*PRETRAIN, *given, "unusual").config  # whose schedule has a length of its own
    assert unusual.max_epochs == 2 and unusual.final_tokens == 5 * DOCUMENTS * BLOCK_SIZE
