"""A corpus mapped from disk equals the corpus in memory. Its cache is made once and used only if it is right."""

import functools
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

import dataset
import stages
from conftest import needs_cuda
from dataset import CharCorruptionDataset, read_corpus
from fast import corpus_file
from fast.corpus_file import open_documents
from vocabulary import MASK_CHAR, PAD_CHAR

BLOCK_SIZE = 64
TEXT = "Åsa. A\r\n\r\n \t\u2028\nBo. B\rCy. C"
DOCUMENTS = ["Åsa. A", "Bo. B", "Cy. C"]


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path / "text.txt"


@pytest.fixture
def folder(text) -> Path:
    """The cache of `text`, made."""
    assert list(open_documents(text)) == DOCUMENTS
    return text.with_name(".text.txt.tokens")


def outcome(path: Path, read):
    """Everything that training can see of a corpus, or its error."""
    try:
        corpus = CharCorruptionDataset(read(path), BLOCK_SIZE, source=path)
    except ValueError as error:
        return str(error)
    batch = corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(1))
    tensors = [(value.dtype, value.tolist()) for value in (corpus.tokens, corpus.starts, *batch)]
    return tensors, list(corpus.data), corpus.vocabulary.characters, corpus.stoi, corpus.itos, corpus.vocab_size


def arrays(folder: Path) -> list[Path]:
    return [*folder.glob("tokens.*"), *folder.glob("starts.*")]


def refuse(*_):
    raise AssertionError("the text was read again")


# ------------------------------------------------------------------------------------------- equal to memory


WHITESPACE = ["\n", "\r", "\r\n", " ", "\t", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff"]
LETTERS = ["a", "é", "字", "😀", "Bo. B", PAD_CHAR, MASK_CHAR]
texts = st.lists(st.sampled_from(WHITESPACE) | st.sampled_from(LETTERS), max_size=30).map("".join)


@given(st.booleans(), texts, st.none() | st.integers(0, 60), st.integers(1, 20))
@settings(max_examples=200)
def test_a_corpus_on_disk_equals_the_corpus_in_memory(byte_order_mark, text, broken_at, piece):
    raw = b"\xef\xbb\xbf" * byte_order_mark + text.encode()
    if broken_at is not None and PAD_CHAR not in text and MASK_CHAR not in text:  # one mistake at a time
        raw = raw[:broken_at] + b"\xff" + raw[broken_at:]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_file, "PIECE", piece)
        path = Path(folder, "text.txt")
        path.write_bytes(raw)
        assert outcome(path, open_documents) == outcome(path, read_corpus)


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_characters_and_line_ends_may_cross_the_borders_of_pieces(tmp_path, newline, monkeypatch):
    monkeypatch.setattr(corpus_file, "PIECE", 5000)
    chance = random.Random(0)
    lines = ["".join(chance.choices("ab é字😀", k=chance.randrange(60))) for _ in range(3000)]
    path = tmp_path / "text.txt"
    path.write_bytes(newline.join(lines).encode())
    assert outcome(path, open_documents) == outcome(path, read_corpus)


@pytest.mark.parametrize("raw", [b"a\r", b"a\n\r\n", b"a\nb", b"a\n\xc3", b"a\nb\r\n\xff"])
@pytest.mark.parametrize("piece", [1, 2])
def test_the_last_line_is_read_whatever_ends_it(tmp_path, raw, piece, monkeypatch):
    """A decoder keeps back half a character, and a carriage return that may be half of a line end."""
    monkeypatch.setattr(corpus_file, "PIECE", piece)
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    assert outcome(path, open_documents) == outcome(path, read_corpus)


def test_a_vocabulary_of_more_than_256_characters_is_stored_in_two_bytes(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(map(chr, range(0x4E00, 0x4E00 + 1000))), encoding="utf-8")
    assert CharCorruptionDataset(open_documents(path), BLOCK_SIZE).tokens.dtype == torch.int16
    assert outcome(path, open_documents) == outcome(path, read_corpus)


def test_training_from_disk_gives_the_same_parameters(tmp_path, corpus_text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("wiki.txt").write_text(corpus_text, encoding="utf-8")
    train = functools.partial(
        stages.pretrain,
        "vanilla",
        "wiki.txt",
        max_epochs=2,
        device="cpu",
        n_layer=1,
        n_head=2,
        n_embd=16,
        block_size=BLOCK_SIZE,
    )
    train("memory.params")
    assert not Path(".wiki.txt.tokens").exists(), "a small corpus is loaded and leaves nothing behind"
    monkeypatch.setattr(stages, "IN_MEMORY", 0)
    train("disk.params")
    assert Path(".wiki.txt.tokens").is_dir()
    memory, disk = (torch.load(f"{name}.params") for name in ("memory", "disk"))
    assert all(torch.equal(memory[name], disk[name]) for name in memory)


def test_documents_are_a_sequence_of_strings(text):
    documents = open_documents(text)
    assert isinstance(documents, Sequence)
    assert len(documents) == 3 and documents[-1] == documents[2] == "Cy. C" and documents[1:] == DOCUMENTS[1:]
    assert "Bo. B" in documents and documents.index("Cy. C") == 2
    for outside in (3, -4):
        with pytest.raises(IndexError, match=f"document {outside} of a corpus of 3"):
            documents[outside]


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    """measure/corpus_size.py measures the same on texts of gigabytes."""
    monkeypatch.setattr(corpus_file, "PIECE", 2**14)
    peaks = []
    for size in (20, 200):
        path = tmp_path / f"{size}.txt"
        path.write_text("".join(f"Person {i}. Born in Oslo .\n" for i in range(size * 1000)), encoding="utf-8")
        tracemalloc.start()
        corpus = CharCorruptionDataset(open_documents(path), BLOCK_SIZE)
        corpus.batch(torch.arange(len(corpus) - 8, len(corpus)))
        assert corpus.data[-1] == f"Person {size * 1000 - 1}. Born in Oslo ."
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**17, "ten times the documents, no more memory"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
@pytest.mark.parametrize("on_device, ahead", [(10**9, True), (0, False)])
def test_the_system_reads_ahead_only_in_arrays_that_may_be_copied_whole(text, monkeypatch, on_device, ahead):
    monkeypatch.setattr(dataset, "ON_DEVICE", on_device)
    documents = open_documents(text)
    mappings = re.split(r"\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
    flags = [m.split("VmFlags: ")[1].split() for m in mappings if str(text.parent) in m]
    assert len(flags) == 2 and all(("rr" not in of_one) == ahead for of_one in flags), documents


@needs_cuda
@pytest.mark.parametrize("limit", [0, 100])  # bytes: everything stays on the host, or everything but the starts
def test_tensors_that_stay_on_the_host_give_the_same_batches(corpus, questions, monkeypatch, limit):
    for rows in (corpus, questions):
        indices = torch.arange(len(rows), device="cuda")
        batches = []
        for on_device in (10**9, limit):
            monkeypatch.setattr(dataset, "ON_DEVICE", on_device)
            rows.to("cpu").to("cuda")
            assert [t.is_cuda for t in (rows.tokens, rows.starts)] == [
                t.nbytes <= on_device for t in (rows.tokens, rows.starts)
            ]
            batches.append(rows.batch(indices, torch.Generator("cuda").manual_seed(1)))
        assert all(torch.equal(a, b) and a.is_cuda for a, b in zip(*batches, strict=True))


def test_leftovers_of_a_killed_build_are_removed_and_those_of_a_living_one_are_not(text, folder):
    for name, age in ((".tokens.1.2.tmp", 3600), (".tokens.1.3.tmp", 5)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    open_documents(text)
    assert [path.name for path in folder.glob("*.tmp")] == [".tokens.1.3.tmp"]


def test_the_progress_bars_reach_the_end_of_the_file(text, monkeypatch):
    bars = []

    class Bar(tqdm):  # a disabled bar does not count
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "delay": 0, "file": io.StringIO()})
            bars.append(self)

    monkeypatch.setattr(corpus_file, "tqdm", Bar)
    monkeypatch.setattr(corpus_file, "PIECE", 3)
    open_documents(text)
    assert [bar.desc for bar in bars] == ["reading", "encoding"]
    assert [bar.n for bar in bars] == [bar.total for bar in bars] == [len(TEXT.encode())] * 2


# ------------------------------------------------------------------------------------------------ the cache


def test_opening_a_second_time_does_not_read_the_text(text, folder, monkeypatch):
    monkeypatch.setattr(corpus_file, "_read_pieces", refuse)
    monkeypatch.setattr(corpus_file, "file_sha256", refuse)
    assert list(open_documents(text)) == DOCUMENTS


def test_a_text_that_was_only_touched_keeps_its_tokens(text, folder, monkeypatch):
    text.write_bytes(TEXT.encode())
    monkeypatch.setattr(corpus_file, "_read_pieces", refuse)
    assert list(open_documents(text)) == DOCUMENTS
    monkeypatch.setattr(corpus_file, "file_sha256", refuse)
    assert list(open_documents(text)) == DOCUMENTS, "it is hashed once"


def test_a_changed_text_gets_new_tokens_and_loses_the_old(text, folder):
    before = {path.name for path in arrays(folder)}
    text.write_text("Dag. D\nEve. E\n")
    assert list(open_documents(text)) == ["Dag. D", "Eve. E"]
    after = {path.name for path in arrays(folder)}
    assert len(before) == len(after) == 2 and not before & after


def test_a_text_changed_to_one_of_the_same_size_gets_new_tokens(text, folder):
    text.write_bytes(TEXT.replace("Bo. B", "Al. A").encode())
    os.utime(text, ns=(0, 1))  # or both may be written within one tick of the clock
    assert list(open_documents(text)) == ["Åsa. A", "Al. A", "Cy. C"]


def test_a_cache_of_another_format_is_rebuilt(text, folder, monkeypatch):
    monkeypatch.setattr(corpus_file, "FORMAT", corpus_file.FORMAT + 1)
    assert list(open_documents(text)) == DOCUMENTS
    assert json.loads((folder / "corpus.json").read_bytes())["format"] == corpus_file.FORMAT


def damage_by_cutting(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


def damage_by_emptying(file: Path) -> None:
    file.write_bytes(b"")


def damage_by_replacing(file: Path) -> None:
    file.write_bytes(b'[{"format": 1}]')


def damage_by_exchanging(file: Path) -> None:
    """Put the file of the same kind from the cache of another text there."""
    other = file.parent.parent / "other.txt"
    other.write_text("Dag. D\n")
    open_documents(other)
    shutil.copy(next(other.with_name(".other.txt.tokens").glob(file.name.split(".")[0] + ".*")), file)


@pytest.mark.parametrize(
    "damage", [Path.unlink, damage_by_cutting, damage_by_emptying, damage_by_replacing, damage_by_exchanging]
)
@pytest.mark.parametrize("name", ["corpus.json", "tokens.*", "starts.*"])
def test_a_damaged_cache_is_rebuilt(text, folder, name, damage):
    files = {path: path.read_bytes() for path in folder.iterdir()}
    damage(next(folder.glob(name)))
    assert list(open_documents(text)) == DOCUMENTS
    assert {path: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    "name, change",
    [
        ("starts", lambda starts: starts * 0),
        ("starts", lambda starts: starts + 1),
        ("starts", lambda starts: starts.astype("int32")),
        ("starts", lambda starts: starts[:-1]),
        ("starts", lambda starts: np.append(starts, starts[-1])),
        ("tokens", lambda tokens: tokens.astype("int16")),
        ("tokens", lambda tokens: tokens[:-1]),
        ("tokens", lambda tokens: np.append(tokens, 0)),
    ],
)
def test_an_array_that_is_not_what_the_record_says_is_rebuilt(text, folder, name, change):
    file = next(folder.glob(f"{name}.*"))
    before = file.read_bytes()
    dtype = {"tokens": np.uint8, "starts": np.int64}[name]
    change(np.fromfile(file, dtype)).tofile(file)
    assert file.read_bytes() != before
    assert list(open_documents(text)) == DOCUMENTS and file.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda vocabulary: vocabulary[:2] + vocabulary[:1:-1],
        lambda vocabulary: vocabulary[:-1],  # one token has no character
        lambda vocabulary: vocabulary[:-1] + "\U0001f600",  # or another
    ],
)
def test_a_cache_with_another_vocabulary_is_rebuilt(text, folder, change):
    record = json.loads((folder / "corpus.json").read_bytes())
    changed = record | {"vocabulary": change(record["vocabulary"])}
    (folder / "corpus.json").write_text(json.dumps(changed))
    assert list(open_documents(text)) == DOCUMENTS


def test_the_cache_of_another_text_is_not_used(text, folder):
    other = text.with_name("other.txt")
    other.write_text("Dag. D\n")
    shutil.copytree(folder, other.with_name(".other.txt.tokens"))
    assert list(open_documents(other)) == ["Dag. D"]


def test_a_copy_of_text_and_cache_is_used(text, folder, monkeypatch):
    copy = text.with_name("copy.txt")
    shutil.copy(text, copy)
    shutil.copytree(folder, copy.with_name(".copy.txt.tokens"))
    monkeypatch.setattr(corpus_file, "_read_pieces", refuse)
    assert list(open_documents(copy)) == DOCUMENTS


def test_tokens_are_temporary_if_their_folder_cannot_be_written(text, monkeypatch, capsys):
    text.with_name(".text.txt.tokens").write_text("in the way of the folder")
    temporary = text.with_name("temporary")
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    documents = open_documents(text)
    assert list(documents) == DOCUMENTS
    message = capsys.readouterr().err
    assert str(temporary) in message and "for this run only" in message
    assert not list(temporary.iterdir()), "nothing is left even if the process is killed now"


def while_encoding(monkeypatch, act) -> None:
    """Call `act` at the end of the second reading, before the files have their names."""
    read_pieces = corpus_file._read_pieces

    def pieces(path, doing, found):
        yield from read_pieces(path, doing, found)
        if doing == "encoding":
            act()

    monkeypatch.setattr(corpus_file, "_read_pieces", pieces)


def test_a_text_that_changes_between_its_readings_is_refused_though_size_and_time_stay(text, monkeypatch):
    piece = corpus_file._read_pieces

    def pieces(path, doing, found):
        if doing == "encoding":
            times = path.stat()
            path.write_bytes(path.read_bytes().replace(b"A", b"B", 1))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        yield from piece(path, doing, found)

    monkeypatch.setattr(corpus_file, "_read_pieces", pieces)
    with pytest.raises(ValueError, match="text.txt: was changed while it was read"):
        open_documents(text)


def test_an_interrupted_build_leaves_nothing_behind(text, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        while_encoding(patch, interrupt)
        open_documents(text)
    assert not list(text.with_name(".text.txt.tokens").iterdir())
    assert list(open_documents(text)) == DOCUMENTS


def test_two_processes_may_build_the_same_cache(text, monkeypatch):
    """The second starts and finishes while the first one encodes."""
    found = []

    def build():
        monkeypatch.undo()
        found.append(open_documents(text))

    while_encoding(monkeypatch, build)
    documents = open_documents(text)
    assert list(documents) == list(found[0]) == DOCUMENTS
    folder = text.with_name(".text.txt.tokens")
    assert sorted(folder.iterdir()) == sorted([folder / "corpus.json", *arrays(folder)]) and len(arrays(folder)) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_build_leaves_nothing_that_is_used(text, monkeypatch):
    folder = text.with_name(".text.txt.tokens")
    if (child := os.fork()) == 0:
        while_encoding(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
        open_documents(text)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert folder.is_dir() and not (folder / "corpus.json").exists() and not arrays(folder)
    assert list(open_documents(text)) == DOCUMENTS


def test_a_full_disk_is_an_error_that_says_so(text, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    while_encoding(monkeypatch, full)
    with pytest.raises(OSError, match=r"text.txt.tokens: cannot hold the tokens of .*text.txt, 48 bytes: No space"):
        open_documents(text)


@pytest.mark.parametrize("added", [b"Dag. D\n", "\nunseen: \u0436".encode(), b"\n\xff"])
def test_a_text_that_changes_while_it_is_read_is_refused(text, monkeypatch, added):
    survey = corpus_file._survey

    def then_change(path):
        record = survey(path)
        with open(path, "ab") as file:
            file.write(added)
        return record

    monkeypatch.setattr(corpus_file, "_survey", then_change)
    with pytest.raises(ValueError, match="text.txt: was changed while it was read"):
        open_documents(text)
    assert not list(text.with_name(".text.txt.tokens").iterdir())


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"Bo. B\n\xc5sa. A\n", "text.txt, line 2: not UTF-8 text"),
        (f"fine\n\nnot{PAD_CHAR}fine\n".encode(), "text.txt, document 2: contains .* reserved"),
        (b"\n \r\n", "text.txt: the corpus is empty"),
    ],
)
def test_a_text_that_is_not_a_corpus_is_refused_and_leaves_no_cache(text, raw, message):
    text.write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        open_documents(text)
    assert [path.name for path in text.parent.iterdir()] == ["text.txt"]


@pytest.mark.parametrize("number", [1, 3])
def test_a_line_that_is_too_long_is_refused_with_its_number(text, monkeypatch, number):
    monkeypatch.setattr(dataset, "LONGEST", 5000)
    monkeypatch.setattr(corpus_file, "PIECE", 300)
    before = "fine\n" * (number - 1)
    text.write_text(before + "a" * 5001 + "\nfine\n")
    for read in (read_corpus, open_documents):
        with pytest.raises(ValueError, match=f"text.txt, line {number}: longer than 5,000 characters"):
            read(text)
    text.write_text(before + "a" * 5000 + "\nfine")
    assert read_corpus(text) == "\n".join(open_documents(text)) + "\n"


# ---------------------------------------------------------------------------------------------------- altered bytes


def another_token(tokens: np.ndarray) -> np.ndarray:
    """One letter of the text becomes another one: nothing but the hash tells."""
    return np.append(tokens[:-1], tokens[0])


ALTERED = [
    ("tokens", another_token),
    ("tokens", lambda tokens: tokens + 100),  # beyond the vocabulary
    ("tokens", lambda tokens: tokens * 0),
    ("starts", lambda starts: np.array([0, 12, 6, 16])),
    ("starts", lambda starts: np.array([0, 6, 6, 16])),
    ("starts", lambda starts: np.array([0, 5, 11, 16])),
    ("starts", lambda starts: np.array([0, -5, 10**9, 16])),
    ("starts", lambda starts: np.array([1, 6, 11, 16])),
]


def alter(folder: Path, name: str, change) -> Path:
    file = next(folder.glob(f"{name}.*"))
    before = file.stat()
    numbers = np.fromfile(file, {"tokens": np.uint8, "starts": np.int64}[name])
    changed = change(numbers).astype(numbers.dtype)
    assert not np.array_equal(changed, numbers)
    changed.tofile(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return file


@pytest.mark.parametrize("name, change", ALTERED)
def test_altered_bytes_are_never_trained_on(text, folder, name, change):
    wanted = outcome(text, read_corpus)
    alter(folder, name, change)
    assert outcome(text, open_documents) == wanted


@pytest.mark.parametrize("name, change", ALTERED[1:5] + ALTERED[6:])
def test_numbers_that_cannot_be_are_refused_even_if_the_record_has_their_hash(text, folder, name, change):
    record = json.loads((folder / "corpus.json").read_bytes())
    file = alter(folder, name, change)
    record["arrays"][name == "starts"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "corpus.json").write_text(json.dumps(record))
    assert outcome(text, open_documents) == outcome(text, read_corpus)


@given(st.sampled_from(["tokens", "starts", "corpus.json"]), st.data())
@settings(max_examples=60, deadline=None)
def test_any_altered_byte_anywhere_is_found(name, data):
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "text.txt")
        path.write_bytes(TEXT.encode())
        open_documents(path)
        file = next(path.with_name(".text.txt.tokens").glob(f"{name}*"))
        raw = bytearray(file.read_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
        file.write_bytes(raw)
        assert outcome(path, open_documents) == outcome(path, read_corpus)


def test_documents_that_overlap_across_the_pieces_that_are_checked_are_found(tmp_path):
    """2**13 starts are read at a time."""
    path, n = tmp_path / "text.txt", 2**13 + 5
    path.write_text("ab\n" * n)
    folder = path.with_name(".text.txt.tokens")
    assert len(open_documents(path)) == n
    for place in (2**13, n - 1):
        alter(folder, "starts", lambda starts, place=place: np.where(np.arange(n + 1) == place, 0, starts))
        record = json.loads((folder / "corpus.json").read_bytes())
        record["arrays"][1] = hashlib.sha256(next(folder.glob("starts.*")).read_bytes()).hexdigest()
        with pytest.raises(ValueError, match="the documents overlap: remove the folder"):
            corpus_file._map(folder, record)
        assert open_documents(path)[place] == "ab"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["corpus.json", "tokens.*", "starts.*"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(text, folder, name):
    file = next(folder.glob(name))
    file.unlink()
    os.mkfifo(file)
    assert list(open_documents(text)) == DOCUMENTS
