"""How far one walks through the source for a training step and for an evaluation.

    python measure/walk.py                        # on data/quick, as a Markdown table

Counted are the functions of src/ that are entered from Trainer.train() to the end of the second step, batches included,
and from run.main to the end of `evaluate`: distinct functions, their files, the lines of their bodies, and switches. A
switch is a change of file when the functions are read in the order in which they are first entered. Comprehensions and
what importing a module executes are not counted, nor are torch and other libraries.
"""

import argparse
import gc
import io
import sys
import tempfile
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
sys.path.insert(0, str(SRC))

import torch
from tqdm import tqdm

import run
import trainer

import_module("stages")  # with everything it imports, before the walk begins


class EnoughError(Exception):
    """Ends training after the second step."""


@dataclass
class Walk:
    """The functions of src/ that are entered, in the order of their first entry."""

    entered: dict[CodeType, None] = field(default_factory=dict)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and not code.co_name.startswith("<") and Path(code.co_filename).is_relative_to(SRC):
            self.entered[code] = None

    @property
    def files(self) -> list[str]:
        return [str(Path(code.co_filename).relative_to(SRC)) for code in self.entered]

    def numbers(self) -> tuple[int, int, int, int]:
        """(functions, files, lines, switches)"""
        lines = sum(len({line for *_, line in code.co_lines() if line is not None}) for code in self.entered)
        switches = sum(a != b for a, b in zip(self.files, self.files[1:], strict=False))
        return len(self.entered), len(set(self.files)), lines, switches


def step_of(words: list[str]) -> Walk:
    """The walk through two steps of the training command `words`."""
    walk, train, lr_at, steps = Walk(), trainer.Trainer.train, trainer.lr_at, []

    def walked(self: trainer.Trainer) -> dict[str, float]:
        sys.setprofile(walk)
        threading.setprofile(walk)  # a step on a CPU starts threads
        try:
            return train(self)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def counted(tokens: float, config: trainer.TrainerConfig) -> float:
        steps.append(tokens)
        if len(steps) == 3:  # the rate of the third step: the second is over
            sys.setprofile(None)
            raise EnoughError
        return lr_at(tokens, config)

    trainer.Trainer.train, trainer.lr_at = walked, counted
    try:
        quietly(words)
    except EnoughError:
        pass
    finally:
        trainer.Trainer.train, trainer.lr_at = train, lr_at
    return walk


def evaluation_of(words: list[str]) -> Walk:
    """The walk through the command `words`, from run.main to its end."""
    walk = Walk()
    gc.collect()  # closes the bar of a walk that ended early: that is no part of this one
    sys.setprofile(walk)
    try:
        quietly(words)
    finally:
        sys.setprofile(None)
    return walk


def quietly(words: list[str]) -> None:
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = run.main(words)
    if status:
        sys.exit(f"walk.py: {' '.join(words)}: {out.getvalue()}{err.getvalue()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "quick", help="folder of the four files")
    parser.add_argument("--list", action="store_true", help="also list the functions in the order of their first entry")
    args = parser.parse_args()
    torch.manual_seed(0)
    corpus, train, dev = (str(args.data / name) for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv"))
    with tempfile.TemporaryDirectory() as folder:
        params = f"{folder}/quick.params"
        course = ["pretrain", "vanilla", corpus, "--writing_params_path", f"{folder}/course.params", "--device", "cpu"]
        quick = [*course[:4], f"{folder}/step.params", "--device", "cpu", "--recipe", "quick"]
        quick += ["--finetune_corpus_path", train]
        asked = ["evaluate", "vanilla", corpus, "--reading_params_path", params, "--eval_corpus_path", dev]
        asked += ["--outputs_path", f"{folder}/predictions", "--device", "cpu"]
        quietly([*quick[:4], params, *quick[5:], "--max_epochs", "1"])
        ways = {
            "step, `course --plain`": (step_of, [*course, "--plain"]),
            "step, `quick --plain`": (step_of, [*quick, "--plain", "--overwrite"]),
            "step, `course`": (step_of, [*course, "--overwrite"]),
            "step, `quick`": (step_of, [*quick, "--overwrite"]),
            "`evaluate --plain`": (evaluation_of, [*asked, "--plain"]),
            "`evaluate`": (evaluation_of, asked),
        }
        bar = tqdm(ways.items(), "walking", leave=False, disable=None)
        walks = {name: walk_of(words) for name, (walk_of, words) in bar}
    print("| | functions | files | lines | switches |\n|---|--:|--:|--:|--:|")
    for name, walk in walks.items():
        print(f"| {name} | {' | '.join(map(str, walk.numbers()))} |")
        if args.list:
            for code, file in zip(walk.entered, walk.files, strict=True):
                print(f"    {file}: {code.co_qualname}")


if __name__ == "__main__":
    main()
