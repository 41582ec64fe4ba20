"""Makes what a teacher hands out.

python course/make.py handout --edition rope --out DIR      # the student's tree, with the solutions taken out
"""

import argparse
import ast
import shutil
import sys
from pathlib import Path

from parts import EDITIONS, PARTS, Gap, Part, letters

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent

# What the student's tree holds besides course/tree and course/public. Data files are named one by one: a folder in
# which a teacher made test answers must not hand them out. Wings that would give a solution away are left out.
CORPUS = "wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv birth_unseen_inputs.tsv"
CORPUS += " birth_unseen_traditions.tsv place_traditions.tsv"
COPIED = [
    "src/*.py",
    "src/safe/*.py",
    "src/trust/*.py",
    "src/trust/report.js",
    "src/fast/corpus_file.py",
    "src/fast/device.py",
    "src/handout/commands.py",
    "london_baseline.py",
    "run.sh",
    "collect_submission.sh",
    "requirements*.txt",
    "pyproject.toml",
    "LICENSE",
    "mingpt-demo/play_char.ipynb",
    *[f"data/{name}" for name in CORPUS.split()],
    *[f"data/quick/{name}" for name in CORPUS.split()],
]


def functions_of(source: str) -> dict[str, ast.FunctionDef]:
    """The functions and methods of a module by qualified name."""
    body = ast.parse(source).body
    found = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    for cls in [node for node in body if isinstance(node, ast.ClassDef)]:
        found |= {f"{cls.name}.{node.name}": node for node in cls.body if isinstance(node, ast.FunctionDef)}
    return found


def solution_of(source: str, gap: Gap) -> tuple[int, int]:
    """The lines source.splitlines()[first:last] that solve a gap: the body without its docstring, with its comments.

    Raises ValueError if the code has no such function, or nothing in it to take out.
    """
    found, lines = functions_of(source).get(gap.function), source.splitlines()
    if found is None:
        raise ValueError(f"course/parts.py: {gap.path} has no function {gap.function}: correct the list")
    body = found.body
    if ast.get_docstring(found) is not None:
        first, body = body[0].end_lineno or 0, body[1:]
    else:
        first = body[0].lineno - 1
        while lines[first - 1].strip().startswith("#"):  # comments above the first statement
            first -= 1
    unwritten = not body or (isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0]))
    if unwritten or body[0].lineno == found.lineno:
        raise ValueError(f"course/parts.py: {gap.function} of {gap.path} has no body of its own lines to take out")
    return first, found.end_lineno or 0


def with_gaps(source: str, gaps: list[Gap], topic: str, letter: str) -> str:
    """The source of a module whose functions `gaps` raise NotImplementedError naming their part."""
    for gap in gaps:
        first, last = solution_of(source, gap)
        lines, node = source.splitlines(), functions_of(source)[gap.function]
        name, indent = gap.function, " " * (node.col_offset + 4)
        if gap.instead:
            first, name = node.lineno - 1, f"{gap.function.partition('.')[0]}.__getitem__"
        told = f'{indent}raise NotImplementedError("part {letter} ({topic}): write {name}; see handout.md")'
        new = [told]
        if gap.instead:
            given = (HERE / gap.instead).read_text(encoding="utf-8")
            (cls,) = [node for node in ast.parse(given).body if isinstance(node, ast.ClassDef)]
            new = given.splitlines()[cls.body[0].lineno - 1 : cls.end_lineno]
            new = [told if line.strip() == "raise NotImplementedError" else line for line in new]
        source = "\n".join(lines[:first] + new + lines[last:]) + "\n"
    return source


def solution_lines(part: Part) -> list[str]:
    """Every line that make takes out for a part, without the space around it."""
    found = []
    for gap in part.gaps:
        source = (PROJECT / gap.path).read_text(encoding="utf-8")
        first, last = solution_of(source, gap)
        found += [line.strip() for line in source.splitlines()[first:last]]
    return found


def handout(edition: str, out: Path, solved: tuple[str, ...] = ()) -> None:
    """Write the student's tree into `out`, a new or empty folder. The parts `solved` keep their solutions.

    Raises ValueError for an unknown edition, a folder that is not empty, and a list of parts that does not fit the
    code; then nothing is written.
    """
    letter_of = letters(edition)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: not an empty folder: name a new one")
    files = {path.relative_to(PROJECT): path for pattern in COPIED for path in sorted(PROJECT.glob(pattern))}
    for pattern in COPIED:
        if not any(PROJECT.glob(pattern)):
            raise ValueError(f"course/make.py: {pattern} is in the list of files and not in the project")
    changed: dict[Path, str] = {}
    for topic, part in PARTS.items():
        for gap in part.gaps:
            path = Path(gap.path)
            source = changed.get(path) or files[path].read_text(encoding="utf-8")
            kept = [] if topic in solved else [gap]
            solution_of(source, gap)  # checked for solved parts too
            changed[path] = with_gaps(source, kept, topic, letter_of[topic])
    given = HERE / "tree"
    files |= {path.relative_to(given): path for path in given.rglob("*") if path.suffix in (".py", ".md")}
    files[Path("handout.md")] = HERE / "handout.md"
    for name, path in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / name)
        if name in changed:
            (out / name).write_text(changed[name], encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make.py", description="Make what a teacher hands out.")
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("handout", help="the student's tree, with the solutions taken out")
    sub.add_argument("--edition", required=True, choices=EDITIONS, help="named after the mechanism of part g")
    sub.add_argument("--out", required=True, type=Path, help="a new or empty folder", metavar="DIR")
    args = parser.parse_args(argv)
    try:
        handout(args.edition, args.out)
    except (OSError, ValueError) as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: the tree of the edition {args.edition}; begin with handout.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
