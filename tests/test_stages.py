"""Everything that a recipe and a command line say reaches the trainer, in every stage; and what --plain executes."""

import hashlib
import json
import os
import sys
import threading
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import dataset as data
import run
import stages
from attention import VARIANTS
from model import GPT, GPTConfig
from recipes import RECIPES, Recipe, Stage
from safe import flags as grammar
from safe import job
from safe.files import read_parameters
from safe.running import Running
from safe.unfinished import UnfinishedRun
from trainer import Trainer, TrainerConfig

DOCUMENTS, QUESTIONS = 9, 8  # in the files of `folder`
BLOCK_SIZE = 48
SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=BLOCK_SIZE)  # no recipe has any of these
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
PRETRAIN = "pretrain vanilla wiki.txt --writing_params_path pre".split()
FINETUNE = "finetune vanilla wiki.txt --finetune_corpus_path train.tsv --writing_params_path fine".split()
MIXING = ["--finetune_corpus_path", "train.tsv"]
HELD_OUT = ["--eval_corpus_path", "dev.tsv"]

# The recipes leave many values at their defaults, which would hide that they do not arrive. This one leaves none.
UNUSUAL = Recipe(
    pretrain=Stage(max_epochs=3, batch_size=7, learning_rate=1e-3, schedule_epochs=5, warmup_tokens=11),
    finetune=Stage(max_epochs=4, batch_size=6, learning_rate=2e-3, warmup_tokens=12, optimizer="adamw"),
    scratch=Stage(max_epochs=5, batch_size=5, learning_rate=3e-3, schedule_epochs=2, warmup_tokens=13),
    refine=Stage(max_epochs=6, batch_size=4, learning_rate=4e-3, schedule_epochs=9, warmup_tokens=14),
    model=dict(n_layer=2, n_head=3, n_embd=24, block_size=52, embd_pdrop=0.2, resid_pdrop=0.3, attn_pdrop=0.4),
    max_kept_share=0.75,
    third_mask=True,
    short_by=1,
    counts_last_line=True,
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
    """Notes the state of torch when training would begin, and does not change the model."""

    made: list["Untrained"] = []
    shard = False

    def train(self):
        self.seed, self.precision = torch.initial_seed(), torch.get_float32_matmul_precision()
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.made.append(self)
        self.bar.close()
        return {"loss": 0.0, "epoch": self.config.max_epochs, "step": 0, "tokens": 0, "seconds": 0.0}

    @property
    def keep(self) -> dict:
        return self.on_pause.__self__.keep


class NotedRun(UnfinishedRun):
    """Keeps its arguments, and does not need TensorBoard."""

    def __init__(self, *arguments, **keep):
        super().__init__(*arguments, **keep | {"tb_expt_name": None})
        self.keep = keep


def noted_fastest(model, dataset, config, **how):
    """In place of fast.steps.fastest: a step that holds the arguments."""
    return {"step": SimpleNamespace(model=model, dataset=dataset, config=config, **how)}, "noted"


@pytest.fixture
def trains():
    """For tests in which training takes place, unlike in the rest of this file."""


@pytest.fixture(autouse=True)
def untrained(request, folder, monkeypatch):
    """Stages that end where training would begin, in a folder with their files."""
    held_out = "Where was Ada Fern born?\tKyoto\nWhere was Bo Lind born?\tOslo\n"
    (folder / "dev.tsv").write_text(held_out, encoding="utf-8")
    monkeypatch.setattr(os, "fsync", lambda file: None)  # half of the time, for files that no test keeps
    if "trains" in request.fixturenames:
        return
    monkeypatch.setattr(Untrained, "made", [])
    monkeypatch.setattr(job, "Trainer", Untrained)
    monkeypatch.setattr(job, "UnfinishedRun", NotedRun)
    monkeypatch.setattr(stages, "fastest", noted_fastest)
    monkeypatch.setitem(RECIPES, "unusual", UNUSUAL)
    for *_, name, _, settings in grammar.FLAGS:
        if name == "--recipe":
            monkeypatch.setitem(settings, "choices", [*RECIPES])


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A device "cuda" on every machine. What would be moved there notes that and stays where it is."""

    def stay(self, where: torch.device):
        self.moved_to = where.type
        return self

    zeros = torch.zeros  # which the stages try on the device
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **options: zeros(*size, **options))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "device", lambda where: nullcontext())
    monkeypatch.setattr(GPT, "to", stay)
    monkeypatch.setattr(data.RowDataset, "to", stay)


def command(*words: str, device: str = "cpu") -> Untrained:
    """The trainer of a command line."""
    again = [] if "--resume" in words or "--overwrite" in words else ["--overwrite"]
    assert run.main([*words, *again, "--device", device]) == 0
    return Untrained.made[-1]


def reach(name: str, stage: str) -> Untrained:
    """The trainer of a stage, after the stages before it."""
    if stage == "scratch":
        return command(*FINETUNE, *TINY, *HELD_OUT, "--recipe", name)
    mixing = MIXING if stage in ("mixed", "refine") else []
    trainer = command(*PRETRAIN, *TINY, *HELD_OUT, "--recipe", name, *mixing)
    if stage in ("finetune", "refine"):  # recipe and sizes are those of the parameters
        trainer = command(*FINETUNE, *HELD_OUT, "--reading_params_path", "pre")
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
def test_what_the_recipe_says_reaches_the_trainer(name, stage):
    recipe, trainer = ALL_RECIPES[name], reach(name, stage)
    table = {"mixed": recipe.pretrain, "refine": recipe.refine or recipe.finetune}.get(stage) or getattr(recipe, stage)
    rows = DOCUMENTS if stage in ("pretrain", "mixed") else QUESTIONS
    batch_size = table.batch_size
    if stage == "mixed":  # as many documents per batch as without questions, which come on top
        rows += round(DOCUMENTS * recipe.question_share)
        batch_size = round(table.batch_size * rows / DOCUMENTS)
    scheduled = (
        table.max_epochs * rows
        if table.schedule_epochs is None
        else (table.schedule_epochs * (DOCUMENTS + recipe.counts_last_line))
    )
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
        eval_every=max(1, table.max_epochs // 20),
    )
    vocab_size = len(set(data.read_text("wiki.txt"))) + 2  # with PAD and MASK
    assert trainer.model.config == GPTConfig(**recipe.model | SIZES, vocab_size=vocab_size, ignore_index=data.PAD)
    check_rows(trainer.train_dataset, recipe, stage)
    assert len(trainer.train_dataset) == rows
    assert isinstance(trainer.test_dataset, data.NameDataset)
    assert [row.split(data.MASK_CHAR)[1] for row in trainer.test_dataset.data] == ["Kyoto", "Oslo"], "those of dev.tsv"
    asked = trainer.step
    assert (asked.model, asked.dataset, asked.config) == (trainer.model, trainer.train_dataset, trainer.config)
    assert (asked.bf16, asked.compile, asked.processes) == (recipe.dtype == "bf16", "auto", None)


def check_rows(rows, recipe: Recipe, stage: str) -> None:
    corpus, questions = (rows.documents, rows.questions) if stage == "mixed" else (rows, rows)
    if stage in ("pretrain", "mixed"):
        longest = int(BLOCK_SIZE * recipe.max_kept_share)
        assert (corpus.min_length, corpus.max_length) == (max(4, int(longest * recipe.min_kept_share)), longest)
        assert corpus.recall_share == recipe.recall_share and len(corpus) == DOCUMENTS
        assert (corpus.third_mask, corpus.short_by) == (recipe.third_mask, recipe.short_by)
    if stage != "pretrain":
        assert isinstance(questions, data.NameDataset) and len(questions) == QUESTIONS


@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
@pytest.mark.parametrize("name", ALL_RECIPES)
def test_without_flags_the_sizes_are_those_of_the_recipe(name, words):
    config = command(*words, "--recipe", name).model.config
    assert {size: getattr(config, size) for size in ALL_RECIPES[name].model} == ALL_RECIPES[name].model


@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
@pytest.mark.parametrize(
    "name, dtype", [(name, None) for name in ALL_RECIPES] + [("strong", dtype) for dtype in ("float32", "tf32", "bf16")]
)
def test_the_precision_of_matrix_products_is_that_of_the_recipe_or_the_flag(pretended_gpu, name, dtype, words):
    expected = {"float32": (False, "highest"), "tf32": (False, "high"), "bf16": (True, "high")}
    words = [*words, *TINY, "--recipe", name, *(["--dtype", dtype] if dtype else [])]
    trainer = command(*words, device="cuda")
    assert (trainer.step.bf16, trainer.precision) == expected[dtype or ALL_RECIPES[name].dtype]


def test_the_precision_of_matrix_products_is_restored_after_a_run(pretended_gpu, request):
    request.addfinalizer(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    for before in ("high", "highest"):
        torch.set_float32_matmul_precision(before)
        for device, within in (("cuda", "high"), ("cpu", before)):
            assert command(*PRETRAIN, *TINY, device=device).precision == within
            assert torch.get_float32_matmul_precision() == before


# ----------------------------------------------------------------------------------------------------------- flags

# For every field of Running: a value that is not its default, and all the places where it acts.
ACTS = {
    "max_epochs": (2, lambda t: [t.config.max_epochs]),
    "batch_size": (3, lambda t: [t.config.batch_size]),
    "dtype": ("bf16", lambda t: ["bf16" if t.step.bf16 else t.precision]),
    "seed": (7, lambda t: [t.config.seed, t.seed]),
    "device": ("cpu", lambda t: [t.model.moved_to, t.train_dataset.moved_to, t.test_dataset.moved_to]),
    "compile": ("off", lambda t: [t.step.compile]),
    "deterministic": (True, lambda t: [t.deterministic]),
    "plain": (True, lambda t: [t.step is None]),
    "shard": (True, lambda t: [t.shard]),
    "tb_expt_name": ("name", lambda t: [t.keep["tb_expt_name"] and t.keep["tb_expt_name"].split("/")[1].split("_")[0]]),
    "checkpoint_every": (5.0, lambda t: [t.keep["every"]]),
    "resume": (True, lambda t: [t.keep["resume"]]),
    "overwrite": (True, lambda t: [t.keep["overwrite"]]),
}


def by_keyword(function: str, **options) -> Untrained:
    options = SIZES | dict(eval_corpus_path="dev.tsv") | options
    if function == "pretrain":
        stages.pretrain("vanilla", "wiki.txt", "by_keyword", **options)
    else:
        stages.finetune("vanilla", "wiki.txt", "by_keyword", "train.tsv", **options)
    return Untrained.made[-1]


def by_flag(function: str, **options) -> Untrained:
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value)) if word != "True"]
    assert run.main([*(PRETRAIN if function == "pretrain" else FINETUNE), *TINY, *HELD_OUT, *flags]) == 0
    return Untrained.made[-1]


@pytest.fixture
def noted_shard(monkeypatch):
    """Notes --shard, which would need several processes."""

    def processes_of_torchrun(shard: bool, plain: bool) -> None:
        monkeypatch.setattr(Untrained, "shard", shard)

    monkeypatch.setattr(stages, "processes_of_torchrun", processes_of_torchrun)


@pytest.mark.parametrize("function", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", [field.name for field in fields(Running)])
def test_every_way_of_running_arrives_where_it_acts(pretended_gpu, noted_shard, name, function):
    value, places = ACTS[name]
    for give in (by_keyword, by_flag):
        there = places(give(function, **{"device": "cuda", name: value}))
        assert there == [value] * len(there), give.__name__


@pytest.mark.parametrize("function", ["pretrain", "finetune"])
def test_the_defaults_of_functions_and_of_flags_are_the_same(pretended_gpu, noted_shard, function):
    keyword, flag = by_keyword(function, device="cuda"), by_flag(function, device="cuda")
    for name, (value, places) in ACTS.items():
        assert places(keyword) == places(flag), name
        assert value not in places(keyword), f"the test above could not tell {name} from its default"


def test_the_seed_determines_the_parameters_of_a_new_model():
    for words in (PRETRAIN, FINETUNE):
        model = command(*words, *TINY, "--seed", "7").model
        torch.manual_seed(7)
        for ours, again in zip(model.parameters(), GPT(model.config).parameters(), strict=True):
            assert torch.equal(ours, again)


def test_each_stage_takes_its_own_learning_rate():
    both = ["--pretrain_lr", "0.25", "--finetune_lr", "0.125", *TINY]
    assert command(*PRETRAIN, *both).config.learning_rate == 0.25
    assert command(*FINETUNE, *both).config.learning_rate == 0.125


def test_batch_size_counts_documents_and_the_schedule_ends_with_max_epochs():
    given = ["--batch_size", "6", "--max_epochs", "2", *TINY, *MIXING, "--recipe"]
    config = command(*PRETRAIN, *given, "quick").config  # one question for three documents
    assert config.batch_size == 8 and config.final_tokens == 2 * 12 * BLOCK_SIZE
    unusual = command(*PRETRAIN, *given, "unusual").config  # has a schedule of fixed length
    assert unusual.max_epochs == 2 and unusual.final_tokens == 5 * (DOCUMENTS + 1) * BLOCK_SIZE


@pytest.mark.parametrize("epochs", [1, 10, 65])
def test_a_shorter_run_leaves_its_warmup_at_the_same_share_of_its_steps(epochs):
    """The rate of a run of 10 epochs reaches its peak, as that of 650 does."""
    config = command(*PRETRAIN, *TINY, "--recipe", "strong", "--max_epochs", str(epochs)).config
    whole = RECIPES["strong"].pretrain
    assert config.warmup_tokens == pytest.approx(whole.warmup_tokens * epochs / whole.max_epochs, abs=1)
    course = command(*PRETRAIN, *TINY, "--recipe", "course", "--max_epochs", str(epochs)).config
    assert course.warmup_tokens == 512 * 20, "the course's schedule is of a fixed length"


def test_the_third_mask_is_in_the_examples_and_in_the_record():
    plain, third = command(*PRETRAIN, *TINY), command(*PRETRAIN, *TINY, "--third_mask", "--overwrite")
    for trainer, masks in ((plain, 2), (third, 3)):
        x, y = trainer.train_dataset.batch(torch.arange(DOCUMENTS))
        strings = torch.cat([x, y[:, -1:]], dim=1)
        assert (strings == data.MASK).sum(dim=1).tolist() == [masks] * DOCUMENTS
    corruption = json.loads(Path("pre.json").read_text(encoding="utf-8"))["corruption"]
    assert corruption["third_mask"] is True
    stages.pretrain("vanilla", "wiki.txt", "by_keyword", third_mask=True, device="cpu", **SIZES)
    assert Untrained.made[-1].train_dataset.third_mask


@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
def test_without_held_out_questions_there_is_no_validation(words):
    assert command(*words, *TINY).test_dataset is None


@pytest.mark.parametrize("max_epochs, eval_every", [(1, 1), (39, 1), (40, 2), (650, 32)])
def test_validation_takes_place_about_every_twentieth_of_the_epochs(max_epochs, eval_every):
    for words in (PRETRAIN, FINETUNE):
        assert command(*words, *TINY, "--max_epochs", str(max_epochs)).config.eval_every == eval_every


# -------------------------------------------------------------------------------- what is executed in real training

CORE = {f"{name}.py" for name in "vocabulary dataset attention efficient_attention model optimizer trainer".split()}
SRC = Path(stages.__file__).parent


@contextmanager
def entered_files():
    """A set of the files of src/ whose functions are entered within this block."""
    files = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(SRC):
            files.add(path.relative_to(SRC).as_posix())

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


# What is called with a line of the log: it is written, and held-out questions are answered for it. And the bar.
BESIDE_TRAINING = {"safe/unfinished.py", "safe/held_out.py", "safe/own_facts.py", "safe/progress.py", "stages.py"}


@pytest.fixture
def files_of_training(monkeypatch, trains):
    """The files of src/ that Trainer.train enters."""
    found, train = set(), Trainer.train

    def watched(self):
        self.show_progress = False
        with entered_files() as files:
            result = train(self)
        found.update(files)
        return result

    monkeypatch.setattr(Trainer, "train", watched)
    return found


def trained(*words: str) -> None:
    assert run.main([*words, *TINY, "--device", "cpu", "--max_epochs", "1"]) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_plain_training_executes_only_the_core(files_of_training, variant):
    pretrain = ["pretrain", variant, *PRETRAIN[2:], "--n_layer", "3", "--plain", *MIXING, *HELD_OUT]
    assert run.main([*pretrain, *TINY[2:], "--recipe", "quick", "--device", "cpu", "--max_epochs", "1"]) == 0
    wings = files_of_training - CORE
    assert wings == BESIDE_TRAINING
    assert {"trainer.py", "dataset.py", "attention.py", "model.py", "optimizer.py"} <= files_of_training


def test_training_without_plain_executes_the_faster_steps(files_of_training):
    """Otherwise the test above would see nothing."""
    trained(*PRETRAIN)
    assert {"fast/steps.py", "fast/rows.py", "fast/dropout.py"} <= files_of_training


def test_plain_finetuning_executes_only_the_core(files_of_training):
    trained(*FINETUNE, "--plain", *HELD_OUT)
    assert files_of_training - CORE == BESIDE_TRAINING


def test_predictions_name_the_parameters_and_questions_that_were_read_whatever_stands_there_afterwards(monkeypatch):
    command(*PRETRAIN, *TINY)
    read = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in ("pre", "dev.tsv")}

    def replaced_meanwhile(*arguments):
        for name in read:
            Path(name).write_bytes(b"another file")
        return encode_questions(*arguments)

    encode_questions = data.encode_questions  # once both are read, and before the record is made
    monkeypatch.setattr(data, "encode_questions", replaced_meanwhile)
    monkeypatch.setattr(stages, "answer", lambda model, vocabulary, ids, lengths, plain: ["Kyoto"] * len(ids))
    found = stages.evaluate("vanilla", "wiki.txt", "pre", "dev.tsv", "said", device="cpu")
    record = json.loads(Path("said.json").read_bytes())
    assert (record["sha256"], record["questions_sha256"]) == (read["pre"], read["dev.tsv"])
    assert (found["total"], found["correct"]) == (2, 1), "scored by the rows that were asked"


def test_a_run_is_about_the_bytes_that_were_read(monkeypatch):
    command(*PRETRAIN, *TINY)
    names = {"corpus": "wiki.txt", "questions": "train.tsv", "start": "pre"}
    read = {kind: hashlib.sha256(Path(name).read_bytes()).hexdigest() for kind, name in names.items()}
    read_bytes, load = Path.read_bytes, torch.load

    def replaced_afterwards(path):
        content = read_bytes(path)
        if path.name in ("wiki.txt", "train.tsv"):
            path.write_bytes(content + b"\n")
        return content

    def replaced_before(*arguments, **options):
        Path("pre").write_bytes(b"another file")
        return load(*arguments, **options)

    monkeypatch.setattr(Path, "read_bytes", replaced_afterwards)
    monkeypatch.setattr(torch, "load", replaced_before)
    monkeypatch.setattr(stages, "train", lambda job, about, answer: about)
    files = {"finetune_corpus_path": "train.tsv", "reading_params_path": "pre"}
    about = stages.finetune("vanilla", "wiki.txt", "fine", **files, device="cpu")
    assert {kind: about[f"{kind}_sha256"] for kind in read} == read


def test_predictions_replace_no_file_of_any_run():
    command(*PRETRAIN, *TINY)
    for name in ("other", "other.json", "unfinished.resume"):
        Path(name).write_bytes(Path("pre").read_bytes())
    for name in ("other.log.jsonl", "other.calibration.json", "unfinished.resume.log.jsonl", "unfinished"):
        Path(name).touch()
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    for name in [name for name in before if name.startswith(("pre", "other", "unfinished"))]:
        with pytest.raises(ValueError, match=f"^.*{name}: cannot be written: it (belongs|is one of)"):
            stages.evaluate("vanilla", "wiki.txt", "pre", "dev.tsv", name, device="cpu")
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_plain_evaluation_executes_no_faster_rows(trains):
    trained(*PRETRAIN)
    evaluate = "evaluate vanilla wiki.txt --reading_params_path pre --eval_corpus_path dev.tsv --device cpu".split()
    outputs = {}
    for name, flags in (("plain", ["--plain"]), ("fast", [])):
        with entered_files() as files:
            assert run.main([*evaluate, "--outputs_path", name, *flags]) == 0
        assert ("fast/rows.py" in files) == (name == "fast")
        outputs[name] = Path(name).read_text(encoding="utf-8")
    assert outputs["plain"] == outputs["fast"]


def test_the_command_trains_what_the_trainer_as_a_library_trains(trains):
    """With --plain, bit for bit."""
    words = [*PRETRAIN, *TINY, "--plain", "--device", "cpu", "--max_epochs", "3", "--batch_size", "4", "--seed", "5"]
    assert run.main(words) == 0

    corpus = data.CharCorruptionDataset(data.read_corpus("wiki.txt"), BLOCK_SIZE)
    torch.manual_seed(5)
    model = GPT(GPTConfig(vocab_size=corpus.vocab_size, **SIZES, ignore_index=data.PAD))
    config = TrainerConfig(
        max_epochs=3,
        batch_size=4,
        learning_rate=6e-3,
        decay_gains_and_embeddings=True,
        lr_decay=True,
        warmup_tokens=512 * 20,
        final_tokens=650 * DOCUMENTS * BLOCK_SIZE,
        seed=5,
    )
    Trainer(model, corpus, None, config, show_progress=False).train()
    written, _ = read_parameters("pre")
    assert all(torch.equal(written[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("flags", [["--plain"], []], ids=["plain", "fast"])
@pytest.mark.parametrize("words", [PRETRAIN, FINETUNE], ids=["pretrain", "scratch"])
def test_the_validation_loss_is_logged_and_changes_no_parameter(trains, words, flags):
    path, written, logs = words[-1], [], []
    for held_out in ([], HELD_OUT):
        words_now = [*words, *TINY, *flags, *held_out, "--device", "cpu", "--max_epochs", "41", "--overwrite"]
        assert run.main(words_now) == 0
        written.append(Path(path).read_bytes())
        logs.append([json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()])
    assert written[0] == written[1]
    assert not any("validation_loss" in line for line in logs[0])
    assert [line["epoch"] for line in logs[1] if "validation_loss" in line] == [*range(2, 41, 2), 41]
    final = [line["validation_loss"] for line in logs[1] if "validation_loss" in line][-1]

    corpus = data.CharCorruptionDataset(data.read_corpus("wiki.txt"), BLOCK_SIZE)
    state_dict, record = read_parameters(path)
    model = GPT(GPTConfig(**record["config"])).eval()
    model.load_state_dict(state_dict)
    x, y = data.NameDataset(corpus, data.read_text("dev.tsv")).batch(torch.arange(2))
    assert final == pytest.approx(model(x, y)[1].item(), rel=1e-5)
