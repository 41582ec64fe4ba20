"""Files of parameters: how they are written and read, and how a model is made of them.

A file appears whole or not at all, whatever happens while it is written. safe/tensors.py reads files from anybody.
"""

import errno
import hashlib
import io
import json
import os
import secrets
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn as nn
from torch import Tensor

from attention import VARIANTS
from dataset import find_file
from model import GPT, GPTConfig
from safe import course
from safe.tensors import Content, open_plain, read_tensors
from safe.tensors import file_sha256 as file_sha256  # callers find all that reads and writes here

# ---------------------------------------------------------------------------------------------------------- writing


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends. If the block fails, `path` stays as it was.

    At every moment, even in a power cut, `path` is the old file or the new one: the content reaches the disk before
    the name does, and the name reaches it before this function returns. A process that is killed leaves a temporary
    file behind, which `remove_leftovers` finds.
    """
    path = Path(path).resolve()  # a link stays a link
    # A random number, because processes in two containers can have the same process id.
    temporary = path.with_name(f".{path.name}.{secrets.randbelow(10**9)}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name != "nt":  # Windows cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync a folder
                raise
        finally:
            os.close(folder)


def remove_leftovers(path: str | Path, idle: float = 0) -> None:
    """Remove temporary files of `path` that nobody has written to for `idle` seconds.

    Only the process that holds the lock of `path` may call this with 0: others may be writing.
    """
    path = Path(path).resolve()
    for temporary in path.parent.iterdir():
        number = temporary.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if number.isdecimal() and temporary.name == f".{path.name}.{number}.tmp":
            with suppress(FileNotFoundError):  # its writer has finished
                if idle == 0 or time.time() - temporary.stat().st_mtime > idle:
                    temporary.unlink()


ABANDONED = 600  # seconds without a write after which a temporary file belongs to a dead process
# The parameter file P, and files that belong to it.
BESIDE = ("", ".json", ".log.jsonl", ".resume", ".resume.log.jsonl", ".calibration.json")


def check_writable(path: str | Path, *inputs: str | Path | None) -> None:
    """Raise OSError with the reason if `path` cannot be written: before hours of training, not after.

    Raises ValueError if it is one of the inputs, or a file that belongs to one.
    """
    path = Path(path).resolve()
    for source in [Path(f"{source}{ending}") for source in inputs if source is not None for ending in BESIDE]:
        # samefile recognises hard links, and names that differ in case on a disk that ignores case.
        if source.resolve() == path or (source.exists() and path.exists() and source.samefile(path)):
            raise ValueError(f"{path}: cannot be written: it is one of the files to read, or belongs to one")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: cannot be written: it is not a plain file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: cannot be written: there is no folder {path.parent}")
    probe = path.with_name(f".{path.name}.{secrets.randbelow(10**9)}.tmp")
    try:
        probe.touch()
        probe.unlink()
        remove_leftovers(path, idle=ABANDONED)
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def refuse_files_of_runs(path: str | Path) -> None:
    """Raise ValueError if `path` is a parameter file, or belongs to one or to an unfinished run: hours of work.

    For outputs that are not the result of training.
    """
    for ending in BESIDE:
        run = Path(str(path).removesuffix(ending))
        if str(path).endswith(ending) and Path(path).exists():
            if Path(f"{run}.resume").exists() or (run.is_file() and zipfile.is_zipfile(run)):
                raise ValueError(f"{path}: cannot be written: it belongs to the parameters or the run {run}")


def check_predictions(path: str | Path, *inputs: str | Path | None) -> None:
    """Refuse what predictions and their record must not replace. Raises as `check_writable` does."""
    for output in (path, f"{path}.json"):
        check_writable(output, *inputs)
        refuse_files_of_runs(output)


def check_outputs(path: str | Path, *inputs: str | Path | None) -> None:
    """Refuse now what training at `path` could not write afterwards, or must not. Only the first process writes."""
    if int(os.environ.get("RANK", 0)) > 0:
        return
    for ending in BESIDE:
        check_writable(f"{path}{ending}", *[find_file(name) for name in inputs if name is not None])


def write_tensors(path: str | Path, content: dict[str, Any]) -> str:
    """Write `content` atomically, for `read_tensors`. Returns the sha256 of the file. Raises OSError if it fails."""
    saved = in_memory(content)
    with atomic_write(path) as file:
        file.write(saved)
    return hashlib.sha256(saved).hexdigest()


def in_memory(content: dict[str, Any]) -> memoryview:
    """What torch.save writes. Into a file it would report a full disk as a RuntimeError."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)  # a plain dict, also of what was read: a subclass is not loaded
    return buffer.getbuffer()


def save_parameters(path: str | Path, model: nn.Module, record: dict[str, Any]) -> dict[str, Any]:
    """Write the state_dict to `path`, and `record`, what a reader must know about it, to `path`.json.

    Returns the record as written: it includes the sha256 of the parameter file, which `read_parameters` checks.
    """
    content = in_memory({name: value.cpu() for name, value in model.state_dict().items()})
    record = record | {"sha256": hashlib.sha256(content).hexdigest()}
    write_with_record(path, content, record)
    return record


def write_with_record(path: str | Path, content: bytes | memoryview, record: dict[str, Any]) -> None:
    """Write `content` to `path` and `record` to `path`.json. If the disk is full, both stay as they were."""
    text = json.dumps(record, indent=2, ensure_ascii=False)
    # A full disk shows before either file is replaced: the record is written, then the content, then it is renamed.
    with atomic_write(f"{path}.json") as sidecar:
        sidecar.write(text.encode(errors="backslashreplace") + b"\n")  # JSON's own escape, for names not in UTF-8
        sidecar.flush()
        os.fsync(sidecar.fileno())  # some file systems find that they are full only now
        with atomic_write(path) as file:
            file.write(content)


def export(path: str | Path, outputs_path: str | Path, format: str = "course") -> str:
    """Write the parameters at `path` for other code. Returns a line that says what was written.

    format: "course", the state_dict that the course's code loads strictly, with its buffers
    """
    state_dict, record = read_parameters(path)
    if record is None:
        raise ValueError(f"{path}: has no record {path}.json, so it cannot be known what model this is")
    if Path(f"{outputs_path}.json").exists():
        raise ValueError(f"{outputs_path}: has a record {outputs_path}.json, which would not fit: choose another path")
    check_writable(outputs_path, path)
    tensors = course.state_dict_of(model_of(path, state_dict, record["config"]))
    write_tensors(outputs_path, tensors)
    return f"{outputs_path}: {len(tensors)} tensors of a {record['variant']} model, as the course's code saves them"


# ---------------------------------------------------------------------------------------------------------- reading

LARGEST_RECORD = 2**26  # bytes: a vocabulary of all of Unicode takes 7 million


def read_parameters(path: str | Path) -> tuple[Content, dict[str, Any] | None]:
    """(state_dict, record) of a parameter file. The record is None if there is no `path`.json beside it.

    Nothing in the files is run as code. Raises OSError or ValueError with the file and the reason.
    """
    record, state_dict = read_record(path), read_tensors(path)
    if not isinstance(state_dict, Content):
        raise ValueError(f"{path}: not a parameter file: it holds a {type(state_dict).__name__}, not a state_dict")
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            what = f"{name!r} is not a tensor" if isinstance(name, str) else f"a {type(name).__name__} names a tensor"
            raise ValueError(f"{path}: not a parameter file: {what} (save model.state_dict() only)")
    if record is None:
        return state_dict, None
    for name, kind in {"variant": str, "config": dict, "vocabulary": str}.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise ValueError(f"{path}.json: not a record of parameters: {name} is missing or of the wrong kind")
    if "sha256" in record and record["sha256"] != state_dict.sha256:
        raise ValueError(
            f"{path}: is not the file that {path}.json describes: the sha256 differs. One of the two was replaced or "
            "damaged: put back the one that belongs here, or rename the record to read the parameters without it"
        )
    return state_dict, record


def read_record(path: str | Path) -> Any:
    """The content of `path`.json, or None if there is no such file. Raises ValueError if it is not JSON."""
    sidecar = Path(f"{path}.json")
    if not sidecar.exists():
        return None
    with open_plain(sidecar) as file:
        content = file.read(LARGEST_RECORD + 1)
    if len(content) > LARGEST_RECORD:
        raise ValueError(f"{sidecar}: not a record: it has more than {LARGEST_RECORD:,} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: not JSON: {error}") from None


# ------------------------------------------------------------------------------------------------- making a model


def recorded_config(variant: str, path: str | Path, record: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of the GPTConfig in the record of the parameters at `path`. What the caller says must agree with them.

    settings: sizes, and options of the variant, as the caller has them; None where nothing was said
    """
    fields = record["config"]
    if variant != record["variant"]:
        raise ValueError(f"{path}: holds a {record['variant']} model, not a {variant} one")
    if fields.get("vocab_size") != len(record["vocabulary"]):
        raise ValueError(f"{path}.json: its config is not one of this code: the vocabulary has another size")
    options = fields.get("options")
    trained = fields | (options if isinstance(options, dict) else {})
    for name, value in settings.items():
        if value is not None and name not in trained:
            raise ValueError(f"the variant {variant} has no option {name}")
        if value is not None and value != trained[name]:
            raise ValueError(f"{path}: was trained with {name} {trained[name]}, not {value}")
    return fields


@contextmanager
def shapes_only() -> Iterator[None]:
    """What is made in this block takes no memory: its tensors have shapes and no numbers.

    To draw numbers for such a tensor, torch imports its compiler, which takes as long as importing torch.
    """
    init: Any = nn.init
    draw, init.normal_ = init.normal_, lambda tensor, *args, **kwargs: tensor
    try:
        with torch.device("meta"):
            yield
    finally:
        init.normal_ = draw


def model_of(path: str | Path, state_dict: dict[str, Tensor], fields: dict[str, Any]) -> GPT:
    """A model with the parameters of a state_dict, of this code or of the course's, that was read from `path`.

    fields: of its GPTConfig. Raises ValueError if they are not those of a GPTConfig. Raises ValueError with the first
    tensor that is missing, unknown or of another shape, before memory is taken for a model that does not fit the file.
    """
    given: dict[str, Tensor] = state_dict
    tables: dict[str, Tensor] = {}
    if any(part in name for name in state_dict for part in course.SIGNS):
        given, tables, fields = course.in_our_terms(path, state_dict, fields)
    try:
        config = GPTConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: the model of its record, or of the flags, cannot be built: {error}") from None
    n_blocks = len({name.split(".")[1] for name in given if name.startswith("blocks.")})
    if n_blocks + 2 * VARIANTS[config.variant].bottleneck != config.n_layer:
        raise ValueError(f"{path}: has {n_blocks} blocks: not the parameters of {config.n_layer} layers")
    with shapes_only():
        wanted = GPT(config).state_dict()
    for name in sorted(wanted.keys() | given.keys()):
        if name not in given or name not in wanted:
            what = "lacks the" if name in wanted else "has an unknown"
            raise ValueError(f"{path}: {what} tensor {name}: not the parameters of a {config.variant} model")
        if given[name].shape != wanted[name].shape:
            have, want = tuple(given[name].shape), tuple(wanted[name].shape)
            raise ValueError(
                f"{path}: {name} has shape {have} where the model has {want}: another corpus or other sizes?"
            )
        if not given[name].is_floating_point():
            raise ValueError(f"{path}: {name} holds {given[name].dtype} numbers: parameters are floating-point")
        if not given[name].isfinite().all():
            raise ValueError(f"{path}: {name} holds NaN or infinite numbers: no model can answer with them")
    model = GPT(config)
    vars(model)["sha256"] = getattr(state_dict, "sha256", None)  # of the file: what answers, and records, go by
    model.load_state_dict(given)
    if tables:
        course.use_tables(path, model, tables)
    return model
