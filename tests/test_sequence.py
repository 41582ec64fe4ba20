"""Commands that run one after the other in one process do what each does alone."""

import json
import os
import re
import signal
import sys
import warnings
from pathlib import Path

import pytest

from safe import sequence
from starting import python

SRC = Path(__file__).resolve().parent.parent / "src"
TINY = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 64 --max_epochs 2 --device cpu".split()
QUESTIONS = ["--finetune_corpus_path", "../train.tsv"]
EVALUATE = ["../wiki.txt", "--eval_corpus_path", "../train.tsv", "--device", "cpu", "--reading_params_path"]
COMMANDS = [
    ["finetune", "vanilla", "../wiki.txt", "--writing_params_path", "model", *QUESTIONS, *TINY],
    ["evaluate", "vanilla", *EVALUATE, "model", "--outputs_path", "model.predictions", "--plain"],
    ["pretrain", "vanilla", "../wiki.txt", "--writing_params_path", "pre", "--recipe", "quick", *QUESTIONS, *TINY],
    ["finetune", "vanilla", "../wiki.txt", "--writing_params_path", "fine", "--reading_params_path", "pre", *QUESTIONS]
    + ["--eval_corpus_path", "../train.tsv", *TINY[-4:], "--deterministic"],
    ["evaluate", "vanilla", *EVALUATE, "fine", "--outputs_path", "fine.predictions"],
    ["pretrain", "rope", "../wiki.txt", "--writing_params_path", "rope", *TINY, "--plain"],
]
REFUSED = ["finetune", "vanilla", "../wiki.txt", "--writing_params_path", "no", "--finetune_corpus_path", "../test.tsv"]
# A process that has imported everything and computed nothing. A copy of it runs each command alone, and then it runs
# all of them itself, one that is refused, and one that must not follow it.
PROGRAM = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import run, stages
from safe import sequence
commands = json.loads(sys.argv[2])
os.chdir("alone")
for command in commands:
    child = os.fork()
    if child == 0:
        os._exit(run.main(command))
    assert os.waitpid(child, 0)[1] == 0, command
os.chdir("../together")
commands += [json.loads(sys.argv[3]), commands[-1]]
steps = [["run", "python", sys.argv[1] + "/run.py", *command] for command in commands]
sys.exit(sequence.main([str(word) for step in steps for word in (len(step), *step)]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts processes by fork")
def test_each_command_of_a_sequence_writes_what_it_writes_alone(folder):
    """Except for the times that it took."""
    for name in ("alone", "together"):
        (folder / name).mkdir()
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = python("program.py", SRC, json.dumps(COMMANDS), json.dumps(REFUSED), cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("run.py: ../test.tsv, question 1: no tab"), done.stderr
    written = {path.relative_to(folder / "alone") for path in (folder / "alone").rglob("*") if path.is_file()}
    assert {"model", "pre", "fine", "fine.json", "fine.log.jsonl", "rope"} <= set(map(str, written))
    times = re.compile(rb'"(seconds|tokens_per_second)": [\d.e+-]+')
    for path in sorted(written):
        alone, together = ((folder / name / path).read_bytes() for name in ("alone", "together"))
        assert times.sub(b"", alone) == times.sub(b"", together), path


def plan(*steps: list[str]) -> list[str]:
    return [str(word) for step in steps for word in (len(step), *step)]


SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The folder of script.py, which `run` below writes. The process is left as it was."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sequence, "settle_threads", lambda: None)
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def run(folder: Path, code: str, *steps: list[str]) -> int:
    """The exit status of the steps, where `python script.py WORD ...` runs the given code."""
    (folder / "script.py").write_text(f"import os, signal, sys, warnings\n\ndef main(words):\n    {code}\n")
    named = [[str(folder / word) if word == "script.py" else word for word in step] for step in steps]
    return sequence.main(plan(*named))


COMMAND = ["python", "script.py"]


def test_rows_of_the_table_are_the_last_lines_of_commands_with_a_title(script, capsys):
    steps = [["score", "first", *COMMAND, "1"], ["run", *COMMAND, "2"], ["score", "", *COMMAND, "3"]]
    steps += [["score", "second", *COMMAND, "4"], ["score", "third", *COMMAND, "5"]]
    steps += [["table", "Scores:"], ["say", "the end"]]
    assert run(script, "print('noise'); print('Correct:', *words); return 0", *steps) == 0
    *told, heading, first, second, third, last = capsys.readouterr().out.splitlines()
    assert told == ["Correct: 1", "noise", "Correct: 2", "Correct: 3", "Correct: 4", "Correct: 5", ""]
    assert (heading, first.split(), last) == ("Scores:", ["first", "Correct:", "1"], "the end")
    assert re.fullmatch(r"second +Correct: 4 +\d+ s", second), "with the time since the command before it began"
    assert third.split() == ["third", "Correct:", "5"], "its command trained nothing"


def test_no_command_follows_one_that_fails_however_it_ends(script, capsys):
    for ending, status in [("return 3", 3), ("sys.exit(4)", 4), ("sys.exit('a message')", 1), ("sys.exit()", 0)]:
        assert run(script, ending, ["run", *COMMAND, "a"], ["run", *COMMAND, "b"]) == status
        assert capsys.readouterr().err.count("+ python") == (2 if status == 0 else 1)


def test_the_last_command_may_fail_with_a_complaint(script, capsys):
    code = "print('told'); return 9"
    assert run(script, code, ["last", "there is none", *COMMAND], ["say", "the end"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.splitlines()[1:] == ["told", "run.sh: there is none"]


def test_a_command_leaves_no_path_modules_or_warning_filters_behind(script):
    code = "sys.path.insert(0, 'x'); warnings.simplefilter('error'); return 0"
    (script / "dataset.py").write_text("theirs = True")
    before = list(sys.path), list(warnings.filters), sys.modules.get("dataset")
    theirs = f"sys.path.insert(0, {str(script)!r}); sys.modules.pop('dataset', 0); import dataset; {code}"
    assert run(script, f"{theirs}", ["run", *COMMAND]) == 0
    assert (list(sys.path), list(warnings.filters), sys.modules.get("dataset")) == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_sequence_also_if_the_command_swallows_it(script, capsys, number):
    code = f"try: signal.raise_signal({int(number)})\n    except BaseException: pass\n    return 0"
    signal.signal(number, signal.SIG_DFL)  # pytest, or nohup, may have another
    assert run(script, code, ["run", *COMMAND], ["run", *COMMAND]) == 128 + number
    assert capsys.readouterr().err.count("+ python") == 1


def test_words_reach_the_command_as_they_are(script, capsys):
    words = ["", "two  words", "it's", "3", "run", "-x", "\udce9"]
    code = "print(ascii(words)); return 0"
    assert run(script, code, ["run", *COMMAND, *words], ["say", ""]) == 0
    assert capsys.readouterr().out.splitlines()[0] == ascii(words)
