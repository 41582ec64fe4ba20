"""The student's tree: complete up to its gaps, free of their solutions, with tests that tell the parts apart."""

import ast
import importlib
import os
import random
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from course_submissions import BY_CHARACTER  # a solution in other words than ours
from dataset import CharCorruptionDataset
from starting import python as started

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
make, parts = importlib.import_module("make"), importlib.import_module("parts")

BY_ROW = importlib.import_module("by_row").ByRow
EDITIONS, PARTS = parts.EDITIONS, parts.PARTS
TRIVIAL = 30  # characters of a line that anybody would write
QUESTIONS = "data/quick/birth_places_train.tsv"
TRAIN = ["data/quick/wiki.txt", "--writing_params_path", "P", "--recipe", "quick", "--max_epochs", "1"]
TINY = ["--n_layer", "1", "--n_head", "2", "--n_embd", "16"]

slow = pytest.mark.skipif("COURSE_KIT" not in os.environ, reason="takes minutes: set COURSE_KIT to run it")
pytestmark = pytest.mark.timeout(1200)  # on a busy machine


@pytest.fixture(scope="module")
def trees(tmp_path_factory) -> dict[str, Path]:
    """The student's tree of every edition."""
    folder = tmp_path_factory.mktemp("course")
    for edition in EDITIONS:
        make.handout(edition, folder / edition)
    return {edition: folder / edition for edition in EDITIONS}


@pytest.fixture
def tree(trees):
    return trees["rope"]


SETTINGS = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}


def python(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """A program, or with `-m` a module."""
    if words[0] != "-m":
        return started(*words, cwd=folder, env=SETTINGS)
    command, environment = [sys.executable, *words], os.environ | SETTINGS
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def results_of(tree: Path, *words: str) -> tuple[set[str], set[str], str]:
    """Topics of the public tests that pass entirely, and of those of which each test fails; and what pytest says."""
    done = python(tree, "-m", "pytest", "-n0", "-rA", "--tb=line", "-p", "no:cacheprovider", *words)
    said = re.findall(r"^(PASSED|FAILED|ERROR) tests/test_(\w+)\.py", done.stdout, re.MULTILINE)
    results = {topic: {result for result, of in said if of == topic} for _, topic in said}
    passed = {topic for topic, found in results.items() if found == {"PASSED"}}
    return passed, {topic for topic, found in results.items() if "PASSED" not in found}, done.stdout


# ----------------------------------------------------------------------------------------------------- the list


def test_the_list_of_parts_fits_the_code():
    for part in PARTS.values():
        assert part.gaps and all(make.solution_lines(part)), part.topic
        for gap in part.gaps:
            assert gap.function in make.functions_of((ROOT / gap.path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["apply_rotary", "RotaryAttention.attend", "Rows.shape", "VARIANTS"])
def test_a_name_that_the_code_does_not_have_is_an_error(tmp_path, monkeypatch, name):
    stale = parts.Part("rope", (parts.Gap("src/attention.py", name),))
    monkeypatch.setitem(PARTS, "rope", stale)
    with pytest.raises(ValueError, match=rf"src/attention.py has no function {name}"):
        make.handout("rope", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_a_function_that_is_unwritten_already_is_an_error():
    with pytest.raises(ValueError, match="nothing|no body"):
        source = (ROOT / "src" / "dataset.py").read_text(encoding="utf-8")
        make.solution_of(source, parts.Gap("src/dataset.py", "RowDataset.batch"))


def test_comments_above_the_first_statement_are_part_of_the_solution():
    source = "def f(x):\n    # the trick: twice\n    return 2 * x\n\n\ndef g():\n    return 1\n"
    found = make.with_gaps(source, [parts.Gap("a.py", "f")], "double", "e")
    assert "trick" not in found and "2 * x" not in found and "def g():\n    return 1\n" in found
    assert 'raise NotImplementedError("part e (double): write f; see handout.md")' in found


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_edition_is_named_after_its_mechanism_and_the_others_are_optional(edition):
    of = parts.letters(edition)
    assert of[edition] == "g" and of["span"] == "e" and of["baseline"] == "c"
    assert {of[other] for other in EDITIONS if other != edition} == {"h"}


def test_the_points_of_the_handout_are_those_of_the_list():
    page = (ROOT / "course" / "handout.md").read_text(encoding="utf-8")
    rows = {letter: int(points) for letter, points in re.findall(r"^\| (\w) \|.*\| (\d+) \|$", page, re.MULTILINE)}
    assert rows == parts.POINTS and sum(rows.values()) == 100
    assert f"{parts.EXTRA_POINTS} points each" in page and page.count("\n") <= 300
    for topic in PARTS:
        assert f"tests/test_{topic}.py" in page or topic in page.split("## h.")[1]


# ----------------------------------------------------------------------------------------------------- the tree


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_function_of_a_part_keeps_its_head_and_raises_naming_the_part(trees, edition):
    for topic, part in PARTS.items():
        for gap in part.gaps:
            name = gap.function.replace(".batch", ".__getitem__")
            mine = make.functions_of((trees[edition] / gap.path).read_text(encoding="utf-8"))[name]
            ours = make.functions_of((ROOT / gap.path).read_text(encoding="utf-8"))[gap.function]
            if name == gap.function:
                assert ast.unparse(mine.args) == ast.unparse(ours.args)
                assert ast.get_docstring(mine) == ast.get_docstring(ours)
            last = mine.body[-1]
            assert isinstance(last, ast.Raise) and len(mine.body) == 1 + (ast.get_docstring(mine) is not None)
            letter = parts.letters(edition)[topic]
            assert f"NotImplementedError('part {letter} ({topic}): write {name};" in ast.unparse(last)


@pytest.mark.parametrize("edition", EDITIONS)
def test_no_line_of_a_solution_is_anywhere_in_the_tree(trees, edition):
    files = [path for path in trees[edition].rglob("*") if path.is_file()]
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    whole = [line for part in PARTS.values() for line in make.solution_lines(part)]
    secrets = {line for line in whole + [line.split("  #")[0] for line in whole] if len(line) > TRIVIAL}
    assert len(secrets) > 100
    found = {(str(path), line) for path, text in texts.items() for line in secrets - parts.SHARED if line in text}
    assert found == set()


def test_lines_called_shared_are_in_the_given_code(tree):
    given = "".join(path.read_text(encoding="utf-8") for path in (tree / "src").rglob("*.py"))
    assert {line for line in parts.SHARED if line not in given} == set()


def test_the_rest_of_the_core_is_the_projects(tree):
    changed = {gap.path for part in PARTS.values() for gap in part.gaps} | set(make.EDITS)
    for path in [*(ROOT / "src").glob("*.py"), *(ROOT / "src" / "safe").glob("*.py")]:
        name = str(path.relative_to(ROOT).as_posix())
        if name not in changed:
            assert (tree / name).read_bytes() == path.read_bytes(), name


def test_answers_that_a_teacher_made_are_not_handed_out(tree):
    names = {path.name for path in (tree / "data").rglob("*") if path.is_file()}
    assert not {name for name in names if "answers" in name or name.endswith(".py")}
    assert {"wiki.txt", "birth_test_inputs.tsv"} <= names


def test_every_module_can_be_imported(tree, tmp_path):
    modules = [path.relative_to(tree / "src").with_suffix("") for path in (tree / "src").rglob("*.py")]
    names = [".".join(path.parts) for path in modules if path.name != "london_baseline"]
    program = f"import sys, importlib\nsys.path.insert(0, {str(tree / 'src')!r})\n"
    (tmp_path / "all.py").write_text(program + f"for name in {names}: importlib.import_module(name)\n")
    done = python(tree, str(tmp_path / "all.py"))
    assert done.returncode == 0, done.stderr


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert make.main(["handout", "--edition", "rope", "--out", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# --------------------------------------------------------------------------------------------- what a student runs


@pytest.mark.parametrize("again", [False, True])
def test_pretraining_runs_until_span_corruption_and_names_the_part(trees, tmp_path, again):
    """Also a second time: the run that stopped leaves nothing that is in the way."""
    words = [str(trees["synthesizer"] / "src/run.py"), "pretrain", "vanilla", *TRAIN, "--device", "cpu"]
    words[3] = str(ROOT / words[3])
    for _ in range(1 + again):
        done = python(tmp_path, *words, *["--plain"] * (not again))
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("run.py: part e (span): write Char"), done.stderr


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_model_of_the_edition_runs_until_its_mechanism_and_names_the_part(trees, edition, tmp_path):
    words = ["--finetune_corpus_path", str(ROOT / QUESTIONS), "--plain", "--device", "cpu"]
    program = str(trees[edition] / "src/run.py")
    done = python(tmp_path, program, "finetune", edition, str(ROOT / TRAIN[0]), *TRAIN[1:], *words)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"run.py: part g ({edition}): write "), done.stderr


@pytest.mark.parametrize("program, told", [("src/dataset.py", "e (span)"), ("london_baseline.py", "c (baseline)")])
def test_a_program_that_comes_to_an_unwritten_part_says_so_in_a_line(tree, program, told):
    done = python(tree, program, *["charcorruption"] * (program == "src/dataset.py"))
    assert done.returncode == 1 and done.stderr.startswith(f"{Path(program).name}: part {told}: write "), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_sequence_of_commands_ends_at_an_unwritten_part_in_a_line(tree):
    done = python(tree, "src/safe/sequence.py", "4", "score", "London", "python", "london_baseline.py")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("part c (baseline): write main")


def test_the_handout_in_the_tree_is_that_of_the_edition(trees):
    for edition in EDITIONS:
        text = (trees[edition] / "handout.md").read_text(encoding="utf-8")
        assert "<!--" not in text and "MECHANISM" not in text and f"**{edition}.** Write" in text


def test_a_term_takes_the_place_of_the_projects_files(tmp_path):
    (tmp_path / "quick").mkdir()
    for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (tmp_path / name).write_text(f"of the term: {name}\n")
        (tmp_path / "quick" / name).write_text(f"small: {name}\n")
    (tmp_path / "birth_test_answers.tsv").write_text("secret\n")
    make.handout("rope", tmp_path / "tree", data=tmp_path)
    assert (tmp_path / "tree/data/birth_dev.tsv").read_text() == "of the term: birth_dev.tsv\n"
    assert (tmp_path / "tree/data/quick/birth_dev.tsv").read_text() == "small: birth_dev.tsv\n"
    assert not (tmp_path / "tree/data/birth_test_answers.tsv").exists()
    (tmp_path / "wiki.txt").unlink()
    with pytest.raises(ValueError, match="wiki.txt: missing"):
        make.handout("rope", tmp_path / "other", data=tmp_path)


def test_what_needs_no_part_works_in_the_starter(tree, tmp_path):
    """Finetuning without pretraining, and evaluation, with --plain and without it."""
    program, corpus = str(tree / "src/run.py"), str(ROOT / TRAIN[0])
    words = ["--finetune_corpus_path", str(ROOT / QUESTIONS), "--device", "cpu"]
    done = python(tmp_path, program, "finetune", "vanilla", corpus, *TRAIN[1:], *TINY, *words)
    assert done.returncode == 0, done.stderr
    (tmp_path / "dev.tsv").write_text("Where was Ana Ray born?\tOslo\nWhere was Bo Lee born?\tLima\n", encoding="utf-8")
    words = ["--reading_params_path", "P", "--eval_corpus_path", "dev.tsv", "--outputs_path", "F", "--device", "cpu"]
    done = python(tmp_path, program, "evaluate", "vanilla", corpus, *words)
    assert "out of 2" in done.stdout, done.stderr


# ------------------------------------------------------------------------------------------------ the public tests


@slow
def test_in_the_starter_every_public_test_fails_and_says_which_part_is_missing(tree):
    passed, failed, said = results_of(tree)
    assert passed == set() and failed == set(PARTS)
    for topic, letter in parts.letters("rope").items():
        assert f"part {letter} ({topic})" in said


@slow
@pytest.mark.parametrize("topic", PARTS)
def test_the_solution_of_a_part_makes_its_tests_pass_and_no_others(topic, tmp_path):
    make.handout("rope", tmp_path / "tree", solved=(topic,))
    passed, failed, said = results_of(tmp_path / "tree")
    assert passed == {topic} and failed == set(PARTS) - {topic}, said


@slow
def test_all_solutions_together_are_the_project_and_pass(tmp_path):
    make.handout("rope", tmp_path / "tree", solved=tuple(PARTS))
    for gap in [gap for part in PARTS.values() for gap in part.gaps]:
        if gap.path not in make.EDITS:
            assert (tmp_path / "tree" / gap.path).read_bytes() == (ROOT / gap.path).read_bytes()
    passed, _, said = results_of(tmp_path / "tree")
    assert passed == set(PARTS), said


def with_getitem(tree: Path, body: str) -> None:
    path = tree / "src" / "dataset.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    (at,) = [i for i, line in enumerate(lines) if "part e (span)" in line]
    path.write_text("\n".join(lines[:at] + body.splitlines() + lines[at + 1 :]) + "\n", encoding="utf-8")


@slow
def test_a_getitem_in_other_words_passes_and_trains(tmp_path):
    tree = tmp_path / "tree"
    make.handout("rope", tree)
    with_getitem(tree, BY_CHARACTER)
    passed, _, said = results_of(tree, "tests/test_span.py")
    assert passed == {"span"}, said
    words = ["--plain", "--device", "cpu", "--finetune_corpus_path", QUESTIONS, "--seed", "3"]
    records = []
    for _ in range(2):  # the draws of a student are seeded too: the same run gives the same parameters
        done = python(tree, "src/run.py", "pretrain", "vanilla", *TRAIN, *TINY, *words, "--overwrite")
        assert done.returncode == 0, done.stderr
        records.append((tree / "P").read_bytes())
    assert records[0] == records[1]


def test_one_example_at_a_time_still_asks_for_facts(tmp_path):
    """The recipes `quick` and `strong` mix in `recall`: with share 1 every example is one, as in the project."""
    text = "Walter Altenhof. Walter Altenhof was born in Philadelphia on March 3, 1868.\n" * 3
    row = torch.full((64,), 2), torch.full((64,), 3)
    methods = {"batch": BY_ROW.batch, "__getitem__": lambda self, index: row}
    student = type("CharCorruptionDataset", (CharCorruptionDataset,), methods)
    found = []
    for recall_share in (0.0, 1.0):
        dataset = student(text, 64, recall_share=recall_share)
        found.append(dataset.batch(torch.arange(3), torch.Generator().manual_seed(0)))
    assert (found[0][0] == 2).all() and (found[0][1] == 3).all()
    for x, y in zip(*found[1], strict=True):
        string = "".join(dataset.itos[int(i)] for i in [x[0], *y]).rstrip(dataset.PAD_CHAR)
        assert "Walter Altenhof" in string and string.endswith(dataset.MASK_CHAR) and torch.equal(x[1:], y[:-1])
        assert string.strip(dataset.MASK_CHAR).split(dataset.MASK_CHAR)[-1] in ("Philadelphia", "March")


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("ids[:-1], ids[1:]", "ids[:-1], ids[:-1]"),  # y not moved
        ("document[:size]", "document[1 : size + 1]"),  # a window, not a prefix
        ("random.uniform(size / 8, 3 * size / 8)", "size / 4 - random.random()"),  # a span of fixed length
        ("self.MASK_CHAR + document", "document"),  # one mask
        ("random.randint(0, size - masked)", "size - masked"),  # always at the end
        ("random.randint(self.min_length, self.max_length)", "self.max_length"),  # not truncated at random
        ("< begin + masked", "<= begin + masked"),  # one character lost
        ("self.PAD_CHAR *", "self.MASK_CHAR *"),  # masks for padding
    ],
)
def test_wrong_span_corruption_fails_the_public_test(monkeypatch, right, wrong):
    assert BY_CHARACTER.count(right) == 1

    def verdict(body: str) -> bool:
        """Do the public tests pass for this body of __getitem__? They run in this process, for the sake of time."""
        torch.manual_seed(0)
        random.seed(0)
        names: dict = {"torch": torch}
        exec("def getitem(self, index):\n" + body, names)
        student = type("CharCorruptionDataset", (CharCorruptionDataset,), {"__getitem__": names["getitem"]})
        checks = runpy.run_path(str(ROOT / "course/tree/tests/test_span.py"))
        tests = [value for name, value in checks.items() if name.startswith("test_")]
        text = f"{checks['LONG']}\n{checks['SHORT']}\n"
        try:
            for test in tests:
                test(student(text, checks["BLOCK_SIZE"]))
        except (AssertionError, ValueError):
            return False
        return len(tests) > 5

    assert verdict(BY_CHARACTER)
    assert not verdict(BY_CHARACTER.replace(right, wrong))
