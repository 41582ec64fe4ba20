"""All flags of the command line, and its --help. Free of torch, so that `run.py --help` answers at once."""

import argparse
import ast
from collections import namedtuple
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from recipes import RECIPES, SIZES
from safe.running import HOW, SPEED, Running
from vocabulary import printable

ABOUT = {
    "pretrain": "Train a new model on span corruption of the corpus.",
    "finetune": "Train on questions with answers, from pretrained parameters or from scratch.",
    "evaluate": "Answer every question of a file, and count right answers if the file has answers.",
    "ask": "Ask one question, or those that are typed in, and print the answer and how far to trust it.",
    "report": "Write a page about trained models: what they answer, how sure they are, and what they know.",
    "plan": "Propose a model for a corpus: its size, steps, hours and memory on this machine.",
    "show": "Print what is known about parameters, and the command that makes them again.",
    "export": "Write parameters for other code: the course's, Hugging Face, ONNX.",
}
ALL, TRAIN, USE = "pretrain finetune evaluate ask", "pretrain finetune", "evaluate ask"
EXPORTS = ("course", "huggingface", "onnx")
FILES, ASKED = "what to read and write", "what to ask"
RATE = "peak learning rate (default: the recipe's)"
HIDDEN = argparse.SUPPRESS  # accepted, and not listed

# Commands, group in --help, name, help, and what else argparse should know. make_parser adds the flags that follow from
# the fields of Running (--seed, --plain, ...), from SIZES, and from the variants.
FLAGS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    (ALL, FILES, "variant", "attention mechanism: %(choices)s", dict(metavar="VARIANT")),
    (ALL, FILES, "pretrain_corpus_path", "one document a line: wiki.txt", dict(metavar="CORPUS")),
    ("finetune", FILES, "--reading_params_path", "parameters to start from", dict(metavar="P")),
    (USE, FILES, "--reading_params_path", "trained parameters", dict(metavar="P", required=True)),
    (TRAIN, FILES, "--writing_params_path", "where to write (default: as run.sh)", dict(metavar="P", required=True)),
    ("pretrain", FILES, "--finetune_corpus_path", "questions for a recipe that mixes them in", dict(metavar="FILE")),
    ("finetune", FILES, "--finetune_corpus_path", "question<TAB>place", dict(metavar="FILE", required=True)),
    (TRAIN, FILES, "--eval_corpus_path", "held-out questions whose loss is logged", dict(metavar="FILE")),
    ("evaluate", FILES, "--eval_corpus_path", "the questions", dict(metavar="FILE", required=True)),
    (
        "evaluate",
        FILES,
        "--outputs_path",
        "for predictions (default: as run.sh)",
        dict(metavar="FILE", required=True),
    ),
    ("ask", ASKED, "question", "in quotes, or a name (default: ask on the terminal)", dict(nargs="?")),
    ("ask", ASKED, "--show", "draw which characters the answer looks at", dict(choices=["attention"])),
    ("pretrain", HOW, "--recipe", "hyperparameters (default: course)", dict(choices=RECIPES, default="course")),
    ("finetune", HOW, "--recipe", "hyperparameters (default: those of pretraining)", dict(choices=RECIPES)),
    (USE, "", "--recipe", HIDDEN, dict(choices=RECIPES)),
    ("pretrain", HOW, "--pretrain_lr", RATE, dict(type=float, metavar="RATE")),
    ("finetune", HOW, "--finetune_lr", RATE, dict(type=float, metavar="RATE")),
    ("pretrain", HOW, "--third_mask", "close the masked span with a third MASK", dict(action="store_true")),
    ("evaluate", SPEED, "--plain", "generate as src/model.py does, without a KV cache", dict(action="store_true")),
    ("evaluate report", ASKED, "--lenient", "ignore case and accents of answers", dict(action="store_true")),
    ("evaluate ask report plan", SPEED, "--device", "cuda, mps or cpu (default: the first of these that is there)", {}),
    ("report", FILES, "pretrain_corpus_path", "the corpus of the runs: wiki.txt", dict(metavar="CORPUS")),
    ("report", FILES, "--reading_params_path", "parameters of the runs", dict(nargs="+", default=[], metavar="P")),
    ("report", FILES, "--predictions_path", "predictions of runs", dict(nargs="+", default=[], metavar="FILE")),
    ("report", FILES, "--eval_corpus_path", "questions with answers", dict(metavar="FILE", required=True)),
    ("report", FILES, "--finetune_corpus_path", "questions that the runs were trained on", dict(metavar="FILE")),
    ("report", FILES, "--unseen_corpus_path", "questions about names that nobody wrote about", dict(metavar="FILE")),
    ("report", FILES, "--outputs_path", "for the page; pictures go beside it", dict(metavar="FILE", required=True)),
    ("report", FILES, "--no-model", "leave the model out of the page", dict(action="store_true")),
    ("plan", FILES, "pretrain_corpus_path", "one document a line: wiki.txt", dict(metavar="CORPUS")),
    ("plan", FILES, "--finetune_corpus_path", "questions (default: those beside the corpus)", dict(metavar="FILE")),
    ("plan", HOW, "--recipe", "hyperparameters (default: quick if its model has room)", dict(choices=RECIPES)),
    ("show export", "", "path", "the parameters; P.json beside them says what they are", dict(metavar="P")),
    ("export", "", "--to", "a folder for Hugging Face and ONNX", dict(metavar="DIR")),
    ("export", "", "--outputs_path", "a file for the course's code", dict(metavar="FILE")),
    ("export", "", "--format", "one format only (default: both of --to)", dict(choices=EXPORTS)),
    ("export", "", "--overwrite", "replace an export that is in the folder", dict(action="store_true")),
]


class RefusedError(Exception):
    """The words of a command line that are not in run.py's own terms. str() says why, for people."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RefusedError(f"{printable(message)} (see {self.prog} --help)")


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, Any]]:
    """The parser, and that of each command."""
    parser: argparse.ArgumentParser = Parser(prog="run.py", description="Train and question a small GPT.")
    commands = parser.add_subparsers(dest="function", required=True, metavar="|".join(ABOUT))
    variants, flags = registered(), list(FLAGS)
    for field in fields(Running):
        more = dict(field.metadata)
        more |= dict(action="store_true") if field.default is False else dict(default=field.default)
        flags.append((TRAIN, more.pop("group"), f"--{field.name}", more.pop("help"), more))
    for size, about in SIZES.items():
        flags.append((TRAIN, "the model", f"--{size}", about, dict(type=int, metavar="N")))
        flags.append((USE, "", f"--{size}", HIDDEN, dict(type=int)))
    for variant, options in variants.items():  # an option that several have is listed once, with the last of them
        for name, option in options.items():
            more = dict(type=type(option["default"]), choices=option.get("choices"))
            about = f"{option['help']} (default {option['default']})"
            flags.append((TRAIN, f"the model: {variant}", f"--{name}", about, more))
            flags.append((USE, "", f"--{name}", HIDDEN, more))
    for command, text in ABOUT.items():
        sub = commands.add_parser(command, help=text, description=text, allow_abbrev=False, conflict_handler="resolve")
        groups: dict[str, Any] = {"": sub}
        for of, group, name, about, more in flags:
            if command in of.split():
                if group not in groups:
                    groups[group] = sub.add_argument_group(group)
                choices = dict(choices=list(variants)) if name == "variant" else {}
                groups[group].add_argument(name, help=about, **more | choices)
    return parser, commands.choices


Declared = namedtuple("Declared", "default help choices", defaults=[None])  # as attention.Option, without torch


def registered() -> dict[str, dict[str, dict[str, Any]]]:
    """{variant: {option: {"default", "help", "choices"}}}, read from the source: to import it means to import torch."""
    variants: dict[str, dict] = {}
    options: dict[str, dict] = {}  # those of each class, its own or inherited
    for path in sorted(Path(__file__).parent.parent.glob("*attention.py")):
        for node in [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)]:
            options[node.name] = next((options[base] for base in map(ast.unparse, node.bases) if base in options), {})
            for line in node.body:
                source = ast.unparse(line)
                if source.startswith("options"):  # options = {"name": Option(default, help, choices), ...}
                    table = eval(source.partition(" = ")[2], {"Option": Declared})
                    options[node.name] = {name: option._asdict() for name, option in table.items()}
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call).startswith("register("):
                    variants[ast.literal_eval(call.args[0])] = options[node.name]
    return variants


PARSER, COMMANDS = make_parser()
