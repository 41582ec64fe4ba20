"""Several processes train the same model as one, and only the first prints and writes files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import stages
from conftest import torchrun_environments
from fast.device import processes_of_torchrun
from fast.parallel import Processes
from fast.steps import fastest
from recipes import RECIPES
from run import main
from safe import job
from safe.running import Running
from safe.state import restore_trainer, trainer_state
from safe.unfinished import Stopped, UnfinishedRun
from trainer import Trainer, TrainerConfig

SRC = Path(stages.__file__).parent
SIZES = dict(n_layer=2, n_head=2, n_embd=32, block_size=64)
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
NO_DROPOUT = dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
# The command line without dropout, which every process draws for itself. LOG_EVERY is the number of steps per log line.
PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(SRC)!r})
import trainer
from recipes import RECIPES
from run import main
from safe import job
from safe.exits import leave
RECIPES["course"].model.update({NO_DROPOUT!r})
job.TrainerConfig = lambda **given: trainer.TrainerConfig(log_every=int(os.environ["LOG_EVERY"]), **given)
leave(main())
"""


RUN = dict(device="cpu", max_epochs=3, batch_size=4, eval_corpus_path="train.tsv", **SIZES)


def start(
    folder: Path,
    launcher: list[str],
    more: list[str],
    environment: Mapping[str, str] = os.environ,
    log_every: int = 1,
) -> subprocess.Popen:
    flags = [word for name, value in RUN.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, *launcher, "program.py", "pretrain", "vanilla", "wiki.txt", *flags, *more]
    environment, pipe = {**environment, "OMP_NUM_THREADS": "1", "LOG_EVERY": str(log_every)}, subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)


def start_two(folder: Path, *more: str, log_every: int = 1) -> list[subprocess.Popen]:
    return [start(folder, [], [*more], environment, log_every) for environment in torchrun_environments(2)]


def train_alone(monkeypatch, log_every: int = 1, **how) -> None:
    """What the program does, in this process."""
    for name, value in NO_DROPOUT.items():
        monkeypatch.setitem(RECIPES["course"].model, name, value)
    monkeypatch.setattr(job, "TrainerConfig", lambda **given: TrainerConfig(log_every=log_every, **given))
    stages.pretrain("vanilla", "wiki.txt", "alone", **RUN, **how)


def test_two_processes_continue_what_one_began(folder, monkeypatch):
    """In the middle of an epoch and between two lines of the log."""
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    train_alone(monkeypatch, log_every=3)

    def stop_in_the_second_epoch(run, trainer):
        run.signum = signal.SIGTERM if trainer.steps_done == 4 else None
        on_pause(run, trainer)

    on_pause = UnfinishedRun.on_pause
    monkeypatch.setattr(UnfinishedRun, "on_pause", stop_in_the_second_epoch)
    with pytest.raises(Stopped):
        stages.pretrain("vanilla", "wiki.txt", "shared", **RUN, checkpoint_every=0)
    programs = start_two(folder, "--writing_params_path", "shared", "--resume", log_every=3)
    outputs = [program.communicate(timeout=120) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert "continued after step 4" in outputs[0][0]
    log, expected = read_log(folder / "shared"), read_log(folder / "alone")
    assert [line["step"] for line in log] == [line["step"] for line in expected] == [3, 3, 6, 6, 9, 9]
    for name in ("loss", "validation_loss"):
        found = [line[name] for line in log if name in line]
        assert found == pytest.approx([line[name] for line in expected if name in line], rel=1e-5)
    assert not (folder / "shared.resume").exists()
    written = (folder / "shared.log.jsonl").stat().st_mtime_ns
    programs = start_two(folder, "--writing_params_path", "shared", "--resume", log_every=3)
    outputs = [program.communicate(timeout=120) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert outputs[0][0] == "shared: complete already\n" and outputs[1][0] == ""
    assert (folder / "shared.log.jsonl").stat().st_mtime_ns == written


def test_all_machines_must_see_the_checkpoint(folder, monkeypatch):
    """Otherwise one process would continue from it and another start anew, and their gradients would be averaged."""
    monkeypatch.setattr(UnfinishedRun, "complete", lambda run: None)  # leaves the last checkpoint
    train_alone(monkeypatch, checkpoint_every=0)
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    other = folder / "other machine"
    other.mkdir()
    for name in ("wiki.txt", "train.tsv", "program.py"):
        shutil.copy(folder / name, other / name)
    programs = [
        start(where, [], ["--writing_params_path", "alone", "--resume"], environment)
        for where, environment in zip((folder, other), torchrun_environments(2), strict=True)
    ]
    errors = [program.communicate(timeout=120)[1] for program in programs]
    assert [program.returncode for program in programs] == [2, 2], errors
    assert all("alone.resume: some processes do not see it: all machines must read the same files" in e for e in errors)


def test_two_processes_follow_the_trajectory_of_one(folder, monkeypatch):
    """Also with the model divided among them.

    The gradients of unequal parts are weighted. 9 rows in batches of 4 end with a batch of one row for two processes.
    """
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    train_alone(monkeypatch)
    runs = {
        "copied": [start(folder, TORCHRUN, ["--writing_params_path", "copied"])],
        "sharded": start_two(folder, "--writing_params_path", "sharded", "--shard"),
    }
    outputs = {name: [program.communicate(timeout=120) for program in programs] for name, programs in runs.items()}
    for name, programs in runs.items():
        out, err = ("".join(texts) for texts in zip(*outputs[name], strict=True))
        assert [program.returncode for program in programs] == [0] * len(programs), err
        assert out.count("computed in") == 1 and "2 processes" in out, "only the first process prints"
        for line, expected in zip(read_log(folder / name), read_log(folder / "alone"), strict=True):
            assert line.keys() == expected.keys() and line["tokens"] == expected["tokens"]
            for value in line.keys() & {"loss", "validation_loss", "grad_norm"}:
                assert line[value] == pytest.approx(expected[value], rel=1e-4 if value == "grad_norm" else 1e-5)
        parameters, expected = torch.load(folder / name), torch.load(folder / "alone")
        assert parameters.keys() == expected.keys()
        for key, value in parameters.items():
            if not key.endswith("attn.key.bias"):  # its gradient is zero but for rounding, which AdamW scales up
                torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)
    files = {path.name for path in folder.iterdir()}
    assert files == {"wiki.txt", "train.tsv", "test.tsv", "program.py"} | {
        f"{name}{ending}" for name in ("alone", *runs) for ending in ("", ".json", ".log.jsonl")
    }


def read_log(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 8])
def test_the_mean_of_weighted_parts_is_the_loss_of_the_batch(n_rows):
    y = torch.randint(0, 3, (n_rows, 5))  # targets equal to 0 are ignored
    y[:, 0] = 1
    losses = torch.rand(n_rows, 5)

    def mean_loss(losses, y):
        return losses[y != 0].mean()

    parts = [Processes(rank, 3, rank, 3) for rank in range(3)]
    weighted = [part.weight(y, 0) * mean_loss(part.own(losses), part.own(y)) for part in parts]
    torch.testing.assert_close(torch.stack(weighted).mean(), mean_loss(losses, y))
    if n_rows >= 3:
        assert torch.equal(torch.cat([part.own(y) for part in parts]), y)


def test_each_process_and_each_continuation_has_its_own_dropout():
    seeds = {}
    for rank in range(3):
        for steps_done in (0, 1, 2, 10):
            Processes(rank, 3, rank, 3).seed_dropout(7, steps_done)
            seeds[rank, steps_done] = torch.initial_seed()
    assert len(set(seeds.values())) == len(seeds)
    assert seeds[0, 0] == 7, "the first has that of a run of one process"


class Pretended(Processes):
    """One of several processes that does not need the others."""

    def place(self, model, device):
        return model.to(device)

    def wrap(self, model):
        return model

    def mean(self, value):
        return value

    def agree(self, value, device):
        return True


@pytest.mark.parametrize("rank", [0, 1])
def test_dropout_is_seeded_for_each_process_after_its_checkpoint_is_restored(folder, corpus, make_model, rank):
    """The checkpoint has the random state of the first process. The others must not drop the same places."""
    config = TrainerConfig(max_epochs=3, batch_size=4, seed=5)
    one = Trainer(make_model(resid_pdrop=0.5), corpus, None, config, show_progress=False)
    one.train()
    state = trainer_state(one) | {"steps": 4}
    processes = Pretended(rank, 2, rank, 2)
    running = Running(device="cpu")
    begun = job.Job(
        make_model(resid_pdrop=0.5),
        corpus,
        None,
        corpus,
        RECIPES["course"],
        RECIPES["course"].pretrain,
        running,
        torch.device("cpu"),
        processes,
        fastest,
    )
    with UnfinishedRun("p", {}, {}, "command", first=rank == 0, alone=False) as run:
        run.state = state
        made, _ = job.make_trainer(begun, config, "pretrain", run)
    assert made.steps_done == 4
    drawn = torch.rand(3)
    torch.manual_seed(5 + rank + 2 * 4)
    assert torch.equal(drawn, torch.rand(3))


@pytest.fixture
def as_one_of_two(monkeypatch):
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2).items():
        monkeypatch.setenv(name, str(value))


PRETRAIN = ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "P"]
EVALUATE = ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "P", "--eval_corpus_path", "test.tsv"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([*PRETRAIN, "--device", "cuda"], "2 processes need a GPU each and this machine has 1: start torchrun with"),
        ([*PRETRAIN, "--device", "cuda:1"], "each on its own GPU"),
        ([*PRETRAIN, "--plain"], "--plain trains in one process"),
        ([*EVALUATE, "--outputs_path", "O"], "only training runs in several processes"),
        (["report", *EVALUATE[2:], "--outputs_path", "O.html"], "only training runs in several processes"),
        (["ask", *EVALUATE[1:5], "Where was Ada Fern born?"], "only training runs in several processes"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_in_one_sentence(
    folder, as_one_of_two, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_one_of_several_processes_ends_without_running_exit_handlers():
    """Otherwise about one in twenty runs of two processes on a CPU aborts, after all its work is done."""
    program = f"import atexit, sys; sys.path.insert(0, {str(SRC)!r}); from safe.exits import leave"
    program += "; atexit.register(print, 'tidied'); print('said', end=''); leave(3)"
    for rank, said in (("0", "said"), (None, "saidtidied\n")):
        environment = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
        environment |= {} if rank is None else {"LOCAL_RANK": rank}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3, said), done.stderr


def test_one_process_cannot_divide_a_model(folder, capsys):
    assert main([*PRETRAIN, "--shard"]) == 2
    assert "start several with torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(
    "variables", [dict(LOCAL_RANK="0"), dict(WORLD_SIZE="2"), dict(LOCAL_RANK="0", WORLD_SIZE="1")]
)
def test_a_run_is_of_one_process_unless_torchrun_started_several(folder, monkeypatch, variables):
    """Other launchers set some of these variables."""
    for name in ("LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes_of_torchrun(shard=False, plain=False) is None
    record = stages.pretrain("vanilla", "wiki.txt", "P", **RUN | dict(max_epochs=1))
    assert record["processes"] == 1


def test_a_state_holds_the_loss_since_the_last_line_of_the_log(corpus, make_model):
    """With several processes it is the mean over them, so that all continue with the same sum."""
    config = TrainerConfig(max_epochs=3, batch_size=4, log_every=100)
    model, states = make_model(), []

    def paused(trainer):
        states.append(trainer_state(trainer))

    ways, how = fastest(model, corpus, config, processes=Pretended(0, 1, 0, 1))
    assert "1 processes" in how
    whole = Trainer(model, corpus, None, config, on_pause=paused, **ways)
    whole.pause_at = 0
    whole.train()
    assert states[1]["loss_sum"] > 0 and states[1]["loss_steps"] == 2
    model = make_model()
    ways, _ = fastest(model, corpus, config, processes=Pretended(1, 2, 1, 2))
    restored = Trainer(model, corpus, None, config, **ways)
    restore_trainer(restored, states[1])
    assert restored.steps_done == 2 and restored.loss_steps == 2
    assert restored.loss_sum.item() == states[1]["loss_sum"]
    assert not restored.show_progress, "only the first process shows a bar"


def test_a_run_of_one_process_does_not_import_the_module_for_several(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "fast.parallel", None)  # importing it fails
    stages.pretrain("vanilla", "wiki.txt", "P", device="cpu", max_epochs=1, **SIZES)
