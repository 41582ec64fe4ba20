"""Files from anybody: opened only if they are plain, hashed as they are read, and tensors read from them without trust.

Nothing in a file that is read is run as code, and its tensors take no more memory than the file has bytes.
"""

import errno
import hashlib
import os
import pickletools
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor


def open_plain(path: str | Path) -> BinaryIO:
    """The file, open. Raises OSError also for what is none: a pipe waits for ever, and a device has no end."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{Path(path)}: is a folder")
    if Path(path).exists() and not Path(path).is_file():
        raise OSError(f"{path}: not a plain file, and its content is gone once it is read: save it as a file first")
    try:
        return open(path, "rb")
    except UnicodeEncodeError:
        raise OSError(f"{path}: this name cannot be spelt in the encoding of the locale: use a UTF-8 locale") from None


def file_sha256(path: str | Path) -> str:
    """The sha256 of the content, to compare. A record names the hash that came with what was read: see `Content`."""
    with open_plain(path) as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


class Content(dict[str, Any]):
    """A dict that was read from a file, and the sha256 of the bytes that it was made of."""

    sha256 = ""


def read_tensors(path: str | Path, kind: str = "parameter file") -> Any:
    """The nested dicts, tensors, numbers and strings that torch.save wrote to `path`. The outermost dict is a Content.

    Safe for files from strangers. `weights_only` runs no code, and mapping the file (`mmap`) keeps a storage from
    reaching beyond it. This function adds what torch.load does not check: that entries are stored uncompressed and
    match their checksums, and that tensors do not claim more bytes than the file has.

    Raises OSError if the file cannot be read, for want of memory too, and ValueError with the reason if it is not a
    `kind`.
    """
    with open_plain(path) as file:
        try:
            head = file.read(len(LEGACY))
            if not head.startswith(ZIPPED) and head != LEGACY:
                raise _Refused("it is not a file of torch.save")
            file.seek(0)
            with _private_copy(file) as (copy, size, sha256):
                content = _parsed(copy, size, zipped=head.startswith(ZIPPED))
        except _Refused as error:
            raise ValueError(f"{path}: not a {kind}, or a damaged one ({error})") from None
        except OSError as error:
            raise OSError(f"{path}: cannot be read: {error.strerror or error}") from None
    if type(content) is not dict:
        return content
    found = Content(content)
    found.sha256 = sha256
    return found


ZIPPED = b"PK\3\4"
LEGACY = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save began a file before version 1.6


@contextmanager
def _private_copy(file: BinaryIO) -> Iterator[tuple[str, int, str]]:
    """(path, size, sha256) of a copy that nobody else can change or replace.

    torch opens a file by its name, twice, and spells the name in UTF-8 whatever the locale. So what it reads need not
    be what was checked and hashed before. The copy is in memory where the system can do that, as Linux can.
    """
    with ExitStack() as stack:
        copy: BinaryIO
        if os.path.isdir("/proc/self/fd") and hasattr(os, "memfd_create"):
            copy = stack.enter_context(open(os.memfd_create("tensors"), "w+b"))
            name = f"/proc/self/fd/{copy.fileno()}"
        else:
            name = str(Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)), "tensors"))
            copy = stack.enter_context(open(name, "w+b"))
        sha256, size = hashlib.sha256(), 0
        while piece := file.read(2**20):
            sha256.update(piece)
            size += copy.write(piece)
        copy.flush()
        yield name, size, sha256.hexdigest()


def _parsed(path: str, size: int, zipped: bool) -> Any:
    """What the file holds. Raises _Refused with the reason if it is damaged, or not what torch.save writes."""
    try:
        if zipped:
            _check_archive(path, size)
        else:  # five pickles, then numbers
            with open(path, "rb") as file:
                for _ in range(5):
                    _check_names(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual tensors, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
        return _Copies(size).of(content)
    except _Refused:
        raise
    except Exception as error:  # a damaged file makes torch.load fail in more ways than it documents
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error)):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: an entry lies before the file
            raise
        raise _Refused(type(error).__name__) from None


class _Refused(ValueError):
    """The message is the reason, in words."""


def _check_archive(path: str, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]:
            raise _Refused("it is compressed")
        if sum([entry.file_size for entry in entries]) > size:
            raise _Refused("its entries claim more bytes than the file has")
        if damaged := archive.testzip():
            raise _Refused(f"{damaged!r} does not match its checksum")
        pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
    for pickled in pickles:
        _check_names(pickled)


def _check_names(pickled: bytes | BinaryIO) -> None:
    """Raise _Refused if a pickle names what no tensor needs: bytearray(10**12) runs no code and takes the memory."""
    for opcode, name, _ in pickletools.genops(cast(Any, pickled)):
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
