"""Properties of the files that a run writes and reads."""

import json
import os
import stat
import sys

import pytest
import torch

from checkpoint import atomic_write, check_writable, file_sha256, read_parameters, save_parameters


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_a_link_stays_a_link_to_what_is_written(tmp_path):
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


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
    check_writable(tmp_path / "file")
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="there is no folder"):
        check_writable(tmp_path / "none" / "file")


def test_a_name_that_torch_cannot_read_is_refused_before_it_is_written(tmp_path):
    for use in (check_writable, read_parameters):
        with pytest.raises(ValueError, match="not UTF-8"):
            use(tmp_path / "caf\udce9")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_can_be_read_only_once_has_no_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: not a plain file"):
        file_sha256(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="pipe: cannot be written: it is not a plain file"):
        check_writable(tmp_path / "pipe")


def test_parameters_and_record_come_back(tmp_path, make_model):
    path, model = tmp_path / "p", make_model()
    save_parameters(path, model, {"name": "Åsa"})
    state_dict, record = read_parameters(path)
    assert record["name"] == "Åsa"
    assert all(torch.equal(state_dict[name], value) for name, value in model.state_dict().items())
    os.remove(f"{path}.json")
    assert read_parameters(path)[1] is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 truncated", json.dumps({}).encode()])
def test_a_file_that_holds_no_parameters_is_refused(tmp_path, content):
    path = tmp_path / "p"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(path)


def test_a_name_that_is_no_text_is_refused_in_one_line(tmp_path):
    torch.save({(torch.ones(9, 9), "\n"): torch.ones(1)}, tmp_path / "p")
    with pytest.raises(ValueError, match="p: not a parameter file: a tuple names a tensor") as refused:
        read_parameters(tmp_path / "p")
    assert "\n" not in str(refused.value)


def test_truncated_parameters_are_refused(tmp_path, make_model):
    path = tmp_path / "p"
    save_parameters(path, make_model(), {})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(path)


def test_what_occurs_many_times_in_a_small_file_takes_no_memory(tmp_path):
    twice = {}
    for _ in range(60):  # 2**60 ways lead to the innermost
        twice = {"a": twice, "b": twice}
    torch.save(twice, tmp_path / "p")
    with pytest.raises(ValueError, match="a dictionary occurs in it more than once"):
        read_parameters(tmp_path / "p")
    one = torch.ones(10_000)
    torch.save({str(i): one for i in range(100)}, tmp_path / "p")
    with pytest.raises(ValueError, match="claims more than there is"):
        read_parameters(tmp_path / "p")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_the_record_names_files_whose_names_are_no_text(tmp_path, make_model):
    save_parameters(tmp_path / "p", make_model(), {"corpus": "w\udce9.txt"})
    assert read_parameters(tmp_path / "p")[1]["corpus"] == "w\udce9.txt"


def test_nothing_in_a_parameter_file_is_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/attacked",))

    torch.save({"tok_emb.weight": Attack()}, tmp_path / "p")
    with pytest.raises(ValueError, match="p: not a parameter file"):
        read_parameters(tmp_path / "p")
    assert not (tmp_path / "attacked").exists()
