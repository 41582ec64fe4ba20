"""A corpus file as token ids mapped from disk, for texts larger than memory.

The text is read in pieces of a few megabytes, once, and its token ids are kept beside it. From then on opening a
corpus of any size reads one small file, and the system fetches those pages of the tokens that a batch asks for.

    wiki.txt
    .wiki.txt.tokens/corpus.json          which text this is, its vocabulary, how much there is of it
    .wiki.txt.tokens/tokens.HASH.npy      (characters,) uint8, int16 or int32: all documents, end to end
    .wiki.txt.tokens/starts.HASH.npy      (documents + 1,) int64: document i is tokens[starts[i]:starts[i + 1]]

HASH is that of the text and of what its record says of it, so arrays never meet another record. The folder can be
deleted at any time.

Python objects are made for the documents of a piece, never for all documents.
"""

import hashlib
import json
import mmap
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from vocabulary import MASK_CHAR, PAD_CHAR, code_points, make_vocabulary, refuse_reserved, smallest_type, token_table

FORMAT = 2  # of the files; raise it when their meaning changes, the rules of the vocabulary included
LONGEST = 2**20  # characters of a line: a file of longer ones is no corpus of one document a line
PIECE = 2**20  # characters read at a time; building takes some 15 bytes of memory for each
ABANDONED = 600  # seconds without a write after which a build is taken for dead
NEWLINE = ord("\n")


class EncodedDocuments(Sequence[str]):
    """Documents kept as token ids: `documents[i]` is decoded when asked for.

    tokens, starts: as above, mapped from files; vocabulary: the character of token id i at place i
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, vocabulary: str):
        self.tokens, self.starts, self.vocabulary = tokens, starts, vocabulary
        self._codes = code_points(vocabulary)
        # A batch wants a hundred bytes here and there. With megabytes read around each, a text that does not fit into
        # memory pushes itself out of it: measured, 16 ms a batch becomes more than 300.
        self._advise("MADV_RANDOM")

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of a corpus of {len(self)} documents")
        index %= len(self)
        ids = self.tokens[self.starts[index] : self.starts[index + 1]]
        return self._codes[ids].tobytes().decode("utf-32-le")

    @contextmanager
    def read_in_order(self) -> Iterator[None]:
        """While this lasts the system reads ahead, for whoever copies the arrays whole."""
        self._advise("MADV_SEQUENTIAL")
        try:
            yield
        finally:
            self._advise("MADV_RANDOM")

    def _advise(self, advice: str) -> None:
        if hasattr(mmap, advice):  # not on Windows
            for array in (self.tokens, self.starts):
                array.base.madvise(getattr(mmap, advice))


def open_documents(path: str | Path) -> EncodedDocuments:
    """The documents of a text file, one a line, blank lines left out; their tokens are made the first time.

    UTF-8 with or without a byte order mark, every kind of line end. Raises OSError if the file cannot be read;
    ValueError if it is not UTF-8 (with the line), holds a reserved character (with the document), has no document or
    a line of more than LONGEST characters, or changes while it is read. Where nothing can be written beside the text,
    the tokens last as long as the process.
    """
    path = Path(path)
    folder = path.with_name(f".{path.name}.tokens")
    _remove_abandoned(folder)
    if (documents := _open_cache(folder, path)) is not None:
        return documents
    print(f"{path}: making its tokens, once, in {folder}", file=sys.stderr)
    record = _survey(path)
    with ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            # Removed when this function returns, even from under the arrays: a mapped file outlives its name.
            # (On Windows it cannot be removed while it is mapped, and stays.)
            temporary = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            print(f"{folder}: {error.strerror}: using {temporary}, for this run only", file=sys.stderr)
            folder = Path(temporary)
        try:
            _build_cache(folder, path, record)
            return _map(folder, record)
        except OSError as error:
            size = sum(dtype.itemsize * length for _, dtype, length in _layout(record).values())
            raise OSError(f"{folder}: cannot hold the tokens of {path}, {size:,} bytes: {error.strerror}") from None


# -------------------------------------------------------------------------------------------------- reading the text


def not_utf8(path: str | Path, line: int, byte: int) -> ValueError:
    return ValueError(f"{path}, line {line}: not UTF-8 text (byte 0x{byte:02x})")


def _read_pieces(path: Path, doing: str) -> Iterator[str]:
    """Whole documents, about PIECE characters at a time, each ended by a newline; never an empty piece.

    On a terminal a bar shows what is being done and, once that has taken two seconds, the time left.
    """
    number, rest = 1, ""  # of the line that `rest` is the beginning of
    how = dict(unit="B", unit_scale=True, delay=2, leave=False, disable=None)
    try:
        with open(path, encoding="utf-8-sig") as file, tqdm(desc=doing, total=path.stat().st_size, **how) as bar:
            while text := file.read(PIECE):
                bar.update(file.buffer.tell() - bar.n)
                *lines, rest = (rest + text).split("\n")
                for line, length in enumerate(map(len, [*lines, rest]), number):
                    refuse_long(length, path, line)
                number += len(lines)
                if lines := [line for line in lines if line.strip()]:
                    yield "\n".join(lines) + "\n"
        if rest.strip():
            yield rest + "\n"
    except UnicodeDecodeError:
        raise _find_not_utf8(path) from None


def refuse_long(length: int, path: str | Path, line: int) -> None:
    """ValueError for a line of more than LONGEST characters. All but the first few hundred would never be seen."""
    if length > LONGEST:
        raise ValueError(f"{path}, line {line}: longer than {LONGEST:,} characters: write one document a line")


def _find_not_utf8(path: Path) -> ValueError:
    """The error for the first line that cannot be decoded: a decoder that reads ahead does not know its lines."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return not_utf8(path, number, line[error.start])
    return _changed(path)


def _survey(path: Path) -> dict[str, Any]:
    """The record of a text: what it is, what it is made of, and how much."""
    stamp = _stamp(path)
    sha256 = _sha256(path)
    seen = np.zeros(sys.maxunicode + 1, dtype=bool)
    documents = characters = 0
    for piece in _read_pieces(path, "reading"):
        if PAD_CHAR in piece or MASK_CHAR in piece:
            for row, document in enumerate(piece.split("\n"), documents + 1):
                refuse_reserved(document, f"{path}, document {row}")
        seen[code_points(piece)] = True
        lines = piece.count("\n")
        documents += lines
        characters += len(piece) - lines
    if not documents:
        raise ValueError(f"{path}: the corpus is empty: no documents")
    vocabulary = make_vocabulary(map(chr, np.flatnonzero(seen)))
    record = {"format": FORMAT, "text": stamp, "sha256": sha256, "vocabulary": vocabulary}
    return record | {"documents": documents, "characters": characters}


def _stamp(path: Path) -> dict[str, int]:
    """What tells at no cost that a file is still the one that was hashed, as make and rsync tell: no writer leaves
    size and time, in nanoseconds, as they were, except on purpose. When they differ, the hash decides: a copied or
    touched text keeps its cache.
    """
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _changed(path: Path) -> ValueError:
    return ValueError(f"{path}: was changed while it was read: try again when it is complete")


# --------------------------------------------------------------------------------------------------------- the cache


def _layout(record: dict[str, Any]) -> dict[str, tuple[str, np.dtype, int]]:
    """(file name, type, length) of both arrays."""
    told = [record[name] for name in ("sha256", "vocabulary", "documents", "characters")]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    token_type = smallest_type(len(record["vocabulary"]))
    return {
        "tokens": (f"tokens.{key}.npy", token_type, record["characters"]),
        "starts": (f"starts.{key}.npy", np.dtype(np.int64), record["documents"] + 1),
    }


def _open_cache(folder: Path, path: Path) -> EncodedDocuments | None:
    """The documents of `path` if `folder` holds them whole, else None: nothing there is mended or believed."""
    try:
        record = json.loads((folder / "corpus.json").read_bytes())
        if record["format"] != FORMAT:
            return None
        documents = _map(folder, record)
        stamp = _stamp(path)
        if record["text"] != stamp:
            if record["sha256"] != _sha256(path):
                return None
            with suppress(OSError):  # a folder that cannot be written costs a hash at every start
                _write_record(folder, record | {"text": stamp})
        return documents
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # anything may stand in a file of this name
        return None


def _map(folder: Path, record: dict[str, Any]) -> EncodedDocuments:
    """The arrays of a record, mapped from disk. OSError or ValueError if they are not what it says."""
    vocabulary = record["vocabulary"]
    if vocabulary != make_vocabulary(vocabulary[2:]):
        raise ValueError(f"{folder}: the vocabulary is out of order")
    arrays = []
    for name, dtype, length in _layout(record).values():
        array = np.lib.format.open_memmap(folder / name, mode="r")  # ValueError if the file is too short for its header
        if array.dtype != dtype or array.shape != (length,):
            raise ValueError(f"{folder / name}: holds {array.shape} {array.dtype}, not ({length},) {dtype}")
        arrays.append(array)
    tokens, starts = arrays
    if starts[0] != 0 or starts[-1] != len(tokens):
        raise ValueError(f"{folder}: the starts are not of these tokens")
    return EncodedDocuments(tokens, starts, vocabulary)


def _build_cache(folder: Path, path: Path, record: dict[str, Any]) -> None:
    """Write the arrays and then the record, which makes them valid; then remove those of earlier texts.

    Each file appears whole, under a name that only this text has: two processes may do this at the same time.
    """
    layout = _layout(record)
    with tempfile.TemporaryDirectory(prefix="unfinished.", dir=folder) as temporary:
        with ExitStack() as stack:
            files = []
            for name, dtype, length in layout.values():
                files.append(stack.enter_context(open(Path(temporary, name), "wb")))
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
                np.lib.format.write_array_header_1_0(files[-1], header)
            _write_arrays(*files, path, record)
            for file in files:
                file.flush()
                os.fsync(file.fileno())  # or a crash could leave a file of the right length and no content
        if _stamp(path) != record["text"]:
            raise _changed(path)
        for name, _, _ in layout.values():
            os.replace(Path(temporary, name), folder / name)
    _write_record(folder, record)
    for old in set(folder.glob("*.npy")) - {folder / name for name, _, _ in layout.values()}:
        with suppress(OSError):  # another process may have it open, or have been faster
            old.unlink()


def _remove_abandoned(folder: Path) -> None:
    """What is left of builds that were killed. One that is at work writes all the time."""
    for left in folder.glob("unfinished.*"):
        with suppress(OSError):  # another process may have been faster
            latest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - latest > ABANDONED:
                shutil.rmtree(left)


def _write_arrays(token_file: BinaryIO, start_file: BinaryIO, path: Path, record: dict[str, Any]) -> None:
    """Written and not mapped: pages of a mapping that were written to count as memory of this process."""
    # A character that the survey did not see has no token here, and comes only from a change that is refused later.
    table = token_table(record["vocabulary"]).astype(smallest_type(len(record["vocabulary"])))
    start_file.write(np.zeros(1, dtype=np.int64))
    written = 0  # tokens
    for piece in _read_pieces(path, "encoding"):
        codes = code_points(piece)  # (characters and newlines,)
        ends = np.flatnonzero(codes == NEWLINE)  # (documents,) where in the piece each document ends
        # Newlines are no tokens: before the end of document i of the piece there were i of them.
        start_file.write(written + ends - np.arange(len(ends)))
        token_file.write(table[codes[codes != NEWLINE]])
        written += len(codes) - len(ends)


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="unfinished.", dir=folder) as temporary:
        file = Path(temporary, "corpus.json")
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="ascii")
        os.replace(file, folder / "corpus.json")
