"""Held-out questions during training: the log's line with their loss also says how many are answered right."""

import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

import dataset as data
from safe.own_facts import is_right, remember

ASKED = 200  # questions at most, evenly from the file: answers take longer than their loss, above all on a GPU

OnLog = Callable[[dict[str, float]], None]


def with_accuracy(on_log: OnLog, job: Any, about: dict[str, Any], answer: Callable[..., list[str]] | None) -> OnLog:
    """`on_log`, which adds `validation_accuracy`, from 0 to 1, to a line with `validation_loss`.

    answer: stages.answer. Answers are greedy and draw nothing, so training goes on as without them. Of several
    processes the first answers, and the others wait; where a model is divided among them, none of them can.
    """
    if answer is None or job.held_out is None or job.sharded or not job.is_first:
        return on_log
    pairs = job.held_out.pairs  # of the bytes that were read: the file may be another by now
    questions, places = zip(*pairs[:: math.ceil(len(pairs) / ASKED)], strict=True)
    model, vocabulary = remember(job.model, about), job.corpus.vocabulary
    ids, lengths = data.encode_questions(list(questions), vocabulary, model.config.block_size, "the held-out questions")

    def completed(line: dict[str, float]) -> None:
        if "validation_loss" in line:
            # Answers grow by a token a step: no shape is worth compiling for.
            compiling = "torch._dynamo" in sys.modules
            with torch.compiler.set_stance("force_eager") if compiling else nullcontext():
                said = answer(model, vocabulary, ids, lengths, job.running.plain)
            line["validation_accuracy"] = sum(map(is_right, said, places)) / len(places)
        on_log(line)

    return completed
