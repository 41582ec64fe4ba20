"""Writes fail at every place, and files come from strangers: nothing is lost, and nothing harmful is accepted.

Every place of every write, and more inputs for each property test, are tried by
    FUZZ=100000 ./run.sh test tests/test_faults.py -rP --timeout 3600 -o faulthandler_timeout=3600
"""

import errno
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run
import stages
from dataset import CharCorruptionDataset, NameDataset, parse_places, read_corpus, read_places
from fast import steps
from fast.corpus_file import open_documents
from kill_test import RUN, TEXT, train
from safe import files, unfinished
from safe.files import atomic_write, file_sha256, read_parameters, read_tensors, save_parameters
from safe.record import command_line
from starting import python

TESTS = Path(__file__).resolve().parent
EXAMPLES = int(os.environ.get("FUZZ", "400"))  # inputs for each property
EVERY = 1 if "FUZZ" in os.environ else 7  # of the places where a write can fail, one in this many is tried
fuzz = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)


# ---------------------------------------------------------------------------------------------- writes that fail


class Disk:
    """Takes the place of the operating system in safe/files.py and makes the `at`-th operation from here on fail."""

    def __init__(self, monkeypatch, number: int, at: int, lasts: bool):
        self.number, self.at, self.lasts, self.count = number, at, lasts, 0
        for name in ("fsync", "replace"):
            monkeypatch.setattr(files.os, name, self._failing(getattr(os, name)))
        monkeypatch.setattr(files, "open", self._open, raising=False)

    def fails(self) -> bool:
        self.count += 1
        return self.count == self.at or (self.lasts and self.count > self.at)

    def _failing(self, function):
        def call(*arguments):
            if self.fails():
                raise OSError(self.number, os.strerror(self.number))
            return function(*arguments)

        return call

    def _open(self, path, mode="r", **options):
        if mode != "wb":
            return open(path, mode, **options)
        if self.fails():
            raise OSError(self.number, os.strerror(self.number), str(path))
        return io.BufferedWriter(Torn(path, self))


class Torn(io.FileIO):
    """A file that takes at most 10,000 bytes per call, as an operating system may, and half of them when it fails."""

    def __init__(self, path, disk: Disk):
        super().__init__(path, "wb")
        self.disk = disk

    def write(self, data):
        data = memoryview(data)[:10_000]
        if self.disk.fails():
            super().write(data[: len(data) // 2])
            raise OSError(self.disk.number, os.strerror(self.disk.number))
        return super().write(data)


def short(resume: bool) -> None:
    stages.pretrain("vanilla", "wiki.txt", "p", resume=resume, **RUN | dict(max_epochs=1))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> bytes:
    """The parameters that an undisturbed run writes. It is short enough to be repeated for each fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("wiki.txt").write_text(TEXT)
        short(False)
        return Path("p").read_bytes()


@pytest.fixture
def corpus_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("wiki.txt").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "from_then_on"])
def test_a_write_that_fails_anywhere_loses_nothing(corpus_folder, undisturbed, monkeypatch, number, lasts):
    """One run for each operation on the disk: it fails there, and is then resumed on a disk that works."""
    monkeypatch.setattr(unfinished, "warn", lambda message: None)
    at, faults = 1 + number % min(EVERY, 5) - EVERY, 0  # so that the samples of the two errors are not the same
    while True:
        at += EVERY
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, number, at, lasts)
            try:
                short(True)
                ended = True
            except OSError as error:
                ended = False
                assert os.strerror(number) in str(error)
        if Path("p.resume").exists():
            read_tensors("p.resume")
        if disk.count < at:
            break
        faults += 1
        if ended:
            assert Path("p").read_bytes() == undisturbed, "training continued without that checkpoint"
        short(True)
        assert Path("p").read_bytes() == undisturbed
        assert sorted(os.listdir()) == ["p", "p.json", "p.log.jsonl", "wiki.txt"]
        for name in ("p", "p.json", "p.log.jsonl"):
            os.remove(name)
    assert faults >= 50 // EVERY
    print(f"{faults} faults")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_keeps_the_previous_file(tmp_path, monkeypatch, number):
    path = tmp_path / "file"
    path.write_bytes(b"old" * 10_000)
    for at in range(1, 100):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, number, at, lasts=False)
            try:
                with atomic_write(path) as file:
                    file.write(b"new" * 10_000)
            except OSError as error:
                assert error.errno == number
        assert path.read_bytes() in (b"old" * 10_000, b"new" * 10_000)
        assert os.listdir(tmp_path) == ["file"]
        if disk.count < at:
            break
        path.write_bytes(b"old" * 10_000)
    assert 7 < at < 15


def test_a_full_disk_is_a_warning_and_the_last_checkpoint_stays(corpus_folder, monkeypatch, capsys):
    with pytest.MonkeyPatch.context() as patch:
        Disk(patch, errno.ENOSPC, 20, lasts=True)
        with pytest.raises(OSError, match=r"p: cannot be written: No space left on device; p\.resume holds step \d+"):
            train(False)
    warning = next(line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    step = read_tensors("p.resume")["trainer"]["steps"]
    assert warning.endswith(f"p.resume: not written, the one of step {step} stays: No space left on device")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_a_run_loses_nothing(tmp_path):
    """A sample, in a process of its own: a fork of a process that has used a GPU could not compute gradients."""
    done = python(TESTS.parent / "measure" / "kill_test.py", "--kills", "8", "--seed", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    killed = int(done.stdout.split(" kills in ")[0])
    assert killed >= 8 and "no damaged file" in done.stdout


# -------------------------------------------------------------------------------------------- files from strangers


RECORD = {"variant": "vanilla", "config": {}, "vocabulary": "ab"}  # the least that a record must hold


def saved_parameters(folder: Path) -> bytes:
    torch.manual_seed(0)
    save_parameters(folder / "p", torch.nn.Linear(3, 2), RECORD)
    return (folder / "p").read_bytes()


def rewritten(content: bytes, pickled: bytes | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A file of parameters with another pickle, or compressed, and valid checksums."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, pickled if pickled and name.endswith("data.pkl") else old.read(name))
    return target.getvalue()


def refusal(folder: Path, content: bytes) -> str:
    (folder / "p").write_bytes(content)
    (folder / "p.json").unlink(missing_ok=True)
    with pytest.raises(ValueError) as refused:
        read_parameters(folder / "p")
    assert "\n" not in str(refused.value) and str(refused.value).startswith(f"{folder / 'p'}: ")
    return str(refused.value)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit on addresses")
def test_a_file_that_claims_more_than_it_holds_is_refused_without_memory_for_it(tmp_path):
    import resource  # Windows has none

    content = saved_parameters(tmp_path)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = archive.read("archive/data.pkl")
    six, three = b"K\x06tq", b"K\x03\x86q"  # a storage of 6 numbers; a shape (2, 3)
    weight = read_parameters(tmp_path / "p")[0]["weight"]
    (tmp_path / "p.json").unlink()
    assert pickled.count(six) == 1 and pickled.count(three) == 1
    bomb = rewritten(content, pickled + bytes(2**28), zipfile.ZIP_DEFLATED)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, limits[1]))
        for claimed in (2**8, 2**31 - 1):
            number = b"J" + struct.pack("<i", claimed)
            refusal(tmp_path, rewritten(content, pickled.replace(three, number + three[2:])))
            # A storage that is said to be larger than it is ends with the file, and the tensor in it is what it was.
            (tmp_path / "p").write_bytes(rewritten(content, pickled.replace(six, number + six[2:])))
            assert torch.equal(read_parameters(tmp_path / "p")[0]["weight"], weight)
        assert "it is compressed" in refusal(tmp_path, bomb)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_one_number_expanded_to_a_huge_tensor_is_refused(tmp_path):
    torch.save({"a": torch.ones(1).expand(10**12)}, tmp_path / "p")
    assert "claims more bytes than there are" in refusal(tmp_path, (tmp_path / "p").read_bytes())


@pytest.mark.parametrize("thing", [print, io.BytesIO, bytearray, torch.nn.Linear, Path, os.getcwd])
def test_a_file_that_names_anything_but_tensors_is_refused_and_nothing_is_called(tmp_path, thing, capsys):
    """bytearray is one that torch.load would construct: bytearray(10**12) takes a terabyte."""

    class Attack:
        def __reduce__(self):
            return (thing, ("called",) if thing is print else ())

    content = rewritten(saved_parameters(tmp_path), pickle.dumps({"a": Attack()}, protocol=2))
    assert "which is no part of a tensor" in refusal(tmp_path, content)
    assert capsys.readouterr().out == ""


def test_parameters_that_are_not_those_of_the_record_are_refused(tmp_path):
    saved_parameters(tmp_path)
    record = (tmp_path / "p.json").read_bytes()
    save_parameters(tmp_path / "p", torch.nn.Linear(3, 2), RECORD)
    (tmp_path / "p.json").write_bytes(record)
    with pytest.raises(ValueError, match="p: is not the file that .*p.json describes"):
        read_parameters(tmp_path / "p")


def test_a_damaged_byte_is_noticed_wherever_it_is(tmp_path):
    content = saved_parameters(tmp_path)
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (tmp_path / "p").write_bytes(changed)
        with pytest.raises(ValueError):
            read_parameters(tmp_path / "p")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("good")
    return folder, saved_parameters(folder)


# Cut, overwrite or insert somewhere.
edits = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=5)


@fuzz
@given(edits=edits, repacked=st.booleans())
def test_a_mutated_file_is_read_or_refused_in_one_line(good, edits, repacked):
    """A repacked file has valid checksums, so what is wrong with it lies deeper."""
    folder, content = good
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        pickled = archive.read("archive/data.pkl")
    changed = bytearray(pickled if repacked else content)
    for place, cut, inserted in edits:
        place %= len(changed) + 1
        changed[place : place + cut] = inserted
    (folder / "p").write_bytes(rewritten(content, bytes(changed) or b".") if repacked else changed)
    (folder / "p.json").unlink(missing_ok=True)
    try:
        read_parameters(folder / "p")
    except ValueError as error:
        assert "\n" not in str(error)


@fuzz
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_a_corpus_and_questions_or_are_refused_in_one_line(good, content):
    path = good[0] / "bytes"
    path.write_bytes(content)
    for read in (read_corpus, read_places):
        try:
            found = read(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
            continue
        if read is read_places:
            assert all(question and "\n" not in question and "\t" not in question for question, _ in found)
            continue
        try:
            dataset = CharCorruptionDataset(found, 64, source=path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "reserved" in str(error)
            continue
        decoded = [
            "".join(dataset.itos[t] for t in dataset.tokens[a:b].tolist())
            for a, b in zip(dataset.starts[:-1], dataset.starts[1:], strict=True)
        ]
        assert "\n".join(decoded) + "\n" == found, "every character is kept"


words = st.sampled_from(
    "pretrain finetune evaluate show vanilla rope wiki.txt train.tsv p --writing_params_path --reading_params_path "
    "--eval_corpus_path --outputs_path --seed --max_epochs --n_layer --n_head --resume --overwrite --dtype "
    "--checkpoint_every --block_size --plain --third_mask 0 -1 nan 99999999999999999999 cpu".split()
)


@fuzz
@given(arguments=st.lists(st.one_of(words, st.text(max_size=5)), max_size=12))
def test_any_command_line_succeeds_or_is_refused(good, arguments):
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as said:
        patch.chdir(good[0])
        patch.setattr("sys.stderr", said)
        patch.setattr("sys.stdout", io.StringIO())
        patch.setattr("trainer.Trainer.train", lambda self: pytest.fail("there is no corpus to train on"))
        patch.setattr("stages.data.DATA_FOLDER", good[0])
        notes: list[str] = []  # on how a command line of another edition is read
        patch.setattr("handout.commands.say", lambda *lines, to_stderr: notes.extend(lines))
        try:
            status = run.main(arguments)
        except SystemExit as stop:
            status = stop.code
        assert status in (0, 2) and all(note.isprintable() for note in notes)
        if status == 2:
            assert said.getvalue()[:-1].isprintable()
            assert said.getvalue().count("\n") == 1


# ------------------------------------------------------------------------------------------- what a text may hold

STRANGE = {
    "a null": "Ada\0Fern",
    "a control character": "Ada\x1b[2JFern",
    "a bidirectional mark": "Ada\u202eFern",
    "a byte order mark inside": "Ada\ufeffFern",
    "an emoji": "Ada\U0001f600Fern",
    "a line separator": "Ada\u2028Fern",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_characters_are_read_like_any_other(tmp_path, text):
    for end in ("\n", "\r\n", "\r", ""):
        for mark in ("", "\ufeff"):
            (tmp_path / "wiki.txt").write_bytes(f"{mark}{text}{end}".encode())
            assert read_corpus(tmp_path / "wiki.txt") == f"{text}\n"
            assert list(open_documents(tmp_path / "wiki.txt")) == [text]


def test_control_characters_in_names_and_records_are_escaped_on_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for text in STRANGE.values():
        assert run.main(["show", text.replace("\0", "\x07")]) == 2
        said = capsys.readouterr().err
        assert said[:-1].isprintable() and said.endswith("\n")
    save_parameters("p", torch.nn.Linear(1, 1), {"variant": "\x1b[2J\u202e", "config": {"\n": "\r"}, "command": "\x07"})
    assert run.main(["show", "p"]) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


def test_a_question_that_occurs_twice_is_two_rows(corpus):
    rows = "Where was Ada Fern born?\tOslo\nWhere was Ada Fern born?\tKyoto\n"
    assert len(parse_places(rows)) == len(NameDataset(corpus, rows)) == 2


@pytest.mark.parametrize("number", [1, 3])
def test_a_line_of_absurd_length_is_refused_with_its_number(tmp_path, monkeypatch, number):
    monkeypatch.setattr("dataset.LONGEST", 5000)
    monkeypatch.setattr("fast.corpus_file.PIECE", 300)
    path = tmp_path / "wiki.txt"
    path.write_text("fine\n" * (number - 1) + "a" * 5001 + "\nfine\n")
    for read in (read_corpus, open_documents):
        with pytest.raises(ValueError, match=f"wiki.txt, line {number}: longer than 5,000 characters"):
            read(path)
    path.write_text("fine\n" * (number - 1) + "a" * 5000 + "\nfine")
    assert read_corpus(path) == "\n".join(open_documents(path)) + "\n"


HUGE = {
    "n_layer": (10**6, "blocks"),
    "n_embd": (2**20, "has shape"),
    "vocab_size": (10**6, "the vocabulary has another size"),
    "block_size": (10**6, "pos_emb has shape"),
    "block_size beyond any": (10**19, f"block_size is {10**19}"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_record_that_claims_a_huge_model_is_refused_before_memory_is_taken(corpus_folder, name, capsys):
    short(False)
    record = json.loads(Path("p.json").read_text())
    claimed, message = HUGE[name]
    Path("p.json").write_text(json.dumps(record | {"config": record["config"] | {name.split()[0]: claimed}}))
    Path("q.tsv").write_text("Where was it?\n")
    arguments = "evaluate vanilla wiki.txt --reading_params_path p --eval_corpus_path q.tsv --outputs_path o"
    assert run.main(arguments.split()) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("run.py: p") and message in said


def test_a_row_of_a_million_columns_is_refused():
    with pytest.raises(ValueError, match="row 2: 1000000 tabs where one is expected"):
        parse_places("a?\tb\n" + "\t" * 10**6 + "x")


def test_the_command_of_a_run_with_several_processes_starts_as_many():
    arguments = {"variant": "vanilla", "pretrain_corpus_path": "wiki.txt", "shard": True}
    record = {"command": "pretrain", "processes": 2, "arguments": arguments}
    assert command_line(record) == "torchrun --nproc_per_node=2 src/run.py pretrain vanilla wiki.txt --shard"
    record |= {"processes": 16, "machines": 2}
    assert command_line(record).startswith("torchrun --nnodes=2 --nproc_per_node=8 src/run.py")


def test_show_prints_what_parameters_are_and_a_command_that_makes_the_same_bytes(corpus_folder, capsys):
    train(False)
    made = Path("p").read_bytes()
    capsys.readouterr()
    assert run.main(["show", "p"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("p: intact (sha256 ") and lines[-2] == "To repeat it:"
    record = json.loads(Path("p.json").read_text())
    assert record["corpus_sha256"] == file_sha256("wiki.txt") and record["trainer"]["seed"] == 0
    Path("p").unlink()
    command = lines[-1].split()
    assert command[:3] == ["python", "src/run.py", "pretrain"] and f"--n_embd {RUN['n_embd']}" in lines[-1]
    assert run.main(command[2:]) == 0 and Path("p").read_bytes() == made
    Path("p").write_bytes(made[:-1])
    capsys.readouterr()
    assert run.main(["show", "p"]) == 0 and "NOT the file" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- displays


@pytest.mark.skipif(not Path("/dev/full").exists() or not hasattr(os, "fork"), reason="needs /dev/full and fork")
def test_a_display_that_fails_ends_no_training(corpus_folder):
    """Its reader leaves, its disk is full, or it was closed: then no file of the run may take its place."""
    modules = os.pathsep.join([str(TESTS.parent / name) for name in ("src", "measure")])
    done = python(TESTS / "displays.py", cwd=corpus_folder, env={"PYTHONPATH": modules})
    statuses = json.loads(Path("statuses.json").read_text()) if done.returncode == 0 else {}
    assert list(statuses.values()) == [0] * 7, (statuses, done)
    for way in statuses:
        assert sorted(os.listdir(way)) == ["p", "p.json", "p.log.jsonl"], way
        assert len(Path(way, "p.log.jsonl").read_text().splitlines()) == 1
        assert read_parameters(Path(way, "p"))[1]["steps"] == 12


@pytest.mark.parametrize(
    "words, told",
    [
        ("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory", "--batch_size"),
        ("std::bad_alloc", "--batch_size"),
        ("could not create a primitive", "--batch_size"),
        ("can't start new thread", "OMP_NUM_THREADS=1"),
    ],
)
def test_a_step_that_runs_short_of_memory_or_threads_is_told_in_one_line(tmp_path, monkeypatch, capsys, words, told):
    assert pretrain_with_an_error(words, tmp_path, monkeypatch) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and told in error.splitlines()[-1]


def test_another_error_of_torch_is_ours_and_keeps_its_traceback(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        pretrain_with_an_error("mat1 and mat2 shapes cannot be multiplied", tmp_path, monkeypatch)


def pretrain_with_an_error(words: str, folder: Path, monkeypatch) -> int:
    """The exit status of a training whose step raises RuntimeError(words)."""

    def fail(self, *arguments):
        raise RuntimeError(words)

    monkeypatch.setattr(steps.ByLengthStep, "loss", fail)
    (folder / "wiki.txt").write_text(TEXT, encoding="utf-8")
    command = ["pretrain", "vanilla", str(folder / "wiki.txt"), "--writing_params_path", str(folder / "p")]
    with torch.random.fork_rng():
        return run.main([*command, "--device", "cpu", "--max_epochs", "1", "--n_embd", "16", "--n_layer", "1"])
