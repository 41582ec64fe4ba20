"""Pretrain, finetune and evaluate from the command line; ask a model, report on it, show what parameters are.

    python src/run.py pretrain vanilla wiki.txt --writing_params_path P
    python src/run.py finetune vanilla wiki.txt [--reading_params_path P] --writing_params_path Q \
        --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path Q \
        --eval_corpus_path birth_dev.tsv --outputs_path predictions.txt
    python src/run.py ask vanilla wiki.txt --reading_params_path Q ["Where was Ada Example born?"]
    python src/run.py report wiki.txt --reading_params_path Q [Q2 ...] --eval_corpus_path birth_dev.tsv \
        --outputs_path report.html
    python src/run.py show P

    torchrun --nproc_per_node=2 src/run.py pretrain ...          # two GPUs, one model

The functions behind the commands are in stages.py and src/trust. They are imported when the arguments are understood:
torch takes seconds to import, and --help or a typing error should not.
"""

import argparse
import ast
import os
import sys
import time
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from recipes import RECIPES, SIZES
from safe.running import Running
from vocabulary import message_of, printable

ABOUT = {
    "pretrain": "Train a new model on span corruption of the corpus.",
    "finetune": "Train on questions with answers, from pretrained parameters or from scratch.",
    "evaluate": "Answer every question of a file, and count right answers if the file has answers.",
    "ask": "Ask one question, or those that are typed in, and print the answer and how far to trust it.",
    "report": "Write a page about trained models: what they answer, how sure they are, and what they know.",
    "show": "Print what is known about parameters, and the command that makes them again.",
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit status 2, as for every other mistake; the usage is one --help away."""
        self.exit(2, f"run.py: {printable(message)} (see {self.prog} --help)\n")


def registered() -> dict[str, dict[str, dict[str, Any]]]:
    """{variant: {option: arguments of Option}}, read from the source, because to import it means to import torch."""
    variants = {}
    for path in sorted(Path(__file__).parent.glob("*attention.py")):
        for node in ast.parse(path.read_bytes()).body:
            if not isinstance(node, ast.ClassDef) or not node.decorator_list:
                continue
            decorator = node.decorator_list[0]
            if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "register":
                variants[ast.literal_eval(decorator.args[0])] = options_of(node)
    return variants


def options_of(node: ast.ClassDef) -> dict[str, dict[str, Any]]:
    """The options that an attention class lists: name -> default, help, choices."""
    found = {}
    for line in node.body:
        value = getattr(line, "value", None)
        if isinstance(value, ast.Dict):
            for key, call in zip(value.keys, value.values, strict=True):  # {"name": Option(default, help, choices)}
                arguments = [ast.literal_eval(argument) for argument in call.args]  # type: ignore[attr-defined]
                found[ast.literal_eval(key)] = dict(zip(("default", "help", "choices"), arguments, strict=False))
    return found


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="run.py", description="Pretrain, finetune, evaluate and question a small GPT.")
    commands = parser.add_subparsers(dest="function", required=True, metavar="|".join(ABOUT))
    variants = registered()
    for name in ("pretrain", "finetune", "evaluate", "ask"):
        command = commands.add_parser(name, allow_abbrev=False, help=ABOUT[name], description=ABOUT[name])
        trains = name in ("pretrain", "finetune")
        files = command.add_argument_group("what to read and write").add_argument
        files("variant", choices=list(variants), help="the attention mechanism: %(choices)s", metavar="VARIANT")
        files("pretrain_corpus_path", metavar="CORPUS", help="one document a line: wiki.txt")
        if name != "pretrain":
            of = {"finetune": "start from", "evaluate": "evaluate", "ask": "ask"}[name]
            files("--reading_params_path", required=not trains, metavar="P", help=f"parameters to {of}")
        if trains:
            files("--writing_params_path", required=True, metavar="P", help="where to write the parameters")
            about = "questions to train on" if name == "finetune" else "questions for a recipe that mixes them in"
            files("--finetune_corpus_path", required=name == "finetune", metavar="FILE", help=f"{about}: question<TAB>place")
        if name != "ask":
            about = "held-out questions whose loss is logged" if trains else "questions, with places or without"
            files("--eval_corpus_path", required=not trains, metavar="FILE", help=about)
        if name == "evaluate":
            files("--outputs_path", required=True, metavar="FILE", help="where to write the predictions, one a line")
        if trains:
            add_training(command, name)
        else:
            add_using(command, name)
        add_model(command, variants, hidden=not trains)
    add_report(commands)
    show = commands.add_parser("show", allow_abbrev=False, help=ABOUT["show"], description=ABOUT["show"])
    show.add_argument("path", metavar="P", help="the parameters; P.json beside them is shown")
    return parser


def add_training(command: argparse.ArgumentParser, name: str) -> None:
    """Flags for how to train: the fields of Running, and what a recipe leaves to the command."""
    groups = {"training": command.add_argument_group("how to train"), "speed": command.add_argument_group("speed and memory")}
    add = groups["training"].add_argument
    default = "course" if name == "pretrain" else None
    add("--recipe", choices=list(RECIPES), default=default, help="hyperparameters: %(choices)s (default: course, "
        "or the one that the parameters were pretrained with)")  # fmt: skip
    add(f"--{name}_lr", type=float, metavar="RATE", help="peak learning rate (default: the recipe's)")
    other = "finetune" if name == "pretrain" else "pretrain"
    add(f"--{other}_lr", type=float, help=argparse.SUPPRESS)  # the course's commands name both
    if name == "pretrain":
        add("--third_mask", action="store_true", help="close the masked span with a third MASK, as one handout does")
    for field in fields(Running):
        settings = dict(field.metadata)
        group = groups[settings.pop("group")]
        if field.type in (bool, "bool"):
            group.add_argument(f"--{field.name}", action="store_true", **settings)
        else:
            group.add_argument(f"--{field.name}", default=field.default, **settings)


def add_using(command: argparse.ArgumentParser, name: str) -> None:
    """Flags for what a trained model is used for."""
    if name == "ask":
        group = command.add_argument_group("what to ask")
        group.add_argument("question", nargs="?", help="in quotes, or a name; without it, questions are read from the terminal")
        group.add_argument("--show", choices=("attention",), help="draw which characters of the question the answer looks at")
    group = command.add_argument_group("speed and memory")
    if name == "evaluate":
        group.add_argument("--plain", action="store_true", help="generate as src/model.py does, without a KV cache")
    group.add_argument("--device", help="cuda, mps or cpu (default: the first of these that is there)")
    command.add_argument("--recipe", choices=list(RECIPES), help=argparse.SUPPRESS)


def add_model(command: argparse.ArgumentParser, variants: dict, hidden: bool) -> None:
    """Flags for the model. Where the record beside the parameters settles them they are accepted, but not listed."""
    group = command.add_argument_group("the model") if not hidden else command
    for size, about in SIZES.items():
        group.add_argument(f"--{size}", type=int, metavar="N", help=argparse.SUPPRESS if hidden else about)
    for variant, options in variants.items():
        group = command.add_argument_group(f"the model: {variant}") if options and not hidden else command
        for name, option in options.items():
            about = argparse.SUPPRESS if hidden else f"{option['help']} (default {option['default']})"
            kind = type(option["default"])
            group.add_argument(f"--{name}", type=kind, choices=option.get("choices"), help=about,
                metavar=None if option.get("choices") else "N")  # fmt: skip


def add_report(commands: Any) -> None:
    add = commands.add_parser("report", allow_abbrev=False, help=ABOUT["report"], description=ABOUT["report"]).add_argument
    add("pretrain_corpus_path", metavar="CORPUS", help="the corpus that the parameters were pretrained on: wiki.txt")
    add("--reading_params_path", nargs="+", default=[], dest="params_paths", metavar="P", help="parameters of the runs")
    add("--predictions_path", nargs="+", default=[], dest="predictions_paths", metavar="FILE",
        help="predictions for the questions of --eval_corpus_path, of these runs or of others")  # fmt: skip
    add("--eval_corpus_path", required=True, metavar="FILE", help="questions with places that no run was trained on")
    add("--finetune_corpus_path", metavar="FILE", help="the questions that the runs were finetuned on, to count places")
    add("--unseen_corpus_path", metavar="FILE", help="questions about people whom the corpus does not mention")
    add("--outputs_path", required=True, metavar="FILE", help="where to write the page; its pictures go beside it")
    add("--device", help="cuda, mps or cpu (default: the first of these that is there)")


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    parsed, rest = parser.parse_known_args(argv)
    arguments = vars(parsed)
    # argparse settles on "no question" when it meets the options before it.
    if len(rest) == 1 and not rest[0].startswith("-") and arguments.get("question", "") is None:
        arguments["question"] = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    name = arguments.pop("function")
    arguments.pop({"pretrain": "finetune_lr", "finetune": "pretrain_lr"}.get(name), None)  # the other stage's
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its number
    try:
        perform(name, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 128 + 13  # SIGPIPE
    except (OSError, ValueError) as error:
        return fail(message_of(error))
    except KeyboardInterrupt as stopped:
        if hasattr(stopped, "signum"):  # safe.unfinished.Stopped says how to continue
            return fail(*str(stopped).split("\n"), status=128 + stopped.signum)
        return fail("stopped" + " before training began" * (name in ("pretrain", "finetune")), status=130)
    except RuntimeError as error:
        return fail(advice_for(error))
    return 0


def perform(name: str, arguments: dict[str, Any]) -> None:
    """Call the function behind a command, and print what it found."""
    import stages

    if name == "evaluate":
        result = stages.evaluate(**arguments)
        total, correct = result["total"], result["correct"]
        if total:
            print(f"Correct: {correct} out of {total}: {correct / total:.1%}")
        else:
            print(f"Predictions written to {arguments['outputs_path']}; no targets provided")
    elif name in ("pretrain", "finetune"):
        getattr(stages, name)(**arguments)
    elif name == "show":
        from safe.record import show

        print(show(**arguments))
    elif name == "ask":
        from trust.asking import ask

        ask(**arguments)
    else:
        from trust.report import report

        report(**arguments)


def advice_for(error: RuntimeError) -> str:
    """What to do about an error of torch that is the user's to solve. Others are raised again."""
    import torch

    if any(kind.__module__ == "torch._dynamo.exc" for kind in type(error).__mro__):
        return f"--compile: this machine cannot ({str(error).splitlines()[0]}): --compile off does without"
    if "Symlink loop" in str(error):  # Path.resolve, before Python 3.13
        return str(error)
    if isinstance(error, torch.OutOfMemoryError) or "allocate" in str(error):
        return "this does not fit into memory: lower --batch_size or the sizes of the model"
    raise error


def fail(*lines: str, status: int = 2) -> int:
    if int(os.environ.get("RANK", 0)) > 0:
        time.sleep(5)  # torchrun ends all processes when one has failed: only the first says what all have found
    with suppress(OSError):  # after a SIGHUP there may be no terminal any more
        for line in lines:
            print(f"run.py: {printable(line)}", file=sys.stderr, flush=True)
    return status


def leave(status: int) -> NoReturn:
    """End this process with an exit status.

    A process of torchrun leaves without tidying up. Threads of gloo outlive their group once DistributedDataParallel
    has used it, and one that frees a tensor while Python shuts down aborts the process.
    """
    if "LOCAL_RANK" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main())
