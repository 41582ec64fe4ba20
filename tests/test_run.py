"""The command line from end to end: what it prints, writes, returns, and how it refuses."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import torch

import run
import stages
from attention import VARIANTS
from dataset import PAD_CHAR, read_places
from model import GPT

ROOT = Path(__file__).resolve().parent.parent
TINY = ["--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--block_size", "64"]
SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
PRETRAIN = ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "pre", "--max_epochs", "1", *TINY]
FINETUNE = ["finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "train.tsv", "--writing_params_path", "fine"]
EVALUATE = ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--outputs_path", "out"]


def command(*arguments: str, **options) -> subprocess.CompletedProcess:
    """A command as a user gives it, in a process of its own."""
    python = [sys.executable, str(ROOT / "src" / "run.py"), *arguments, "--device", "cpu"]
    return subprocess.run(python, capture_output=True, text=True, encoding="utf-8", check=False, **options)


@pytest.fixture
def finetuned(folder) -> Path:
    stages.finetune("vanilla", "wiki.txt", "fine", "train.tsv", max_epochs=1, **SIZES)
    return folder


# ---------------------------------------------------------------------------------------------------- what it does


SHOW = [sys.executable, str(ROOT / "src" / "run.py"), "show", "fine"]


def test_show_prints_on_any_console(finetuned):
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(SHOW, env=ascii_only, capture_output=True, text=True)
    assert done.returncode == 0 and "\\u25a1" in done.stdout and done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_whoever_reads_may_have_read_enough(finetuned):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(SHOW, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 141 and done.stderr == ""


def test_a_machine_that_cannot_compile_is_named_as_such(folder, monkeypatch, capsys):
    def no_compiler(*arguments, **options):
        raise torch._dynamo.exc.TorchDynamoException("no compiler found\nand so on")

    monkeypatch.setattr(GPT, "forward", no_compiler)
    assert run.main([*PRETRAIN, "--compile", "on", "--device", "cpu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "run.py: --compile: this machine cannot (no compiler found): --compile off does without"


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_a_path_that_leads_to_itself_is_one_sentence(folder, capsys):
    os.symlink("loop", "loop")
    assert run.main(["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "loop"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_question_that_is_no_text_is_one_sentence(finetuned, capsys):
    words = ["ask", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--device", "cpu"]
    assert run.main([*words, "Where was Ada\udce9 born?"]) == 2
    assert "the character '\\udce9' (U+DCE9) does not occur in the pretraining corpus" in capsys.readouterr().err


def test_the_courses_commands_from_end_to_end(folder):
    pretrained = command(*PRETRAIN)
    assert pretrained.returncode == 0, pretrained.stderr
    finetuned = command(*FINETUNE, "--reading_params_path", "pre", "--max_epochs", "2")
    assert finetuned.returncode == 0, finetuned.stderr
    labelled = command(*EVALUATE, "--eval_corpus_path", "train.tsv")
    assert labelled.returncode == 0, labelled.stderr
    predictions = (folder / "out").read_text(encoding="utf-8").splitlines()
    correct = sum(p == place for p, (_, place) in zip(predictions, read_places("train.tsv"), strict=True))
    assert labelled.stdout.splitlines()[-1] == f"Correct: {correct} out of 8: {correct / 8:.1%}"
    unlabelled = command(*EVALUATE, "--eval_corpus_path", "test.tsv")
    assert unlabelled.stdout.splitlines()[-1] == "Predictions written to out; no targets provided"
    assert (folder / "out").read_text(encoding="utf-8").splitlines() == predictions, "the same questions"
    log = [json.loads(line) for line in (folder / "fine.log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 2 and log[-1]["lr"] > 0


def test_functions_return_what_the_commands_found(folder):
    record = stages.pretrain("vanilla", "wiki.txt", "pre", max_epochs=1, **SIZES)
    assert json.loads(json.dumps(record)) == json.loads((folder / "pre.json").read_text(encoding="utf-8"))
    assert record["variant"] == "vanilla" and record["epochs"] == 1 and record["config"]["n_embd"] == 16
    paths = ("vanilla", "wiki.txt", "fine", "train.tsv")
    stages.finetune(*paths, reading_params_path="pre", max_epochs=300, finetune_lr=5e-3)
    found = stages.evaluate(*paths, "out")
    assert (found["total"], found["correct"]) == (8, 8), "it learns its own questions by heart"
    assert found["predictions"] == [place for _, place in read_places("train.tsv")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_runs_and_knows_its_name(folder, variant):
    stages.pretrain(variant, "wiki.txt", "pre", max_epochs=1, **{**SIZES, "n_layer": 3})
    stages.finetune(variant, "wiki.txt", "fine", "train.tsv", reading_params_path="pre", max_epochs=1, device="cpu")
    assert stages.evaluate(variant, "wiki.txt", "fine", "test.tsv", "out", device="cpu")["total"] == 0
    assert len((folder / "out").read_text(encoding="utf-8").splitlines()) == 8


def test_the_same_command_writes_the_same_parameters(folder):
    for name in ("a", "b"):
        stages.pretrain("vanilla", "wiki.txt", name, max_epochs=2, seed=3, **SIZES)
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_mixing_needs_a_recipe_that_mixes(folder):
    quick = stages.pretrain(
        "vanilla", "wiki.txt", "pre", finetune_corpus_path="train.tsv", recipe="quick", max_epochs=1, **SIZES
    )
    alone = stages.pretrain("vanilla", "wiki.txt", "pre", recipe="quick", max_epochs=1, **SIZES)
    assert quick["tokens"] > alone["tokens"]
    with pytest.raises(ValueError, match="'course' mixes no questions"):
        stages.pretrain("vanilla", "wiki.txt", "pre", finetune_corpus_path="train.tsv", max_epochs=1, **SIZES)


def test_after_mixed_pretraining_there_is_little_left_to_finetune(folder):
    steps = []
    for questions in (None, "train.tsv"):
        stages.pretrain(
            "vanilla", "wiki.txt", "pre", finetune_corpus_path=questions, recipe="strong", max_epochs=1, **SIZES
        )
        steps.append(stages.finetune("vanilla", "wiki.txt", "fine", "train.tsv", reading_params_path="pre")["steps"])
    assert steps[0] == 10 * steps[1]


def test_finetuning_starts_from_the_parameters_it_is_given(folder):
    stages.pretrain("vanilla", "wiki.txt", "pre", max_epochs=1, **SIZES)
    with_start = stages.finetune(
        "vanilla", "wiki.txt", "fine", "train.tsv", reading_params_path="pre", max_epochs=1, finetune_lr=1e-12
    )
    before, after = torch.load("pre"), torch.load("fine")
    assert with_start["pretrained"]
    for name in before:
        torch.testing.assert_close(before[name], after[name])


def test_a_prediction_is_one_line_whatever_the_model_says(finetuned, monkeypatch):
    newline = 2  # the first character after PAD and MASK
    monkeypatch.setattr(stages.GPT, "generate", lambda self, idx, *_, **__: torch.full((len(idx), 3), newline))
    stages.evaluate("vanilla", "wiki.txt", "fine", "test.tsv", "out", device="cpu")
    assert (finetuned / "out").read_text(encoding="utf-8") == "   \n" * 8


def test_predictions_do_not_depend_on_the_other_questions(finetuned):
    def predictions(path):
        return stages.evaluate("vanilla", "wiki.txt", "fine", path, "out", device="cpu")["predictions"]

    questions = (finetuned / "test.tsv").read_text(encoding="utf-8").splitlines()
    for question, prediction in zip(questions, predictions("test.tsv"), strict=True):
        (finetuned / "one.tsv").write_text(question, encoding="utf-8")
        assert predictions("one.tsv") == [prediction]


def test_parameters_without_a_record_load_when_the_shapes_fit(finetuned):
    """A file that somebody's course code made: a bare state_dict, with its masks."""
    state_dict = torch.load("fine")
    torch.save({**state_dict, "blocks.0.attn.mask": torch.ones(1, 1, 64, 64)}, "bare")
    paths = ("vanilla", "wiki.txt", "bare", "test.tsv", "out")
    known = stages.evaluate("vanilla", "wiki.txt", "fine", "test.tsv", "out", device="cpu")["predictions"]
    assert stages.evaluate(*paths, **SIZES)["predictions"] == known
    with pytest.raises(ValueError, match="bare: .* other sizes"):
        stages.evaluate(*paths, device="cpu")


def test_corpus_and_questions_are_looked_for_in_the_data_folder_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    questions = "quick/birth_places_train.tsv"
    done = stages.finetune("vanilla", "quick/wiki.txt", "fine", questions, max_epochs=1, **SIZES)
    assert (done["corpus"], done["questions"]) == ("wiki.txt", "birth_places_train.tsv")


def test_the_london_baseline(folder):
    (folder / "dev.tsv").write_text("a?\tLondon\nb?\tParis\nc?\tLondon\n", encoding="utf-8")
    script = [sys.executable, str(ROOT / "london_baseline.py"), "--eval_corpus_path"]
    done = subprocess.run([*script, "dev.tsv"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Correct: 2 out of 3: 66.7%\n")
    bad = subprocess.run([*script, "none.tsv"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and bad.stderr == "london_baseline.py: none.tsv: No such file or directory\n"


# ------------------------------------------------------------------------------------------------- what it refuses


def refused(capsys, *arguments: str) -> str:
    """The one line that a refused command prints; nothing may have been written."""
    before = sorted(path.name for path in Path().iterdir())
    try:
        status = run.main([*arguments, "--device", "cpu"])
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    assert status == 2 and output.err.count("\n") == 1 and output.out == "", output
    assert sorted(path.name for path in Path().iterdir()) == before, "nothing is written"
    return output.err


@pytest.fixture
def no_training(monkeypatch):
    """Everything below must be found out before training starts."""

    def train(self):
        raise AssertionError("training started")

    monkeypatch.setattr(stages.Trainer, "train", train)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("wiki.txt", None, "wiki.txt: No such file"),
        ("wiki.txt", b"", "wiki.txt: the corpus is empty"),
        ("wiki.txt", b"fine\n\xff\n", "wiki.txt, line 2: not UTF-8"),
        ("wiki.txt", f"fine\n{PAD_CHAR}\n".encode(), "wiki.txt, document 2: contains"),
        ("train.tsv", None, "train.tsv: No such file"),
        ("train.tsv", b"", "train.tsv: no questions"),
        ("train.tsv", b"Where was Ada Fern born?\n", "train.tsv, question 1: no tab and no place"),
        ("train.tsv", b"Ada?\tOslo\nBo?\n", "train.tsv, row 2: has no tab"),
        ("train.tsv", "Where was Ada Fern born?\tØslo\n".encode(), "train.tsv, question 1: the character 'Ø' (U+00D8)"),
        ("train.tsv", b"o" * 70 + b"\tOslo\n", "train.tsv, question 1: 76 characters with masks"),
    ],
)
def test_bad_files_are_refused_before_training(folder, no_training, capsys, name, content, message, monkeypatch):
    monkeypatch.setattr(stages.data, "DATA_FOLDER", folder / "data")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    assert message in refused(capsys, *FINETUNE, *TINY)


def test_a_folder_holds_no_parameters(folder, capsys):
    assert run.main(["show", "."]) == 2
    assert capsys.readouterr().err == "run.py: .: is a folder\n"


def test_a_folder_is_no_corpus(folder, no_training, capsys):
    (folder / "folder").mkdir()
    assert "folder: Is a directory" in refused(capsys, "pretrain", "vanilla", "folder", "--writing_params_path", "p")


@pytest.mark.parametrize(
    "changes, message",
    [
        (["--writing_params_path", "no/such/p"], "no/such/p: cannot be written: there is no folder"),
        (["--writing_params_path", "."], "cannot be written: it is a folder"),
        (["--n_head", "3"], "n_embd 16 is not a multiple of n_head 3"),
        (["--block_size", "4"], "block_size 4 is too small"),
        (["--max_epochs", "0"], "max_epochs is 0"),
        (["--batch_size", "-1"], "batch_size is -1"),
        (["--pretrain_lr", "nan"], "the learning rate is nan"),
        (["--recipe", "curse"], "invalid choice: 'curse'"),
        (["--max_epochs", "many"], "invalid int value: 'many'"),
        (["--max_epoch_s", "1"], "unrecognized arguments: --max_epoch_s"),
    ],
)
def test_bad_arguments_are_refused_before_training(folder, no_training, capsys, changes, message):
    assert message in refused(capsys, *PRETRAIN, *changes)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody can write")
def test_a_folder_without_permission_is_refused(folder, no_training, capsys):
    assert "cannot be written" in refused(capsys, *PRETRAIN, "--writing_params_path", "/proc/p")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([*PRETRAIN, "--writing_params_path", "wiki.txt"], "wiki.txt: cannot be written: it is one of the files"),
        ([*PRETRAIN, "--seed", str(2**64)], "the seed is 18446744073709551616"),
        ([*PRETRAIN, "--bottleneck_dim", "4"], "the variant vanilla has no option bottleneck_dim"),
        ([*PRETRAIN, "--max_epoch", "2"], "unrecognized arguments: --max_epoch"),
        ([*FINETUNE, *TINY, "--reading_params_path", ""], "directory"),
    ],
)
def test_more_bad_arguments_are_refused_before_training(folder, no_training, capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_training_never_replaces_what_it_starts_from(finetuned, no_training, capsys):
    shutil.copy("wiki.txt", "corpus.json")
    shutil.copy("train.tsv", "rows.resume")
    os.link("fine", "second_name")
    capsys.readouterr()
    start = [*FINETUNE, "--reading_params_path", "fine", "--writing_params_path"]
    rows = ["finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "rows.resume", "--writing_params_path", "rows"]
    for arguments, path in [
        ([*start, "fine"], "fine"),
        ([*start, "second_name"], "second_name"),
        (["pretrain", "vanilla", "corpus.json", "--writing_params_path", "corpus"], "corpus.json"),
        (rows, "rows.resume"),
    ]:
        line = refused(capsys, *arguments, *TINY)
        assert f"{path}: cannot be written: it is one of the files to read" in line


def test_predictions_never_replace_what_they_are_made_from(finetuned, capsys):
    capsys.readouterr()
    for path in ("train.tsv", "fine", "wiki.txt", "fine.json"):
        line = refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv", "--outputs_path", path)
        assert f"{path}: cannot be written: it is one of the files to read" in line


def test_a_loss_that_is_no_number_is_an_error_and_saves_nothing(folder):
    with pytest.raises(ValueError, match="step 5: the loss is nan .* lower the rate"):
        stages.pretrain("vanilla", "wiki.txt", "pre", pretrain_lr=1e30, **{**SIZES, "max_epochs": 5})
    assert not (folder / "pre").exists()


@pytest.mark.parametrize(
    "changes",
    [dict(recipe=[1]), dict(recipe="heroic"), dict(vocabulary=3), dict(config=[]), dict(variant=None)]
    + [dict(config={"n_embd": 8.0}), dict(config={"embd_pdrop": 7}), dict(config={"options": 5})],
)
def test_a_strange_record_is_refused(finetuned, capsys, changes):
    if isinstance(changes.get("config"), dict):
        record = json.loads((finetuned / "fine.json").read_text(encoding="utf-8"))
        changes = {"config": record["config"] | changes["config"]}
    edit_record(finetuned, **changes)
    capsys.readouterr()
    assert "fine.json: " in refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv")


def test_predictions_record_their_parameters(finetuned):
    stages.evaluate("vanilla", "wiki.txt", "fine", "test.tsv", "out", device="cpu")
    record = json.loads((finetuned / "out.json").read_text())
    assert record["sha256"] == hashlib.sha256((finetuned / "fine").read_bytes()).hexdigest()
    assert record["variant"] == "vanilla" and record["questions"] == "test.tsv"


def test_a_typo_in_a_variant_is_refused_with_the_choices(folder, capsys):
    line = refused(capsys, "pretrain", "vanila", "wiki.txt", "--writing_params_path", "p")
    assert "invalid choice: 'vanila'" in line and "vanilla" in line.replace("vanila", "")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: (f / "fine").unlink(), "fine: No such file"),
        (lambda f: (f / "fine").write_bytes(b"nonsense"), "fine: not a parameter file"),
        (lambda f: (f / "fine.json").write_text("{"), "fine.json: not JSON"),
        (lambda f: (f / "fine.json").write_text("{}"), "fine.json: not a record of parameters"),
        (lambda f: (f / "fine.json").unlink(), "fine: "),  # sizes unknown: those of the recipe do not fit
        (lambda f: (f / "wiki.txt").write_text("other letters"), "fine: was trained with another vocabulary"),
        (lambda f: replace_in(f / "wiki.txt", "w", "Ω"), "fine: was trained with another vocabulary"),  # as large
        (lambda f: (f / "train.tsv").write_text("Ada?\tOslo\tno\n"), "train.tsv, row 1: 2 tabs"),
        (lambda f: (f / "train.tsv").write_text("o" * 63), "train.tsv, question 1: a question of 63 characters"),
        (lambda f: (f / "out").mkdir(), "out: cannot be written: it is a folder"),
    ],
)
def test_bad_input_to_evaluation_is_refused(finetuned, capsys, change, message):
    change(finetuned)
    capsys.readouterr()
    assert message in refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv")


def replace_in(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def edit_record(folder: Path, **changes) -> None:
    record = json.loads((folder / "fine.json").read_text(encoding="utf-8"))
    (folder / "fine.json").write_text(json.dumps(record | changes), encoding="utf-8")


def test_parameters_of_another_variant_are_refused(finetuned, capsys):
    edit_record(finetuned, variant="rope")
    capsys.readouterr()
    assert "fine: holds a rope model, not a vanilla one" in refused(
        capsys, *EVALUATE, "--eval_corpus_path", "train.tsv"
    )


@pytest.mark.parametrize(
    "given, message",
    [
        (["--n_embd", "32"], "fine: was trained with n_embd 16, not 32"),
        (["--bottleneck_dim", "4"], "the variant vanilla has no option bottleneck_dim"),
    ],
)
def test_sizes_that_contradict_the_parameters_are_refused(finetuned, capsys, given, message):
    capsys.readouterr()
    assert message in refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv", *given)


def test_a_record_of_other_sizes_is_refused(finetuned, capsys):
    record = json.loads((finetuned / "fine.json").read_text(encoding="utf-8"))
    edit_record(finetuned, config=record["config"] | {"n_embd": 8})
    capsys.readouterr()
    assert "fine.json: " in refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv")


def test_a_refusal_is_one_line_without_a_traceback(folder):
    shutil.rmtree(folder / "data", ignore_errors=True)
    done = command("pretrain", "vanilla", "nothing.txt", "--writing_params_path", "p")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "run.py: nothing.txt: No such file or directory\n"


def test_modules_import_one_way():
    """At their top level: `python src/attention.py` prints what needs the model, which needs attention."""
    files = {path.stem: ast.parse(path.read_text(encoding="utf-8")).body for path in (ROOT / "src").glob("*.py")}
    imports = {
        name: {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
        | {node.module for node in body if isinstance(node, ast.ImportFrom)}
        for name, body in files.items()
    }
    order = list(TopologicalSorter(imports).static_order())  # raises CycleError
    assert order.index("vocabulary") < order.index("dataset") < order.index("stages") < order.index("run")
