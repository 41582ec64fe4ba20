"""Files of parameters: a write is atomic, a read believes nothing, and a record identifies its run."""

import errno
import hashlib
import io
import json
import os
import stat
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from safe import tensors
from safe.files import (
    atomic_write,
    check_writable,
    file_sha256,
    read_parameters,
    read_record,
    read_tensors,
    remove_leftovers,
    save_parameters,
    shapes_only,
    write_tensors,
)
from safe.record import IDENTITY, command_line, complete_already, identity, show

RECORD = {"variant": "vanilla", "config": {"n_layer": 2}, "vocabulary": "\u25a1\u2047ab"}


# ---------------------------------------------------------------------------------------------------------- writing


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


def test_two_writes_at_the_same_time_do_not_mix(tmp_path):
    with atomic_write(tmp_path / "file") as one, atomic_write(tmp_path / "file") as other:
        one.write(b"one")
        other.write(b"the other")
    assert (tmp_path / "file").read_bytes() == b"one", "the last to finish"


def test_only_temporary_files_of_the_path_itself_are_removed_as_leftovers(tmp_path):
    kept = ["p", "p.json", ".p.json.1.tmp", ".q.1.tmp", ".p.x.tmp", ".p.lock", "p.1.tmp"]
    for name in [*kept, ".p.1.tmp", ".p.123456789.tmp"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "p")
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_leftovers_are_found_under_the_name_that_a_write_gives_them(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "p"):  # removed while it is being written
        assert len(os.listdir(tmp_path)) == 1
        remove_leftovers(tmp_path / "p")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_writing_through_a_link_changes_its_target(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    with atomic_write(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path / "there") == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_written_files_have_ordinary_permissions(tmp_path):
    with atomic_write(tmp_path / "file"):
        pass
    (tmp_path / "other").touch()
    assert stat.S_IMODE(os.stat(tmp_path / "file").st_mode) == stat.S_IMODE(os.stat(tmp_path / "other").st_mode)


def test_a_path_that_cannot_be_written_is_refused_with_the_reason(tmp_path):
    check_writable(tmp_path / "file")
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="there is no folder"):
        check_writable(tmp_path / "none" / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("name", ["caf\udce9", "Ünï 東京", "\udcff\udcfe"])
def test_parameters_may_be_in_a_folder_whose_name_is_not_utf8(tmp_path, name):
    (tmp_path / name).mkdir()
    path, model = tmp_path / name / name, nn.Linear(3, 2)
    check_writable(path)
    record = save_parameters(path, model, RECORD)
    state_dict, found = read_parameters(path)
    assert torch.equal(state_dict["weight"], model.weight) and found == record
    assert state_dict.sha256 == record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you")])
def test_a_good_file_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    write_tensors(tmp_path / "p", {"a": torch.ones(3)})
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(OSError, match="p: cannot be read: Cannot allocate memory"):
        read_tensors(tmp_path / "p", "checkpoint")


def test_a_good_file_on_a_broken_disk_is_not_called_damaged(tmp_path, monkeypatch):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    write_tensors(tmp_path / "p", {"a": torch.ones(3)})
    monkeypatch.setattr(tensors, "open", lambda path, mode: Broken(), raising=False)
    with pytest.raises(OSError, match="p: cannot be read: Input/output error"):
        read_tensors(tmp_path / "p", "checkpoint")


@pytest.mark.parametrize("memory_file", [True, False])
def test_what_is_loaded_is_what_was_hashed_though_the_file_is_replaced_meanwhile(tmp_path, monkeypatch, memory_file):
    sha256, load = write_tensors(tmp_path / "p", {"a": torch.arange(3)}), torch.load
    if not memory_file:  # as on Windows and macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)

    def replaced_before(*arguments, **options):
        write_tensors(tmp_path / "p", {"a": torch.zeros(3)})
        return load(*arguments, **options)

    monkeypatch.setattr(torch, "load", replaced_before)
    found = read_tensors(tmp_path / "p")
    assert found.sha256 == sha256 != file_sha256(tmp_path / "p") and found["a"].tolist() == [0, 1, 2]


def test_a_file_of_old_pickles_may_name_only_what_tensors_are_made_of(tmp_path):
    fine = io.BytesIO()
    torch.save({"a": torch.ones(2)}, fine, _use_new_zipfile_serialization=False)
    (tmp_path / "p").write_bytes(fine.getvalue())
    assert read_tensors(tmp_path / "p")["a"].tolist() == [1, 1]
    asks_for_memory = b"cbuiltins\nbytearray\n\x8a\x08" + (2**40).to_bytes(8, "little") + b"\x85R."
    magic, protocol = fine.getvalue()[:15], b"\x80\2M\xe9\3."
    (tmp_path / "p").write_bytes(magic + protocol + b"}." + b"\x80\2" + asks_for_memory + b"].")
    with pytest.raises(ValueError, match="builtins bytearray"):
        read_tensors(tmp_path / "p")


def test_a_probe_that_a_killed_process_left_is_removed_and_one_of_a_living_process_is_not(tmp_path):
    for name, age in ((".p.log.jsonl.1.tmp", 3600), (".p.log.jsonl.2.tmp", 5)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    check_writable(tmp_path / "p.log.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == [".p.log.jsonl.2.tmp"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_has_no_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: not a plain file"):
        file_sha256(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: cannot be written: it is not a plain file"):
        check_writable(tmp_path / "pipe")


@pytest.mark.parametrize("output", ["p", "p.json", "p.resume", "p.log.jsonl", "p.resume.log.jsonl"])
def test_no_output_may_be_an_input_or_a_file_that_belongs_to_one(tmp_path, output):
    (tmp_path / "p").touch()  # the others need not exist
    check_writable(tmp_path / "q", tmp_path / "p", None)
    with pytest.raises(ValueError, match=f"{output}: cannot be written: it is one of the files to read"):
        check_writable(tmp_path / output, None, tmp_path / "p")


@pytest.mark.skipif(os.name == "nt", reason="makes links")
@pytest.mark.parametrize("make_link", [os.link, os.symlink])
def test_an_output_that_is_a_link_to_an_input_is_refused(tmp_path, make_link):
    (tmp_path / "p").touch()
    make_link(tmp_path / "p", tmp_path / "q")
    with pytest.raises(ValueError, match="cannot be written: it is one of the files to read"):
        check_writable(tmp_path / "q", tmp_path / "p")


# ---------------------------------------------------------------------------------------------------------- reading


def test_parameters_and_record_are_read_as_they_were_saved(tmp_path, make_model):
    path, model = tmp_path / "p", make_model()
    saved = save_parameters(path, model, RECORD | {"name": "Åsa"})
    state_dict, record = read_parameters(path)
    assert record == saved == RECORD | {"name": "Åsa", "sha256": file_sha256(path)}
    assert state_dict.keys() == model.state_dict().keys()
    assert all(torch.equal(state_dict[name], value) for name, value in model.state_dict().items())
    os.remove(f"{path}.json")
    assert read_parameters(path)[1] is None


def test_nested_content_is_read_as_it_was_written(tmp_path):
    content = {"step": 3, "model": {"a": torch.arange(6).view(2, 3)}, "log": "x", "random": {"cpu": torch.ones(2) > 0}}
    assert write_tensors(tmp_path / "p", content) == file_sha256(tmp_path / "p")
    found = read_tensors(tmp_path / "p")
    assert found["step"] == 3 and found["log"] == "x"
    assert torch.equal(found["model"]["a"], content["model"]["a"]) and found["random"]["cpu"].all()


def test_tensors_do_not_depend_on_the_file_once_they_are_read(tmp_path):
    write_tensors(tmp_path / "p", {"a": torch.ones(10_000)})
    found = read_tensors(tmp_path / "p")
    with open(tmp_path / "p", "r+b") as file:
        file.write(bytes(os.path.getsize(tmp_path / "p")))
    assert found["a"].eq(1).all()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated", json.dumps({}).encode()])
def test_a_file_without_parameters_is_refused(tmp_path, content):
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(path)


def test_the_error_says_what_kind_of_file_was_expected(tmp_path):
    (tmp_path / "p").write_bytes(b"")
    with pytest.raises(ValueError, match="p: not a checkpoint, or a damaged one"):
        read_tensors(tmp_path / "p", "checkpoint")


def test_a_model_of_shapes_draws_no_numbers_and_the_next_one_the_same_as_ever(monkeypatch):
    torch.manual_seed(0)
    before = nn.Embedding(3, 4).weight
    with monkeypatch.context() as patch, shapes_only():
        patch.setattr(nn.init, "_no_grad_normal_", lambda *args: pytest.fail("numbers are drawn"))
        assert nn.Embedding(3, 4).weight.is_meta
    torch.manual_seed(0)
    assert torch.equal(nn.Embedding(3, 4).weight, before)


def test_a_file_that_is_missing_or_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_parameters(tmp_path / "none")
    with pytest.raises(OSError):
        read_parameters(tmp_path)


def test_a_name_that_is_not_text_is_refused_in_one_line(tmp_path):
    torch.save({(torch.ones(9, 9), "\n"): torch.ones(1)}, tmp_path / "p")
    with pytest.raises(ValueError, match="p: not a parameter file: a tuple names a tensor") as refused:
        read_parameters(tmp_path / "p")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"a": 1}, "'a' is not a tensor"),
        ({"a": {"b": torch.ones(1)}}, "'a' is not a tensor"),
        (torch.ones(1), "it holds a Tensor, not a state_dict"),
        ([torch.ones(1)], "it holds a list, not a state_dict"),
    ],
)
def test_anything_but_a_state_dict_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "p")
    with pytest.raises(ValueError, match=f"p: not a parameter file: {message}"):
        read_parameters(tmp_path / "p")


def test_truncated_parameters_are_refused(tmp_path, make_model):
    path = tmp_path / "p"
    save_parameters(path, make_model(), RECORD)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(path)


def test_a_dictionary_that_occurs_twice_is_refused(tmp_path):
    twice = {}
    for _ in range(60):  # 2**60 ways lead to the innermost
        twice = {"a": twice, "b": twice}
    torch.save(twice, tmp_path / "p")
    with pytest.raises(ValueError, match="a dictionary occurs in it more than once"):
        read_parameters(tmp_path / "p")


def test_tied_weights_stay_tied(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(50, 100), nn.Linear(100, 50, bias=False)
            self.head.weight = self.embedding.weight

    model = Tied()
    save_parameters(tmp_path / "p", model, RECORD)
    assert os.path.getsize(tmp_path / "p") < 1.5 * model.head.weight.nbytes, "stored once"
    state_dict, _ = read_parameters(tmp_path / "p")
    embedding, head = state_dict["embedding.weight"], state_dict["head.weight"]
    assert torch.equal(head, model.head.weight) and embedding.data_ptr() == head.data_ptr(), "one copy"
    other = Tied()
    other.load_state_dict(state_dict)
    assert torch.equal(other.head.weight, model.head.weight)


def test_one_tensor_under_many_names_takes_the_memory_of_one(tmp_path):
    one = torch.ones(10_000)
    torch.save({str(i): one for i in range(100)}, tmp_path / "p")
    state_dict, _ = read_parameters(tmp_path / "p")
    assert len(state_dict) == 100 and len({value.data_ptr() for value in state_dict.values()}) == 1


@pytest.mark.parametrize(
    "view",
    [
        lambda one, i: one[i:],  # another offset
        lambda one, i: one[: 10_000 - i],  # another shape
        lambda one, i: one.as_strided((2, 100), (i, 1)),  # other strides
    ],
)
def test_overlapping_views_cannot_take_more_memory_than_the_file(tmp_path, view):
    one = torch.ones(10_000)
    torch.save({str(i): view(one, i) for i in range(1000)}, tmp_path / "p")
    with pytest.raises(ValueError, match="claims more bytes than there are"):
        read_parameters(tmp_path / "p")


def test_views_that_share_a_storage_without_overlap_are_read(tmp_path):
    """As the three projections of attention, if they are slices of one matrix."""
    one = torch.arange(3000.0)
    torch.save({str(i): one[1000 * i :][:1000] for i in range(3)}, tmp_path / "p")
    state_dict, _ = read_parameters(tmp_path / "p")
    assert torch.equal(torch.cat([*state_dict.values()]), one)


@pytest.mark.parametrize("size", [100, 10**12])  # fewer bytes than the file has, and more than any memory
def test_one_number_expanded_to_a_large_shape_is_refused(tmp_path, size):
    torch.save({"padding": torch.ones(10_000), "a": torch.ones(1).expand(size)}, tmp_path / "p")
    with pytest.raises(ValueError, match=rf"a tensor of shape \({size},\) claims more bytes than there are"):
        read_parameters(tmp_path / "p")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")])
def test_tensors_without_numbers_of_their_own_are_refused(tmp_path, tensor):
    torch.save({"a": tensor}, tmp_path / "p")
    with pytest.raises(ValueError, match="a tensor is torch.*on|no part of a tensor"):
        read_parameters(tmp_path / "p")


def rewrite(path: Path, old: bytes = b"", new: bytes = b"", compression: int = zipfile.ZIP_STORED) -> None:
    """Write a file of tensors again with `new` instead of `old` in its entries, and valid checksums."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name).replace(old, new) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_tensors_that_were_saved_on_a_gpu_are_read_on_a_cpu(tmp_path):
    torch.save({"a": torch.arange(10)}, tmp_path / "p")
    rewrite(tmp_path / "p", b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
    assert torch.equal(read_tensors(tmp_path / "p")["a"], torch.arange(10))


def test_a_compressed_file_is_refused(tmp_path):
    """A few kilobytes could expand to any size."""
    write_tensors(tmp_path / "p", {"a": torch.ones(10)})
    rewrite(tmp_path / "p")
    read_tensors(tmp_path / "p")
    rewrite(tmp_path / "p", compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="it is compressed"):
        read_tensors(tmp_path / "p")


def test_an_archive_whose_entries_overlap_is_refused(tmp_path):
    write_tensors(tmp_path / "p", {"a": torch.ones(1000)})
    with zipfile.ZipFile(tmp_path / "p", "a") as archive:
        archive.filelist += archive.filelist * 50
        archive.comment = b"changed"  # or it would not be written
    with pytest.raises(ValueError, match="its entries claim more bytes than the file has"):
        read_tensors(tmp_path / "p")


def test_a_changed_number_is_noticed_without_a_record(tmp_path):
    write_tensors(tmp_path / "p", {"a": torch.full((100,), 0.5)})
    content = (tmp_path / "p").read_bytes()
    number = torch.full((100,), 0.5).numpy().tobytes()
    (tmp_path / "p").write_bytes(content.replace(number, number[:-4] + bytes(4)))
    with pytest.raises(ValueError, match="does not match its checksum"):
        read_tensors(tmp_path / "p")


def test_nothing_in_a_parameter_file_is_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/attacked",))

    torch.save({"tok_emb.weight": Attack()}, tmp_path / "p")
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(tmp_path / "p")
    assert not (tmp_path / "attacked").exists()


# ------------------------------------------------------------------------------------------------------- the record


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_the_record_keeps_file_names_that_are_not_text(tmp_path, make_model):
    save_parameters(tmp_path / "p", make_model(), RECORD | {"corpus": "w\udce9.txt"})
    assert read_parameters(tmp_path / "p")[1]["corpus"] == "w\udce9.txt"


def test_parameters_of_another_record_are_refused(tmp_path):
    save_parameters(tmp_path / "p", nn.Linear(3, 2), RECORD)
    content = (tmp_path / "p").read_bytes()
    save_parameters(tmp_path / "p", nn.Linear(3, 2), RECORD)
    (tmp_path / "p").write_bytes(content)
    with pytest.raises(ValueError, match="p: is not the file that .*p.json describes: the sha256 differs"):
        read_parameters(tmp_path / "p")


@pytest.mark.parametrize(
    "record",
    [
        [],
        "text",
        3,
        {},
        RECORD | {"variant": None},
        RECORD | {"config": []},
        RECORD | {"vocabulary": ["a"]},
        {"variant": "vanilla", "config": {}},
    ],
)
def test_a_record_of_something_else_is_refused(tmp_path, record):
    write_tensors(tmp_path / "p", {"a": torch.ones(1)})
    (tmp_path / "p.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="p.json: not a record of parameters"):
        read_parameters(tmp_path / "p")


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000])
def test_a_record_that_is_not_json_is_refused(tmp_path, content):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(ValueError, match="p.json: not JSON"):
        read_record(tmp_path / "p")


def test_a_run_is_identified_by_contents_and_not_by_names():
    record = {name: name for name in IDENTITY} | {"config": {"options": (1, 2)}}
    assert identity(record) == identity(json.loads(json.dumps(record)))
    assert identity(record) == identity(record | {"corpus": "a.txt", "arguments": {"corpus": "b.txt"}, "steps": 3})
    for name in IDENTITY:
        assert identity(record) != identity(record | {name: "another"}), name


def test_a_record_without_plain_and_compile_is_of_a_run_with_neither():
    assert {"plain", "compile"} < set(IDENTITY)
    earlier = {"command": "pretrain", "seed": 0}
    assert identity(earlier) == identity(earlier | {"plain": False, "compile": "auto"})
    assert identity(earlier) != identity(earlier | {"plain": True, "compile": "auto"})
    assert identity(earlier) != identity(earlier | {"plain": False, "compile": "never"})


def test_a_run_is_complete_if_its_identity_and_its_parameters_agree(tmp_path):
    about = RECORD | {"command": "pretrain", "seed": 0}
    assert complete_already(tmp_path / "p", about) is None
    saved = save_parameters(tmp_path / "p", nn.Linear(3, 2), about | {"steps": 9})
    assert complete_already(tmp_path / "p", about) == saved
    assert complete_already(tmp_path / "p", about | {"seed": 1}) is None
    # What an earlier version of the code wrote is the record of another run, not an error.
    assert complete_already(tmp_path / "p", about | {"trainer": {"bf16": False, "skip_nonfinite": True}}) is None
    (tmp_path / "p").write_bytes(b"")
    assert complete_already(tmp_path / "p", about) is None


COMMAND = {"command": "pretrain", "arguments": {"variant": "vanilla", "pretrain_corpus_path": "wiki.txt"}}


def test_show_says_whether_the_parameters_are_those_of_the_record(tmp_path):
    path = tmp_path / "p"
    with pytest.raises(OSError):
        show(path)
    save_parameters(path, nn.Linear(3, 2), RECORD)
    lines = show(path).splitlines()
    assert lines[0] == f"{path}: intact (sha256 {file_sha256(path)})"
    assert "  variant          vanilla" in lines and "  config           n_layer 2" in lines
    assert "  vocabulary       4 tokens: \u25a1\u2047ab" in lines
    assert lines[-1] == "The record does not say which command made it."
    for processes, machines in ((-1, 0), (2, 0), (1, 2), (0, 0), ("2", 1)):
        numbers = {"processes": processes, "machines": machines}
        save_parameters(path, nn.Linear(3, 2), RECORD | COMMAND | numbers)
        assert show(path).splitlines()[-1] == "The record does not say which command made it."
    save_parameters(path, nn.Linear(3, 2), RECORD | COMMAND | {"processes": 4, "machines": 2})
    assert "torchrun --nnodes=2 --nproc_per_node=2 src/run.py pretrain" in show(path)
    write_tensors(path, {})
    assert show(path).splitlines()[0].startswith(f"{path}: NOT the file that the record describes")
    os.remove(f"{path}.json")
    with pytest.raises(ValueError, match="p.json: no such file"):
        show(path)


def test_the_command_line_repeats_the_run():
    arguments = {"variant": "rope", "pretrain_corpus_path": "my corpus.txt", "seed": 1, "plain": True, "shard": False}
    record = {"command": "pretrain", "arguments": arguments}
    assert command_line(record) == "python src/run.py pretrain rope 'my corpus.txt' --seed 1 --plain"
    several = command_line(record | {"processes": 4, "machines": 2})
    assert several.startswith("torchrun --nnodes=2 --nproc_per_node=2 src/run.py pretrain rope")
