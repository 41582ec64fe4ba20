"""Several processes train the model that one would, and only the first is heard of."""

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
from conftest import torchrun_environments

import stages
import startup
from parallel import Processes
from recipes import RECIPES
from run import main
from trainer import Trainer, TrainerConfig
from unfinished import Stopped, UnfinishedRun

SRC = Path(stages.__file__).parent
SIZES = dict(n_layer=2, n_head=2, n_embd=32, block_size=64)
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
NO_DROPOUT = dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
# The command line without dropout, of which every process draws its own, and with every step in the log.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
import stages, trainer
from recipes import RECIPES
from run import leave, main
RECIPES["course"].model.update({NO_DROPOUT!r})
stages.TrainerConfig = lambda **given: trainer.TrainerConfig(log_every=1, **given)
leave(main())
"""


def start(
    folder: Path, launcher: list[str], more: list[str], environment: Mapping[str, str] = os.environ
) -> subprocess.Popen:
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    command = [sys.executable, *launcher, "program.py", "pretrain", "vanilla", "wiki.txt", "--device", "cpu"]
    command += ["--max_epochs", "3", "--batch_size", "4", *sizes, *more]
    environment, pipe = {**environment, "OMP_NUM_THREADS": "1"}, subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=pipe, stderr=pipe)


def start_two(folder: Path, *more: str) -> list[subprocess.Popen]:
    return [start(folder, [], [*more], environment) for environment in torchrun_environments(2)]


def make_alone(monkeypatch) -> None:
    """What the program does, in this process."""
    for name, value in NO_DROPOUT.items():
        monkeypatch.setitem(RECIPES["course"].model, name, value)
    make_config = stages.TrainerConfig
    monkeypatch.setattr(stages, "TrainerConfig", lambda **given: make_config(log_every=1, **given))
    stages.pretrain("vanilla", "wiki.txt", "alone", device="cpu", max_epochs=3, batch_size=4, **SIZES)


def test_two_processes_continue_what_one_began(folder, monkeypatch):
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    make_alone(monkeypatch)
    on_step = UnfinishedRun.on_step

    def stop_in_the_second_epoch(run, trainer):
        run.signum = signal.SIGTERM if trainer.step == 4 else None
        on_step(run, trainer)

    monkeypatch.setattr(UnfinishedRun, "on_step", stop_in_the_second_epoch)
    with pytest.raises(Stopped):
        stages.pretrain("vanilla", "wiki.txt", "shared", device="cpu", max_epochs=3, batch_size=4, **SIZES)
    programs = start_two(folder, "--writing_params_path", "shared", "--resume")
    outputs = [program.communicate(timeout=120) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert "continued after step 4" in outputs[0][0]
    log, expected = read_log(folder / "shared"), read_log(folder / "alone")
    assert [line["loss"] for line in log] == pytest.approx([line["loss"] for line in expected], rel=1e-5)
    assert not (folder / "shared.resume").exists()
    written = (folder / "shared.log.jsonl").stat().st_mtime_ns
    programs = start_two(folder, "--writing_params_path", "shared", "--resume")
    outputs = [program.communicate(timeout=120) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], outputs
    assert outputs[0][0] == "shared: complete already\n" and outputs[1][0] == ""
    assert (folder / "shared.log.jsonl").stat().st_mtime_ns == written


def test_all_machines_must_see_the_checkpoint(folder, monkeypatch):
    """Else one process would go on from it and another begin anew, and what they average would belong to neither."""
    monkeypatch.setattr(UnfinishedRun, "on_step", lambda run, trainer: run._save(trainer))
    monkeypatch.setattr(UnfinishedRun, "complete", lambda run: None)
    make_alone(monkeypatch)
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    other = folder / "other machine"
    other.mkdir()
    for name in ("wiki.txt", "program.py"):
        shutil.copy(folder / name, other / name)
    programs = [
        start(where, [], ["--writing_params_path", "alone", "--resume"], environment)
        for where, environment in zip((folder, other), torchrun_environments(2), strict=True)
    ]
    errors = [program.communicate(timeout=120)[1] for program in programs]
    assert [program.returncode for program in programs] == [2, 2], errors
    assert all("alone.resume: some processes do not see it: all machines must read the same files" in e for e in errors)


def test_two_processes_follow_the_trajectory_of_one(folder, monkeypatch):
    """The gradients of unequal parts are weighted; 9 rows in batches of 4 end with one row for two processes.

    The same with the model divided among them, and with its activations computed twice.
    """
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    make_alone(monkeypatch)
    runs = {
        "copied": [start(folder, TORCHRUN, ["--writing_params_path", "copied"])],
        "sharded": start_two(folder, "--writing_params_path", "sharded", "--shard", "--checkpoint_activations"),
    }
    outputs = {name: [program.communicate(timeout=120) for program in programs] for name, programs in runs.items()}
    for name, programs in runs.items():
        out, err = ("".join(texts) for texts in zip(*outputs[name], strict=True))
        assert [program.returncode for program in programs] == [0] * len(programs), err
        assert out.count("computed in") == 1 and "2 processes" in out, "the first process speaks, and only that"
        for line, expected in zip(read_log(folder / name), read_log(folder / "alone"), strict=True):
            assert line["tokens"] == expected["tokens"]
            assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert line["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
        parameters, expected = torch.load(folder / name), torch.load(folder / "alone")
        assert parameters.keys() == expected.keys()
        for key, value in parameters.items():
            if not key.endswith("attn.key.bias"):  # moves nothing: its gradient is rounding, which AdamW scales up
                torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)
    files = {path.name for path in folder.iterdir()}
    assert files == {"wiki.txt", "train.tsv", "test.tsv", "program.py"} | {
        f"{name}{ending}" for name in ("alone", *runs) for ending in ("", ".json", ".log.jsonl")
    }


def read_log(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 8])
def test_the_mean_of_weighted_parts_is_the_loss_of_the_batch(n_rows):
    y = torch.randint(0, 3, (n_rows, 5))  # targets equal to 0 do not count
    y[:, 0] = 1
    losses = torch.rand(n_rows, 5)

    def mean_loss(losses, y):
        return losses[y != 0].mean()

    parts = [Processes(rank, 3, rank, 3) for rank in range(3)]
    weighted = [part.weight(y, 0) * mean_loss(part.own(losses), part.own(y)) for part in parts]
    torch.testing.assert_close(torch.stack(weighted).mean(), mean_loss(losses, y))
    if n_rows >= 3:
        assert torch.equal(torch.cat([part.own(y) for part in parts]), y)


def test_each_process_has_its_own_dropout(make_model):
    seeds = []
    for rank in range(3):
        torch.manual_seed(7)
        Processes(rank, 3, rank, 3, shard=True).wrap(make_model())
        seeds.append(torch.initial_seed())
    assert seeds == [7, 8, 9], "the first has that of a run of one"


def test_only_the_first_goes_on_with_the_dropout_of_the_checkpoint(corpus, make_model):
    """It is the first's: another one with it would drop the same places."""
    state = Trainer(make_model(), corpus, None, TrainerConfig()).state()
    for rank in range(2):
        processes = Processes(rank, 2, rank, 2, shard=True)  # which wraps nothing
        trainer = Trainer(make_model(), corpus, None, TrainerConfig(), processes=processes)
        torch.manual_seed(99)
        before = torch.get_rng_state()
        trainer.load_state(state)
        assert torch.equal(torch.get_rng_state(), state["random"] if rank == 0 else before)


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
        ([*EVALUATE, "--outputs_path", "O"], "evaluate runs in one process"),
        (["report", *EVALUATE[2:], "--outputs_path", "O.html"], "report runs in one process"),
        (["ask", *EVALUATE[1:5], "Where was Ada Fern born?"], "ask runs in one process"),
    ],
)
def test_what_several_processes_cannot_do_is_one_sentence(
    folder, as_one_of_two, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_one_of_several_leaves_without_tidying_up():
    """Else about one in twenty runs of two processes on a CPU ends in an abort, after all its work is done."""
    program = f"import atexit, sys; sys.path.insert(0, {str(SRC)!r}); import run; atexit.register(print, 'tidied')"
    program += "; print('said', end=''); run.leave(3)"
    for rank, said in (("0", "said"), (None, "saidtidied\n")):
        environment = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
        environment |= {} if rank is None else {"LOCAL_RANK": rank}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3, said), done.stderr


def test_one_process_cannot_divide_a_model(folder, capsys):
    assert main([*PRETRAIN, "--shard"]) == 2
    assert "start several with torchrun" in capsys.readouterr().err


def test_a_rank_without_a_world_is_no_torchrun(monkeypatch):
    """Other launchers set it, too."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert startup.processes_of_torchrun() is None


def test_what_several_processes_lost_count_of_is_counted_anew(corpus, make_model):
    """Each has a sum of losses of its own, and the checkpoint has the first's."""
    config = TrainerConfig(max_epochs=3, batch_size=4, log_every=100)
    states = []
    Trainer(make_model(), corpus, None, config, on_step=lambda trainer: states.append(trainer.state())).train()
    assert states[1]["loss_sum"] > 0 and states[1]["loss_steps"] == 2
    processes = Processes(0, 2, 0, 2, shard=True)  # which wraps nothing
    trainer = Trainer(make_model(), corpus, None, config, processes=processes)
    trainer.load_state(states[1])
    assert trainer.step == 2 and trainer.loss_steps == 0 and trainer.loss_sum == 0


def test_a_run_of_one_process_does_without(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "parallel", None)  # importing it fails
    stages.pretrain("vanilla", "wiki.txt", "P", device="cpu", max_epochs=1, **SIZES)
