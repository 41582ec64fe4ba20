"""The progress bar of a training run: loss, accuracy on held-out questions and time left, from the first step on."""

import sys
import threading
import warnings
from contextlib import suppress
from typing import Any

from trainer import Trainer

with warnings.catch_warnings(action="ignore"):  # a notebook without ipywidgets shows a bar of text
    from tqdm.auto import tqdm


class Bar(tqdm):
    """A bar that says what its trainer knows at the time it is drawn. It counts on from the steps that are done.

    Its display may fail: its reader has left, or its disk is full. That ends no training.
    """

    def __init__(self, trainer: Trainer, **how: Any):
        self.trainer, self.thread = trainer, threading.get_ident()
        # A bar that redraws suits a terminal or a notebook. In a file, one line every half minute is enough.
        redraws = "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
        how = dict(mininterval=0.2 if redraws else 30, dynamic_ncols=True, unit="step") | how
        how |= dict(initial=trainer.steps_done, total=trainer.total_steps)
        how |= dict(disable=not trainer.show_progress or sys.stderr is None)
        try:
            super().__init__(**how)
        except (OSError, ValueError):  # it flushes stdout
            super().__init__(**how | dict(disable=True))

    def display(self, *arguments: Any, **named: Any) -> None:
        if threading.get_ident() == self.thread:  # tqdm's own thread must not read from a GPU that records a graph
            self.set_postfix_str(status(self.trainer), refresh=False)
        try:
            super().display(*arguments, **named)
        except (OSError, ValueError):
            self.disable = True

    def close(self) -> None:
        with suppress(OSError, ValueError):
            super().close()


def status(trainer: Trainer) -> str:
    """The mean loss since the last line of the log, and what was measured last on held-out questions."""
    shown, measured = [], trainer.measured
    if trainer.loss_steps:
        shown.append(f"loss {trainer.loss_sum.item() / trainer.loss_steps:.3f}")
    elif trainer.line:
        shown.append(f"loss {trainer.line['loss']:.3f}")
    if "validation_loss" in measured:
        shown.append(f"held-out loss {measured['validation_loss']:.3f}")
    if "validation_accuracy" in measured:
        shown.append(f"accuracy {measured['validation_accuracy']:.0%}")
    return ", ".join(shown)
