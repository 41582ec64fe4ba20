"""The record of a training run, `P.json`: what identifies the run, the command that repeats it, and how to show it."""

import json
import shlex
from pathlib import Path
from typing import Any

from recipes import RECIPES
from safe.files import file_sha256, read_record
from vocabulary import Vocabulary, printable

# What the parameters follow from on a given machine: the contents of files, but not their names.
IDENTITY = (
    "command variant recipe seed pretrained corruption question_share dtype deterministic plain compile device_type "
    "config trainer corpus_sha256 questions_sha256 start_sha256"
).split()
EARLIER = {"plain": False, "compile": "auto"}  # how runs were made whose records do not say it


def identity(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that two equal runs have in common, in JSON's types."""
    return json.loads(json.dumps({name: record.get(name, EARLIER.get(name)) for name in IDENTITY}))


def recordable(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a command as the record keeps them.

    Paths become text. Left out are arguments that were not given, and those that only say how to start.
    """
    given = given | given.get("options", {})
    left_out = ("options", "resume", "overwrite")
    kept = {name: value for name, value in given.items() if value is not None and name not in left_out}
    return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items()}


def command_line(record: dict[str, Any]) -> str:
    """The command that makes these parameters again, quoted for a shell. Raises an error if the record is no good."""
    arguments, processes, machines = dict(record["arguments"]), record.get("processes", 1), record.get("machines", 1)
    if not 1 <= machines <= processes:
        raise ValueError(f"{processes} processes on {machines} machines")
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
    """The record at `path`, if it is of the run that `record` begins to describe and its parameters are intact.

    Raises OSError if they cannot be read: then nothing is known about them.
    """
    try:
        there = read_record(path)
    except ValueError:  # it is damaged
        return None
    same = isinstance(there, dict) and identity(there) == identity(record)
    return there if same and there.get("sha256") == file_sha256(path) else None


def recipe_of(record: dict[str, Any] | None, path: str | Path | None) -> str:
    """The recipe that a record names, or `course`."""
    name = (record or {}).get("recipe", "course")
    if name not in list(RECIPES):
        raise ValueError(f"{path}.json: names the recipe {name!r}, which this code does not have")
    return name


def check_vocabulary(
    vocabulary: Vocabulary, record: dict[str, Any], corpus_path: str | Path, params_path: str | Path
) -> None:
    """Raise ValueError if a corpus has another vocabulary than the parameters were trained with.

    Theirs may go on with characters of questions, after those of the corpus.
    """
    if vocabulary.extended(record["vocabulary"]).characters != record["vocabulary"]:
        raise ValueError(
            f"{params_path}: was trained with another vocabulary ({len(record['vocabulary'])} entries) than "
            f"{corpus_path} gives ({len(vocabulary)}): name the corpus it was pretrained on"
        )


def show(path: str | Path) -> str:
    """The record of the parameters at `path`, for people. Raises OSError or ValueError if there is none."""
    sha256, record = file_sha256(path), read_record(path)
    if record is None:
        raise ValueError(f"{path}.json: no such file: nothing is known about these parameters")
    if not isinstance(record, dict):
        raise ValueError(f"{path}.json: not a record of parameters")
    state = "intact" if record.get("sha256") == sha256 else "NOT the file that the record describes"
    lines = [f"{path}: {state} (sha256 {sha256})"]
    for name, value in record.items():
        if name in ("arguments", "sha256"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{key} {part}" for key, part in value.items())
        elif name == "vocabulary" and isinstance(value, str):
            value = f"{len(value)} tokens: {value}"
        lines.append(f"  {name:<16} {value}")
    lines = [printable(line) for line in lines]
    try:
        lines += ["To repeat it:", printable(command_line(record))]
    except (AttributeError, LookupError, TypeError, ValueError):
        lines.append("The record does not say which command made it.")
    return "\n".join(lines)
