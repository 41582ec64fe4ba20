"""A program for tests: it trains once for each way in which a display can fail, each in a process of its own.

The parameters are in WAY/p, the exit statuses in statuses.json.
"""

import json
import os
import runpy
import stat
import sys
import threading
from pathlib import Path

import run
import stages as stages  # imported once, before the forks
from kill_test import RUN, fork


def piped(characters: int, *streams: int) -> None:
    """A reader that leaves after so many characters, as `| head -c N` does."""
    reader, screen = os.pipe()
    for stream in streams:
        os.dup2(screen, stream)
    os.close(screen)

    def read() -> None:
        if characters:
            os.read(reader, characters)
        os.close(reader)

    if characters:
        threading.Thread(target=read).start()
    else:
        read()


def full(*streams: int) -> None:
    disk = os.open("/dev/full", os.O_WRONLY)
    for stream in streams:
        os.dup2(disk, stream)
    os.close(disk)


WAYS = {
    "2>&1 | head -c 1": lambda: piped(1, 1, 2),
    "2>&1 | true": lambda: piped(0, 1, 2),
    ">&- 2>&-": lambda: os.closerange(1, 3),
    ">&-": lambda: os.close(1),
    "2>&-": lambda: os.close(2),
    "> full 2>&1": lambda: full(1, 2),
    "2> full | true": lambda: (full(2), piped(0, 1)),
}


def train(way: str) -> int:
    os.mkdir(way)
    os.chdir(way)
    WAYS[way]()
    streams = []
    for number in (1, 2):  # as Python finds them at its start
        try:
            os.fstat(number)
            streams.append(open(number, "w", buffering=-1 if number == 1 else 1, closefd=False))
        except OSError:
            streams.append(None)
    sys.stdout, sys.stderr = streams
    words = [word for name, value in RUN.items() for word in (f"--{name}", str(value))]
    sys.argv[1:] = ["pretrain", "vanilla", "../wiki.txt", "--writing_params_path", "p", *words]
    try:
        runpy.run_path(run.__file__, run_name="__main__")
    except SystemExit as left:
        status = int(left.code)
    for number, stream in enumerate(streams, 1):
        if stream is None and stat.S_ISREG(os.fstat(number).st_mode):
            return 99  # messages would be written into that file
    return status


if __name__ == "__main__":
    children = {way: fork(lambda way=way: train(way)) for way in WAYS}
    statuses = {way: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for way, child in children.items()}
    Path("statuses.json").write_text(json.dumps(statuses))
