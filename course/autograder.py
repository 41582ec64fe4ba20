"""The autograder for Gradescope: makes its zip (course/make.py autograder), and runs there.

Gradescope unpacks the zip into /autograder/source, runs setup.sh once, and for every submission run_autograder, which
starts this program. It reads /autograder/submission and writes /autograder/results/results.json, last of all.
"""

import json
import os
import sys
import time
import traceback
import zipfile
from pathlib import Path
from typing import Any

from grade import EDITION_FILE, Home, Report, grade
from parts import BY_HAND, OPTIONAL, TRAINING, VISIBILITY, letters

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
PROGRAMS = ("parts.py", "student.py", "calling.py", "grading.py", "handed_in.py", "grade.py", "autograder.py")
HIDDEN = HERE / "autograder_tests"
DATA = ("wiki.txt", "birth_dev.tsv", "birth_test_inputs.tsv")
ANSWERS = "birth_test_answers.tsv"
REQUIREMENTS = ("torch", "numpy", "tqdm", "pytest")

SETUP = """#!/usr/bin/env bash
# Runs once, when Gradescope builds the image. torch for CPUs is a quarter of the one for GPUs.
set -euo pipefail
apt-get update && apt-get install -y python3-pip curl
python3 -m pip install --quiet uv || python3 -m pip install --quiet --break-system-packages uv
export UV_PYTHON_INSTALL_DIR=/opt/python # where the student's code, which runs as another user, can read it
uv venv --python 3.12 /opt/grader
uv pip install --python /opt/grader/bin/python -r /autograder/source/requirements.txt \\
    --extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match
"""
RUN = """#!/usr/bin/env bash
# Runs for every submission. Nobody but root reads the tests and the answers, or writes results.
chmod -R go-rwx /autograder/source
mkdir -p /autograder/results && chmod go-rwx /autograder/results
exec /opt/grader/bin/python /autograder/source/course/autograder.py
"""


# ------------------------------------------------------------------------------------------------ making the zip


def pack(edition: str, data: Path, out: Path, support: Path) -> None:
    """Write the zip. support: src of the student's tree. Raises ValueError if the answers are not there."""
    missing = [name for name in (*DATA, ANSWERS) if not (data / name).is_file()]
    if missing:
        raise ValueError(f"{data}: no {', '.join(missing)}: name the folder of a term with --data")
    pins = (PROJECT / "requirements-dev.txt").read_text() + (PROJECT / "requirements.txt").read_text()
    wanted = [line for line in pins.splitlines() if line.split("==")[0] in REQUIREMENTS]
    wanted = [f"{line}+cpu" if line.startswith("torch==") else line for line in wanted]
    texts = {"setup.sh": SETUP, "run_autograder": RUN, "requirements.txt": "\n".join(wanted) + "\n"}
    texts[f"course/{EDITION_FILE}"] = f"{edition}\n"
    files = {f"course/{name}": HERE / name for name in PROGRAMS}
    groups = [("course/public", HERE / "tree" / "tests"), ("course/hidden", HIDDEN), ("src", PROJECT / "src")]
    for name, folder in [*groups, ("support", support)]:
        files |= {f"{name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*.py")}
    files |= {f"data/{name}": data / name for name in (*DATA, ANSWERS)}
    unfinished = out.with_name(f"{out.name}.unfinished")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if name in ("setup.sh", "run_autograder") else 0o644) << 16
            archive.writestr(entry, text)
        for name, path in sorted(files.items()):
            archive.write(path, name)
    os.replace(unfinished, out)


def teachers_home(edition: str, data: Path | None, scratch: Path) -> Home:
    """The grader's files in the project, for course/grade.py --submission."""
    from make import answers_of, make_support

    support = make_support(edition, scratch / "support")
    return Home(edition, HERE / "tree" / "tests", HIDDEN, PROJECT / "src", support, answers_of(data, scratch / "data"))


# ------------------------------------------------------------------------------------------------- on Gradescope


def result_of(report: Report, seconds: float) -> dict[str, Any]:
    """results.json, as https://gradescope-autograders.readthedocs.io/en/latest/specs/ describes it."""
    tests = []
    for number, line in enumerate(report.lines, 1):
        failed = line.points < line.most or line.message
        test = {
            "name": f"{line.letter} ({line.topic}): {line.name}",
            "number": f"{line.letter}.{number}",
            "score": round(line.points, 3),
            "max_score": round(line.most, 3),
            "status": "failed" if failed else "passed",
            "output": line.message or "passed",
            "visibility": VISIBILITY[line.kind],
        }
        if line.optional:
            del test["max_score"]  # above the 100 points
        tests.append(test)
    best = max(report.results, key=lambda result: result.accuracy.get("test", -1), default=None)
    rows = []
    if best is not None and "test" in best.accuracy:
        rows = [
            {"name": "test accuracy (%)", "value": round(best.accuracy["test"], 1), "order": "desc"},
            {"name": "dev accuracy (%)", "value": round(best.accuracy.get("dev", 0.0), 1)},
            {"name": "variant", "value": f"{best.variant}, {best.kind}"},
        ]
    return {
        "score": report.points,
        "execution_time": round(seconds),
        "output": f"Graded by hand: {', '.join(BY_HAND.values())}.",
        "stdout_visibility": "hidden",
        "tests": tests,
        "leaderboard": rows,
    }


def failure(message: str, edition: str, seconds: float) -> dict[str, Any]:
    """results.json for a submission that cannot be graded at all: 0 points."""
    test = {"name": "submission", "score": 0, "max_score": 85, "status": "failed", "output": message}
    return {"score": 0, "execution_time": round(seconds), "stdout_visibility": "hidden", "tests": [test]}


def run(autograder: Path) -> dict[str, Any]:
    """Grade autograder/submission by autograder/source, and write autograder/results/results.json."""
    began, source = time.monotonic(), autograder / "source"
    course = source / "course"
    edition = (course / EDITION_FILE).read_text(encoding="utf-8").strip()
    home = Home(edition, course / "public", course / "hidden", source / "src", source / "support", source / "data")
    known = {*letters(edition), *letters(edition).values(), TRAINING, "d", "f"} - {OPTIONAL}
    try:
        report = grade(autograder / "submission", home, known)
        result = result_of(report, time.monotonic() - began)
    except (OSError, ValueError) as error:
        result = failure(str(error), edition, time.monotonic() - began)
    except Exception:  # a fault of the grader: staff see it, the student learns that it is not theirs
        result = failure("The grader failed; your teacher can see why.", edition, time.monotonic() - began)
        print(traceback.format_exc())
    path = autograder / "results" / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("results.json.unfinished")
    unfinished.write_text(json.dumps(result, indent=1), encoding="utf-8")
    os.replace(unfinished, path)
    return result


if __name__ == "__main__":
    run(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("/autograder"))
