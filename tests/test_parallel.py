"""Several processes train the same model as one. They save, stop and fail together, and only the first prints."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import stages
import trainer
from conftest import torchrun_environments
from fast import parallel
from fast.device import processes_of_torchrun
from fast.parallel import Processes
from fast.steps import DistributedStep, fastest
from recipes import RECIPES
from run import main
from safe import job, shards, unfinished
from safe.files import read_tensors, write_tensors
from safe.state import restore_trainer, trainer_state
from safe.unfinished import Stopped, UnfinishedRun
from team import Said, Team
from trainer import Trainer, TrainerConfig

SRC = Path(stages.__file__).parent
SIZES = dict(n_layer=2, n_head=2, n_embd=16, block_size=64)
RUN = dict(device="cpu", max_epochs=3, batch_size=4, eval_corpus_path="train.tsv", **SIZES)
STEPS = 9  # three epochs of 9 documents in batches of 4, 4 and 1
NO_DROPOUT = dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)


@pytest.fixture(scope="module")
def team():
    members = Team(3)
    yield members
    members.close()


def pretrain(path: str = "p", rank: int = -1, at: int = 0, what: Callable | None = None, dropout: bool = True, **how):
    """What `run.py pretrain` does. At the rate of step `at`, the process `rank` does `what` to its trainer."""
    patch = pytest.MonkeyPatch()
    lr_at, watch = trainer.lr_at, UnfinishedRun.watch

    def watched(run, running):
        def rate(tokens, config):
            if running.steps_done == at and int(os.environ.get("RANK", 0)) == rank:
                what(running)
            return lr_at(tokens, config)

        watch(run, running)
        patch.setattr(trainer, "lr_at", rate)

    with patch.context():
        patch.setattr(UnfinishedRun, "watch", watched)
        patch.setattr(job, "TrainerConfig", lambda **given: TrainerConfig(log_every=2, **given))
        for name, value in NO_DROPOUT.items() if not dropout else ():
            patch.setitem(RECIPES["course"].model, name, value)
        try:
            return stages.pretrain("vanilla", "wiki.txt", path, **RUN | how)
        finally:
            patch.undo()


def asked_to_stop(running) -> None:
    signal.raise_signal(signal.SIGTERM)


def together(team: Team, count: int, path: str = "p", **how) -> list[Said]:
    """`count` processes train."""
    return team(torchrun_environments(count), _pretrain, path, how)


def _pretrain(path, how):
    return pretrain(path, **how)["steps"]


def completed(said: list[Said]) -> list[Said]:
    assert [member.error for member in said] == [None] * len(said), said[0].err
    return said


def log_of(path: str | Path) -> list[dict]:
    lines = [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


def names() -> set[str]:
    return {path.name for path in Path().iterdir() if path.suffix not in (".txt", ".tsv")}


# -------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("count, shard, steps", [(3, False, (1, 5, STEPS)), (2, True, (5,))], ids=["copied", "divided"])
def test_processes_stopped_by_a_signal_to_any_of_them_end_in_the_same_bytes(folder, team, count, shard, steps):
    """All stop after the step that one was asked in, dropout goes on where it was in each, and nothing is left over.

    With three processes, the rounding of a sum of gradients depends on how they are sent.
    """
    how = dict(shard=shard)
    completed(together(team, count, "whole", **how))
    whole = Path("whole").read_bytes()
    for step in steps:
        said = together(team, count, rank=step % count, at=step, what=asked_to_stop, **how)
        assert said[0].error.startswith(f"Stopped: stopped after step {step} of {STEPS}: p.resume holds step {step}")
        assert [(member.error, member.out) for member in said[1:]] == [("Stopped: ", "")] * (count - 1)
        parts = {f"{step}.{rank}" for rank in range(count)} if shard else set()
        assert not shard or {path.name for path in Path("p.resume.shards").iterdir()} == parts
        assert not Path("p").exists() and Path("p.resume.shards").exists() == shard
        said = completed(together(team, count, resume=True, **how))
        assert f"continued after step {step}" in said[0].out and "may differ" not in said[0].err
        assert Path("p").read_bytes() == whole and log_of("p") == log_of("whole")
        assert names() == {f"{run}{ending}" for run in ("p", "whole") for ending in ("", ".json", ".log.jsonl")}
        Path("p").unlink()


def test_a_run_goes_on_in_any_number_of_processes_divided_or_not(folder, team):
    """In the middle of an epoch, and between two lines of the log. Without dropout it follows one trajectory."""
    pretrain("alone", dropout=False)
    how = dict(dropout=False, resume=True, what=asked_to_stop, rank=0)
    for at, count, shard in [(2, 2, True), (3, 3, True), (4, 1, False), (5, 2, True), (7, 3, False)]:
        if count == 1:
            with pytest.raises(Stopped, match=f"p.resume holds step {at}"):
                pretrain(at=at, **how)
        else:
            said = together(team, count, at=at, shard=shard, **how)
            assert f"p.resume holds step {at}" in said[0].error, said[0].err
            if at > 2:
                warning = "p.resume: the result may differ in rounding and in what dropout draws: processes is"
                assert said[0].err.count(warning) == 1 and warning not in said[1].err
    completed(together(team, 2, dropout=False, resume=True))
    assert_same_trajectory("p", "alone")
    assert names() == {f"{run}{ending}" for run in ("p", "alone") for ending in ("", ".json", ".log.jsonl")}
    written = Path("p.log.jsonl").stat().st_mtime_ns
    said = completed(together(team, 3, dropout=False, resume=True))
    assert [member.out for member in said] == ["p: complete already\n", "", ""]
    assert Path("p.log.jsonl").stat().st_mtime_ns == written


def assert_same_trajectory(path: str, expected_path: str) -> None:
    for line, expected in zip(log_of(path), log_of(expected_path), strict=True):
        for measured in (line, expected):
            measured.pop("validation_accuracy", None)  # a divided model is not asked
        assert line.keys() == expected.keys() and line["tokens"] == expected["tokens"]
        for value in line.keys() & {"loss", "validation_loss", "grad_norm"}:
            assert line[value] == pytest.approx(expected[value], rel=1e-4 if value == "grad_norm" else 1e-5)
    parameters, expected = torch.load(path), torch.load(expected_path)
    assert parameters.keys() == expected.keys()
    for key, value in parameters.items():
        if not key.endswith("attn.key.bias"):  # its gradient is zero but for rounding, which AdamW scales up
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shard", [False, True], ids=["copied", "divided"])
def test_two_processes_follow_the_trajectory_of_one(folder, team, shard):
    """The gradients of unequal parts are weighted. 9 rows in batches of 4 end with one row for two processes."""
    pretrain("alone", dropout=False)
    said = completed(together(team, 2, "shared", dropout=False, shard=shard))
    assert said[0].out.count("computed in") == 1 and "2 processes" in said[0].out
    assert said[1].out == "" and "step/s" not in said[1].err, "only the first process prints"
    assert_same_trajectory("shared", "alone")
    measured = [any("validation_accuracy" in line for line in log_of(path)) for path in ("alone", "shared")]
    assert measured == [True, not shard], "of a part of a model nobody can ask"


@pytest.mark.parametrize("one_request", [1.0, 0.0], ids=["at once", "later"])
def test_several_requests_to_stop_are_one_and_no_process_stops_at_once(folder, monkeypatch, one_request):
    """A terminal's Ctrl-C reaches torchrun and its processes, and torchrun hands it on."""
    monkeypatch.setattr(unfinished, "ONE_REQUEST", one_request)
    processes = Pretended(0, 2, 0, 2)
    with pytest.raises(Stopped, match="stopped: p is complete"), UnfinishedRun("p", {}, {}, "", processes=processes):
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)


def test_a_gpu_learns_of_a_wish_some_steps_later_in_every_process_alike(monkeypatch):
    """Reading the newest wish would wait for the GPU. The same wish, told by the steps between, is no second one."""
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    step = DistributedStep(None, torch.nn.Linear(1, 1), None, None)
    step.steps_later = 3
    told = [step.is_pause(torch.tensor(float(wish))) for wish in (0, 0, 1, 1, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0)]
    assert [number for number, pause in enumerate(told) if pause] == [5, 13]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_ends_soon_after_its_launcher(monkeypatch):
    """First as after SIGTERM, which saves a checkpoint; and if it does not, because it waits for others, for good."""
    monkeypatch.setattr(parallel, "GRACE", 0.2)
    read, write = os.pipe()
    if (launcher := os.fork()) == 0:
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, lambda *_: os.write(write, b"asked to stop\n"))
            with parallel.ending_with(os.getppid()):
                os.write(write, b"runs\n")
                while True:
                    time.sleep(0.1)
        signal.pause()
    os.close(write)
    with open(read) as said:
        assert said.readline() == "runs\n"
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
        assert said.read() == "asked to stop\n"  # to its end: nobody is left who holds the pipe


def test_a_process_whose_launcher_has_ended_before_it_began_does_not_wait_for_it(monkeypatch):
    address = torchrun_environments(1)[0]["MASTER_PORT"]
    for name, value in dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=address, TORCHELASTIC_USE_AGENT_STORE="True").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionError, match="torchrun has ended"), parallel.ending_with(os.getppid()):
        pass


# --------------------------------------------------------------------------------------------------------- failing


def break_a_parameter(running) -> None:
    """After the step: the others do not meet it in this step's loss."""
    on_pause, weight = running.on_pause, running.model.head.weight

    def broken(trainer):
        with torch.no_grad():
            (weight.to_local() if hasattr(weight, "to_local") else weight).fill_(math.nan)
        on_pause(trainer)

    running.on_pause = broken


@pytest.mark.parametrize("shard", [False, True], ids=["copied", "divided"])
def test_what_one_process_finds_not_finite_stops_all(folder, team, shard):
    said = together(team, 2, rank=1, at=3, what=break_a_parameter, checkpoint_every=0, shard=shard)
    assert said[0].error == said[1].error, said
    assert said[0].error.startswith("Diverged: step 3: a parameter is not finite")
    assert read_tensors("p.resume")["trainer"]["steps"] == 2
    said = completed(together(team, 2, resume=True, shard=shard))
    assert "continued after step 2" in said[0].out


def fill_the_disk(running) -> None:
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(shards, "write_tensors", full)
    on_pause = running.on_pause

    def after(trainer):
        on_pause(trainer)
        monkeypatch.undo()
        running.on_pause = on_pause

    running.on_pause = after


def test_a_full_disk_of_one_process_costs_all_of_them_that_checkpoint(folder, team):
    completed(together(team, 2, "whole", shard=True))
    how = dict(shard=True, checkpoint_every=0)
    said = completed(together(team, 2, rank=1, at=3, what=fill_the_disk, **how))
    assert said[0].err.count("p.resume: not written, the one of step 2 stays: No space left on device") == 1
    assert "not written" not in said[1].err
    assert Path("p").read_bytes() == Path("whole").read_bytes()


def fail(running) -> None:
    raise OSError("this process only")


def lose_another(path: str) -> None:
    pytest.MonkeyPatch().setattr(parallel, "TURN", 0.0)
    pretrain(path, rank=1, at=3, what=fail)


def test_a_process_that_is_left_by_another_says_so_in_one_line(folder, team):
    """After the other one had time to say why."""
    said = team(torchrun_environments(2), lose_another, "p")
    assert said[1].error == "OSError: this process only"
    assert said[0].error == "ConnectionError: another process of this run has ended: --resume continues it"


def test_all_machines_must_see_the_checkpoint(folder, team):
    """Otherwise one process would continue from it and another start anew, and their gradients would be averaged."""
    with pytest.raises(Stopped):
        pretrain(rank=0, at=2, what=asked_to_stop)
    other = folder / "other machine"
    other.mkdir()
    for name in ("wiki.txt", "train.tsv"):
        shutil.copy(folder / name, other / name)
    said = team(torchrun_environments(2), continue_elsewhere, str(folder), str(other))
    assert all("p.resume: some processes do not see it: all machines must read the same files" in m.error for m in said)


def continue_elsewhere(*folders: str) -> None:
    os.chdir(folders[int(os.environ["RANK"])])
    pretrain(resume=True)


@pytest.fixture
def divided(folder, team) -> dict:
    """The content of a checkpoint of two processes."""
    said = together(team, 2, at=3, rank=1, what=asked_to_stop, shard=True)
    assert said[1].error == "Stopped: ", said[1].err
    return dict(read_tensors("p.resume"))


def test_a_divided_checkpoint_that_is_damaged_or_forged_is_refused_in_one_line(divided):
    """Its parts are held against the trainer before they are used, and no other files are read."""
    layout, file = divided["shards"], Path("p.resume.shards/3.1")
    name = "model.head.weight"
    intact = file.read_bytes()
    write_tensors("elsewhere", dict(read_tensors(file)))

    def forged(**changes):
        return {"files": layout["files"], "tensors": layout["tensors"]} | changes

    def with_parts(parts, size=None):
        about = {"size": size or layout["tensors"][name]["size"], "parts": parts}
        return forged(tensors=layout["tensors"] | {name: about})

    parts = layout["tensors"][name]["parts"]
    about = dict(layout["tensors"][name])
    elsewhere = [[*part[:2], "../elsewhere"] for part in parts]
    cases = {
        "3.9: is missing": with_parts([[*part[:2], "3.9"] for part in parts]),
        "elsewhere: is missing": with_parts(elsewhere) | {"files": layout["files"] | {"../elsewhere": "0" * 64}},
        "do not make up the shape": with_parts(parts[:1]),
        "do not make up": with_parts(parts, [2**40, 2**40]),
        "is not divided into parts": with_parts([[[-1, 0], parts[0][1], parts[0][2]], *parts[1:]]),
        "unknown tensor": forged(tensors=layout["tensors"] | {"optimizer.99999999.exp_avg": about}),
        "missing tensor": forged(tensors={k: v for k, v in layout["tensors"].items() if k != name}),
        "the state of parameter": forged(tensors={k: v for k, v in layout["tensors"].items() if "exp_avg_sq" not in k}),
        "not a checkpoint": {"files": 3, "tensors": layout["tensors"]},
        "p.resume: not a checkpoint": 10**9,
    }
    for message, changed in cases.items():
        write_tensors("p.resume", divided | {"shards": changed})
        with pytest.raises(ValueError, match="p.resume: not a checkpoint of this") as error:
            pretrain(resume=True)
        assert message in str(error.value) and "\n" not in str(error.value), message
    write_tensors("p.resume", divided)
    for content in (intact[:-1], b"", bytes([*intact[:200], intact[200] ^ 1, *intact[201:]])):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"3\.1: .*damaged"):
            pretrain(resume=True)
    write_tensors(file, {name: value + 1 for name, value in read_tensors("elsewhere").items()})  # whole, of another run
    with pytest.raises(ValueError, match=r"3\.1: damaged, or of another checkpoint"):
        pretrain(resume=True)
    file.write_bytes(intact)
    (file.parent / "2.0").touch()  # of a process that was killed while it wrote
    (file.parent / ".4.1.123.tmp").touch()
    (file.parent / "notes").touch()
    found = set()
    pretrain(resume=True, rank=0, at=4, what=lambda running: found.update(path.name for path in file.parent.iterdir()))
    assert found == {"3.0", "3.1", "notes"}, "what was left is removed before the first step"
    assert [path.name for path in file.parent.iterdir()] == ["notes"], "what is not ours stays"


def test_parts_without_their_checkpoint_are_removed(divided):
    Path("p.resume").unlink()
    found = []
    pretrain(rank=0, at=1, what=lambda running: found.append(Path("p.resume.shards").exists()))
    assert found == [False], "from the first step on"
    Path("p.resume.shards").mkdir()
    Path("p.resume.shards/3.0").touch()
    pretrain()
    assert not Path("p.resume.shards").exists(), "also beside complete parameters"


# --------------------------------------------------------------------------------------------- parts of the machinery


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


class Pretended(Processes):
    """One of several processes that does not need the others."""

    def wrap(self, model):
        return model

    def average_gradients(self, model):
        pass

    def mean_and_any(self, value, wish):
        return value, torch.tensor(float(wish))

    def highest(self, value, device):
        return value

    def gathered(self, value, device):
        return torch.stack([value + rank - self.rank for rank in range(self.count)])


def test_each_process_draws_its_own_dropout_and_goes_on_with_it(corpus, make_model):
    """On another number of processes, each begins anew, and not with what it drew at the beginning."""
    config = TrainerConfig(max_epochs=3, batch_size=4, seed=5)

    def made(processes):
        model = make_model(resid_pdrop=0.5)
        ways = {} if processes is None else fastest(model, corpus, config, processes=processes)[0]
        return Trainer(model, corpus, None, config, **{**ways, "show_progress": False})

    saved = {}
    for rank in range(2):
        processes = Pretended(rank, 2, rank, 2)
        processes.seed_dropout(5)
        saved[rank] = torch.get_rng_state()
        assert torch.initial_seed() == 5 + rank, "the first has that of a run of one process"
    one = made(None)
    one.train()
    state = trainer_state(one) | {"steps": 4, "random": torch.stack([saved[0], saved[1]])}
    for rank in range(2):
        restore_trainer(made(None), state, Pretended(rank, 2, rank, 2))
        assert torch.equal(torch.get_rng_state(), saved[rank])
    seeds = []
    for count in (1, 3):
        for rank in range(count):
            restore_trainer(made(None), state, None if count == 1 else Pretended(rank, 3, rank, 3))
            seeds.append(torch.initial_seed())
    assert len({*seeds, 5, 6, 7}) == 7


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


# -------------------------------------------------------------------------------------------------- what is refused


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


def test_a_model_that_takes_no_packed_rows_trains_in_one_process(corpus):
    with pytest.raises(ValueError, match="this model trains in one process"):
        fastest(torch.nn.Linear(1, 1), corpus, TrainerConfig(), processes=Pretended(0, 2, 0, 2))


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


def test_a_run_of_one_process_does_not_import_the_modules_for_several(folder, monkeypatch):
    for name in ("fast.parallel", "safe.shards"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    with pytest.raises(Stopped):
        pretrain(rank=0, at=2, what=asked_to_stop)
    pretrain(resume=True)


# --------------------------------------------------------------------------------------------------- with torchrun


@pytest.mark.skipif("TORCHRUN" not in os.environ, reason="takes a minute: set TORCHRUN to run it")
def test_torchrun_hands_a_signal_on_and_its_end_leaves_no_process(folder):
    """SIGTERM and SIGKILL to torchrun itself: a checkpoint is saved, and nobody goes on."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(SRC / "run.py")]
    words += [*PRETRAIN, "--max_epochs", "100000", "--device", "cpu", "--compile", "off"]
    words += [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
    steps = [0]
    for signum in (signal.SIGTERM, signal.SIGKILL):
        pipe = subprocess.PIPE
        started = subprocess.Popen([*words, *["--resume"] * (steps != [0])], stdout=pipe, stderr=pipe, text=True)
        while "computed in" not in started.stdout.readline():
            assert started.poll() is None
        time.sleep(1)
        started.send_signal(signum)
        out, err = started.communicate(timeout=60)  # until all have closed their ends
        assert err.count("run.py: stopped after step") == 1 and out == ""
        steps.append(read_tensors("P.resume")["trainer"]["steps"])
    assert steps[2] > steps[1] > 0
