"""A corpus file as token ids mapped from disk, for texts larger than memory.

The text is read once, a megabyte at a time, and its token ids are stored beside it. After that, opening a corpus reads
the stored ids once, to see that they are those that were made, and the system fetches the pages that a batch asks for.

    wiki.txt
    .wiki.txt.tokens/corpus.json      which text this is, its vocabulary, how much there is of it, hashes of the arrays
    .wiki.txt.tokens/tokens.HASH      (characters,) uint8, int16 or int32: all documents, end to end
    .wiki.txt.tokens/starts.HASH      (documents + 1,) int64: document i is tokens[starts[i]:starts[i + 1]]

HASH covers the text and everything that corpus.json says about it, so a record never meets the arrays of another.
Bytes that were altered since are found by the hashes of the arrays, and made again. Opening costs one SHA-256 of them,
a second or two for each gigabyte on most processors, and as long as the disk takes if they are not in memory. The
hashes find damage. They are no proof against somebody who writes both the arrays and corpus.json.
Python objects are made for the documents of one piece of text, never for all. The folder can be deleted at any time.
"""

import codecs
import hashlib
import io
import json
import mmap
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

import dataset
from safe.files import ABANDONED, LARGEST_RECORD, atomic_write, file_sha256, open_plain
from vocabulary import MASK, MASK_CHAR, PAD_CHAR, Vocabulary, code_points, refuse_reserved, smallest_type

FORMAT = 5  # of the files: raise it when their meaning changes, or the rules of the vocabulary
PIECE = 2**20  # bytes read at a time


class EncodedDocuments(Sequence[str]):
    """Documents stored as token ids. `documents[i]` decodes one of them. For tokens and starts see the module.

    sha256: of the text that the ids were made of
    """

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, vocabulary: Vocabulary, sha256: str):
        self.tokens, self.starts, self.vocabulary, self.sha256 = tokens, starts, vocabulary, sha256

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of a corpus of {len(self)} documents")
        index %= len(self)
        return self.vocabulary.decode(self.tokens[self.starts[index] : self.starts[index + 1]].tolist())


def open_documents(path: str | Path) -> EncodedDocuments:
    """The documents of a text file, one a line, without blank lines. Their tokens are made the first time.

    The text is UTF-8 with or without a byte order mark and has any style of line end. Raises OSError if it cannot be
    read; ValueError if it is not UTF-8 (with the line), contains a reserved character (with the document), has no
    document or a line longer than dataset.LONGEST, or changes while it is read. If nothing can be written beside the
    text, the tokens last as long as the process.
    """
    path = Path(path)
    folder = path.with_name(f".{path.name}.tokens")
    for left in folder.glob(".*.tmp"):  # by a process that was killed: one that is alive writes all the time
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    if (documents := _open_cache(folder, path)) is not None:
        return documents
    print(f"{path}: making its tokens, once, in {folder}", file=sys.stderr)
    record = _survey(path)
    with ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            # Its files are removed when this function returns. The mapped arrays outlive the names of their files. (Not
            # on Windows, which cannot remove a mapped file and keeps it.)
            temporary = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            print(f"{folder}: {error.strerror}: using {temporary}, for this run only", file=sys.stderr)
            folder = Path(temporary)
        try:
            return _map(folder, _build_cache(folder, path, record))
        except OSError as error:
            size = sum(dtype.itemsize * length for _, dtype, length in _layout(folder, record))
            raise OSError(f"{folder}: cannot hold the tokens of {path}, {size:,} bytes: {error.strerror}") from None


def _read_pieces(path: Path, doing: str, found: Any) -> Iterator[list[str]]:
    """The documents of a text, those of about PIECE bytes at a time. The bytes go into the hash `found`.

    A progress bar appears after two seconds.
    """
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    number, newlines, rest = 1, 0, ""  # `number` is that of the line which begins with `rest`
    how = dict(unit="B", unit_scale=True, delay=2, leave=False, disable=None)
    with open_plain(path) as file, tqdm(desc=doing, total=path.stat().st_size, **how) as bar:
        while True:
            raw = file.read(PIECE)
            found.update(raw)
            try:
                *lines, rest = (rest + decoder.decode(raw, final=not raw)).split("\n")
            except UnicodeDecodeError as error:
                line = 1 + newlines + error.object.count(b"\n", 0, error.start)
                raise dataset.not_utf8(path, line, error.object[error.start]) from None
            for i, text in enumerate([*lines, rest], number):
                dataset.refuse_long(len(text), path, i)
            number, newlines = number + len(lines), newlines + raw.count(b"\n")
            if documents := [text for text in (lines if raw else [*lines, rest]) if text.strip()]:
                yield [text.replace("\t", ". ", 1) for text in documents]  # as dataset.read_corpus does
            if not raw:
                return
            bar.update(len(raw))


def _survey(path: Path) -> dict[str, Any]:
    """The record of a text: which text it is, its characters, and how much there is of it."""
    record, found = {"format": FORMAT, "text": _stamp(path)}, hashlib.sha256()
    seen = np.zeros(sys.maxunicode + 1, dtype=bool)
    seen[ord("\n")] = True  # every document ends in one
    documents = characters = 0
    for piece in _read_pieces(path, "reading", found):
        text = "".join(piece)
        if PAD_CHAR in text or MASK_CHAR in text:
            for row, document in enumerate(piece, documents + 1):
                refuse_reserved(document, f"{path}, document {row}")
        seen[code_points(text)] = True
        documents, characters = documents + len(piece), characters + len(text)
    if not documents:
        raise ValueError(f"{path}: the corpus is empty: no documents")
    vocabulary = Vocabulary.of(map(chr, np.flatnonzero(seen)))
    record |= {"sha256": found.hexdigest(), "vocabulary": vocabulary.characters}
    return record | {"documents": documents, "characters": characters}


def _stamp(path: Path) -> list[int]:
    """Size and time of a file. If they differ from a record's, the hash decides: a touched text keeps its tokens."""
    return [path.stat().st_size, path.stat().st_mtime_ns]


def _layout(folder: Path, record: dict[str, Any]) -> list[tuple[Path, np.dtype, int]]:
    """(path, type, length) of the tokens and of the starts that belong to a record."""
    key = hashlib.sha256(json.dumps(record | {"text": None, "arrays": None}, sort_keys=True).encode()).hexdigest()[:16]
    return [
        (folder / f"tokens.{key}", smallest_type(len(record["vocabulary"])), record["characters"]),
        (folder / f"starts.{key}", np.dtype(np.int64), record["documents"] + 1),
    ]


def _open_cache(folder: Path, path: Path) -> EncodedDocuments | None:
    """The documents of `path` if `folder` holds them complete, else None. Nothing is repaired."""
    try:
        with open_plain(folder / "corpus.json") as file:
            record = json.loads(file.read(LARGEST_RECORD))
        if record["format"] != FORMAT:
            return None
        if record["text"] != (stamp := _stamp(path)):
            if record["sha256"] != file_sha256(path):
                return None
            with suppress(OSError):  # in a folder that cannot be written, every start costs a hash
                _write_record(folder, record | {"text": stamp})
        return _map(folder, record)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # they may contain anything
        return None


def _map(folder: Path, record: dict[str, Any]) -> EncodedDocuments:
    """The arrays of a record, mapped from disk. Raises OSError or ValueError if they are not what it says."""
    vocabulary = Vocabulary(record["vocabulary"])
    (token_path, token_type, characters), (start_path, start_type, length) = _layout(folder, record)
    with open_plain(token_path) as token_file, open_plain(start_path) as start_file:
        # The files that are mapped are those that were checked, whatever happens to their names meanwhile.
        tokens, starts = np.memmap(token_file, token_type, mode="r"), np.memmap(start_file, start_type, mode="r")
        if (len(tokens), len(starts), starts[0], starts[-1]) != (characters, length, 0, characters):
            raise ValueError(f"{folder}: the arrays are not those of the record: remove the folder")
        hashes, last = [hashlib.sha256(), hashlib.sha256()], -1
        for ids in _numbers(token_file, token_type, hashes[0]):
            if ids.min() <= MASK or ids.max() >= len(vocabulary):
                raise ValueError(f"{token_path}: holds numbers that are no token ids: remove the folder")
        for offsets in _numbers(start_file, start_type, hashes[1]):
            if offsets[0] <= last or (offsets[1:] <= offsets[:-1]).any():
                raise ValueError(f"{start_path}: the documents overlap: remove the folder")
            last = offsets[-1]
    if record["arrays"] != [found.hexdigest() for found in hashes]:
        raise ValueError(f"{folder}: the arrays were altered after they were made: remove the folder")
    for array in (tokens, starts):
        # A batch reads some hundred bytes at random places. With megabytes read ahead at each, a text larger than
        # memory would push itself out of it: a batch took over 300 ms instead of 16. Smaller arrays may be copied
        # whole to a GPU, which reading ahead makes fast. Windows takes no advice.
        if array.nbytes > dataset.ON_DEVICE and hasattr(mmap, "MADV_RANDOM"):
            mapped: Any = array.base
            mapped.madvise(mmap.MADV_RANDOM)
    return EncodedDocuments(tokens, starts, vocabulary, record["sha256"])


def _numbers(file: BinaryIO, dtype: np.dtype, found: Any) -> Iterator[np.ndarray]:
    """The numbers of an open file, a few thousand at a time; their bytes go into the hash `found`.

    Read, not mapped: the pages of a mapping would count as memory of this process.
    """
    file.seek(0)  # mapping it moved to its end
    while raw := file.read(2**16):
        found.update(raw)
        yield np.frombuffer(raw, dtype)


def _build_cache(folder: Path, path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write the arrays, then the record, which makes them valid and is returned. Remove the arrays of earlier texts.

    Each file appears complete and under a name that only this text has, so two processes may build at the same time.
    """
    token_path, start_path = [path for path, _, _ in _layout(folder, record)]
    vocabulary, written, found = Vocabulary(record["vocabulary"]), 0, hashlib.sha256()  # tokens written
    # Written, not mapped: the pages of a mapping that were written to count as memory of this process.
    with atomic_write(token_path) as token_file, atomic_write(start_path) as start_file:
        hashes = {token_file: hashlib.sha256(), start_file: hashlib.sha256()}

        def write(file: BinaryIO, numbers: np.ndarray) -> None:
            hashes[file].update(numbers.tobytes())
            file.write(numbers.tobytes())

        write(start_file, np.zeros(1, dtype=np.int64))
        try:
            for piece in _read_pieces(path, "encoding", found):
                tokens, starts = vocabulary.encode_rows(piece)
                write(token_file, tokens)
                write(start_file, written + starts[1:])
                written += len(tokens)
            if (_stamp(path), found.hexdigest()) != (record["text"], record["sha256"]):
                raise ValueError
        except ValueError:  # also from reading: bytes that are not UTF-8, or a long line, were not there before
            raise ValueError(f"{path}: was changed while it was read: try again when it is complete") from None
    record = record | {"arrays": [found.hexdigest() for found in hashes.values()]}
    _write_record(folder, record)
    for old in {*folder.glob("tokens.*"), *folder.glob("starts.*")} - {token_path, start_path}:
        with suppress(OSError):  # another process may have it open, or may have removed it
            old.unlink()
    return record


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    with atomic_write(folder / "corpus.json") as file:
        file.write(json.dumps(record, indent=2).encode() + b"\n")
