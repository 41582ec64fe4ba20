"""Pretrain, finetune and evaluate from the command line; show what parameters are.

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

What the commands do is in stages.py, asking.py and report.py.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import torch

from asking import ask
from attention import VARIANTS
from recipes import RECIPES
from record import show
from report import report
from stages import evaluate, finetune, pretrain
from startup import SIZES, variant_options
from unfinished import Stopped
from vocabulary import message_of, printable


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line and exit status 2, as for every other mistake; the usage is one --help away."""
        self.exit(2, f"run.py: {printable(message)} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="run.py", description="Pretrain, finetune, evaluate and question a small GPT.")
    listed = "pretrain|finetune|evaluate|ask|report|show"
    commands = parser.add_subparsers(dest="function", required=True, metavar=listed)
    for function in (pretrain, finetune, evaluate, ask):
        name, training = function.__name__, function in (pretrain, finetune)
        about = describe(function)
        command = commands.add_parser(name, allow_abbrev=False, **about)
        add = command.add_argument
        add("variant", choices=list(VARIANTS), help="the attention mechanism: %(choices)s", metavar="VARIANT")
        add("pretrain_corpus_path", metavar="CORPUS", help="one document a line: wiki.txt; gives the vocabulary")
        if training:
            add("--writing_params_path", required=True, help="where to write the parameters")
            add("--finetune_corpus_path", required=function is finetune, help="rows question<TAB>place")
            for stage in ("pretrain", "finetune"):  # both are accepted by both, as in the course
                add(f"--{stage}_lr", type=float, help=f"peak learning rate of {stage}")
            add("--max_epochs", type=int, help="passes over the rows trained on; by default the recipe's")
            add("--batch_size", type=int, help="rows a step, questions mixed in not counted; by default the recipe's")
            add("--seed", type=int, default=0, help="of initialisation, dropout, order and corruption")
            add("--dtype", choices=("float32", "tf32", "bf16"), help="of matrix products on a GPU: %(choices)s")
            add("--compile", choices=("on", "off", "auto"), default="auto", help="compile the model; auto: if it pays")
            add("--checkpoint_activations", action="store_true", help="less memory, a third more computation")
            add("--shard", action="store_true", help="divide the model among the processes; leaves no checkpoints")
            add("--tb_expt_name", help="also log to TensorBoard, under expt/NAME")
            seconds = "seconds between checkpoints of the unfinished run; 0: after each step (%(default)s)"
            add("--checkpoint_every", type=float, default=60, metavar="SECONDS", help=seconds)
            add("--resume", action="store_true", help="continue the unfinished run, if there is one")
            add("--overwrite", action="store_true", help="discard the unfinished run, and start anew")
            add("--deterministic", action="store_true", help="the same bits every time on a GPU as well, more slowly")
            add("--skip_nonfinite", action="store_true", help="leave out steps whose loss or gradient is not finite")
        if function is not pretrain:
            what = "start from" if training else "evaluate" if function is evaluate else "ask"
            add("--reading_params_path", required=not training, help=f"parameters to {what}")
        if function is evaluate:
            add("--eval_corpus_path", required=True, help="rows question<TAB>place, or questions only")
            add("--outputs_path", required=True, help="where to write the predictions, one a line")
        if function is ask:
            add("question", nargs="?", help="in quotes, or a name; without it they are read from the terminal")
            add("--show", choices=("attention",), help="draw which characters of the question the answer looks at")
        recipe_default = "course" if function is pretrain else None
        add("--recipe", choices=list(RECIPES), default=recipe_default, help="sizes and hyperparameters: %(choices)s")
        add("--device", help="cuda, mps or cpu; by default the first of these that is there")
        for size, about in SIZES.items():
            add(f"--{size}", type=int, help=f"{about}; by default the recipe's")
        for name, option in variant_options().items():
            owners = ", ".join(variant for variant, cls in VARIANTS.items() if name in cls.options)
            about = f"{owners}: {option.help} ({option.default})"
            add(f"--{name}", type=type(option.default), choices=option.choices, help=about)
    _add_report(commands)
    about = "print what is known about parameters, and the command that makes them again"
    add = commands.add_parser("show", allow_abbrev=False, help=about, description=about).add_argument
    add("path", metavar="P", help="the parameters; P.json beside them is shown")
    return parser


def describe(function: Callable) -> dict[str, str]:
    """What --help says of a command: its docstring's first paragraph, without what it returns to programs."""
    first = " ".join(function.__doc__.split("\n\n")[0].split(" Returns ")[0].split())
    return {"help": function.__doc__.split("\n")[0], "description": first}


def _add_report(commands: argparse._SubParsersAction) -> None:
    add = commands.add_parser("report", allow_abbrev=False, **describe(report)).add_argument
    add("pretrain_corpus_path", metavar="CORPUS", help="the corpus that the parameters were pretrained on: wiki.txt")
    add("--reading_params_path", nargs="+", default=[], dest="params_paths", metavar="P", help="parameters of the runs")
    add("--predictions_path", nargs="+", default=[], dest="predictions_paths", metavar="F",
        help="predictions for the questions of --eval_corpus_path, of these runs or of others")  # fmt: skip
    add("--eval_corpus_path", required=True, help="rows question<TAB>place that no run was trained on: birth_dev.tsv")
    add("--finetune_corpus_path", help="the rows that the runs were finetuned on, to count places")
    add("--unseen_corpus_path", help="questions about people whom the corpus does not mention: birth_unseen_inputs.tsv")
    add("--outputs_path", required=True, help="where to write the page; its pictures go into a folder beside it")
    add("--device", help="cuda, mps or cpu; by default the first of these that is there")


def main(argv: list[str] | None = None) -> int:
    parser = make_parser()
    parsed, rest = parser.parse_known_args(argv)
    arguments = vars(parsed)
    # argparse settles on "no question" when it meets the options before it.
    if len(rest) == 1 and not rest[0].startswith("-") and arguments.get("question", "") is None:
        arguments["question"] = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    functions = (pretrain, finetune, evaluate, ask, report, show)
    function = {function.__name__: function for function in functions}[arguments.pop("function")]
    arguments.pop({pretrain: "finetune_lr", finetune: "pretrain_lr"}.get(function), None)  # the other stage's
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its number
    try:
        result = function(**arguments)
        if function is show:
            print(result)
        if function is evaluate and result["total"]:
            share = result["correct"] / result["total"]
            print(f"Correct: {result['correct']} out of {result['total']}: {share:.1%}")
        elif function is evaluate:
            print(f"Predictions written to {arguments['outputs_path']}; no targets provided")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read this, as `head` does, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return 128 + 13  # SIGPIPE
    except (OSError, ValueError) as error:
        return fail(message_of(error))
    except Stopped as stopped:
        return fail(*str(stopped).split("\n"), status=128 + stopped.signum)
    except KeyboardInterrupt:
        return fail("stopped" + " before training began" * (function in (pretrain, finetune)), status=130)
    except RuntimeError as error:
        if any(kind.__module__ == "torch._dynamo.exc" for kind in type(error).__mro__):
            return fail(f"--compile: this machine cannot ({str(error).splitlines()[0]}): --compile off does without")
        if "Symlink loop" in str(error):  # Path.resolve, before Python 3.13
            return fail(str(error))
        if not isinstance(error, torch.OutOfMemoryError) and "allocate" not in str(error):
            raise
        return fail("this does not fit into memory: lower --batch_size or the sizes of the model")
    return 0


def fail(*lines: str, status: int = 2) -> int:
    if int(os.environ.get("RANK", 0)) > 0:
        # torchrun ends all processes when one has failed, so what all of them find wrong only the first says.
        time.sleep(5)
    with suppress(OSError):  # after a SIGHUP there may be no terminal any more
        for line in lines:
            print(f"run.py: {printable(line)}", file=sys.stderr, flush=True)
    return status


def leave(status: int) -> NoReturn:
    """End this process with an exit status.

    One of several goes without tidying up. Threads of gloo outlive their group once DistributedDataParallel has used
    it, and one that lets go of a tensor while Python comes to its end aborts the process.
    """
    if "LOCAL_RANK" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main())
