"""The report: what runs learned and how far to trust them, as one page. This module gathers what goes into it.

It reads the files of the runs, asks the runs all questions, and computes. report_sections.py, report_confidence.py and
report_interactive.py write the page, with parts from report_page.py and pictures from report_figures.py, the only
module that uses matplotlib. The statistics are in calibration.py, and people.py looks people up in the texts.
"""

import hashlib
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dataset as data
import stages
from fast.corpus_file import open_documents
from recipes import find_recipe
from safe.files import atomic_write, check_writable, file_sha256, read_parameters
from safe.running import Running
from trust import report_sections
from trust.asking import Answers, answer_with_confidence, calibration_path, is_number, refuse_nan
from trust.calibration import (
    TEMPERATURES,
    best_temperature,
    confidences_at,
    cross_fitted,
    expected_calibration_error,
    needed_for,
    reliability,
    risk_coverage,
    unavoidable_error,
)
from trust.people import Texts, end_of_place, find_document, name_in
from vocabulary import MASK_CHAR, PAD_CHAR

# The sha256 of the course's dev questions (`content_of`): public results are about these questions and no others.
COURSE_DEV = "a8a13c6ffc781280469582e5b85ec6c6e3b2a07e150e2f02e5a5aeffd5a5bf34"
TRADITIONS_FILE, HOMES_FILE = "birth_unseen_traditions.tsv", "place_traditions.tsv"  # beside the unseen questions


@dataclass
class Run:
    """A set of parameters, or a file of predictions whose parameters are not given."""

    label: str
    path: Path
    record: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    sha256: str = ""
    # What questioning a run fills in. None for pretraining, which has only curves to show, and where it was not asked.
    said: Any = None  # list[str]: its answers to the questions
    right: Any = None  # (N,) array: is the answer the true place?
    answers: Any = None  # Answers: the same answers with their confidences
    unseen: Any = None  # Answers: its answers about people in no text
    filed: tuple[Path, int] | None = None  # a file of its predictions, and how many of them it gives here too
    calibration: Any = None  # Calibration

    @property
    def stage(self) -> str:
        if self.record.get("command") != "finetune":
            return "Pretraining"
        return f"Finetuning {'after' if self.record.get('pretrained') else 'without'} pretraining"


@dataclass
class Calibration:
    """Confidence against right and wrong: of one run as it is, and after temperature scaling."""

    n_bins: int
    temperature: float  # fitted on all questions
    scaled: np.ndarray  # (N,) confidences, each at a temperature fitted without it
    error: float  # expected calibration error
    error_scaled: float
    unavoidable: float  # the error that chance alone gives a perfectly calibrated model
    unavoidable_scaled: float
    unseen_scaled: np.ndarray | None  # at `temperature`, which was fitted on none of these
    fitted: bool  # False if all answers are right or all are wrong: then there is no temperature to fit


@dataclass
class Questions:
    """What is asked, and what is known about it."""

    path: Path
    names: list[str]
    asked: list[str]
    places: list[str]
    ends: list[int | None] | None  # where the place first ends in the person's document; None: it is not there
    known: list[bool] | None  # is there a document about the person?
    reach: int  # characters of a document that pretraining reads at most
    train: Counter | None  # how often each place is an answer in the training rows
    train_rows: int = 0
    trained_on: int = 0  # how many of the questions are training rows themselves
    train_sha256: str | None = None  # of the file of training rows
    of_course: bool = False  # are they the course's own dev questions?


class Undrawn(ValueError):
    """The page is written, but without its pictures. run.py ends with an exit status of its own."""

    status = 3


@dataclass
class Unseen:
    """Questions about people in no text, and what is known about their names."""

    path: Path
    asked: list[str]
    left_out: int  # questions about a person whom the corpus mentions, or with a character that it lacks
    traditions: list | None  # the naming tradition of each
    homes: dict[str, list[str]] | None  # place: the traditions that are at home there


def report(
    pretrain_corpus_path: str | Path,
    params_paths: list[str | Path],
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    predictions_paths: Sequence[str | Path] = (),
    finetune_corpus_path: str | Path | None = None,
    unseen_corpus_path: str | Path | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Write a page about runs: how they learned, what they know, how sure they are, and how sure they should be.

    The page contains its pictures and needs no network. The pictures are also written into the folder NAME-figures
    beside it. Beside each set of parameters goes a record of how often each confidence was right, which `ask` reads.
    Parameters from pretraining contribute only their curves. Returns {"page": Path, "runs": [Run]}. Raises ValueError
    if there is nothing to report about, or a run was trained on another corpus. Raises Undrawn after a page without
    pictures is written, if matplotlib is missing or broken.
    """
    page_path = Path(outputs_path)
    if page_path.suffix != ".html":  # so that mixed-up flags cannot overwrite what the page is about
        raise ValueError(f"{outputs_path}: the page is a file of HTML: give it a name that ends in .html")
    check_writable(page_path)
    with stages.placed(Running(device=device)):  # refuses an unusable device, or several processes, before it reads
        runs = [read_run(path) for path in dict.fromkeys(params_paths)]
        for run in runs:
            check_writable(calibration_path(run.path))
        corpus_path = data.find_file(pretrain_corpus_path)
        refuse_other_corpora(runs, corpus_path)
        text, characters = read_for_search(corpus_path)
        questions = read_questions(eval_corpus_path, text, finetune_corpus_path, runs)
        unseen = None if unseen_corpus_path is None else read_unseen(unseen_corpus_path, text, characters)
        for run in runs:
            if run.record["command"] != "pretrain":
                question_run(run, corpus_path, questions, unseen, device)
    runs += read_predictions(predictions_paths, runs, questions)
    if not any(run.said for run in runs):
        raise ValueError("nothing to report about: name finetuned parameters (--reading_params_path) or predictions")
    name_apart(runs)
    for run in runs:
        if run.calibration is not None:
            write_calibration(run, questions)
    undrawn = report_sections.write(page_path, runs, questions, unseen)
    print(f"The report: {page_path}")
    if undrawn is not None:
        install = "pip install --force-reinstall -r requirements.txt"
        raise Undrawn(f"{page_path}: written without pictures: matplotlib cannot draw ({undrawn}): {install}")
    return {"page": page_path, "runs": runs}


# ---------------------------------------------------------------------------------------------------- files of runs


def read_run(path: str | Path) -> Run:
    """A run from its parameters' record and log. Raises ValueError without a record, which says what the model is."""
    path = Path(path)
    _, record = read_parameters(path)
    if record is None:
        raise ValueError(f"{path}: there is no {path}.json that says which variant this is: train or finetune it here")
    shown = [record["config"].get("block_size"), record.get("final_loss", 0.0), record.get("seconds", 0.0)]
    if not all(map(is_number, shown)) or type(shown[0]) is not int:
        raise ValueError(f"{path}.json: not a record of parameters: block_size, final_loss or seconds is not a number")
    record.setdefault("command", "finetune")
    log = read_log(Path(f"{path}.log.jsonl"))
    if log and log[-1]["step"] != record.get("steps"):
        log = []  # of another run: the files were moved, or the machine failed between writing the two
    return Run(record["variant"], path, record, log, file_sha256(path))


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a training log that have a training loss; none if there is no such file. ValueError if damaged."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in data.read_text(path).splitlines() if line.strip()]
        lines = [line for line in lines if {"step", "loss", "lr"} <= line.keys()]
        if not all(is_number(line[name]) for line in lines for name in ("step", "loss", "lr")):
            raise ValueError("a step, loss or lr is not a number")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not a training log: {error}") from None
    return lines


def refuse_other_corpora(runs: list[Run], corpus_path: Path) -> None:
    """Raise ValueError if a run was trained on another corpus: what the page says of the texts would be wrong."""
    sha256 = file_sha256(corpus_path)
    for run in runs:
        if run.record.get("corpus_sha256") not in (None, sha256):
            raise ValueError(
                f"{run.path}: was trained on another corpus than {corpus_path}: the sha256 in {run.path}.json differs. "
                "Name the corpus of the run; runs on different corpora need a report each"
            )


def read_predictions(paths: Sequence[str | Path], runs: list[Run], questions: Questions) -> list[Run]:
    """A run for each prediction file that belongs to none of `runs`. The others are noted in the run they are of."""
    by_sha256 = {run.sha256: run for run in runs if run.said is not None}
    others = []
    for path in map(Path, paths):
        said = data.read_text(path).removesuffix("\n").split("\n")
        if len(said) != len(questions.places):
            raise ValueError(f"{path}: {len(said)} predictions for the {len(questions.places)} of {questions.path}")
        try:
            record = json.loads(Path(f"{path}.json").read_bytes())
            run = by_sha256.get(record["sha256"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            run = None
        if run is not None:
            run.filed = path, sum(a == b for a, b in zip(said, run.said, strict=True))
        else:
            label = re.sub(r"(\.dev)?\.predictions$", "", path.name)
            others.append(Run(label, path, said=said, right=matches(said, questions.places)))
    return others


def matches(said: list[str], places: list[str]) -> np.ndarray:
    """(N,) is the answer the true place, character by character?"""
    return np.array([answer == place for answer, place in zip(said, places, strict=True)])


def name_apart(runs: list[Run]) -> None:
    """Label the runs in plain words. Equal labels get as much of the file's path as tells them apart."""
    for run in runs:
        if run.record:
            kind = "with" if run.record.get("pretrained") else "without"
            pretrain = run.record["command"] == "pretrain"
            run.label = run.record["variant"] + ("" if pretrain else f", {kind} pretraining")
    plain = [run.label for run in runs]
    for n_parts in range(1, max((len(run.path.parts) for run in runs), default=0) + 1):
        counts = Counter((run.label, run.said is None) for run in runs)
        for run, label in zip(runs, plain, strict=True):
            if counts[run.label, run.said is None] > 1:
                run.label = f"{label} ({'/'.join(run.path.parts[-n_parts:]).removesuffix('.params')})"


# -------------------------------------------------------------------------------------------- questions and the corpus


def read_for_search(corpus_path: Path) -> tuple[str | None, set[str]]:
    """The corpus and its characters. The text is None if it is too large to search."""
    if corpus_path.stat().st_size > stages.IN_MEMORY:
        return None, set(open_documents(corpus_path).vocabulary.characters) - {PAD_CHAR, MASK_CHAR}
    text = data.read_corpus(corpus_path)
    return text, set(text)


def name_of(question: str) -> str:
    return name_in(question) or question


def content_of(pairs: list[tuple[str, str | None]]) -> str:
    """The sha256 of questions and places, whatever their order, line ends, spaces around them and Unicode form."""
    rows = sorted(unicodedata.normalize("NFC", f"{question}\t{place}") for question, place in pairs)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def longest_read(record: dict[str, Any]) -> int:
    """Characters of a document that pretraining has read at most, by the recipe of a record."""
    recipe, block_size = find_recipe(record.get("recipe", "course")), record["config"]["block_size"]
    return block_size if recipe.recall_share else int(block_size * recipe.max_kept_share)


def read_questions(
    path: str | Path, text: str | None, finetune_corpus_path: str | Path | None, runs: list[Run]
) -> Questions:
    """The questions, and what the corpus and the training rows say about them. What is not given stays None."""
    pairs = data.read_places(data.find_file(path))
    if pairs[0][1] is None:
        raise ValueError(f"{path}: has no answers, so nothing can be right or wrong: name the dev rows")
    asked = [question for question, _ in pairs]
    places, names = [place or "" for _, place in pairs], [name_of(question) for question in asked]
    ends = known = None
    if text is not None:
        texts = Texts(str(path), text)
        documents = {name: find_document(name, texts.beginning_like(name)) for name in dict.fromkeys(names)}
        known = [documents[name] is not None for name in names]
        ends = [end_of_place(place, documents[name] or "", name) for name, place in zip(names, places, strict=True)]
    reach = max((longest_read(run.record) for run in runs), default=int(128 * data.MAX_TRUNCATED_SHARE))
    found = Questions(data.find_file(path), names, asked, places, ends, known, reach, None)
    found.of_course = content_of(pairs) == COURSE_DEV
    if finetune_corpus_path is not None:
        train_path = data.find_file(finetune_corpus_path)
        rows = data.read_places(train_path)
        found.train, found.train_rows = Counter(place for _, place in rows), len(rows)
        known_rows = {question for question, _ in rows}
        found.trained_on = sum(question in known_rows for question in asked)
        found.train_sha256 = file_sha256(train_path)
    return found


def read_unseen(path: str | Path, text: str | None, characters: set[str]) -> Unseen | None:
    """Questions about people whom the corpus does not mention. Those that it mentions, or cannot spell, are left out.

    Returns None, and tells the user, if nobody remains.
    """
    path = data.find_file(path)
    asked = [question for question, _ in data.read_places(path)]
    texts = Texts(str(path), text)
    keep = [set(question) <= characters and not texts.mentions(name_of(question)) for question in asked]
    kept = [question for question, ok in zip(asked, keep, strict=True) if ok]
    if not kept:
        print(f"{path}: left out: the corpus mentions everyone in it, or lacks letters of their names", file=sys.stderr)
        return None
    traditions = homes = None
    if (path.parent / TRADITIONS_FILE).exists() and (path.parent / HOMES_FILE).exists():
        tradition = dict(data.read_places(path.parent / TRADITIONS_FILE))
        if all(question in tradition for question in asked):
            traditions = [tradition[question] for question in kept]
            homes = {place: (names or "").split() for place, names in data.read_places(path.parent / HOMES_FILE)}
    return Unseen(path, kept, len(asked) - len(kept), traditions, homes)


# ---------------------------------------------------------------------------------------------------------- answers


def question_run(run: Run, corpus_path: Path, questions: Questions, unseen: Unseen | None, device: str | None) -> None:
    """Have the run answer everything, and compute its calibration."""
    with stages.load_trained(run.record["variant"], corpus_path, run.path, device=device) as (model, vocabulary):
        if file_sha256(run.path) != run.sha256:
            raise ValueError(f"{run.path}: was replaced while the report was made: start it again")
        refuse_nan(model, run.path)

        def answers_to(asked: list[str], source: Path) -> Answers:
            ids, lengths = data.encode_questions(asked, vocabulary, model.config.block_size, source)
            try:
                return answer_with_confidence(model, vocabulary, ids, lengths)
            except ValueError as error:
                raise ValueError(f"{run.path}: {error}") from None

        run.answers = answers_to(questions.asked, questions.path)
        run.unseen = answers_to(unseen.asked, unseen.path) if unseen is not None else None
    run.said = run.answers.texts
    run.right = matches(run.said, questions.places)
    run.calibration = calibrate(run) if len(run.right) > 1 else None


def calibrate(run: Run) -> Calibration:
    n_bins = 10 if len(run.right) >= 200 else 5  # a bin's accuracy means something only if it holds enough answers

    def at(answers: Answers, temperatures) -> np.ndarray:
        return confidences_at(answers.log_probs, answers.tokens, answers.rows, temperatures)

    table = at(run.answers, TEMPERATURES)  # (G, N)
    temperature = float(TEMPERATURES[best_temperature(table, run.right)])
    confidence, scaled = run.answers.confidence, cross_fitted(table, run.right)
    return Calibration(
        n_bins=n_bins,
        temperature=temperature,
        scaled=scaled,
        error=expected_calibration_error(reliability(confidence, run.right, n_bins)),
        error_scaled=expected_calibration_error(reliability(scaled, run.right, n_bins)),
        unavoidable=unavoidable_error(confidence, n_bins),
        unavoidable_scaled=unavoidable_error(scaled, n_bins),
        unseen_scaled=at(run.unseen, temperature)[0] if run.unseen is not None else None,
        fitted=bool(run.right.any() and not run.right.all()),
    )


def write_calibration(run: Run, questions: Questions) -> None:
    """Write what `ask` needs: how often the run is right, by bins of confidence, tied to the parameters."""
    bins = reliability(run.answers.confidence, run.right, run.calibration.n_bins)
    needed = needed_for(risk_coverage(run.answers.confidence, run.right), 0.9)
    record = {
        "parameters": run.path.name,
        "sha256": run.sha256,
        "questions": questions.path.name,
        "bins": [{"low": b.low, "high": b.high, "total": b.total, "right": b.right} for b in bins],
        "right_nine_times_in_ten_from": needed.threshold if needed else None,
        "temperature": run.calibration.temperature if run.calibration.fitted else None,
        "expected_calibration_error": run.calibration.error,
    }
    if run.unseen is not None:
        made_up = reliability(run.unseen.confidence, np.zeros(len(run.unseen.texts)), len(bins))
        record["unseen_share_of_bin"] = [b.total / len(run.unseen.texts) for b in made_up]
    with atomic_write(calibration_path(run.path)) as file:
        file.write(json.dumps(record, indent=2, allow_nan=False).encode() + b"\n")
