"""Grades the functions that a student writes: runs the tests of the course on them, and gives points for what passes.

The tests are the public ones of the student's tree and, on the teacher's side, the hidden ones. They run in this
process with pytest, on our code; what the student writes runs behind a pipe (calling.py).
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from calling import LostError, StudentError, desk, stand_ins
from parts import NEEDS, ONLY_HERE

# The tests of london_baseline.py look for the program above their folder, and find this.
BASELINE = """
import sys
from pathlib import Path

from calling import desk


def main(argv=None):
    path = (argv or sys.argv[1:])[1]
    print(desk.student.ask("baseline", text=Path(path).read_text(encoding="utf-8")), end="")


if __name__ == "__main__":
    main()
"""
NO_SETTINGS = "[pytest]\n"


@dataclass
class Check:
    """What one test found. A test that does not apply to the student's edition of the course has `passed` None."""

    topic: str
    name: str
    kind: str  # "public" or "hidden"
    passed: bool | None
    message: str = ""


@dataclass
class Line:
    """A line of the result: points for something that was tested."""

    letter: str
    topic: str
    name: str
    kind: str  # a key of parts.VISIBILITY
    points: float
    most: float
    message: str = ""
    optional: bool = False


class Tests:
    """A plugin of pytest: a new session of the student's code for each topic, and a Check for each test."""

    def __init__(self, open_session: Callable[[str], Any], hidden: Path):
        self.open_session, self.hidden, self.topic = open_session, hidden, ""
        self.found: dict[tuple[str, str, str], Check] = {}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        topic = item.path.stem.removeprefix("test_")
        if topic != self.topic:
            self.end()
            self.topic, desk.student = topic, self.open_session(topic)

    def pytest_sessionfinish(self) -> None:
        self.end()

    def end(self) -> None:
        if desk.student is not None:
            desk.student.end()
        desk.student, self.topic = None, ""

    @pytest.fixture(autouse=True)
    def seeded(self) -> None:
        import torch

        torch.manual_seed(0)

    @pytest.fixture
    def student(self) -> Any:
        return desk.student

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Generator[None, Any, Any]:
        report = yield
        if report.when == "call" or not report.passed:
            self.add(item, report, call)
        return report

    def add(self, item: Any, report: Any, call: Any) -> None:
        topic, hidden = item.path.stem.removeprefix("test_"), item.path.is_relative_to(self.hidden)
        words = item.originalname.removeprefix("test_").replace("_", " ")
        check = Check(topic, words, "hidden" if hidden else "public", None if report.skipped else report.passed)
        if desk.student is not None and desk.student.own_edition and words in ONLY_HERE:
            check.passed = None
        elif report.failed:
            check.message = message_of(call.excinfo.value, hidden)
        earlier = self.found.setdefault((topic, words, check.kind), check)
        if earlier.passed is None or check.passed is False and earlier.passed:
            self.found[topic, words, check.kind] = check  # of several inputs the first failure counts


def message_of(error: BaseException, hidden: bool) -> str:
    """What a student is told. What the code says during a hidden test is not: it has seen its inputs."""
    if hidden and not isinstance(error, (LostError, NotImplementedError)):
        return "a hidden test, with other inputs than the public ones"
    if isinstance(error, (StudentError, AssertionError)):
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith((" +", "Use -v"))]
        return "\n".join(lines[:3])
    return f"the result cannot be used: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def run_tests(topics: list[str], public: Path, hidden: Path | None, open_session: Callable[[str], Any]) -> list[Check]:
    """A Check for every test of these topics. `open_session(topic)` gives a calling.Student."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        groups = {"public": public, "hidden": hidden}
        for topic in topics:
            for group, source in groups.items():
                if source is not None and (source / f"test_{topic}.py").is_file():
                    path = folder / group / "tests" / f"test_{topic}.py"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes((source / path.name).read_bytes())
                    (folder / group / "london_baseline.py").write_text(BASELINE, encoding="utf-8")
        (folder / "pytest.ini").write_text(NO_SETTINGS, encoding="utf-8")
        files = [str(path) for topic in topics for path in sorted(folder.glob(f"*/tests/test_{topic}.py"))]
        tests = Tests(open_session, folder / "hidden")
        words = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-c", str(folder / "pytest.ini")]
        said = io.StringIO()
        with plain_pytest(), stand_ins(), contextlib.redirect_stdout(said):
            status = pytest.main([*words, *files], plugins=[tests]) if files else 0
        if status not in (0, 1):
            raise RuntimeError(f"the tests of the course cannot be run:\n{said.getvalue()}")
    return without_empty_passes(list(tests.found.values()))


def without_empty_passes(checks: list[Check]) -> list[Check]:
    """The checks; what an empty solution passes too counts only together with the test that parts.NEEDS names."""
    failed = {(check.topic, check.name) for check in checks if check.passed is False}
    for check in checks:
        needed = NEEDS.get(check.topic, {}).get(check.name, "")
        if check.passed and (check.topic, needed) in failed:
            check.passed, check.message = False, f"passes, but counts only together with: {needed}"
    return checks


@contextlib.contextmanager
def plain_pytest() -> Iterator[None]:
    """No plugins but our own, and no bytecode of tests in anybody's folder."""
    before, name = dict(os.environ), "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
    os.environ[name] = "1"
    os.environ.pop("PYTEST_ADDOPTS", None)
    dont_write, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    modules = set(sys.modules)
    try:
        yield
    finally:
        sys.dont_write_bytecode = dont_write
        for key in (name, "PYTEST_ADDOPTS"):
            os.environ.pop(key, None)
            if key in before:
                os.environ[key] = before[key]
        for loaded in [key for key in sys.modules if key not in modules and key.split(".")[-1].startswith("test_")]:
            del sys.modules[loaded]


def code_lines(checks: list[Check], points: dict[str, int], letters: dict[str, str], shares: dict[str, float]):
    """The lines of the result for checks: a topic's points are divided among its kinds, and then evenly."""
    lines = []
    for topic in {check.topic: None for check in checks}:
        mine = [check for check in checks if check.topic == topic and check.passed is not None]
        counts = {kind: sum(check.kind == kind for check in mine) for kind in shares}
        whole = sum(share for kind, share in shares.items() if counts[kind])
        for check in mine:
            most = points[topic] * shares[check.kind] / whole / counts[check.kind]
            line = Line(letters[topic], topic, check.name, check.kind, most * bool(check.passed), most, check.message)
            lines.append(line)
    return lines
