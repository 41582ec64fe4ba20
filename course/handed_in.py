"""What a student hands in: a folder or a zip, copied without trust; and the predictions in it, graded.

Nothing is trained here. Predictions are counted, held against their record and against the parameters beside them,
which are asked some of the questions again, and compared with the answers.
"""

import functools
import hashlib
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from grading import Line
from parts import ASKED_AGAIN, FLOOR, FLOORS, LARGEST_LEAD, HandIn

LARGEST_FILE, LARGEST_WHOLE = 2**27, 2**29  # bytes
SUFFIXES = (".py", ".js", ".params", ".predictions", ".json", ".txt")
OURS = ("@register(", "from vocabulary import")  # in the modules of this project's tree, and in no course's own
AGREEING = 0.8  # share of the questions asked again: the last bits of a sum may differ between machines


@dataclass
class Submission:
    """The copy of what was handed in: `code` for the student's process to run in, `files` for ours to read."""

    code: Path
    files: Path
    support: Path  # given modules, beside which those of a course's own edition run
    own_edition: bool  # the modules of a course's own edition, not this project's


def take(source: Path, scratch: Path, support: Path) -> Submission:
    """Copy what was handed in. Raises ValueError for what is no submission.

    Links are left out: one could lead to the answers. In this project's tree, files that are missing are as given.
    """
    code, files = scratch / "code", scratch / "files"
    found = dict(contents(source))
    tops = sorted((path.parts[: path.parts.index("src")] for path in found if "src" in path.parts), key=len)
    if not tops:
        raise ValueError(f"{source.name}: no folder src in it: hand in what ./collect_submission.sh makes")
    top = PurePosixPath(*tops[0])
    inside = {path.relative_to(top): read for path, read in found.items() if path.is_relative_to(top)}
    mine = {path: read for path, read in inside.items() if len(path.parts) == 1 or path.parts[0] == "src"}
    wanted = {path: read for path, read in mine.items() if path.suffix in SUFFIXES}
    texts = [wanted[path]() for path in wanted if path.parent.name == "src" and path.suffix == ".py"]
    own_edition = bool(texts) and not any(mark.encode() in text for text in texts for mark in OURS)
    shutil.copytree(support, scratch / "support" if own_edition else code / "src")
    for path, read in wanted.items():
        target = (code if path.parts[0] == "src" or path.suffix == ".py" else files) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read())
    for folder in (code, files):
        folder.mkdir(parents=True, exist_ok=True)
    open_to_others(scratch)
    return Submission(code, files, scratch / "support", own_edition)


def open_to_others(folder: Path) -> None:
    """Let the user who runs the student's code read a copy: files of the grader are closed, and so are their copies."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def contents(source: Path) -> list[tuple[PurePosixPath, Callable[[], bytes]]]:
    """The plain files of a folder or a zip, each with a function that reads it. Raises ValueError if too large."""
    found: list[tuple[PurePosixPath, Callable[[], bytes]]] = []
    if source.is_dir():
        root = source.resolve()
        paths = [path for path in root.rglob("*") if path.is_file() and path.resolve() == path]
        sizes = [path.stat().st_size for path in paths]
        found = [(PurePosixPath(path.relative_to(root).as_posix()), path.read_bytes) for path in paths]
    else:
        try:
            archive = zipfile.ZipFile(source)
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{source}: cannot be read as a zip: {error}") from None
        entries = [entry for entry in archive.infolist() if not entry.is_dir() and ".." not in entry.filename]
        sizes = [entry.file_size for entry in entries]
        found = [(PurePosixPath(entry.filename), functools.partial(archive.read, entry)) for entry in entries]
    if sum(sizes) > LARGEST_WHOLE or max(sizes, default=0) > LARGEST_FILE:
        raise ValueError(f"{source}: too large: hand in what ./collect_submission.sh makes")
    left_out = ("__MACOSX", ".git", ".venv", "__pycache__")
    return [(path, read) for path, read in found if not path.is_absolute() and not {*path.parts} & {*left_out}]


# -------------------------------------------------------------------------------------------------- predictions


class Questions:
    """The questions of a term, with their answers as far as they are known here."""

    def __init__(self, data: Path):
        self.corpus = data / "wiki.txt"
        self.raw = {"dev": (data / "birth_dev.tsv").read_bytes(), "test": (data / "birth_test_inputs.tsv").read_bytes()}
        self.rows = {split: [row.split("\t") for row in rows_of(raw)] for split, raw in self.raw.items()}
        self.asked = {split: [row[0].strip() for row in rows] for split, rows in self.rows.items()}
        self.answers = {"dev": [stripped(row[1]) for row in self.rows["dev"]]}
        path = data / "birth_test_answers.tsv"
        if path.is_file():
            self.answers["test"] = [stripped(row.split("\t")[-1]) for row in rows_of(path.read_bytes())]
            if len(self.answers["test"]) != len(self.asked["test"]):
                raise ValueError(f"{path}: not one answer for each question of birth_test_inputs.tsv")

    def accuracy(self, split: str, predictions: list[str]) -> float:
        """In percent."""
        return 100 * len(self.right(split, predictions)) / len(predictions)

    def right(self, split: str, predictions: list[str]) -> list[int]:
        """The rows that are answered correctly, as far as answers are known."""
        places = self.answers.get(split, [""] * len(predictions))
        pairs = zip(predictions, places, strict=True)
        return [row for row, (said, place) in enumerate(pairs) if place and said in place.split("|")]

    def floor(self, split: str, variant: str) -> float:
        """What has to be exceeded, in percent; see parts.FLOORS."""
        n = len(self.answers[split])
        london = max(1, self.answers[split].count("London")) / n
        return max(0.0, 100 * (london + FLOORS.get(variant, FLOOR) * (london * (1 - london) / n) ** 0.5))


def stripped(places: str) -> str:
    """`A|B` without the spaces around each."""
    return "|".join([place.strip() for place in places.split("|")])


def rows_of(raw: bytes) -> list[str]:
    return [row for row in lines_of(raw) if row.strip()]


def lines_of(raw: bytes) -> list[str]:
    text = raw.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n")


@dataclass
class Result:
    """Accuracies in percent of predictions that are complete and belong to their parameters."""

    variant: str
    kind: str
    accuracy: dict[str, float]


def grade_predictions(
    hand_in: HandIn, files: Path, questions: Questions, ask: Callable[..., list[str]], strangers: list[bytes]
) -> tuple[list[Line], Result]:
    """The lines for one pair of predictions, dev and test.

    ask(variant, parameters, questions): what the parameters answer; nothing if nobody here can ask them. It raises
        ValueError if they are not what they should be.
    strangers: predictions that are handed in under other names
    """
    topic, result = f"{hand_in.variant}, {hand_in.kind}", Result(hand_in.variant, hand_in.kind, {})
    faults, given = {}, {}
    for split in ("dev", "test"):
        path = files / hand_in.predictions(split)
        faults[split] = fault_of(hand_in, split, path, files, questions)
        if not faults[split]:
            given[split] = lines_of(path.read_bytes())
    if given and not any(faults.values()):
        if fault := asked_again(hand_in, given, questions, ask, files, strangers):
            faults = dict.fromkeys(faults, fault)
    for split in questions.answers:
        if split in given and not faults[split]:
            result.accuracy[split] = questions.accuracy(split, given[split])
    lead = result.accuracy.get("dev", 0) - result.accuracy.get("test", 100)
    if lead > max(LARGEST_LEAD, 400 * (0.5 / len(questions.asked["test"])) ** 0.5 / 2):
        faults["dev"] = f"{hand_in.predictions('dev')}: right far more often than on test: not answers of a model?"
    lines = []
    for split in ("dev", "test"):
        name = f"{hand_in.predictions(split)} is complete and belongs to its parameters"
        points = 0.0 if faults[split] else hand_in.each
        lines.append(Line(hand_in.letter, topic, name, "predictions", points, hand_in.each, faults[split]))
    if hand_in.accuracy:
        lines.append(accuracy_line(hand_in, topic, faults["test"], result, questions))
    return lines, result


def accuracy_line(hand_in: HandIn, topic: str, fault: str, result: Result, questions: Questions) -> Line:
    """On test where its answers are known, as they are to teachers; else on dev."""
    split = "test" if "test" in questions.answers else "dev"
    floor = questions.floor(split, hand_in.variant)
    reached = result.accuracy.get(split)
    message = fault
    if reached is not None:
        message = "" if reached > floor else f"{reached:.1f}% of {split} are right; more than {floor:.1f}% are needed"
    elif not fault:
        message = f"{hand_in.predictions(split)}: not graded"
    line = Line(hand_in.letter, topic, f"accuracy above {floor:.1f}%", "accuracy", 0.0, hand_in.accuracy, message)
    line.points = 0.0 if message else hand_in.accuracy
    return line


def fault_of(hand_in: HandIn, split: str, path: Path, files: Path, questions: Questions) -> str:
    """What is wrong with a file of predictions, as far as files tell."""
    parameters = files / hand_in.parameters
    variant, how = hand_in.variant, f"with{'out' * (hand_in.kind == 'nopretrain')}_pretrain"
    stage = f"{variant}_eval_{split}_{how}"
    if not path.is_file() or not path.stat().st_size:
        training = f"{variant}_pretrain " * (how == "with_pretrain") + f"{variant}_finetune_{how} "
        return f"{path.name}: missing: ./run.sh {'' if parameters.is_file() else training}{stage}"
    have, want = len(lines_of(path.read_bytes())), len(questions.asked[split])
    if have != want:
        return f"{path.name}: {have} lines instead of {want}, one for each question: ./run.sh {stage}"
    if not parameters.is_file():
        return f"{parameters.name}: missing: hand in the parameters that made {path.name}"
    try:
        record = dict(json.loads((files / f"{path.name}.json").read_bytes()))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, TypeError, RecursionError):
        return f"{path.name}.json: damaged: ./run.sh {stage}"
    if record.get("sha256") != hashlib.sha256(parameters.read_bytes()).hexdigest():
        return f"{path.name}: was not made with {parameters.name}: ./run.sh {stage}"
    if record.get("questions_sha256") != hashlib.sha256(questions.raw[split]).hexdigest():
        return f"{path.name}: answers to other questions than this term's: ./run.sh {stage}"
    if record.get("variant") != hand_in.variant:
        return f"{path.name}: was made with the variant {record.get('variant')}, not {hand_in.variant}"
    return ""


def asked_again(
    hand_in: HandIn,
    given: dict[str, list[str]],
    questions: Questions,
    ask: Callable[..., list[str]],
    files: Path,
    strangers: list[bytes],
) -> str:
    """Ask the parameters some of the questions. Returns what is wrong with the predictions, or nothing.

    Most are drawn from those that are right: among all, a few right answers written in by hand would rarely be found.
    A student's own model cannot be asked. Then they must at least not be those of another hand-in.
    """
    draw = random.SystemRandom()
    right = [(split, i) for split, rows in given.items() for i in questions.right(split, rows)]
    chosen = draw.sample(right, min(ASKED_AGAIN * 3 // 4, len(right)))
    others = [(split, i) for split, rows in given.items() for i in range(len(rows)) if (split, i) not in chosen]
    chosen += draw.sample(others, min(ASKED_AGAIN - len(chosen), len(others)))
    try:
        said = ask(hand_in.variant, hand_in.parameters, [questions.asked[split][i] for split, i in chosen])
    except ValueError as error:
        return f"{hand_in.parameters}: {error}"
    if not said:
        copied = [name for name in map(hand_in.predictions, given) if (files / name).read_bytes() in strangers]
        return f"{copied[0]}: the same file is handed in under another name" if copied else ""
    same = sum(given[split][i] == answer for (split, i), answer in zip(chosen, said, strict=True))
    if same < AGREEING * len(said):
        return f"{hand_in.parameters} gives other answers than the predictions: {same} of {len(said)} agree"
    return ""
