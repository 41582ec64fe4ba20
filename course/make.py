"""Makes what a teacher hands out.

python course/make.py handout --edition rope --out DIR                # the student's tree, without the solutions
python course/make.py autograder --edition rope --out autograder.zip  # for Gradescope
python course/make.py term --out DIR                                  # the corpus of a new term
python course/make.py publish --edition rope --out DIR                # the handout as HTML and PDF
"""

import argparse
import ast
import importlib
import shutil
import sys
import tempfile
from pathlib import Path

import publish
import term
from parts import EDITIONS, PARTS, Gap, Part, letters

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent

# What the student's tree holds besides course/tree and course/public. Data files are named one by one: a folder in
# which a teacher made test answers must not hand them out. Wings that would give a solution away are left out.
CORPUS = "wiki.txt birth_places_train.tsv birth_dev.tsv birth_test_inputs.tsv birth_unseen_inputs.tsv"
CORPUS += " birth_unseen_traditions.tsv place_traditions.tsv"
GRADER = ("grade.py", "grading.py", "handed_in.py", "calling.py", "student.py", "parts.py")
COPIED = [
    "src/*.py",
    "src/safe/*.py",
    "src/trust/*.py",
    "src/trust/*.[cj]s*",  # the style and the scripts of the report
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
    *[f"course/{name}" for name in GRADER],
]

# A program that comes to a part that is not written yet says so in a line, as it does with every other mistake.
SCRIPT_END = "    sys.exit(main())\n"
EDITS = {
    "src/safe/exits.py": (
        "    raise error\n",
        '    if isinstance(error, NotImplementedError) and str(error).startswith("part "):\n'
        "        return str(error)\n    raise error\n",
    ),
    "src/safe/sequence.py": (
        "            except SystemExit as left:",
        "            except NotImplementedError as unwritten:\n"
        "                say(str(unwritten), to_stderr=True)\n                status = 2\n"
        "            except SystemExit as left:",
    ),
    **{
        name: (
            SCRIPT_END,
            f"    try:\n    {SCRIPT_END}    except NotImplementedError as unwritten:\n"
            f'        sys.exit(f"{Path(name).name}: {{unwritten}}")\n',
        )
        for name in ("src/dataset.py", "london_baseline.py")
    },
}


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


def handout(edition: str, out: Path, solved: tuple[str, ...] = (), data: Path | None = None) -> None:
    """Write the student's tree into `out`, a new or empty folder. The parts `solved` keep their solutions.

    data: a folder with the files of a term, which take the place of those of the project, and in it quick/

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
    for edited, (old, new) in EDITS.items():
        source = changed.get(Path(edited)) or files[Path(edited)].read_text(encoding="utf-8")
        if source.count(old) != 1:
            raise ValueError(f"course/make.py: {edited} has {source.count(old)} of the lines to edit, not one: {old!r}")
        changed[Path(edited)] = source.replace(old, new)
    for folder in [] if data is None else [Path(), *[Path("quick")] * (data / "quick").is_dir()]:
        for inside in [folder / name for name in CORPUS.split()]:
            path = Path(data or "", inside)
            if path.is_file():
                files["data" / inside] = path
            elif not path.name.startswith(("birth_unseen", "place")):
                raise ValueError(f"{path}: missing")
    given = HERE / "tree"
    files |= {path.relative_to(given): path for path in given.rglob("*") if path.suffix in (".py", ".md")}
    files[Path("handout.md")] = HERE / "handout.md"
    changed[Path("handout.md")] = publish.edition_text(edition)
    for name, path in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / name)
        if name in changed:
            (out / name).write_text(changed[name], encoding="utf-8")
    (out / "course" / "edition.txt").write_text(f"{edition}\n", encoding="utf-8")


def make_support(edition: str, out: Path) -> Path:
    """src as students get it, beside which modules of a course's own edition are graded. Returns its folder."""
    with tempfile.TemporaryDirectory() as scratch:
        handout(edition, Path(scratch) / "tree")
        shutil.copytree(Path(scratch) / "tree" / "src", out)
    shutil.copytree(PROJECT / "src" / "handout", out / "handout", dirs_exist_ok=True)
    return out


def answers_of(data: Path | None, scratch: Path) -> Path:
    """The folder of a term's files. Those of the project are made again, with the answers to the test questions."""
    if data is not None:
        return data
    sys.path.append(str(PROJECT / "data"))
    scratch.mkdir()
    importlib.import_module("make_corpus").main(["--out", str(scratch), "--answers"])
    return scratch


def autograder(edition: str, out: Path, data: Path | None = None) -> None:
    """Write the zip for Gradescope. data: the files of a term, with birth_test_answers.tsv."""
    with tempfile.TemporaryDirectory() as scratch:
        support = make_support(edition, Path(scratch) / "support")
        pack = importlib.import_module("autograder").pack
        pack(edition, answers_of(data, Path(scratch) / "data"), out, support)


# ------------------------------------------------------------------------------------------------ the command line


def add_handout(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("handout", help="the student's tree, with the solutions taken out")
    sub.add_argument("--edition", required=True, choices=EDITIONS, help="named after the mechanism of part g")
    sub.add_argument("--out", required=True, type=Path, help="a new or empty folder", metavar="DIR")
    sub.add_argument("--data", type=Path, help="the files of a term (default: those of the project)", metavar="DIR")
    sub.set_defaults(run=run_handout)


def run_handout(args: argparse.Namespace) -> str:
    handout(args.edition, args.out, data=args.data)
    return f"{args.out}: the tree of the edition {args.edition}; begin with handout.md"


def add_autograder(commands: argparse._SubParsersAction) -> None:
    sub = commands.add_parser("autograder", help="the zip for Gradescope, with the hidden tests and the answers")
    sub.add_argument("--edition", required=True, choices=EDITIONS, help="named after the mechanism of part g")
    sub.add_argument("--out", required=True, type=Path, help="the zip", metavar="ZIP")
    sub.add_argument("--data", type=Path, help="the files of a term (default: those of the project)", metavar="DIR")
    sub.set_defaults(run=run_autograder)


def run_autograder(args: argparse.Namespace) -> str:
    autograder(args.edition, args.out, args.data)
    return f"{args.out}: for Gradescope. It holds the hidden tests and the answers: keep it private"


# Each adds a parser whose `run` takes the arguments and returns what to print.
COMMANDS = [
    add_handout,
    add_autograder,
    term.add_command,
    publish.add_command,
]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make.py", description="Make what a teacher hands out.")
    commands = parser.add_subparsers(dest="command", required=True)
    for add in COMMANDS:
        add(commands)
    args = parser.parse_args(argv)
    try:
        print(args.run(args))
    except (OSError, ValueError) as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
