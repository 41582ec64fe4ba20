"""The files of parameters: how they are written, and how files that anybody made are read.

A file appears whole or not at all, whatever happens meanwhile. Nothing that is read is run as code or believed about
its own size.
"""

import errno
import hashlib
import io
import json
import os
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.nn as nn
from torch import Tensor

# All that the pickle of a file of tensors has to name, as "module name"; storages of each type of number besides.
NEEDED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch.storage UntypedStorage",
}


# ---------------------------------------------------------------------------------------------------------- writing


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write to that becomes `path` when the block ends, and leaves `path` alone if it fails.

    At any moment, a power cut included, `path` is the old file or the new one: the content reaches the disk before the
    name does, and the name before this returns. A process that is killed leaves its temporary file behind, which
    `remove_leftovers` finds.
    """
    path = Path(path).resolve()  # a link stays a link
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name != "nt":  # where a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
                raise
        finally:
            os.close(folder)


def remove_leftovers(path: str | Path) -> None:
    """Remove temporary files of `path`. For the one process that may write it."""
    path = Path(path).resolve()
    for temporary in path.parent.iterdir():
        pid = temporary.name.removeprefix(f".{path.name}.").removesuffix(".tmp")
        if pid.isdecimal() and temporary.name == f".{path.name}.{pid}.tmp":
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Raise OSError saying why `path` could not be written, before hours are spent on what should go there."""
    path = Path(path).resolve()
    _check_name(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: cannot be written: it is a folder")
    if path.exists() and not path.is_file():
        raise OSError(f"{path}: cannot be written: it is not a plain file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: cannot be written: there is no folder {path.parent}")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def _check_name(path: str | Path) -> None:
    """ValueError for a name that torch, when it maps a file, cannot hand on."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: the name is not UTF-8, and parameters of such a name could not be read") from None


def write_tensors(path: str | Path, content: dict[str, Any]) -> str:
    """Write what `read_tensors` reads, atomically. Returns the file's sha256. OSError if it cannot be written."""
    buffer = io.BytesIO()  # torch.save into a file would turn a full disk into an error of its own
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def save_parameters(path: str | Path, model: nn.Module, record: dict[str, Any]) -> dict[str, Any]:
    """Write the state_dict to `path` and `record`, what a reader must know about it, to `path`.json.

    Returns the record as written: with the sha256 of the parameters, by which `read_parameters` knows them.
    """
    sha256 = write_tensors(path, {name: value.cpu() for name, value in model.state_dict().items()})
    record = record | {"sha256": sha256}
    with atomic_write(f"{path}.json") as file:
        text = json.dumps(record, indent=2, ensure_ascii=False)
        file.write(text.encode(errors="backslashreplace") + b"\n")  # a file's name may be no text: JSON's escapes do
    return record


# ---------------------------------------------------------------------------------------------------------- reading


def file_sha256(path: str | Path) -> str:
    """Of the file's content. ValueError for a pipe, which has been read when it is asked for this."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path}: is a folder")
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path}: not a plain file, so nobody could tell later what was read: make it one first")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: str | Path, kind: str = "parameter file") -> Any:
    """The nested dicts, tensors, numbers and strings that torch.save wrote to `path`.

    For files from strangers: nothing in them is run as code, no memory is taken for what the file merely claims to
    hold, and every part must match its checksum. Raises OSError if the file cannot be read, ValueError saying what is
    wrong with it; `kind` says what it should be.
    """
    _check_name(path)
    with open(path, "rb"):  # an OSError of its own, for a folder as well
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a strange file is refused in one sentence, or it is fine
            _check_archive(path)
            # Mapped, a tensor cannot reach beyond the file, whatever it says of its size.
            content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
            return _Owned(os.path.getsize(path)).copy(content)
    except Exception as error:  # a damaged file makes torch.load fail in more ways than it documents
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that one: sent before its start
            raise
        reason = str(error) if type(error) is _Refused else type(error).__name__
        raise ValueError(f"{path}: not a {kind}, or a damaged one ({reason})") from None


class _Refused(ValueError):
    """With the reason in words."""


def _check_archive(path: str | Path) -> None:
    """Refuse what torch.save does not write: compressed, overlapping or damaged entries, names of other things."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise _Refused("it is compressed")
        if sum(entry.file_size for entry in entries) > os.path.getsize(path):
            raise _Refused("it claims to hold more than there is")
        if damaged := archive.testzip():
            raise _Refused(f"{damaged!r} does not match its checksum")
        names = [entry.filename for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
        if len(names) != 1:
            raise _Refused("torch.save did not make it")
        for opcode, argument, _ in pickletools.genops(archive.read(names[0])):
            named = opcode.name in ("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4")
            storage = opcode.name == "GLOBAL" and argument.startswith("torch ") and argument.endswith("Storage")
            if named and not storage and not (opcode.name == "GLOBAL" and argument in NEEDED):
                raise _Refused(f"it names {argument!r}, which no file of tensors needs")


class _Owned:
    """Copies tensors out of a file of `size` bytes, which may refer to one thing many times."""

    def __init__(self, size: int):
        self.left, self.seen = size, set()

    def copy(self, value: Any) -> Any:
        if isinstance(value, dict):
            if id(value) in self.seen:
                raise _Refused("a dictionary occurs in it more than once")
            self.seen.add(id(value))
            return {name: self.copy(part) for name, part in value.items()}
        if not isinstance(value, Tensor):
            return value
        if value.layout != torch.strided or value.device.type != "cpu":
            raise _Refused(f"a tensor is {value.layout} on {value.device}")
        size = value.numel() * value.element_size()
        self.left -= size
        if self.left < 0 or size > value.untyped_storage().nbytes():  # one tensor repeated, or one number
            raise _Refused(f"a tensor of shape {tuple(value.shape)} claims more than there is")
        return value.detach().clone()


def read_parameters(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """(state_dict, record) of a parameter file; record is None if there is no `path`.json beside it.

    Nothing in the file is run as code. Raises OSError or ValueError naming the file and what is wrong with it.
    """
    state_dict = read_tensors(path)
    entries = state_dict.items() if isinstance(state_dict, dict) else [("content", state_dict)]
    for name, value in entries:
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            what = f"{name!r} is no tensor" if isinstance(name, str) else f"a {type(name).__name__} names a tensor"
            raise ValueError(f"{path}: not a parameter file: {what} (save model.state_dict() only)")
    record = read_record(path)
    if isinstance(record, dict) and record.get("sha256", "") not in ("", file_sha256(path)):
        raise ValueError(
            f"{path}: is not the file that {path}.json describes: its sha256 is another. One of the two was replaced "
            "or damaged: make them again, or remove the record to read the parameters without it"
        )
    return state_dict, record


def read_record(path: str | Path) -> Any:
    """What stands in `path`.json; None if there is no such file. ValueError if it is no JSON."""
    sidecar = Path(f"{path}.json")
    if not sidecar.exists():
        return None
    try:
        return json.loads(sidecar.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: not JSON: {error}") from None
