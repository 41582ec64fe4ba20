"""What is settled before torch is loaded: threads and the compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from safe import startup

SRC = Path(__file__).resolve().parent.parent / "src"


def cgroup(root: Path, line: str, **files: str) -> Path:
    """A file system whose process is in the cgroup of `line`. Files are named by their path, with __ for a slash."""
    (root / "proc" / "self").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "self" / "cgroup").write_text(line)
    for name, text in files.items():
        path = root / "sys" / "fs" / "cgroup" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "line, files, quota",
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, float("inf")),
        ("0::/a/b\n", {"a__cpu.max": "200000 100000\n", "a__b__cpu.max": "max 100000\n"}, 2.0),
        ("0::/../elsewhere\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (
            "4:cpu,cpuacct:/x\n1:memory:/y\n",
            {"cpu__x__cpu.cfs_quota_us": "300000\n", "cpu__x__cpu.cfs_period_us": "100000\n"},
            3.0,
        ),
        ("4:cpu:/\n", {"cpu__cpu.cfs_quota_us": "-1\n", "cpu__cpu.cfs_period_us": "100000\n"}, float("inf")),
        ("", {}, float("inf")),
    ],
)
def test_the_quota_is_the_least_of_a_cgroup_and_those_above_it(tmp_path, line, files, quota):
    assert startup.cpu_quota(cgroup(tmp_path, line, **files)) == quota


def test_threads_are_as_many_as_the_quota_grants_and_at_least_one(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert "OMP_NUM_THREADS" not in startup.thread_settings(tmp_path), "torch counts the cores itself"
    for given, threads in [("250000 100000", "2"), ("50000 100000", "1")]:
        settings = startup.thread_settings(cgroup(tmp_path / threads, "0::/\n", **{"cpu.max": given}))
        assert settings == {"OMP_NUM_THREADS": threads}


def test_what_the_caller_has_set_stays(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(startup, "thread_settings", lambda: {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"})
    startup.settle_threads()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["OMP_NUM_THREADS"]) == ("ACTIVE", "7")


def test_without_the_compiler_an_optimizer_takes_the_same_steps(monkeypatch):
    def steps() -> torch.Tensor:
        torch.manual_seed(0)
        parameter = torch.nn.Parameter(torch.randn(4, 3))
        optimizer = type("Fresh", (torch.optim.AdamW,), {})([parameter], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (parameter**2).sum().backward()
            optimizer.step()
        optimizer.load_state_dict(optimizer.state_dict())
        return parameter.detach()

    monkeypatch.setattr(torch.optim.Adam, "step", torch.optim.Adam.step)  # so that they are put back
    before = steps()
    startup.keep_compiler_out()
    startup.keep_compiler_out()
    assert torch.equal(steps(), before) and before.abs().sum() > 0


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import run
tiny = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 64 --max_epochs 1".split()
assert run.main("pretrain vanilla wiki.txt --writing_params_path p --device cpu".split() + tiny) == 0
asked = "evaluate vanilla wiki.txt --reading_params_path p --eval_corpus_path train.tsv --outputs_path o --device cpu"
assert run.main(asked.split()) == 0
sys.exit("torch._dynamo" in sys.modules)
"""


@pytest.mark.skipif(torch.optim.Adam.step.__code__.co_name != "_use_grad", reason="another version of torch")
def test_training_and_answering_import_no_compiler(folder):
    done = subprocess.run([sys.executable, "-c", PROGRAM, SRC], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
