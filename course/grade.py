"""Grades an assignment: a table of parts, points, and what failed.

    python course/grade.py                    # in the student's tree: with the public tests
    python course/grade.py span e             # parts, by letter or by topic
    python course/grade.py --submission assignment5.zip --edition rope          # a teacher, with the hidden tests

Nothing is trained. A teacher's `--data DIR` names the files of a term, with birth_test_answers.tsv.
"""

import argparse
import shutil
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    from calling import Launcher, StudentError, gaps_left
except ModuleNotFoundError as error:
    sys.exit(f"{error}: activate .venv (source .venv/bin/activate), or pip install -r requirements-dev.txt")
from grading import Check, Line, code_lines, run_tests
from handed_in import Questions, Result, Submission, grade_predictions, open_to_others, take
from parts import BY_HAND, EDITIONS, OPTIONAL, PARTS, SHARES, TRAINING, hand_ins, letters, points_for_code

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EDITION_FILE = "edition.txt"  # in the course folder of the student's tree and of the autograder
WIDTH = 100


@dataclass(frozen=True)
class Home:
    """Where the grader's files are."""

    edition: str
    public: Path  # tests
    hidden: Path | None
    solution: Path  # src, complete; in the student's tree the student's
    support: Path  # src as it was handed out, with the modules of src/handout
    data: Path


@dataclass
class Report:
    lines: list[Line]
    results: list[Result]  # accuracies, for the leaderboard

    @property
    def points(self) -> float:
        return round(sum(line.points for line in self.lines), 2)

    @property
    def most(self) -> float:
        return round(sum(line.most for line in self.lines if not line.optional), 2)


def grade(source: Path, home: Home, chosen: set[str]) -> Report:
    """Grade the parts `chosen`, letters or topics. Raises ValueError for what is no submission."""
    sys.path.insert(0, str(home.solution))
    letter_of = letters(home.edition) | ({TRAINING: "d"} if home.hidden else {})
    topics = [topic for topic in letter_of if {topic, letter_of[topic]} & chosen]
    wanted = [hand_in for hand_in in hand_ins(home.edition) if hand_in.letter in chosen]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve()
        submission = take(source, place, home.support)
        submission.code.chmod(0o777)  # the student's code may run as another user
        lines = grade_code(topics, submission, home, letter_of)
        results = []
        if wanted:
            found, results = grade_all_predictions(wanted, submission, home, place)
            if TRAINING in topics and not any(line.points for line in found if line.letter == "d"):
                lines = [line for line in lines if line.topic != TRAINING] + [missing_training()]
            lines += found
    for line in lines:
        line.optional = line.letter == OPTIONAL
    return Report(sorted(lines, key=lambda line: line.letter), results)


def missing_training() -> Line:
    most = points_for_code(EDITIONS[0])[TRAINING]
    return Line("d", TRAINING, "finetuning as given", "hidden", 0.0, most, "counts with predictions of part d")


def grade_code(topics: list[str], submission: Submission, home: Home, letter_of: dict[str, str]) -> list[Line]:
    points = points_for_code(home.edition)
    unwritten = {topic: unwritten_parts(topic, submission) for topic in topics}
    tried = [topic for topic in topics if not unwritten[topic]]
    launcher = Launcher()

    def open_session(topic: str) -> Any:
        seconds = PARTS[topic].seconds if topic in PARTS else 60
        return launcher.open(submission.code, submission.own_edition, submission.support, seconds)

    try:
        checks = run_tests(tried, home.public, home.hidden, open_session)
    finally:
        launcher.close()
    for topic in [topic for topic in topics if unwritten[topic]]:
        checks.append(Check(topic, "not written yet", "public", False, unwritten[topic]))
    return code_lines(checks, points, letter_of, SHARES)


def unwritten_parts(topic: str, submission: Submission) -> str:
    """What the code says that is handed in unwritten, if no function of the topic is written; else nothing."""
    part = PARTS.get(topic)
    if part is None or submission.own_edition:
        return ""
    found = []
    for path in {gap.path: None for gap in part.gaps}:
        try:
            found += gaps_left((submission.code / path).read_text(encoding="utf-8"), part, path)
        except (OSError, SyntaxError, ValueError):
            return ""  # the tests will say so
    return found[0] if len(found) == len(part.gaps) else ""


def grade_all_predictions(wanted: list, submission: Submission, home: Home, place: Path) -> tuple:
    questions = Questions(home.data)
    # A copy that another user may read. The student's code, which runs as that user, has had its turn.
    ours = shutil.copytree(home.solution, place / "solution")
    open_to_others(ours)
    launcher = Launcher(preload=ours)
    (submission.files / "wiki.txt").write_bytes(questions.corpus.read_bytes())

    def ask(variant: str, parameters: str, asked: list[str]) -> list[str]:
        if submission.own_edition and not (submission.files / f"{parameters}.json").is_file():
            return []  # a student's own model: nobody else can ask it
        session = launcher.open(submission.files, False, submission.support, 60)
        try:
            fields = dict(variant=variant, corpus="wiki.txt", parameters=parameters, questions=asked)
            said = session.ask("answers", **fields)
        except StudentError as error:
            raise ValueError(f"cannot be asked as {variant}: {error}") from None
        finally:
            session.end()
        return said

    lines: list[Line] = []
    results: list[Result] = []
    try:
        for hand_in in wanted:
            own = {hand_in.predictions(split) for split in ("dev", "test")}
            others = [path for path in submission.files.glob("*.predictions") if path.name not in own]
            strangers = [path.read_bytes() for path in others]
            found, result = grade_predictions(hand_in, submission.files, questions, ask, strangers)
            lines, results = lines + found, [*results, result]
    finally:
        launcher.close()
    return lines, results


# --------------------------------------------------------------------------------------------------- the table


def table(report: Report, public_only: bool) -> str:
    """Parts, points, and what failed, for people."""
    rows = []
    groups: dict[tuple[str, str], list[Line]] = {(line.letter, line.topic): [] for line in report.lines}
    for line in report.lines:
        groups[line.letter, line.topic].append(line)
    for (letter, topic), lines in groups.items():
        failed = [line for line in lines if line.message or line.points < line.most]
        got, most = sum(line.points for line in lines), sum(line.most for line in lines)
        what = "all passed" if not failed else f"{len(failed)} of {len(lines)} failed"
        extra = " extra" if lines[0].optional else ""
        rows.append(f"{letter}  {topic:<24} {got:5.1f} of {most:4.1f}{extra}  {what}")
        texts = [
            line.message if line.kind in ("predictions", "accuracy") else f"{line.name}: {line.message}"
            for line in failed
        ]
        for said in dict.fromkeys(texts):  # predictions that are missing have no accuracy either
            rows += textwrap.wrap(" ".join(said.split()), WIDTH, initial_indent="     - ", subsequent_indent="       ")
    extra = sum(line.points for line in report.lines if line.optional)
    told = f", and {extra:.1f} extra" if extra else ""
    rows.append(f"   {'together':<24} {report.points - extra:5.1f} of {report.most:4.1f}{told}")
    rows.append(f"   graded by hand: {', '.join(BY_HAND.values())}")
    if public_only:
        rows.append("   These are the public tests. Your teacher grades with more: 5 points of part d are among them.")
    return "\n".join(rows)


def own_home(edition: str | None, data: Path | None) -> Home:
    """The grader's files in the student's tree. In the project, make.py makes what else is needed."""
    if not (ROOT / "tests").is_dir() or not (HERE / EDITION_FILE).is_file():
        raise ValueError("course/grade.py: name what to grade with --submission, a folder or a zip")
    edition = edition or (HERE / EDITION_FILE).read_text(encoding="utf-8").strip()
    return Home(edition, ROOT / "tests", None, ROOT / "src", ROOT / "src", data or ROOT / "data")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="grade.py", description="Grade an assignment.")
    parser.add_argument("parts", nargs="*", help="letters or topics of parts (default: all)", metavar="PART")
    parser.add_argument("--submission", type=Path, help="a folder or a zip to grade with the hidden tests")
    parser.add_argument("--edition", choices=EDITIONS, help="named after the mechanism of part g")
    parser.add_argument("--data", type=Path, help="the files of the term (default: data)", metavar="DIR")
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if args.submission is None:
                home = own_home(args.edition, args.data)
            else:
                from autograder import teachers_home

                home = teachers_home(args.edition or EDITIONS[-1], args.data, Path(scratch))
            known = {*letters(home.edition), *letters(home.edition).values(), "d", "f"}
            known |= {TRAINING} if home.hidden else set()
            if unknown := set(args.parts) - known:
                raise ValueError(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(sorted(known))}")
            report = grade(args.submission or ROOT, home, set(args.parts) or known)
    except (OSError, ValueError) as error:
        print(f"grade.py: {error}", file=sys.stderr)
        return 2
    print(table(report, public_only=args.submission is None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
