"""Processes that train one model together, for tests: they start once and then do what they are told."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))


class Said(NamedTuple):
    """What one process has done: the result of its function, or its error as text, and what it printed."""

    result: Any
    error: str | None
    out: str
    err: str


class Team:
    """`count` processes at most. Each call is made by the first of them, as many as there are environments."""

    def __init__(self, count: int):
        context = multiprocessing.get_context("spawn")
        self.ends, self.members = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            self.members.append(context.Process(target=work, args=(theirs,), daemon=True))
            self.members[-1].start()
            self.ends.append(ours)

    def __call__(self, environments: list[dict[str, str]], function: Callable[..., Any], *given: Any) -> list[Said]:
        ends = self.ends[: len(environments)]
        for end, environment in zip(ends, environments, strict=True):
            end.send((os.getcwd(), environment, function, given))
        return [end.recv() if end.poll(600) else Said(None, "stuck", "", "") for end in ends]

    def close(self) -> None:
        for member in self.members:
            member.kill()


def work(end: Any) -> None:
    import torch

    torch.set_num_threads(1)
    before = dict(os.environ)
    while True:
        folder, environment, function, given = end.recv()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before | environment)
        result = error = None
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            try:
                result = function(*given)
            except BaseException as caught:
                error = f"{type(caught).__name__}: {caught}"
                if isinstance(caught, AssertionError | RuntimeError | TypeError | AttributeError):
                    traceback.print_exc()
        end.send(Said(result, error, out.getvalue(), err.getvalue()))
