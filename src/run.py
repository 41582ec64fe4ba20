"""Pretrain, finetune and evaluate from the command line.

    python src/run.py pretrain vanilla wiki.txt --writing_params_path P
    python src/run.py finetune vanilla wiki.txt [--reading_params_path P] --writing_params_path Q \
        --finetune_corpus_path birth_places_train.tsv
    python src/run.py evaluate vanilla wiki.txt --reading_params_path Q \
        --eval_corpus_path birth_dev.tsv --outputs_path predictions.txt

    torchrun --nproc_per_node=2 src/run.py pretrain ...          # two GPUs, one model

What the commands do is in stages.py.
"""

import argparse
import os
import sys
import time

import torch

from attention import VARIANTS
from recipes import RECIPES
from stages import SIZES, evaluate, finetune, pretrain, variant_options


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        """One line and exit status 2, as for every other mistake; the usage is one --help away."""
        self.exit(2, f"run.py: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="run.py", description="Pretrain, finetune and evaluate a character-level GPT.")
    commands = parser.add_subparsers(dest="function", required=True, metavar="pretrain|finetune|evaluate")
    for function in (pretrain, finetune, evaluate):
        name, training = function.__name__, function is not evaluate
        about = {"help": function.__doc__.split("\n")[0], "description": function.__doc__}
        command = commands.add_parser(name, allow_abbrev=False, **about)
        add = command.add_argument
        add("variant", choices=list(VARIANTS), help="the attention mechanism: %(choices)s", metavar="VARIANT")
        add("pretrain_corpus_path", metavar="CORPUS", help="one document a line: wiki.txt; gives the vocabulary")
        if training:
            add("--writing_params_path", required=True, help="where to write the parameters")
            add("--finetune_corpus_path", required=function is finetune, help="rows question<TAB>place")
            for stage in ("pretrain", "finetune"):  # both are accepted by both, as in the course
                add(f"--{stage}_lr", type=float, help=f"peak learning rate of {stage}")
            add("--max_epochs", type=int)
            add("--batch_size", type=int)
            add("--seed", type=int, default=0, help="of initialisation, dropout, order and corruption")
            add("--dtype", choices=("float32", "tf32", "bf16"), help="of matrix products on a GPU: %(choices)s")
            add("--compile", choices=("on", "off", "auto"), default="auto", help="compile the blocks; auto: if it pays")
            add("--checkpoint_activations", action="store_true", help="less memory, a third more computation")
            add("--shard", action="store_true", help="divide the model among the processes of torchrun")
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
        for name, option in variant_options().items():
            add(f"--{name}", type=type(option.default), choices=option.choices, help=option.help)
    return parser


def complain(message: str) -> None:
    if int(os.environ.get("RANK", 0)) > 0:
        # torchrun ends all processes when one has failed, so what all of them find wrong only the first says.
        time.sleep(5)
    print(f"run.py: {message}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    arguments = vars(make_parser().parse_args(argv))
    function = {"pretrain": pretrain, "finetune": finetune, "evaluate": evaluate}[arguments.pop("function")]
    arguments.pop({pretrain: "finetune_lr", finetune: "pretrain_lr"}.get(function), None)  # the other stage's
    try:
        result = function(**arguments)
    except (OSError, ValueError) as error:
        filename = getattr(error, "filename", None)
        complain(f"{filename}: {error.strerror}" if filename else str(error))
        return 2
    except KeyboardInterrupt:
        print("run.py: stopped before the result was written", file=sys.stderr)
        return 130
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate" not in str(error):
            raise
        complain("this does not fit into memory: lower --batch_size or the sizes of the model")
        return 2
    if function is evaluate:
        if result["total"]:
            share = result["correct"] / result["total"]
            print(f"Correct: {result['correct']} out of {result['total']}: {share:.1%}")
        else:
            print(f"Predictions written to {arguments['outputs_path']}; no targets provided")
    return 0


if __name__ == "__main__":
    sys.exit(main())
