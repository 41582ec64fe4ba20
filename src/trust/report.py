"""What runs learned and how far to trust them, as one page: gathers their files, questions them, does the sums.

The page is put together in report_sections.py and report_confidence.py, of parts from report_page.py; its pictures are
drawn in report_figures.py, the only use of matplotlib; the statistics are in calibration.py.
"""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dataset as data
import startup
from asking import Answers, answer_with_confidence, calibration_path
from calibration import (
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
from checkpoint import atomic_write, check_writable, file_sha256
from recipes import find_recipe

TRADITIONS_FILE, HOMES_FILE = "birth_unseen_traditions.tsv", "place_traditions.tsv"  # beside the unseen questions


@dataclass
class Run:
    """One set of parameters, or one file of predictions whose parameters are not there."""

    label: str
    path: Path
    record: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)
    sha256: str = ""
    said: list[str] | None = None  # its answers to the questions; None for a run that is only there for its curves
    right: np.ndarray | None = None  # (N,) which of them are the true ones
    answers: Answers | None = None  # the same with their confidences
    unseen: Answers | None = None  # its answers about people in no text
    filed: tuple[Path, int] | None = None  # a file of its predictions, and how many of them it gives here too
    calibration: "Calibration | None" = None

    @property
    def stage(self) -> str:
        if self.record.get("command") != "finetune":
            return "Pretraining"
        return f"Finetuning {'after' if self.record.get('pretrained') else 'without'} pretraining"


@dataclass
class Calibration:
    """Confidence against right and wrong of one run, as it is and after temperature scaling."""

    n_bins: int
    temperature: float  # fitted on all questions
    scaled: np.ndarray  # (N,) confidences, each at a temperature fitted without it
    error: float  # expected calibration error
    error_scaled: float
    unavoidable: float  # what chance alone makes of a perfectly calibrated model
    unavoidable_scaled: float
    unseen_scaled: np.ndarray | None  # at `temperature`, which saw none of these
    fitted: bool  # False if all answers are right, or all wrong: no temperature fits that


@dataclass
class Questions:
    """What is asked, and what is known about it."""

    path: Path
    names: list[str]
    asked: list[str]
    places: list[str]
    ends: list[int | None] | None  # where the answer's first occurrence ends in the person's document; None: not in it
    known: list[bool] | None  # is there a document of the person?
    reach: int  # characters of a document that pretraining reads at most
    train: Counter | None  # how often each place is an answer in the rows trained on
    train_rows: int = 0


@dataclass
class Unseen:
    """People in no text: whom, and what is known about their names."""

    path: Path
    asked: list[str]
    left_out: int  # questions about a person the corpus does mention, or with a character it lacks
    traditions: list[str] | None  # of each
    homes: dict[str, list[str]] | None  # place: the traditions at home there


def report(
    pretrain_corpus_path: str | Path,
    params_paths: list[str | Path],
    eval_corpus_path: str | Path,
    outputs_path: str | Path,
    *,
    predictions_paths: list[str | Path] = (),
    finetune_corpus_path: str | Path | None = None,
    unseen_corpus_path: str | Path | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Write a page about runs: how they learned, what they know, how sure they are, and how sure they should be.

    The page holds its pictures and needs no network; they are also written into the folder NAME-figures beside it, and
    for `ask` a record of how often each confidence was right beside each set of parameters. Parameters of a pretraining
    contribute their curves. Returns {"page": Path, "runs": [Run]}. ValueError if there is nothing to report about.
    """
    startup.refuse_several_processes("report")
    try:
        import report_sections  # here, because matplotlib takes a second to import and no other command needs it
    except ImportError:
        raise ValueError("the report needs the package matplotlib: pip install -r requirements.txt") from None
    page_path = Path(outputs_path)
    if page_path.suffix != ".html":  # so that no mix-up of flags writes a page over what it is about
        raise ValueError(f"{outputs_path}: the page is a file of HTML: give it a name that ends in .html")
    check_writable(page_path)
    corpus_path = data.find_file(pretrain_corpus_path)
    runs = [read_run(path) for path in dict.fromkeys(params_paths)]
    for run in runs:
        check_writable(calibration_path(run.path))
    pairs = data.read_places(data.find_file(eval_corpus_path))
    if pairs[0][1] is None:
        raise ValueError(f"{eval_corpus_path}: has no answers, so nothing can be right or wrong: name the dev rows")
    questions = read_questions(eval_corpus_path, pairs, corpus_path, finetune_corpus_path, runs)
    unseen = read_unseen(unseen_corpus_path, corpus_path) if unseen_corpus_path is not None else None
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

    report_sections.write(page_path, runs, questions, unseen)
    print(f"The report: {page_path}")
    return {"page": page_path, "runs": runs}


# ------------------------------------------------------------------------------------------------------- gathering


def read_run(path: str | Path) -> Run:
    """A run from its parameters' record and log; ValueError without a record, which says what the model is."""
    path = Path(path)
    _, record = startup.read_trained(path)
    if record is None:
        raise ValueError(f"{path}: there is no {path}.json that says which variant this is: train or finetune it here")
    shown = [record["config"].get("block_size"), record.get("final_loss", 0.0), record.get("seconds", 0.0)]
    if not all(type(number) in (int, float) for number in shown):
        raise ValueError(f"{path}.json: not a record of parameters: block_size, final_loss or seconds is no number")
    record.setdefault("command", "finetune")
    log, log_path = [], Path(f"{path}.log.jsonl")
    if log_path.exists():
        try:
            log = [json.loads(line) for line in data.read_text(log_path).splitlines() if line.strip()]
            log = [line for line in log if {"step", "loss", "lr"} <= line.keys()]
            if not all(type(line[name]) in (int, float) for line in log for name in ("step", "loss", "lr")):
                raise ValueError("a step, loss or lr is no number")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{log_path}: not a training log: {error}") from None
        if log and log[-1]["step"] != record.get("steps"):
            log = []  # of another run: somebody moved files, or the machine died between writing the two
    return Run(record["variant"], path, record, log, file_sha256(path))


def name_of(question: str) -> str:
    return question.removeprefix("Where was ").removesuffix(" born?")


def longest_read(record: dict[str, Any]) -> int:
    """Characters of a document that pretraining has read at most, by a record's recipe."""
    recipe, block_size = find_recipe(record.get("recipe", "course")), record["config"]["block_size"]
    return block_size if recipe.recall_share else int(block_size * recipe.max_kept_share)


def find_document(name: str, documents: list[str]) -> str | None:
    """The document that begins with the name; "Ada Fern" does not begin "Ada Fernandez. Born in"."""
    return next((d for d in documents if d.startswith(name) and not d[len(name) : len(name) + 1].isalnum()), None)


def read_questions(path, pairs, corpus_path: Path, finetune_corpus_path, runs: list[Run]) -> Questions:
    """The questions with what the corpus and the training rows say about them; what is not given stays None."""
    asked = [question for question, _ in pairs]
    places, names = [place for _, place in pairs], [name_of(question) for question in asked]
    ends = known = None
    text = data.read_corpus(corpus_path)
    if isinstance(text, str):  # a corpus too large to load is not searched
        lines = text.split("\n")
        documents = [find_document(name, lines) for name in dict.fromkeys(names)]
        of = dict(zip(dict.fromkeys(names), documents, strict=True))
        known = [of[name] is not None for name in names]
        found = [(of[name] or "").find(place) for name, place in zip(names, places, strict=True)]
        ends = [None if at < 0 else at + len(place) for at, place in zip(found, places, strict=True)]
    reach = max((longest_read(run.record) for run in runs), default=int(128 * data.MAX_TRUNCATED_SHARE))
    train = rows = None
    if finetune_corpus_path is not None:
        rows = [place for _, place in data.read_places(data.find_file(finetune_corpus_path))]
        train = Counter(rows)
    return Questions(data.find_file(path), names, asked, places, ends, known, reach, train, len(rows or ()))


def read_unseen(path: str | Path, corpus_path: Path) -> Unseen | None:
    """Questions about people whom the corpus does not mention; those it does, or cannot spell, are left out.

    None, with a word to the user, if nobody remains.
    """
    path = data.find_file(path)
    asked = [question for question, _ in data.read_places(path)]
    text = data.read_corpus(corpus_path)
    characters = set(text) if isinstance(text, str) else set(text.vocabulary)
    mentioned = text if isinstance(text, str) else ""
    keep = [set(question) <= characters and name_of(question) not in mentioned for question in asked]
    traditions = homes = None
    if (path.parent / TRADITIONS_FILE).exists() and (path.parent / HOMES_FILE).exists():
        of = dict(data.read_places(path.parent / TRADITIONS_FILE))
        if all(question in of for question in asked):
            traditions = [of[question] for question, kept in zip(asked, keep, strict=True) if kept]
            homes = {place: (names or "").split() for place, names in data.read_places(path.parent / HOMES_FILE)}
    kept = [question for question, ok in zip(asked, keep, strict=True) if ok]
    if not kept:
        print(f"{path}: left out: the corpus mentions everyone in it, or lacks letters of their names", file=sys.stderr)
        return None
    return Unseen(path, kept, len(asked) - len(kept), traditions, homes)


def question_run(run: Run, corpus_path: Path, questions: Questions, unseen: Unseen | None, device: str | None) -> None:
    """Have the run answer everything, and do its calibration."""
    with startup.opened(run.record["variant"], corpus_path, run.path, device=device) as (model, corpus):

        def answers_to(asked: list[str], source: Path) -> Answers:
            ids, lengths = data.encode_questions(asked, corpus.stoi, corpus.block_size, source)
            return answer_with_confidence(model, corpus, ids, lengths)

        run.answers = answers_to(questions.asked, questions.path)
        run.unseen = answers_to(unseen.asked, unseen.path) if unseen is not None else None
    run.said = run.answers.texts
    run.right = np.array([said == place for said, place in zip(run.said, questions.places, strict=True)])
    run.calibration = calibrate(run) if len(run.right) > 1 else None


def calibrate(run: Run) -> Calibration:
    n_bins = 10 if len(run.right) >= 200 else 5  # enough answers in a bin for its accuracy to mean something

    def at(answers: Answers, temperatures) -> np.ndarray:
        return confidences_at(answers.logits, answers.tokens, answers.rows, temperatures)

    table = at(run.answers, TEMPERATURES)  # (G, N)
    temperature = float(TEMPERATURES[best_temperature(table, run.right)])
    scaled = cross_fitted(table, run.right)
    confidence = run.answers.confidence
    return Calibration(
        n_bins,
        temperature,
        scaled,
        expected_calibration_error(reliability(confidence, run.right, n_bins)),
        expected_calibration_error(reliability(scaled, run.right, n_bins)),
        unavoidable_error(confidence, n_bins),
        unavoidable_error(scaled, n_bins),
        at(run.unseen, temperature)[0] if run.unseen is not None else None,
        fitted=run.right.any() and not run.right.all(),
    )


def read_predictions(paths: list[str | Path], runs: list[Run], questions: Questions) -> list[Run]:
    """Runs for those prediction files that are of none of `runs`; the others are noted in the run that they are of."""
    by_sha256 = {run.sha256: run for run in runs if run.said is not None}
    others = []
    for path in map(Path, paths):
        said = data.read_text(path).removesuffix("\n").split("\n")
        if len(said) != len(questions.places):
            raise ValueError(f"{path}: {len(said)} predictions for the {len(questions.places)} of {questions.path}")
        try:
            record = json.loads(Path(f"{path}.json").read_bytes())
            run = by_sha256.get(record["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            run = None
        if run is not None:
            run.filed = path, sum(a == b for a, b in zip(said, run.said, strict=True))
        else:
            right = np.array([a == place for a, place in zip(said, questions.places, strict=True)])
            others.append(Run(re.sub(r"(\.dev)?\.predictions$", "", path.name), path, said=said, right=right))
    return others


def name_apart(runs: list[Run]) -> None:
    """Labels in plain words; where two would be the same, with as much of the file's path as tells them apart."""
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


def write_calibration(run: Run, questions: Questions) -> None:
    """What `ask` needs to say how often the run is right at a confidence: counts by bin, tied to the parameters."""
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
        file.write(json.dumps(record, indent=2).encode() + b"\n")
