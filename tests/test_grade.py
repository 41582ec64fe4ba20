"""The grader: right submissions get full marks however they are written, wrong ones lose points in the right part."""

import dataclasses
import importlib
import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pytest

import stages
from course_submissions import ATTENTION, BASELINE, DATASET, EFFICIENT, MISTAKES, MODEL, RIGHT, Change, write_term
from course_submissions_editions import EDITIONS
from course_submissions_empty import EMPTY

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "course"))
autograder, calling, grade, grading, handed_in, make, parts, student = (
    importlib.import_module(name)
    for name in ("autograder", "calling", "grade", "grading", "handed_in", "make", "parts", "student")
)
slow = pytest.mark.skipif("COURSE_KIT" not in os.environ, reason="takes minutes: set COURSE_KIT to run it")
pytestmark = pytest.mark.timeout(1200)  # on a busy machine

TINY = dict(n_layer=1, n_head=2, n_embd=32, block_size=48, recipe="quick", device="cpu", batch_size=40)


# ------------------------------------------------------------------------------------------------- what is graded


@pytest.fixture(scope="module")
def term(tmp_path_factory) -> Path:
    return write_term(tmp_path_factory.mktemp("term"))


@pytest.fixture(scope="module")
def hand_in(term, tmp_path_factory) -> Path:
    """Parameters and predictions of every kind. They know by heart what is asked, which is quicker than knowing."""
    folder = tmp_path_factory.mktemp("handin")
    corpus = term / "wiki.txt"
    for variant, name, epochs in [("vanilla", "model", 1), ("vanilla", "finetune", 90), ("rope", "finetune", 90)]:
        parameters, kind = folder / f"{variant}.{name}.params", "nopretrain" if name == "model" else "pretrain"
        stages.finetune(variant, corpus, parameters, term / "all.tsv", max_epochs=epochs, finetune_lr=6e-3, **TINY)
        for split, questions in {"dev": "birth_dev.tsv", "test": "birth_test_inputs.tsv"}.items():
            out = folder / f"{variant}.{kind}.{split}.predictions"
            stages.evaluate(variant, corpus, parameters, term / questions, out, device="cpu")
    return folder


@pytest.fixture(scope="module")
def home(term, tmp_path_factory) -> grade.Home:
    support = make.make_support("rope", tmp_path_factory.mktemp("support") / "src")
    return grade.Home("rope", ROOT / "course/tree/tests", autograder.HIDDEN, ROOT / "src", support, term)


@pytest.fixture(scope="module")
def code(tmp_path_factory) -> Path:
    """The project's own code, as it would be handed in."""
    folder = tmp_path_factory.mktemp("code") / "all"
    make.handout("rope", folder, solved=tuple(parts.PARTS))
    for name in ("data", "course", "mingpt-demo", "tests"):
        shutil.rmtree(folder / name)
    return folder


@pytest.fixture(scope="module")
def solution(code, hand_in, tmp_path_factory) -> Path:
    """A submission with everything right."""
    folder = shutil.copytree(code, tmp_path_factory.mktemp("solution") / "all")
    for path in hand_in.glob("*"):
        if path.suffix in (".params", ".predictions", ".json"):
            shutil.copy(path, folder)
    return folder


class Kept(calling.Launcher):
    """Keeps its process from one submission to the next, for the sake of time."""

    def close(self, at_last: bool = False) -> None:
        if at_last:
            super().close()


@pytest.fixture(scope="module")
def launchers():
    kept: dict = {}
    yield lambda preload=None: kept.setdefault(preload, Kept(preload))
    for launcher in kept.values():
        launcher.close(True)


@pytest.fixture
def graded(home, launchers, monkeypatch):
    """A function that grades a folder: (points by topic that were lost, the report)."""
    monkeypatch.setattr(grade, "Launcher", launchers)

    def of(
        folder: Path, chosen: set[str] | None = None, edition: str = "rope"
    ) -> tuple[dict[str, float], grade.Report]:
        letters = {*parts.letters(edition), *parts.letters(edition).values(), "training", "d", "f"}
        report = grade.grade(folder, dataclasses.replace(home, edition=edition), chosen or letters)
        lost: dict[str, float] = {}
        for line in report.lines:
            if line.points < line.most:
                lost[line.topic] = lost.get(line.topic, 0) + line.most - line.points
        return lost, report

    return of


def changed(code: Path, tmp_path: Path, *changes: Change) -> Path:
    folder = tmp_path / "submission"
    shutil.copytree(code, folder)
    for path, old, new in changes:
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {text.count(old)} times {old!r}"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")
    return folder


# ------------------------------------------------------------------------------------- as Gradescope lays it out


def laid_out(tmp_path: Path, term: Path, submission: Path) -> Path:
    """/autograder as their documentation says, in a folder of its own."""
    make.autograder("rope", tmp_path / "autograder.zip", term)
    place = tmp_path / "autograder"
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        archive.extractall(place / "source")
        assert {"setup.sh", "run_autograder"} <= set(archive.namelist())
    shutil.copytree(submission, place / "submission")
    (place / "results").mkdir()
    return place


def test_on_gradescope_a_bare_starter_gets_no_points_and_every_part_is_named(term, tmp_path):
    make.handout("rope", tmp_path / "tree")
    place = laid_out(tmp_path, term, tmp_path / "tree")
    autograder.run(place)
    result = json.loads((place / "results" / "results.json").read_text())
    assert result["score"] == 0 and sum(test["score"] for test in result["tests"]) == 0
    assert sum(test.get("max_score", 0) for test in result["tests"]) == pytest.approx(85)
    said = "".join(test["output"] for test in result["tests"])
    for topic, letter in parts.letters("rope").items():
        assert f"part {letter} ({topic})" in said
    for hand_in in parts.hand_ins("rope"):
        assert all(f"{hand_in.predictions(split)}: missing" in said for split in ("dev", "test"))
    assert {test["visibility"] for test in result["tests"]} <= {
        "visible",
        "hidden",
        "after_due_date",
        "after_published",
    }
    assert result["leaderboard"] == []


@slow
def test_on_gradescope_the_solution_gets_all_points_in_three_minutes_and_700_megabytes(term, solution, tmp_path):
    import resource
    import subprocess

    place = laid_out(tmp_path, term, solution)
    began = time.monotonic()
    command = [sys.executable, str(place / "source/course/autograder.py"), str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(resident(pid) for pid in family(process.pid)))
        time.sleep(0.02)
    result = json.loads((place / "results" / "results.json").read_text())
    failed = [test for test in result["tests"] if test["status"] == "failed"]
    assert result["score"] == 85 + 6 * parts.EXTRA_POINTS and not failed, failed
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"\n{time.monotonic() - began:.0f} s, {seconds.ru_utime + seconds.ru_stime:.0f} s of CPU, {peak / 2**20:.0f} MB"
    )
    assert peak < 700 * 2**20 and seconds.ru_utime + seconds.ru_stime < 180
    assert result["leaderboard"][0]["value"] > 50


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    found = [pid]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def resident(pid: int) -> int:
    """Bytes of memory that a process holds alone, and its share of what it shares."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(row.split()[1]) * 1024 for row in rows if row.startswith("Pss:"))


# ------------------------------------------------------------------------------------------------ fair, and safe


# The topics whose tests reach the code of a file. Predictions are graded with our code, whatever the student's is.
MODELS = {"rope", "synthesizer", "perceiver", "sinusoidal", "training"}
USERS = {
    ATTENTION: MODELS,
    MODEL: MODELS,
    EFFICIENT: {"linformer", "bigbird", "performer"},
    DATASET: {"span", "training", "baseline"},
    BASELINE: {"baseline"},
    "src/optimizer.py": {"training"},
}


@slow
def test_the_solution_gets_all_points(graded, solution):
    lost, report = graded(solution)
    assert lost == {}, grade.table(report, False)


@slow
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_costs_points_in_its_part_and_only_there(graded, code, tmp_path, monkeypatch, name):
    topics, change = MISTAKES[name]
    if name == "never_ends":
        monkeypatch.setitem(parts.PARTS, "rope", dataclasses.replace(parts.PARTS["rope"], seconds=5))
    lost, report = graded(changed(code, tmp_path, change), USERS[change.path])
    print(f"\nTABLE wrong {name}: {', '.join(f'{topic} -{points:.1f}' for topic, points in lost.items())}")
    assert set(lost) == topics, grade.table(report, False)


@pytest.fixture(scope="module")
def starter(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("starter") / "tree"
    make.handout("rope", folder)
    return folder


@slow
@pytest.mark.parametrize("name", EMPTY)
def test_what_is_written_without_work_gets_nothing(graded, starter, tmp_path, name):
    """Not even for the tests that it passes: a rotation by nothing does depend on the distance only."""
    topic, bodies = EMPTY[name]
    folder = shutil.copytree(starter, tmp_path / "submission", ignore=shutil.ignore_patterns("data", "tests"))
    for gap, body in zip(parts.PARTS[topic].gaps, bodies, strict=True):
        path = folder / gap.path
        text = path.read_text(encoding="utf-8")
        unwritten = f"({topic}): write {gap.function.replace('.batch', '.__getitem__')}; see handout.md"
        (line,) = [line for line in text.splitlines() if unwritten in line]
        path.write_text(text.replace(line.strip(), body), encoding="utf-8")
    _, report = graded(folder, {topic})
    got = {line.name: line.points for line in report.lines if line.points}
    print(f"\nTABLE empty {name}: {got or 'no points'}")
    assert got == {} and report.lines, grade.table(report, False)


def test_a_test_that_an_empty_solution_passes_counts_only_with_another():
    needed = "every pair of channels is turned by the angle of its position"
    for passed in (True, False):
        names = {needed: passed, "scores depend on the distance only": True}
        checks = [grading.Check("rope", name, "public", of) for name, of in names.items()]
        assert [check.passed for check in grading.without_empty_passes(checks)] == [passed, passed]


def test_the_tests_that_count_only_with_another_exist():
    for topic, pairs in parts.NEEDS.items():
        files = [folder / f"test_{topic}.py" for folder in (ROOT / "course/tree/tests", autograder.HIDDEN)]
        text = "".join(path.read_text(encoding="utf-8") for path in files)
        for name in {*pairs, *pairs.values()}:
            assert f"def test_{name.replace(' ', '_')}(" in text, name


@pytest.mark.parametrize("changes", [MISTAKES, RIGHT], ids=["wrong", "right"])
def test_every_change_of_the_solution_fits_the_code(changes):
    """So that the lists do not go stale between two runs of the tests that grade with them."""
    for name, entry in changes.items():
        path, old, _ = entry if isinstance(entry, Change) else entry[1]
        assert (ROOT / path).read_text(encoding="utf-8").count(old) == 1, name


@slow
@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_gets_all_points_however_it_is_written(graded, code, tmp_path, name):
    lost, report = graded(changed(code, tmp_path, RIGHT[name]), USERS[RIGHT[name].path])
    print(f"\nTABLE right {name}: {lost or 'all points'}")
    assert lost == {}, grade.table(report, False)


@slow
@pytest.mark.parametrize("edition", EDITIONS)
def test_a_students_own_modules_are_graded(graded, hand_in, tmp_path, edition):
    folder = tmp_path / "submission"
    for name, text in EDITIONS[edition].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for path in hand_in.glob("vanilla*"):
        if path.suffix in (".params", ".predictions"):
            shutil.copy(path, folder)
    lost, report = graded(folder, {"c", "d", "e", "f", edition, "training"}, edition)
    print(f"\nTABLE right own modules, {edition}: {lost or 'all points'}")
    assert lost == {}, grade.table(report, False)


@slow
def test_edited_tests_are_worth_nothing(graded, solution, tmp_path):
    make.handout("rope", tmp_path / "tree")
    folder = changed(solution, tmp_path)
    shutil.copy(tmp_path / "tree" / DATASET, folder / DATASET)
    (folder / "tests").mkdir()
    (folder / "tests/test_span.py").write_text("def test_all():\n    pass\n")
    (folder / "conftest.py").write_text("import os\nos._exit(0)\n")
    lost, report = graded(folder)
    assert lost == {"span": 20}, grade.table(report, False)
