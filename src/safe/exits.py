"""How run.py speaks and ends: one line for every mistake, what to do about it, an exit status. Free of torch."""

import io
import os
import sys
import time
from contextlib import suppress
from typing import NoReturn

from vocabulary import printable

SHORT_OF_MEMORY = ("allocate", "bad_alloc", "could not create a primitive")  # torch's, C++'s and oneDNN's words


def advice_for(error: RuntimeError) -> str:
    """What to do about an error of torch that is the user's to solve. Others are raised again."""
    import torch

    if any(kind.__module__ == "torch._dynamo.exc" for kind in type(error).__mro__):
        return f"--compile: this machine cannot ({str(error).splitlines()[0]}): --compile off does without"
    if "Symlink loop" in str(error):  # Path.resolve, before Python 3.13
        return str(error)
    if "start new thread" in str(error):
        return f"{error}: memory or a limit on processes is used up; OMP_NUM_THREADS=1 needs no threads"
    if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in SHORT_OF_MEMORY):
        return "this does not fit into memory: lower --batch_size, the sizes of the model or, on a CPU, OMP_NUM_THREADS"
    raise error


def open_streams() -> None:
    """Make stdout and stderr ones that can be written to, whatever a line holds and wherever it goes."""
    for number in (1, 2):  # closed by `>&- 2>&-`: the next file that is opened would take its place, and be written to
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console that lacks a character shows its number


def unread() -> None:
    """The reader of stdout has left: let what Python flushes at its end go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str, to_stderr: bool = False) -> None:
    """Print what the user should know. A display that fails, as its reader has left, is no reason to stop."""
    with suppress(OSError, ValueError):
        for line in [line for text in lines for line in text.split("\n")]:
            # A name of a file that is in it may hold control characters.
            print(printable(line), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def fail(*lines: str, status: int = 2) -> int:
    if lines and int(os.environ.get("RANK", 0)) > 0:
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
