"""Pretrain, finetune and evaluate from the command line; the only module that knows all the others.

    python src/run.py pretrain vanilla wiki.txt --writing_params_path P
    python src/run.py finetune vanilla wiki.txt [--reading_params_path P] --writing_params_path Q \
        --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path Q \
        --eval_corpus_path birth_dev.tsv --outputs_path predictions.txt

`pretrain`, `finetune` and `evaluate` are functions to import, too: they take the same names as arguments and return
what they found. Whatever is wrong with the arguments or files is a ValueError or OSError raised before training.
"""

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import dataset as data
from attention import VARIANTS
from model import GPT, GPTConfig
from trainer import (
    Trainer,
    TrainerConfig,
    atomic_write,
    check_writable,
    read_parameters,
    save_parameters,
    training_log,
)

# -------------------------------------------------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Stage:
    """One training stage. The rate's cosine lasts `schedule_epochs` passes over the pretraining documents, as the
    course counts them, or with None exactly as long as the stage."""

    max_epochs: int
    batch_size: int
    learning_rate: float
    schedule_epochs: int | None = None
    warmup_tokens: int = 512 * 20


@dataclass(frozen=True)
class Recipe:
    """A model and how to train it. `course` is the handout's; the others say what they change and why."""

    pretrain: Stage
    finetune: Stage  # after pretraining
    scratch: Stage  # finetuning without pretraining
    model: dict[str, Any] = field(default_factory=lambda: dict(n_layer=4, n_head=8, n_embd=256, block_size=128))
    min_kept_share: float = 0.0  # shortest prefix of a document in span corruption, as a share of the longest
    question_share: float = 0.0  # questions mixed into pretraining, per document, where their file is given
    decay_gains_and_embeddings: bool = False  # see TrainerConfig


RECIPES = {
    # The peak rate comes at once: 512 * 20 tokens of warmup are fewer than a batch holds. What lets the model recover
    # is an oversight, the decay of LayerNorm gains; without it this recipe answers 0.7% (RESULTS.md).
    "course": Recipe(
        pretrain=Stage(max_epochs=650, batch_size=128, learning_rate=6e-3, schedule_epochs=650),
        finetune=Stage(max_epochs=10, batch_size=256, learning_rate=6e-4, schedule_epochs=200),
        scratch=Stage(max_epochs=75, batch_size=256, learning_rate=6e-4, schedule_epochs=200),
        decay_gains_and_embeddings=True,
    ),
    # A model that learns a few hundred people within minutes on two CPU cores. Its warmup really happens, documents
    # are hardly truncated, and the training questions are met in pretraining.
    "quick": Recipe(
        # Dropout on the attention weights would forgo the fused kernel and double the time of a step.
        model=dict(n_layer=3, n_head=4, n_embd=96, block_size=64, attn_pdrop=0.0),
        pretrain=Stage(max_epochs=450, batch_size=24, learning_rate=6e-3, warmup_tokens=400_000),
        finetune=Stage(max_epochs=10, batch_size=32, learning_rate=3e-4),
        scratch=Stage(max_epochs=75, batch_size=32, learning_rate=6e-4),
        min_kept_share=1.0,
        question_share=1 / 3,
    ),
}

SIZES = ("n_layer", "n_head", "n_embd", "block_size")
OPTIONS = {name: option for variant in VARIANTS.values() for name, option in variant.options.items()}


# ------------------------------------------------------------------------------------------------------- commands


def pretrain(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    *,
    finetune_corpus_path: str | Path | None = None,
    recipe: str = "course",
    pretrain_lr: float | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    tb_expt_name: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train a new model on span corruption of the corpus and write it. Returns the record written beside it.

    With `finetune_corpus_path`, a recipe that mixes questions into pretraining takes them from that file.
    Arguments left at None are the recipe's; `settings` are SIZES and the OPTIONS of the variant.
    """
    chosen = _recipe(recipe)
    stage = _override(chosen.pretrain, learning_rate=pretrain_lr, max_epochs=max_epochs, batch_size=batch_size)
    corpus = _read_corpus(pretrain_corpus_path, _given(settings).get("block_size"), chosen)
    config = _model_config(variant, corpus, chosen, settings)
    train_dataset: Any = corpus
    if finetune_corpus_path is not None:
        if not chosen.question_share:
            raise ValueError(f"the recipe {recipe!r} mixes no questions into pretraining: leave out their file")
        questions = _read_questions(finetune_corpus_path, corpus)
        train_dataset = data.MixedDataset(corpus, questions, chosen.question_share)
    check_writable(writing_params_path)
    with _placed(device) as where:
        torch.manual_seed(seed)
        model = GPT(config).to(where)
        about = {"command": "pretrain", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        return _train(model, train_dataset, corpus, chosen, stage, about, writing_params_path, tb_expt_name)


def finetune(
    variant: str,
    pretrain_corpus_path: str | Path,
    writing_params_path: str | Path,
    finetune_corpus_path: str | Path,
    *,
    reading_params_path: str | Path | None = None,
    recipe: str | None = None,
    finetune_lr: float | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
    tb_expt_name: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train on questions with answers, from pretrained parameters or, without them, from scratch.

    The recipe is by default that of the pretrained parameters, or else `course`. Returns the record as `pretrain` does.
    """
    state_dict, record = _read_parameters(reading_params_path) if reading_params_path else (None, None)
    recipe = recipe or (record or {}).get("recipe") or "course"
    chosen = _recipe(recipe)
    stage = chosen.finetune if reading_params_path else chosen.scratch
    stage = _override(stage, learning_rate=finetune_lr, max_epochs=max_epochs, batch_size=batch_size)
    with _placed(device) as where:
        torch.manual_seed(seed)
        model, corpus = _build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        questions = _read_questions(finetune_corpus_path, corpus)
        check_writable(writing_params_path)
        about = {"command": "finetune", "recipe": recipe, "seed": seed, "corpus": Path(pretrain_corpus_path).name}
        about |= {"pretrained": reading_params_path is not None, "questions": Path(finetune_corpus_path).name}
        return _train(model.to(where), questions, corpus, chosen, stage, about, writing_params_path, tb_expt_name)


def evaluate(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Answer every question of a file, greedily, and write one prediction a line in the order of the questions.

    Returns {"total", "correct", "predictions", "seconds"}; total is 0 for a file without answers.
    """
    state_dict, record = _read_parameters(reading_params_path)
    chosen = _recipe(recipe or (record or {}).get("recipe") or "course")
    questions_path = data.find_file(eval_corpus_path)
    questions = [question for question, _ in data.read_places(questions_path)]
    with _placed(device) as where:
        model, corpus = _build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        ids, lengths = data.encode_questions(questions, corpus.stoi, corpus.block_size, questions_path)
        check_writable(outputs_path)
        began = time.perf_counter()
        predictions = answer(model.to(where), corpus, ids, lengths)
        seconds = time.perf_counter() - began
    with atomic_write(outputs_path) as file:
        file.write("".join(f"{place}\n" for place in predictions).encode())
    total, correct = data.evaluate_places(questions_path, predictions)
    return {"total": total, "correct": correct, "predictions": predictions, "seconds": seconds}


def answer(model: GPT, corpus: data.CharCorruptionDataset, ids: torch.Tensor, lengths: torch.Tensor) -> list[str]:
    """What the model says to each prompt `question MASK` (ids (B, P), lengths (B,)), up to the MASK that ends it."""
    room = min(32, corpus.block_size)
    answers = []
    for some_ids, some_lengths in zip(ids.split(512), lengths.split(512), strict=True):  # bounds the memory needed
        tokens = model.generate(some_ids.to(model.device), some_lengths, room, stop_token=data.MASK).tolist()
        for row in tokens:
            text = "".join(corpus.itos[token] for token in row).split(data.MASK_CHAR)[0]
            answers.append(text.replace("\n", " "))  # the newline is in the vocabulary; a prediction is one line
    return answers


# ------------------------------------------------------------------------------------------- what commands share


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r}: choose from {', '.join(RECIPES)}")
    return RECIPES[name]


def _override(stage: Stage, **given: Any) -> Stage:
    return replace(stage, **{name: value for name, value in given.items() if value is not None})


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """What the caller chose of a GPTConfig: sizes by name, and the variant's `options` if there are any."""
    if unknown := set(settings) - set(SIZES) - set(OPTIONS):
        raise TypeError(f"unexpected argument {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in settings.items() if value is not None}
    options = {name: chosen.pop(name) for name in OPTIONS if name in chosen}
    return chosen | ({"options": options} if options else {})


def _read_corpus(path: str | Path, block_size: int | None, recipe: Recipe) -> data.CharCorruptionDataset:
    path = data.find_file(path)
    block_size = recipe.model["block_size"] if block_size is None else block_size
    longest = int(block_size * data.MAX_TRUNCATED_SHARE)
    min_length = max(data.MIN_TRUNCATED_LENGTH, int(longest * recipe.min_kept_share))
    return data.CharCorruptionDataset(data.read_corpus(path), block_size, min_length=min_length, source=path)


def _read_questions(path: str | Path, corpus: data.CharCorruptionDataset) -> data.NameDataset:
    path = data.find_file(path)
    return data.NameDataset(corpus, data.read_text(path), source=path)


def _model_config(variant: str, corpus: data.CharCorruptionDataset, recipe: Recipe, settings: dict) -> GPTConfig:
    return GPTConfig(vocab_size=corpus.vocab_size, variant=variant, **recipe.model | _given(settings))


def _vocabulary(corpus: data.CharCorruptionDataset) -> str:
    return "".join(corpus.itos[i] for i in range(corpus.vocab_size))


@contextmanager
def _placed(device: str | None) -> Iterator[torch.device]:
    """The device to run on, with float32 matrix products in TF32 where it has them."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: cannot be used: {str(error).splitlines()[0]}") from None
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if where.type == "cuda" else "highest")
    try:
        yield where
    finally:
        torch.set_float32_matmul_precision(before)


def _train(
    model: GPT,
    train_dataset: Any,
    corpus: data.CharCorruptionDataset,
    recipe: Recipe,
    stage: Stage,
    about: dict[str, Any],
    writing_params_path: str | Path,
    tb_expt_name: str | None,
) -> dict[str, Any]:
    """Train by `stage`, log every line, write the parameters and their record; returns the record."""
    mixed_in = train_dataset.share if isinstance(train_dataset, data.MixedDataset) else 0
    rows_per_pass = len(train_dataset) * (1 + mixed_in)
    scheduled_rows = stage.max_epochs * rows_per_pass
    if stage.schedule_epochs is not None:
        scheduled_rows = stage.schedule_epochs * len(corpus)
    config = TrainerConfig(
        max_epochs=stage.max_epochs,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        decay_gains_and_embeddings=recipe.decay_gains_and_embeddings,
        lr_decay=True,
        warmup_tokens=stage.warmup_tokens,
        final_tokens=scheduled_rows * corpus.block_size,
        seed=about["seed"],
    )
    n_parameters = sum(p.numel() for p in model.parameters())
    print(f"{about['command']} {model.config.variant}: {n_parameters:,} parameters on {model.device}, ", end="")
    print(f"{len(train_dataset):,} rows, {stage.max_epochs} epochs, batches of {stage.batch_size}", flush=True)
    with training_log(f"{writing_params_path}.log.jsonl", tb_expt_name) as on_log:
        trainer = Trainer(model, train_dataset.to(model.device), None, config, on_log)
        result = trainer.train()
    record = {
        "variant": model.config.variant,
        **about,
        "config": asdict(model.config),
        "vocabulary": _vocabulary(corpus),
        "trainer": asdict(config),
        "epochs": result["epoch"],
        "steps": result["step"],
        "tokens": result["tokens"],
        "final_loss": result["loss"],
        "seconds": round(result["seconds"], 3),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else str(model.device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    save_parameters(writing_params_path, model, record)
    print(f"loss {result['loss']:.3f} after {result['step']:,} steps, {result['seconds']:.0f} s: {writing_params_path}")
    return record


def _read_parameters(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    state_dict, record = read_parameters(path)
    if record is not None and not (isinstance(record, dict) and {"variant", "config", "vocabulary"} <= record.keys()):
        raise ValueError(f"{path}.json: not a record of parameters: it lacks variant, config or vocabulary")
    return state_dict, record


def _build(
    variant: str,
    corpus_path: str | Path,
    params_path: str | Path | None,
    state_dict: dict[str, torch.Tensor] | None,
    record: dict[str, Any] | None,
    recipe: Recipe,
    settings: dict[str, Any],
) -> tuple[GPT, data.CharCorruptionDataset]:
    """A model, with the parameters of `state_dict` if there are any, and the corpus that gives its vocabulary.

    The record beside a parameter file says what the model is, and what the caller says must agree with it. A file
    without a record, made by somebody's course code, has the sizes of the flags and the recipe if its shapes fit.
    """
    if record is None:
        corpus = _read_corpus(corpus_path, _given(settings).get("block_size"), recipe)
        config = _model_config(variant, corpus, recipe, settings)
    else:
        if variant != record["variant"]:
            raise ValueError(f"{params_path}: holds a {record['variant']} model, not a {variant} one")
        try:
            config = GPTConfig(**record["config"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{params_path}.json: its config is not one of this code: {error}") from None
        trained = asdict(config) | config.options
        for name, value in settings.items():
            if value is not None and value != trained.get(name):
                raise ValueError(f"{params_path}: was trained with {name} {trained.get(name)}, not {value}")
        corpus = _read_corpus(corpus_path, config.block_size, recipe)
        if _vocabulary(corpus) != record["vocabulary"]:
            raise ValueError(
                f"{params_path}: was trained with another vocabulary ({len(record['vocabulary'])} entries) than "
                f"{corpus_path} gives ({corpus.vocab_size}): name the corpus it was pretrained on"
            )
    model = GPT(config)
    if state_dict is not None:
        try:
            model.load_parameters(state_dict)
        except ValueError as error:
            raise ValueError(f"{params_path}: {error}") from None
    return model, corpus


# --------------------------------------------------------------------------------------------------- command line


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line and exit status 2, as for every other mistake; the usage is one --help away."""
        self.exit(2, f"run.py: {message} (see run.py {self.prog.split()[-1]} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="run.py", description="Pretrain, finetune and evaluate a character-level GPT.")
    commands = parser.add_subparsers(dest="function", required=True, metavar="pretrain|finetune|evaluate")
    for function in (pretrain, finetune, evaluate):
        name, training = function.__name__, function is not evaluate
        command = commands.add_parser(name, help=function.__doc__.split("\n")[0], description=function.__doc__)
        add = command.add_argument
        add("variant", choices=list(VARIANTS), help="the attention mechanism: %(choices)s", metavar="VARIANT")
        add("pretrain_corpus_path", metavar="CORPUS", help="one document a line: wiki.txt; gives the vocabulary")
        if training:
            add("--writing_params_path", required=True, help="where to write the parameters")
            add("--finetune_corpus_path", required=function is finetune, help="rows question<TAB>place")
            add(f"--{name}_lr", type=float, help="peak learning rate")
            add("--max_epochs", type=int)
            add("--batch_size", type=int)
            add("--seed", type=int, default=0, help="of initialisation, dropout, order and corruption")
            add("--tb_expt_name", help="also log to TensorBoard, under expt/NAME")
        if function is not pretrain:
            add("--reading_params_path", required=function is evaluate, help="parameters to start from")
        if function is evaluate:
            add("--eval_corpus_path", required=True, help="rows question<TAB>place, or questions only")
            add("--outputs_path", required=True, help="where to write the predictions, one a line")
        recipe_default = "course" if function is pretrain else None
        add("--recipe", choices=list(RECIPES), default=recipe_default, help="sizes and hyperparameters: %(choices)s")
        add("--device", help="cuda, mps or cpu; by default the first of these that is there")
        for size in SIZES:
            add(f"--{size}", type=int)
        for name, option in OPTIONS.items():
            add(f"--{name}", type=type(option.default), choices=option.choices, help=option.help)
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = vars(make_parser().parse_args(argv))
    function = {"pretrain": pretrain, "finetune": finetune, "evaluate": evaluate}[arguments.pop("function")]
    try:
        result = function(**arguments)
    except (OSError, ValueError) as error:
        filename = getattr(error, "filename", None)
        print(f"run.py: {f'{filename}: {error.strerror}' if filename else error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("run.py: stopped before the parameters were written", file=sys.stderr)
        return 130
    if function is evaluate:
        if result["total"]:
            share = result["correct"] / result["total"]
            print(f"Correct: {result['correct']} out of {result['total']}: {share:.1%}")
        else:
            print(f"Predictions written to {arguments['outputs_path']}; no targets provided")
    return 0


if __name__ == "__main__":
    sys.exit(main())
