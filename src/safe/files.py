"""Files of parameters: how they are written, and how files from anybody are read.

A file appears whole or not at all, whatever happens while it is written. Nothing in a file that is read is run as
code, and its tensors take no more memory than the file has bytes.
"""

import errno
import hashlib
import io
import json
import os
import pickletools
import re
import secrets
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import torch.nn as nn
from torch import Tensor

from attention import VARIANTS
from dataset import find_file
from model import GPT, GPTConfig
from safe import course

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


def remove_leftovers(path: str | Path) -> None:
    """Remove temporary files of `path`. Only the process that holds the lock of `path` may call this."""
    path = Path(path).resolve()
    for temporary in path.parent.iterdir():
        number = temporary.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if number.isdecimal() and temporary.name == f".{path.name}.{number}.tmp":
            temporary.unlink(missing_ok=True)


BESIDE = ("", ".json", ".log.jsonl", ".resume", ".resume.log.jsonl")  # the parameter file P, and files of its run


def check_writable(path: str | Path, *inputs: str | Path | None) -> None:
    """Raise OSError with the reason if `path` cannot be written: before hours of training, not after.

    Raises ValueError if it is one of the inputs, or a file that belongs to one.
    """
    path = Path(path).resolve()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: the name is not UTF-8, and PyTorch could not read a file of this name") from None
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
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


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
    torch.save(content, buffer)
    return buffer.getbuffer()


def save_parameters(path: str | Path, model: nn.Module, record: dict[str, Any]) -> dict[str, Any]:
    """Write the state_dict to `path`, and `record`, what a reader must know about it, to `path`.json.

    Returns the record as written: it includes the sha256 of the parameter file, which `read_parameters` checks.
    """
    content = in_memory({name: value.cpu() for name, value in model.state_dict().items()})
    record = record | {"sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(record, indent=2, ensure_ascii=False)
    # A full disk shows before either file is replaced: the record is written, then the parameters, then it is renamed.
    with atomic_write(f"{path}.json") as sidecar:
        sidecar.write(text.encode(errors="backslashreplace") + b"\n")  # JSON's own escape, for names not in UTF-8
        sidecar.flush()
        with atomic_write(path) as file:
            file.write(content)
    return record


def export(path: str | Path, outputs_path: str | Path, format: str = "course") -> str:
    """Write the parameters at `path` for other code. Returns a line that says what was written.

    format: "course", the state_dict that the course's code loads strictly, with its buffers
    """
    state_dict, record = read_parameters(path)
    if record is None:
        raise ValueError(f"{path}: has no record {path}.json, so it cannot be known what model this is")
    check_writable(outputs_path, path)
    tensors = course.state_dict_of(model_of(path, state_dict, record["config"]))
    write_tensors(outputs_path, tensors)
    return f"{outputs_path}: {len(tensors)} tensors of a {record['variant']} model, as the course's code saves them"


# ---------------------------------------------------------------------------------------------------------- reading

LARGEST_RECORD = 2**26  # bytes: a vocabulary of all of Unicode takes 7 million


def open_plain(path: str | Path) -> BinaryIO:
    """The file, open. Raises ValueError for what is none: a pipe waits for ever, and a device has no end."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: is a folder")
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path}: not a plain file, and its content is gone once it is read: save it as a file first")
    return open(path, "rb")


def file_sha256(path: str | Path) -> str:
    """The sha256 of the content. Raises ValueError for a pipe, which could not be read a second time."""
    with open_plain(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def read_tensors(path: str | Path, kind: str = "parameter file") -> Any:
    """The nested dicts, tensors, numbers and strings that torch.save wrote to `path`.

    Safe for files from strangers. `weights_only` runs no code, and mapping the file (`mmap`) keeps a storage from
    reaching beyond it. This function adds what torch.load does not check: that entries are stored uncompressed and
    match their checksums, and that tensors do not claim more bytes than the file has.

    Raises OSError if the file cannot be read, and ValueError with the reason if it is not a `kind`.
    """
    try:
        size = os.path.getsize(path)
        with open_plain(path) as file:
            zipped = file.read(4) == b"PK\x03\x04"
        if zipped:
            _check_archive(path, size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual tensors, which are refused below
            # A file from before torch 1.6 is no archive and cannot be mapped.
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
        return _Copies(size).of(content)
    except Exception as error:  # a damaged file makes torch.load fail in more ways than it documents
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: an entry lies before the file
            raise
        reason = str(error) if type(error) is _Refused else type(error).__name__
        if isinstance(error, UnicodeEncodeError) and error.object == str(path):
            reason = "the name of the file is not UTF-8"
        raise ValueError(f"{path}: not a {kind}, or a damaged one ({reason})") from None


class _Refused(ValueError):
    """The message is the reason, in words."""


def _check_archive(path: str | Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            raise _Refused("it is compressed")
        if sum([entry.file_size for entry in entries]) > size:
            raise _Refused("its entries claim more bytes than the file has")
        if damaged := archive.testzip():
            raise _Refused(f"{damaged!r} does not match its checksum")
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    # bytearray(10**12) runs no code and takes the memory.
    for opcode, name, _ in [found for pickled in pickles for found in pickletools.genops(pickled)]:
        if opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST") and not _PARTS.fullmatch(str(name)):
            raise _Refused(f"it holds {str(name)!r}, which is no part of a tensor")


_PARTS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_\w*(tensor|parameter)\w*"
    r"|torch (\w+Storage|float\w*|bfloat16|int\w*|uint8|bool|complex\w*|Size)|torch\.storage \w+Storage"
)


@dataclass
class _Copies:
    """Copies tensors out of a mapped file. All copies together take at most `left` bytes, the size of the file."""

    left: int
    tensors: dict[tuple, Tensor] = field(default_factory=dict)
    dicts: set[int] = field(default_factory=set)

    def of(self, value: Any) -> Any:
        """`value` with copies of its tensors. Tied weights, one tensor under several names, stay one tensor."""
        if isinstance(value, dict):
            if id(value) in self.dicts:  # 60 nested dicts that each hold the next one twice would be copied 2**60 times
                raise _Refused("a dictionary occurs in it more than once")
            self.dicts.add(id(value))
            return {name: self.of(part) for name, part in value.items()}
        if not isinstance(value, Tensor):
            return value
        if value.layout != torch.strided or value.device.type != "cpu":
            raise _Refused(f"a tensor is {value.layout} on {value.device}")
        key = value.data_ptr(), value.dtype, value.shape, value.stride()
        if key not in self.tensors:
            self.left -= value.nbytes
            # Two ways to claim more: one number expanded to any shape, or many overlapping views of one storage.
            if value.nbytes > value.untyped_storage().nbytes() or self.left < 0:
                raise _Refused(f"a tensor of shape {tuple(value.shape)} claims more bytes than there are")
            self.tensors[key] = value.detach().clone()
        return self.tensors[key]


def read_parameters(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """(state_dict, record) of a parameter file. The record is None if there is no `path`.json beside it.

    Nothing in the files is run as code. Raises OSError or ValueError with the file and the reason.
    """
    state_dict = read_tensors(path)
    if not isinstance(state_dict, dict):
        raise ValueError(f"{path}: not a parameter file: it holds a {type(state_dict).__name__}, not a state_dict")
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            what = f"{name!r} is not a tensor" if isinstance(name, str) else f"a {type(name).__name__} names a tensor"
            raise ValueError(f"{path}: not a parameter file: {what} (save model.state_dict() only)")
    record = read_record(path)
    if record is None:
        return state_dict, None
    for name, kind in {"variant": str, "config": dict, "vocabulary": str}.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise ValueError(f"{path}.json: not a record of parameters: {name} is missing or of the wrong kind")
    if "sha256" in record and record["sha256"] != file_sha256(path):
        raise ValueError(
            f"{path}: is not the file that {path}.json describes: the sha256 differs. One of the two was replaced or "
            "damaged: make them again, or remove the record to read the parameters without it"
        )
    return state_dict, record


def read_record(path: str | Path) -> Any:
    """The content of `path`.json, or None if there is no such file. Raises ValueError if it is not JSON."""
    sidecar = Path(f"{path}.json")
    if not sidecar.exists():
        return None
    if sidecar.stat().st_size > LARGEST_RECORD or not sidecar.is_file():
        raise ValueError(f"{sidecar}: not a record: it is no plain file of at most {LARGEST_RECORD:,} bytes")
    try:
        return json.loads(sidecar.read_bytes())
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
    with torch.device("meta"):
        wanted = GPT(config).state_dict()  # shapes without memory
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
    model.load_state_dict(given)
    if tables:
        course.use_tables(path, model, tables)
    return model
