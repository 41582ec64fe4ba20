"""A run that is stopped anywhere, in any way, continues to the very bytes that it would have written."""

import json
import os
import signal
import sys
import types
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import run
import stages
import trainer
from recipes import RECIPES
from safe import job, unfinished
from safe.files import read_parameters, read_tensors, write_tensors
from safe.lock import Lock
from safe.record import command_line
from safe.unfinished import Log, Stopped, UnfinishedRun
from trainer import Diverged, Trainer, TrainerConfig

SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
STEPS = 9  # three epochs of 9 documents in batches of 4, 4 and 1


def pretrain(path: str = "p", **changes):
    """A run with dropout, as short as it can be."""
    return stages.pretrain("vanilla", "wiki.txt", path, **SIZES | dict(max_epochs=3, batch_size=4) | changes)


def finetune(path: str = "p", **changes):
    changes = SIZES | dict(max_epochs=3, batch_size=4) | changes
    return stages.finetune("vanilla", "wiki.txt", path, "train.tsv", **changes)


def quick(path: str = "p", **changes):
    """Muon, questions mixed in, recall examples, and a validation loss in the log."""
    questions = dict(finetune_corpus_path="train.tsv", eval_corpus_path="train.tsv")
    return pretrain(path, **dict(recipe="quick", **questions) | changes)


@pytest.fixture
def stop_after(monkeypatch):
    """A function that makes the next run receive a signal during a step, after which it stops."""

    def arrange(step: int, signum: int = signal.SIGTERM) -> None:
        watch, lr_at = UnfinishedRun.watch, trainer.lr_at

        def watched(run, running):
            def signalled(tokens, config):
                if running.steps_done == step:
                    monkeypatch.setattr(trainer, "lr_at", lr_at)
                    signal.raise_signal(signum)
                return lr_at(tokens, config)

            watch(run, running)
            monkeypatch.setattr(UnfinishedRun, "watch", watch)
            monkeypatch.setattr(trainer, "lr_at", signalled)

        monkeypatch.setattr(UnfinishedRun, "watch", watched)

    return arrange


def log_of(path: str) -> list[dict]:
    lines = [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "tokens_per_second"} for line in lines]


# --------------------------------------------------------------------------------------------------- exact resume


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@pytest.mark.parametrize("command", [pretrain, finetune, quick])
def test_a_run_stopped_anywhere_ends_in_the_same_bytes(folder, stop_after, monkeypatch, command, plain):
    monkeypatch.setattr(job, "TrainerConfig", partial(TrainerConfig, log_every=2))
    command = partial(command, plain=plain)
    command("whole")
    steps = json.loads(Path("whole.json").read_text())["steps"]
    assert steps >= 6
    for step in range(1, steps + 1):
        stop_after(step)
        with pytest.raises(Stopped, match=f"stopped after step {step} of {steps}"):
            command("p")
        assert Path("p.resume").exists() and not Path("p").exists()
        torch.manual_seed(99)  # another process is in another state
        command("p", resume=True)
        assert Path("p").read_bytes() == Path("whole").read_bytes()
        assert log_of("p") == log_of("whole")
        assert not Path("p.resume").exists()
        Path("p").unlink()


def test_a_run_stopped_after_every_step_ends_in_the_same_bytes(folder, stop_after):
    pretrain("whole")
    for step in range(1, STEPS + 1):
        stop_after(step)
        with pytest.raises(Stopped):
            pretrain(resume=True)
    pretrain(resume=True)
    assert Path("p").read_bytes() == Path("whole").read_bytes()


def test_resuming_does_not_repeat_what_was_done(folder, stop_after, monkeypatch):
    stop_after(7)
    with pytest.raises(Stopped):
        pretrain()
    rates, lr_at = [], trainer.lr_at
    monkeypatch.setattr(trainer, "lr_at", lambda *given: rates.append(lr_at(*given)) or rates[-1])
    record = pretrain(resume=True)
    assert len(rates) == 2 and record["steps"] == STEPS


def test_a_complete_run_is_not_repeated(folder, capsys, monkeypatch):
    record = pretrain()
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained again"))
    Path(".p.resume.1.tmp").touch()  # of a process that was killed while it checked whether it could write
    for resume in (True, False):
        assert pretrain(resume=resume) == json.loads(json.dumps(record))
        assert "p: complete already" in capsys.readouterr().out and not Path(".p.resume.1.tmp").exists()
    with pytest.raises(pytest.fail.Exception):
        pretrain(overwrite=True)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("change", ["seed", "bytes", "record", "no record"])
def test_finished_parameters_of_another_run_are_replaced_only_on_request(folder, change, resume):
    pretrain()
    if change == "bytes":
        Path("p").write_bytes(Path("p").read_bytes()[:-1])
    elif change == "record":
        Path("p.json").write_text("{}")
    elif change == "no record":  # made by the course's code
        Path("p.json").unlink()
    before, seed = Path("p").read_bytes(), int(change == "seed")
    with pytest.raises(ValueError, match="p: there are parameters of another run: --overwrite replaces them"):
        pretrain(resume=resume, seed=seed)
    assert Path("p").read_bytes() == before
    pretrain(overwrite=True, seed=seed)
    assert read_parameters("p")[1]["seed"] == seed


def test_a_stop_that_comes_while_the_result_is_written_is_not_lost(folder, monkeypatch):
    """The parameters are complete, and the exit status still says that somebody asked to stop."""
    save = job.save_parameters

    def saved(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(*arguments)

    monkeypatch.setattr(job, "save_parameters", saved)
    with pytest.raises(Stopped, match="stopped: p is complete") as stopped:
        pretrain()
    assert stopped.value.signum == signal.SIGTERM
    assert read_parameters("p")[1] is not None and not Path("p.resume").exists()


def test_an_unfinished_run_is_discarded_only_on_request(folder, stop_after):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    before = Path("p.resume").read_bytes()
    with pytest.raises(ValueError, match="p.resume: an unfinished run: add --resume .* or --overwrite"):
        pretrain()
    with pytest.raises(ValueError, match="choose one"):
        pretrain(resume=True, overwrite=True)
    assert Path("p.resume").read_bytes() == before
    record = pretrain(overwrite=True)
    assert Path("p").exists() and not Path("p.resume").exists()
    assert "--overwrite" not in command_line(record), "whoever repeats the command may have another unfinished run"


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(seed=1), "seed is 0 there and 1 here"),
        (dict(max_epochs=4), "trainer.max_epochs is 3 there and 4 here"),
        (dict(n_embd=32), "config.n_embd is 16 there and 32 here"),
        (dict(recipe="quick"), "recipe is 'course' there and 'quick' here"),
        (dict(pretrain_lr=1e-3), "trainer.learning_rate is 0.006 there and 0.001 here"),
        (dict(compile="off"), "compile is 'auto' there and 'off' here"),
        (dict(plain=True), "plain is False there and True here"),
        (dict(third_mask=True), "corruption.third_mask is None there and True here"),
        (dict(deterministic=True), "deterministic is False there and True here"),
        (dict(dtype="float32"), "dtype is 'tf32' there and 'float32' here"),
    ],
)
def test_the_checkpoint_of_another_command_is_refused(folder, stop_after, changes, message):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    with pytest.raises(ValueError, match=f"p.resume: a checkpoint of another command: .*{message}"):
        pretrain(resume=True, **changes)


def test_the_checkpoint_of_another_corpus_or_variant_is_refused(folder, stop_after):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    with pytest.raises(ValueError, match="variant is 'vanilla' there and 'rope' here"):
        stages.pretrain("rope", "wiki.txt", "p", resume=True, max_epochs=3, batch_size=4, **SIZES)
    text = Path("wiki.txt").read_text(encoding="utf-8")
    Path("wiki.txt").write_text(text.replace("Oslo", "sOlo"), encoding="utf-8")
    with pytest.raises(ValueError, match="corpus_sha256 is"):
        pretrain(resume=True)
    Path("wiki.txt").rename("moved.txt")
    Path("moved.txt").write_text(text, encoding="utf-8")
    stages.pretrain("vanilla", "moved.txt", "p", resume=True, max_epochs=3, batch_size=4, **SIZES)


@pytest.mark.parametrize("changed", ["start", "questions"])
def test_the_checkpoint_of_another_start_or_other_questions_is_refused(folder, stop_after, changed):
    pretrain("start", seed=1)
    pretrain("other", seed=2)
    stop_after(2)
    with pytest.raises(Stopped):
        finetune(reading_params_path="start")
    rows = Path("train.tsv").read_text(encoding="utf-8")
    if changed == "questions":
        Path("train.tsv").write_text(rows.replace("Oslo", "Kyoto"), encoding="utf-8")
    with pytest.raises(ValueError, match=f"another command: {changed}_sha256 is"):
        finetune(reading_params_path="other" if changed == "start" else "start", resume=True)


def test_the_checkpoint_of_a_gpu_is_refused_on_a_cpu(folder, stop_after):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    saved = read_tensors("p.resume")
    write_tensors("p.resume", saved | {"identity": saved["identity"] | {"device_type": "cuda"}})
    with pytest.raises(ValueError, match="device_type is 'cuda' there and 'cpu' here"):
        pretrain(resume=True)


def test_the_checkpoint_of_another_machine_goes_on_with_a_warning(folder, stop_after, capsys):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    saved = read_tensors("p.resume")
    write_tensors("p.resume", saved | {"machine": saved["machine"] | {"threads": 99}})
    pretrain(resume=True)
    warning = "p.resume: the result may differ in rounding and in what dropout draws: threads is 99 there and "
    assert f"{warning}{torch.get_num_threads()} here" in capsys.readouterr().err


def test_a_continued_run_that_diverges_at_once_names_the_checkpoint_it_began_from(folder, stop_after, monkeypatch):
    def diverge(trainer):
        raise Diverged("the loss is nan")

    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    monkeypatch.setattr(Trainer, "train", diverge)
    with pytest.raises(Diverged, match="p.resume holds step 4, the last good one"):
        pretrain(resume=True)


LOGS = {"no JSON": "{\n", "a number": "3\n", "an infinite step": '{"step": 1e999}\n', "deep": "[" * 10**5 + "\n"}


@pytest.mark.parametrize("change", ["truncated", "empty", "another", "parameters", "format", *LOGS])
def test_a_damaged_checkpoint_is_refused_in_one_sentence(folder, stop_after, change):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    content = Path("p.resume").read_bytes()
    if change == "another":
        torch.save({"format": 1}, "p.resume")
    elif change == "parameters":
        torch.save({"a": torch.ones(3)}, "p.resume")
    elif change == "format":
        write_tensors("p.resume", read_tensors("p.resume") | {"format": 99})
    elif change in LOGS:
        write_tensors("p.resume", read_tensors("p.resume") | {"log": LOGS[change]})
    else:
        Path("p.resume").write_bytes(content[:-300] if change == "truncated" else b"")
    with pytest.raises(ValueError, match="p.resume: not a checkpoint"):
        pretrain(resume=True)


def test_checkpoints_are_written_as_often_as_asked_and_never_dominate(folder, monkeypatch):
    saved = []
    monkeypatch.setattr(unfinished, "write_tensors", lambda path, content: saved.append(content["trainer"]["steps"]))
    pretrain(checkpoint_every=0)
    assert saved == list(range(1, STEPS + 1))
    saved.clear()
    pretrain(overwrite=True)
    assert saved == [], "not within the first minute"
    clock = iter(range(10**6))  # every look at the clock takes a second, and so does saving
    monkeypatch.setattr(unfinished.time, "monotonic", lambda: float(next(clock)))
    pretrain(checkpoint_every=1, max_epochs=40, overwrite=True)
    assert 2 <= len(saved) <= 3, "saving takes at most 2% of 120 steps"
    with pytest.raises(ValueError, match="checkpoint_every is nan"):
        pretrain(checkpoint_every=float("nan"), overwrite=True)


def test_a_checkpoint_with_other_settings_of_span_corruption_is_refused(folder, stop_after, monkeypatch):
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain()
    monkeypatch.setitem(RECIPES, "course", replace(RECIPES["course"], recall_share=0.5))
    with pytest.raises(ValueError, match="corruption.recall_share is 0.0 there and 0.5 here"):
        pretrain(resume=True)


# ---------------------------------------------------------------------------------------------------------- stops


@pytest.mark.parametrize("name, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_stop_says_how_to_continue_and_that_command_does(folder, request, stop_after, capsys, name, status):
    if (signum := getattr(signal, name, None)) is None:
        pytest.skip(f"no {name} here")
    arguments = "pretrain vanilla wiki.txt --writing_params_path p --n_layer 1 --n_head 2 --n_embd 16 --block_size 64"
    arguments = [*arguments.split(), "--device", "cpu", "--max_epochs", "3", "--batch_size", "4", "--seed", "7"]
    if signal.getsignal(signum) == signal.SIG_IGN:  # as under nohup
        request.addfinalizer(partial(signal.signal, signum, signal.signal(signum, signal.SIG_DFL)))
    handler = signal.getsignal(signum)
    stop_after(5, signum)
    assert run.main(arguments) == status
    said = capsys.readouterr().err.splitlines()
    assert "run.py: stopped after step 5 of 9: p.resume holds step 5, the last good one" in said
    assert signal.getsignal(signum) == handler, "the handler is restored"
    continuing = next(line for line in said if "to continue: " in line).split("to continue: ")[1].split()
    assert continuing[:2] == ["python", "src/run.py"] and continuing[-1] == "--resume"
    assert run.main(continuing[2:]) == 0
    pretrain("whole", seed=7)
    assert Path("p").read_bytes() == Path("whole").read_bytes()


def test_a_signal_before_the_first_step_stops_the_run_after_it(folder, monkeypatch):
    fastest = stages.fastest

    def signalled(*given, **how):
        signal.raise_signal(signal.SIGTERM)
        return fastest(*given, **how)

    monkeypatch.setattr(stages, "fastest", signalled)
    with pytest.raises(Stopped, match=f"stopped after step 1 of {STEPS}"):
        pretrain()


@pytest.mark.parametrize("end", ["stopped after", "is nan"])
def test_the_message_that_follows_the_progress_bar_has_a_line_of_its_own(folder, stop_after, capsys, end):
    if end == "stopped after":
        stop_after(5)
    words = ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p", "--device", "cpu", "--max_epochs", "3"]
    words += ["--batch_size", "4", "--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--block_size", "64"]
    assert run.main([*words, *(["--pretrain_lr", "1e30"] if end == "is nan" else [])]) in (2, 143)
    error = capsys.readouterr().err
    assert "step/s" in error, "there is a bar"
    (line,) = [line for line in error.split("\n") if end in line]
    assert line.startswith("run.py: ")


def test_a_second_stop_does_not_wait_and_leaves_the_last_checkpoint(folder, request, monkeypatch):
    """A second after the first one, or later."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    request.addfinalizer(partial(signal.signal, signal.SIGINT, handler))
    pretrain("whole")

    def interrupted_twice(path, content):
        if content["trainer"]["steps"] == 6:
            signal.raise_signal(signal.SIGINT)
            now = unfinished.time.monotonic()
            monkeypatch.setattr(unfinished.time, "monotonic", lambda: now + 1.1)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("continued")
        return write_tensors(path, content)

    monkeypatch.setattr(unfinished, "write_tensors", interrupted_twice)
    with pytest.raises(Stopped, match="stopped at once: p.resume holds step 5"):
        pretrain(checkpoint_every=0)
    assert read_tensors("p.resume")["trainer"]["steps"] == 5
    monkeypatch.undo()
    os.chdir(folder)
    pretrain(resume=True)
    assert Path("p").read_bytes() == Path("whole").read_bytes()


def test_signals_that_come_together_are_one_request(folder, stop_after, monkeypatch):
    """A terminal's Ctrl-C reaches a script and its program, and the script hands it on."""

    def several(tokens, config):
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(signum)
        return config.learning_rate

    monkeypatch.setattr(trainer, "lr_at", several)
    monkeypatch.setattr(signal, "getsignal", lambda signum: signal.SIG_DFL)  # in the background it may be ignored
    with pytest.raises(Stopped, match=f"stopped after step 1 of {STEPS}") as stopped:
        pretrain()
    assert stopped.value.signum == signal.SIGTERM


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
def test_a_run_started_with_nohup_outlives_its_terminal(folder, request):
    request.addfinalizer(partial(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_IGN)))
    with UnfinishedRun("p", {}, {}, "command"):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_where_no_signals_are_caught_a_stop_says_how_to_continue_too(folder, monkeypatch, capsys):
    """As in another thread than the first one: the steps after the last checkpoint are lost."""
    on_pause = UnfinishedRun.on_pause

    def interrupted(self, trainer):
        on_pause(self, trainer)
        if trainer.steps_done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(unfinished.threading, "main_thread", lambda: None)
    monkeypatch.setattr(UnfinishedRun, "on_pause", interrupted)
    words = ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p", "--device", "cpu", "--max_epochs", "3"]
    words += ["--batch_size", "4", "--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--block_size", "64"]
    assert run.main([*words, "--checkpoint_every", "0"]) == 130
    error = capsys.readouterr().err
    assert "stopped at once: p.resume holds step 6" in error and "--resume" in error and "before training" not in error


def test_a_finished_run_keeps_its_log_until_the_next_one_is_finished(folder, stop_after):
    pretrain()
    finished = Path("p.log.jsonl").read_text()
    stop_after(4)
    with pytest.raises(Stopped):
        pretrain(seed=1, overwrite=True)
    assert Path("p.log.jsonl").read_text() == finished and Path("p.resume.log.jsonl").exists()
    pretrain(seed=1, resume=True)
    assert Path("p.log.jsonl").read_text() != finished and not list(folder.glob("p.resume*"))


def test_a_run_that_died_after_its_result_has_its_log_put_in_place(folder, monkeypatch):
    pretrain()
    earlier = Path("p.log.jsonl").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(UnfinishedRun, "complete", lambda run: (_ for _ in ()).throw(SystemError("lights out")))
        with pytest.raises(SystemError):
            pretrain(seed=1, overwrite=True)
    assert Path("p.log.jsonl").read_text() == earlier
    record = pretrain(seed=1, resume=True)  # complete already
    assert Path("p.log.jsonl").read_text() != earlier and not list(folder.glob("p.resume*"))
    Path("p.resume.log.jsonl").write_text(json.dumps({"step": record["steps"] - 1}))
    pretrain(seed=1, resume=True)
    assert Path("p.resume.log.jsonl").exists(), "of another run, which ended earlier"


# ------------------------------------------------------------------------------------------------------------ lock


def test_two_runs_never_write_the_same_path(folder, capsys):
    lock = Lock(Path("p"))
    with pytest.raises(ValueError, match="p: another run is writing it"):
        pretrain()
    assert not list(folder.glob("p*"))
    lock.release()
    pretrain()
    assert not Path(".p.lock").exists()


def test_temporary_files_of_killed_runs_are_removed(folder):
    for ending in ("", ".json", ".resume", ".resume.log.jsonl"):
        Path(f".p{ending}.1.tmp").touch()
    pretrain(max_epochs=1)
    assert not list(folder.glob(".p*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_ends_with_its_process(folder):
    """The process is killed, so it removes nothing: the file stays, and the lock ends."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        lock = Lock(Path("p"))
        os.write(write, b"!")
        signal.pause()
        lock.release()
    os.read(read, 1)
    try:
        with pytest.raises(ValueError, match="another run"):
            Lock(Path("p"))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert Path(".p.lock").exists()
    Lock(Path("p")).release()


# ---------------------------------------------------------------------------------------- numbers that are not finite


def test_a_run_that_diverges_names_the_last_good_checkpoint(folder):
    with pytest.raises(Diverged, match=r"is (nan|not finite) .*p\.resume holds step \d, the last good one"):
        pretrain(checkpoint_every=0, pretrain_lr=1e30)
    assert read_tensors("p.resume")["trainer"]["steps"] < STEPS
    parameters = read_tensors("p.resume")["trainer"]["model"].values()
    assert all(value.isfinite().all() for value in parameters), "checkpoints hold finite parameters only"


# ------------------------------------------------------------------------------------------------------------- log


def test_the_log_goes_to_a_file_and_to_tensorboard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class SummaryWriter:
        written = []

        def __init__(self, folder, purge_step):
            self.written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            self.written.append((name, value, step))

        def close(self):
            self.written.append("closed")

    fake = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    for lines in ([], ['{"step": 5}\n']):
        SummaryWriter.written.clear()
        log = Log(tmp_path / "log.jsonl", lines, "mine")
        log.add({"step": 7, "loss": 0.5})
        log.close()
        assert (tmp_path / "log.jsonl").read_text() == "".join(lines) + '{"step": 7, "loss": 0.5}\n'
        assert SummaryWriter.written == [("expt/mine", 6 if lines else None), ("loss", 0.5, 7), "closed"]


def test_every_run_has_a_curve_of_its_own_and_a_continued_one_goes_on_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for new in (True, False, True, True, False):
        folder = unfinished.curve_folder("pretrain/name_rope", new)
        folder.mkdir(parents=True, exist_ok=True)
        found.append(folder.as_posix().removeprefix("expt/pretrain/"))
    assert found == ["name_rope", "name_rope", "name_rope_2", "name_rope_3", "name_rope_3"]


@pytest.mark.parametrize("broken", ["__init__", "add_scalar"])
def test_tensorboard_that_fails_ends_no_run(tmp_path, monkeypatch, capsys, broken):
    def fail(*arguments, **named):
        raise OSError(28, "No space left on device")

    writer = type("SummaryWriter", (), {"__init__": lambda *a, **k: None, "add_scalar": lambda *a: None})
    setattr(writer, broken, fail)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=writer))
    log = Log(tmp_path / "log.jsonl", [], "mine")
    for step in (1, 2):
        log.add({"step": step, "loss": 0.5})
    log.close()
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 2
    assert capsys.readouterr().err.count("warning: ") == 1


def test_asking_for_tensorboard_where_it_is_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        Log(tmp_path / "log.jsonl", [], "mine")
    assert not (tmp_path / "log.jsonl").exists()


def test_a_log_survives_a_disk_that_is_full_for_a_while(tmp_path, capsys):
    log = Log(tmp_path / "log", [])
    log.add({"step": 1})
    file, log.file = log.file, Full(log.file)
    log.add({"step": 2})
    assert "log: not written for now: No space left" in capsys.readouterr().err
    log.file = file
    log.add({"step": 3})
    log.close()
    assert (tmp_path / "log").read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_a_line_that_did_not_fit_on_a_full_disk_is_written_when_the_log_is_closed(tmp_path):
    log = Log(tmp_path / "log", [])
    file, log.file = log.file, Full(log.file)
    log.add({"step": 1})
    log.file = file
    log.close()
    assert (tmp_path / "log").read_text() == '{"step": 1}\n'


class Full:
    """A file on a disk with room for three more bytes."""

    def __init__(self, file):
        self.file, self.room = file, 3

    def seek(self, place):
        return self.file.seek(place)

    def write(self, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        count, self.room = self.file.write(data[: self.room]), 0
        return count
