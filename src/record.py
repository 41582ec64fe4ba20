"""The record of a training run, `P.json`: what identifies the run, the command that repeats it, and how to show it."""

import json
import shlex
from pathlib import Path
from typing import Any

from checkpoint import file_sha256, read_record
from vocabulary import printable

# What the parameters follow from, given the same machine. Names of files are not among it, their contents are.
IDENTITY = (
    "command variant recipe seed pretrained corruption question_share dtype deterministic device_type config trainer "
    "corpus_sha256 questions_sha256 start_sha256"
).split()


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record by which two runs are the same, in the types that JSON has."""
    same = {name: record.get(name) for name in IDENTITY}
    if isinstance(same["trainer"], dict):
        # Whether to go on after a bad step may be decided when there is one.
        same["trainer"] = {name: value for name, value in same["trainer"].items() if name != "skip_nonfinite"}
    return json.loads(json.dumps(same))


def plain_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command as the record keeps them: paths as text, without what was not given and without what
    only says how to start."""
    given = given | given.get("options", {})
    left_out = ("options", "resume", "overwrite")
    kept = {name: value for name, value in given.items() if value is not None and name not in left_out}
    return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items()}


def command_line(record: dict[str, Any]) -> str:
    """The command that makes these parameters again, for a shell."""
    arguments, processes, machines = dict(record["arguments"]), record.get("processes", 1), record.get("machines", 1)
    words = ["python"] if processes == 1 else ["torchrun", f"--nproc_per_node={processes // machines}"]
    words[1:1] = [f"--nnodes={machines}"] * (machines > 1)
    words += ["src/run.py", record["command"]]
    words += [str(arguments.pop(name)) for name in ("variant", "pretrain_corpus_path")]
    for name, value in arguments.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += [f"--{name}", str(value)]
    return " ".join(shlex.quote(word) for word in words)


def complete_already(path: str | Path, record: dict[str, Any]) -> dict[str, Any] | None:
    """The record at `path` if the run that `record` begins to describe has been there and its parameters are whole."""
    try:
        there = read_record(path)
        whole = isinstance(there, dict) and identity(there) == identity(record)
        return there if whole and there.get("sha256") == file_sha256(path) else None
    except (OSError, ValueError):
        return None


def show(path: str | Path) -> str:
    """The record of the parameters at `path`, for a person. Raises OSError or ValueError if there is none."""
    sha256, record = file_sha256(path), read_record(path)
    if record is None:
        raise ValueError(f"{path}.json: no such file: nothing is known about these parameters")
    if not isinstance(record, dict):
        raise ValueError(f"{path}.json: not a record of parameters")
    state = "whole" if record.get("sha256") == sha256 else "NOT the file that the record describes"
    lines = [f"{path}: {state} (sha256 {sha256})"]
    for name, value in record.items():
        if name in ("arguments", "sha256"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        elif name == "vocabulary":
            value = f"{len(value)} tokens: {value}" if isinstance(value, str) else value
        lines.append(f"  {name:<16} {value}")
    lines = [printable(line) for line in lines]
    try:
        lines += ["To repeat it:", printable(command_line(record))]
    except (AttributeError, LookupError, TypeError, ValueError):
        lines.append("The record does not say which command made it.")
    return "\n".join(lines)
