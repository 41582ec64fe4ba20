"""The command line from end to end: what it prints, writes and returns, what it refuses, and how the house is built."""

import argparse
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

import run
import stages
from attention import VARIANTS
from dataset import PAD_CHAR, read_places
from model import GPT
from recipes import SIZES as SIZE_FLAGS
from safe import flags as grammar
from safe.running import Running
from starting import python
from trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
TINY = ["--n_layer", "1", "--n_head", "2", "--n_embd", "16", "--block_size", "64"]
SIZES = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, device="cpu")
PRETRAIN = ["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "pre", "--max_epochs", "1", *TINY]
FINETUNE = ["finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "train.tsv", "--writing_params_path", "fine"]
EVALUATE = ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--outputs_path", "out"]


def command(*arguments: str) -> subprocess.CompletedProcess:
    """A command as a user types it, in a process of its own."""
    return python(ROOT / "src" / "run.py", *arguments, "--device", "cpu", cwd=Path.cwd())


@pytest.fixture
def finetuned(folder) -> Path:
    stages.finetune("vanilla", "wiki.txt", "fine", "train.tsv", max_epochs=1, **SIZES)
    return folder


# ---------------------------------------------------------------------------------------------------- what it does


SHOW = ["show", "fine"]


def test_show_prints_on_a_console_that_lacks_characters(finetuned, monkeypatch):
    console = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(console, encoding="ascii"))
    monkeypatch.setattr(sys, "argv", ["run.py", *SHOW])
    with pytest.raises(SystemExit, match="^0$"):
        runpy.run_path(run.__file__, run_name="__main__")
    assert rb"\u25a1" in console.getvalue()


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_closes_the_pipe_early_ends_the_command_quietly(finetuned, monkeypatch, capsys):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        capsys.readouterr()
        assert run.main(SHOW) == 141
        output.flush()  # as Python does at its end
    assert capsys.readouterr().err == ""


def test_a_machine_that_cannot_compile_is_told_to_switch_it_off(folder, monkeypatch, capsys):
    def no_compiler(*arguments, **options):
        raise torch._dynamo.exc.TorchDynamoException("no compiler found\nand so on")

    monkeypatch.setattr(GPT, "forward", no_compiler)
    assert run.main([*PRETRAIN, "--compile", "on", "--device", "cpu"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "run.py: --compile: this machine cannot (no compiler found): --compile off does without"


@pytest.mark.skipif(os.name == "nt", reason="makes a symbolic link")
def test_a_symbolic_link_to_itself_is_refused_in_one_line(folder, capsys):
    os.symlink("loop", "loop")
    assert run.main(["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "loop"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_question_that_is_not_unicode_is_refused_in_one_line(finetuned, capsys):
    words = ["ask", "vanilla", "wiki.txt", "--reading_params_path", "fine", "--device", "cpu"]
    assert run.main([*words, "Where was Ada\udce9 born?"]) == 2
    assert "the character '\\udce9' (U+DCE9) does not occur in the pretraining corpus" in capsys.readouterr().err


def test_the_commands_of_the_course_work_from_end_to_end(folder):
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
    assert (folder / "out").read_text(encoding="utf-8").splitlines() == predictions, "the questions are the same"
    log = [json.loads(line) for line in (folder / "fine.log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 2 and log[-1]["lr"] > 0


def test_the_functions_return_what_the_commands_print_and_write(folder):
    record = stages.pretrain("vanilla", "wiki.txt", "pre", max_epochs=1, **SIZES)
    assert json.loads(json.dumps(record)) == json.loads((folder / "pre.json").read_text(encoding="utf-8"))
    assert record["variant"] == "vanilla" and record["epochs"] == 1 and record["config"]["n_embd"] == 16
    paths = ("vanilla", "wiki.txt", "fine", "train.tsv")
    stages.finetune(*paths, reading_params_path="pre", max_epochs=300, finetune_lr=5e-3)
    found = stages.evaluate(*paths, "out")
    assert (found["total"], found["correct"]) == (8, 8), "it memorises the questions that it is trained on"
    assert found["predictions"] == [place for _, place in read_places("train.tsv")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_can_be_pretrained_finetuned_and_evaluated(folder, variant):
    stages.pretrain(variant, "wiki.txt", "pre", max_epochs=1, **{**SIZES, "n_layer": 3})
    stages.finetune(variant, "wiki.txt", "fine", "train.tsv", reading_params_path="pre", max_epochs=1, device="cpu")
    assert stages.evaluate(variant, "wiki.txt", "fine", "test.tsv", "out", device="cpu")["total"] == 0
    assert len((folder / "out").read_text(encoding="utf-8").splitlines()) == 8


def test_the_same_command_writes_the_same_parameters(folder):
    for name in ("a", "b"):
        stages.pretrain("vanilla", "wiki.txt", name, max_epochs=2, seed=3, **SIZES)
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_questions_are_mixed_into_pretraining_only_by_a_recipe_that_mixes(folder):
    quick = stages.pretrain(
        "vanilla", "wiki.txt", "pre", finetune_corpus_path="train.tsv", recipe="quick", max_epochs=1, **SIZES
    )
    alone = stages.pretrain("vanilla", "wiki.txt", "alone", recipe="quick", max_epochs=1, **SIZES)
    assert quick["tokens"] > alone["tokens"]
    with pytest.raises(ValueError, match="'course' mixes no questions"):
        stages.pretrain("vanilla", "wiki.txt", "pre", finetune_corpus_path="train.tsv", max_epochs=1, **SIZES)


def test_after_mixed_pretraining_finetuning_takes_the_refining_stage(folder):
    steps = []
    for questions in (None, "train.tsv"):
        stages.pretrain(
            "vanilla",
            "wiki.txt",
            f"pre{questions}",
            finetune_corpus_path=questions,
            recipe="strong",
            max_epochs=1,
            **SIZES,
        )
        files = ("wiki.txt", f"fine{questions}", "train.tsv")
        steps.append(stages.finetune("vanilla", *files, reading_params_path=f"pre{questions}")["steps"])
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


def test_a_prediction_is_one_line_even_if_the_model_answers_with_newlines(finetuned, monkeypatch):
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


def test_parameters_without_a_record_load_if_their_shapes_fit(finetuned):
    """A file that the course's code made: a bare state_dict that includes the attention masks."""
    state_dict = torch.load("fine")
    torch.save({**state_dict, "blocks.0.attn.mask": torch.ones(1, 1, 64, 64).tril()}, "bare")
    paths = ("vanilla", "wiki.txt", "bare", "test.tsv", "out")
    known = stages.evaluate("vanilla", "wiki.txt", "fine", "test.tsv", "out", device="cpu")["predictions"]
    assert stages.evaluate(*paths, **SIZES)["predictions"] == known
    with pytest.raises(ValueError, match="bare: .* not the parameters of 4 layers"):
        stages.evaluate(*paths, device="cpu")


def test_a_parameter_file_without_tensors_is_refused_instead_of_training_from_scratch(folder, no_training, capsys):
    torch.save({}, "bare")
    assert "run.py: bare: " in refused(capsys, *FINETUNE, *TINY, "--reading_params_path", "bare")


def test_corpus_and_questions_are_also_looked_for_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    questions = "quick/birth_places_train.tsv"
    done = stages.finetune("vanilla", "quick/wiki.txt", "fine", questions, max_epochs=1, **SIZES)
    assert (done["corpus"], done["questions"]) == ("wiki.txt", "birth_places_train.tsv")


def test_the_london_baseline_counts_the_places_that_are_london(folder):
    (folder / "dev.tsv").write_text("a?\tLondon\nb?\tParis\nc?\tLondon\n", encoding="utf-8")
    script = [ROOT / "london_baseline.py", "--eval_corpus_path"]
    done = python(*script, "dev.tsv", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "Correct: 2 out of 3: 66.7%\n")
    bad = python(*script, "none.tsv", cwd=folder)
    assert bad.returncode == 2 and bad.stderr == "london_baseline.py: none.tsv: No such file or directory\n"


# ------------------------------------------------------------------------------------------------- what it refuses


def refused(capsys, *arguments: str) -> str:
    """The one line that a refused command prints. Asserts that it writes nothing."""
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
    """Fails the test if training starts: mistakes must be found before that."""

    def train(self):
        raise AssertionError("training started")

    monkeypatch.setattr(Trainer, "train", train)


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


def test_show_refuses_a_folder(folder, capsys):
    assert run.main(["show", "."]) == 2
    assert capsys.readouterr().err == "run.py: .: is a folder\n"


def test_a_folder_instead_of_a_corpus_is_refused(folder, no_training, capsys):
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
        ([*FINETUNE, *TINY, "--reading_params_path", ""], ".: is a folder"),
    ],
)
def test_arguments_that_cannot_go_together_are_refused_before_training(folder, no_training, capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_training_never_overwrites_a_file_that_it_reads(finetuned, no_training, capsys):
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


def test_evaluation_never_overwrites_a_file_that_it_reads(finetuned, capsys):
    capsys.readouterr()
    for path in ("train.tsv", "fine", "wiki.txt", "fine.json"):
        line = refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv", "--outputs_path", path)
        assert f"{path}: cannot be written: it is one of the files to read" in line


def test_a_loss_that_is_not_finite_is_an_error_and_no_parameters_are_written(folder):
    with pytest.raises(ValueError, match="step 5: the loss is nan .* lower the rate"):
        stages.pretrain("vanilla", "wiki.txt", "pre", pretrain_lr=1e30, **{**SIZES, "max_epochs": 5})
    assert not (folder / "pre").exists()


@pytest.mark.parametrize(
    "changes",
    [dict(vocabulary=3), dict(config=[]), dict(variant=None)]
    + [dict(config={"n_embd": 8.0}), dict(config={"embd_pdrop": 7}), dict(config={"options": 5})],
)
def test_a_record_with_values_of_the_wrong_kind_is_refused(finetuned, capsys, changes):
    if isinstance(changes.get("config"), dict):
        record = json.loads((finetuned / "fine.json").read_text(encoding="utf-8"))
        changes = {"config": record["config"] | changes["config"]}
    edit_record(finetuned, **changes)
    capsys.readouterr()
    line = refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv")
    assert "fine.json: " in line or "fine: the model of its record, or of the flags, cannot be built" in line


@pytest.mark.parametrize("recipe", [[1], "heroic"])
def test_a_record_with_an_unknown_recipe_is_refused_where_the_recipe_matters(finetuned, no_training, capsys, recipe):
    """Finetuning goes on with the recipe of its parameters; to evaluate them, none is needed."""
    edit_record(finetuned, recipe=recipe)
    capsys.readouterr()
    start = ["finetune", "vanilla", "wiki.txt", "--finetune_corpus_path", "train.tsv", "--reading_params_path", "fine"]
    assert f"fine.json: names the recipe {recipe!r}" in refused(capsys, *start, "--writing_params_path", "next")
    assert run.main([*EVALUATE, "--eval_corpus_path", "train.tsv", "--device", "cpu"]) == 0


def test_predictions_record_which_parameters_made_them(finetuned):
    stages.evaluate("vanilla", "wiki.txt", "fine", "test.tsv", "out", device="cpu")
    record = json.loads((finetuned / "out.json").read_text())
    assert record["sha256"] == hashlib.sha256((finetuned / "fine").read_bytes()).hexdigest()
    assert record["variant"] == "vanilla" and record["questions"] == "test.tsv"


def test_a_mistyped_variant_is_refused_with_the_choices(folder, capsys):
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
    line = refused(capsys, *EVALUATE, "--eval_corpus_path", "train.tsv")
    assert "fine: blocks.0.attn.key.bias has shape (16,) where the model has (8,)" in line


def test_a_refusal_is_one_line_without_a_traceback(folder):
    shutil.rmtree(folder / "data", ignore_errors=True)
    done = command("pretrain", "vanilla", "nothing.txt", "--writing_params_path", "p")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "run.py: nothing.txt: No such file or directory\n"


# --------------------------------------------------------------------------------------- what the flags are made of


def subparsers() -> dict[str, argparse.ArgumentParser]:
    return grammar.make_parser()[1]


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--help"], 0, "usage: run.py"),
        (["pretrain", "--help"], 0, "how to train"),
        (["ask", "--help"], 0, "usage: run.py ask"),
        (["pretrian"], 2, "invalid choice: 'pretrian'"),
        (["pretrain", "vanila", "wiki.txt", "--writing_params_path", "p"], 2, "invalid choice: 'vanila'"),
        (["pretrain", "vanilla", "wiki.txt", "--writing_params_path", "p", "--sed", "1"], 2, "arguments: --sed 1"),
        (["evaluate", "vanilla"], 2, "the following arguments are required: CORPUS"),
    ],
)
def test_help_and_mistyped_arguments_do_not_import_torch(arguments, status, said):
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import run\n"
    program += f"try: status = run.main({arguments!r})\nexcept SystemExit as stop: status = stop.code\n"
    program += "print('torch' in sys.modules)\nsys.exit(status)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == status and said in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def in_words(variants: dict[str, type]) -> dict[str, dict[str, dict]]:
    """A registry as `registered` describes it."""
    return {name: {key: asdict(option) for key, option in cls.options.items()} for name, cls in variants.items()}


def filled(found: dict[str, dict[str, dict]]) -> dict[str, dict[str, dict]]:
    """The result of `registered` with the default of what an Option may leave out."""
    return {n: {key: {"choices": None} | option for key, option in options.items()} for n, options in found.items()}


def test_the_variants_read_from_the_source_are_those_of_the_registry():
    """Names, order, and the default, help and choices of every option."""
    assert list(grammar.registered()) == list(VARIANTS)
    assert filled(grammar.registered()) == in_words(VARIANTS)
    assert sum(len(options) for options in grammar.registered().values()) > 8


ADDED = """
SIZE = 7

@register("keywords")
class KeywordAttention(CausalSelfAttention):
    table = {"not": "an option"}
    options = {"width": Option(default=3, help="how wide"), "kind": Option("a", choices=("a", "b"), help="which")}

@register('heir')
class HeirAttention(PerceiverAttention):
    pass

@functools.lru_cache
def register_nothing(name): ...
"""


def test_variants_are_read_however_their_class_is_written(tmp_path, monkeypatch):
    """With keywords, other class attributes, inherited options, and either kind of quotes."""
    source = (ROOT / "src" / "attention.py").read_text(encoding="utf-8")
    (tmp_path / "attention.py").write_text(source + ADDED, encoding="utf-8")
    monkeypatch.setattr(grammar, "__file__", str(tmp_path / "safe" / "flags.py"))
    found = filled(grammar.registered())
    assert found["keywords"] == {
        "width": {"default": 3, "help": "how wide", "choices": None},
        "kind": {"default": "a", "help": "which", "choices": ("a", "b")},
    }
    assert found["heir"] == found["perceiver"] == in_words(VARIANTS)["perceiver"]
    assert set(found) == {"vanilla", "sinusoidal", "rope", "synthesizer", "perceiver", "keywords", "heir"}
    assert "--width" in subparsers()["pretrain"].format_help()


@pytest.mark.parametrize("name", ["pretrain", "finetune"])
def test_every_field_of_running_is_a_flag_with_its_default(name):
    words = {"pretrain": PRETRAIN[:5], "finetune": FINETUNE}[name]
    parsed = vars(grammar.PARSER.parse_args(words))
    assert {field.name: parsed[field.name] for field in fields(Running)} == asdict(Running())
    help_text = re.sub(r"\s+", "", subparsers()[name].format_help())
    for field in fields(Running):
        assert f"--{field.name}" in help_text
        assert re.sub(r"\s+", "", field.metadata["help"]) in help_text
    running, rest = Running.split(parsed)
    assert running == Running() and not {field.name for field in fields(Running)} & rest.keys()


def test_flags_arrive_with_their_types():
    words = "--max_epochs 3 --batch_size 4 --seed 5 --checkpoint_every 0.5 --plain --resume --dtype bf16 --compile off"
    parsed = vars(grammar.PARSER.parse_args([*PRETRAIN[:5], *words.split()]))
    running, _ = Running.split(parsed)
    wanted = dict(max_epochs=3, batch_size=4, seed=5, checkpoint_every=0.5, plain=True, resume=True, dtype="bf16")
    assert running == Running(**wanted, compile="off")


@pytest.mark.parametrize("name", ["evaluate", "ask"])
def test_what_the_record_settles_is_accepted_but_not_listed(name):
    """Sizes, recipe and options of the variant matter only for a parameter file without a record."""
    command = subparsers()[name]
    options = [option for variant in VARIANTS.values() for option in variant.options]
    hidden = [*SIZE_FLAGS, *options, "recipe"]
    assert [flag for flag in hidden if f"--{flag}" in command.format_help()] == []
    files = ["--eval_corpus_path", "train.tsv", "--outputs_path", "out"] if name == "evaluate" else []
    words = "--n_embd 32 --block_size 64 --recipe quick --bottleneck_dim 4 --features positive".split()
    parsed = grammar.PARSER.parse_args([name, *EVALUATE[1:5], *files, *words])
    assert (parsed.n_embd, parsed.block_size, parsed.recipe, parsed.bottleneck_dim) == (32, 64, "quick", 4)


@pytest.mark.parametrize("name", grammar.ABOUT)
def test_every_argument_is_explained(name):
    command = subparsers()[name]
    assert [action.dest for action in command._actions if not action.help] == []
    assert command.description == grammar.ABOUT[name]


def test_flags_stand_in_the_group_where_one_looks_for_them():
    found = subparsers()["pretrain"]._action_groups
    groups = {group.title: {action.dest for action in group._group_actions} for group in found}
    assert {"writing_params_path", "eval_corpus_path", "variant"} <= groups["what to read and write"]
    assert {"recipe", "pretrain_lr", "max_epochs", "seed", "resume", "third_mask"} <= groups["how to train"]
    assert {"plain", "dtype", "compile", "device"} <= groups["speed and memory"]
    assert groups["the model"] == set(SIZE_FLAGS)
    assert groups["the model: perceiver"] == set(VARIANTS["perceiver"].options)


# ------------------------------------------------------------------------------------------------- the new options


def test_plain_reaches_training_and_evaluation(finetuned, monkeypatch, capsys):
    readers, generate = [], GPT.generate
    monkeypatch.setattr(GPT, "generate", lambda *a, **named: readers.append(named["reader"]) or generate(*a, **named))
    said = []
    for flags in ([], ["--plain"]):
        assert run.main([*EVALUATE, "--eval_corpus_path", "train.tsv", *flags, "--device", "cpu"]) == 0
        said.append((finetuned / "out").read_text(encoding="utf-8"))
    assert said[0] == said[1] and readers[0] is not None and readers[1] is None
    monkeypatch.setattr(stages, "fastest", lambda *a, **named: pytest.fail("a faster step was asked for"))
    for words in (PRETRAIN, [*FINETUNE, "--reading_params_path", "pre", "--max_epochs", "1"]):
        capsys.readouterr()
        assert run.main([*words, "--plain", "--device", "cpu", "--overwrite"]) == 0
        assert "the plain step" in capsys.readouterr().out
    assert json.loads((finetuned / "pre.json").read_text(encoding="utf-8"))["plain"] is True


def test_the_third_mask_reaches_the_corpus_and_the_record(folder):
    assert run.main([*PRETRAIN, "--third_mask", "--device", "cpu"]) == 0
    record = json.loads((folder / "pre.json").read_text(encoding="utf-8"))
    assert record["corruption"]["third_mask"] is True
    assert run.main([*PRETRAIN[:4], "two", "--max_epochs", "1", *TINY, "--device", "cpu"]) == 0
    two = torch.load("two")
    assert any(not torch.equal(value, two[name]) for name, value in torch.load("pre").items())
    assert "third_mask" not in vars(grammar.COMMANDS["finetune"].parse_args(FINETUNE[1:]))


@pytest.mark.parametrize("command_words", [PRETRAIN, [*FINETUNE, *TINY, "--max_epochs", "2"]])
def test_the_loss_on_held_out_questions_is_logged(folder, command_words):
    """It changes nothing else: the parameters are those of a run without it."""
    path = command_words[command_words.index("--writing_params_path") + 1]
    assert run.main([*command_words, "--device", "cpu"]) == 0
    alone, lines = torch.load(path), Path(f"{path}.log.jsonl").read_text().splitlines()
    assert not any("validation_loss" in line for line in lines)
    assert run.main([*command_words, "--eval_corpus_path", "train.tsv", "--device", "cpu", "--overwrite"]) == 0
    lines = [json.loads(line) for line in Path(f"{path}.log.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert losses and all(0 < loss < 10 for loss in losses)
    assert all(torch.equal(value, alone[name]) for name, value in torch.load(path).items())


def test_held_out_questions_that_cannot_be_asked_cost_only_their_loss(folder, capsys):
    assert run.main([*PRETRAIN, "--eval_corpus_path", "test.tsv"]) == 0
    assert "test.tsv, question 1: no tab and no place: training needs the answers: no validation loss" in (
        capsys.readouterr().err
    )
    assert "validation_loss" not in (folder / "pre.log.jsonl").read_text(encoding="utf-8")
