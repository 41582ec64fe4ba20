"""The report: what runs learned and how far to trust them, as one page. This module gathers what goes into it.

It reads the files of the runs, asks the runs all questions (report_questions.py), and computes. report_sections.py
writes the page, with the sections of its neighbours, parts from report_page.py and pictures from report_figures.py, the
only module that uses matplotlib. The statistics are in calibration.py, and people.py looks names up in the texts.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dataset as data
import stages
from safe.files import atomic_write, check_writable, file_sha256, read_parameters, refuse_files_of_runs
from safe.running import Running
from trust import report_sections
from trust.asking import Answers, answer_with_confidence, calibration_path, is_number
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
from trust.report_model import Packed, packed
from trust.report_questions import Questions, Unseen, read_for_search, read_questions, read_unseen, readable

MEASURED = {"validation_loss", "validation_accuracy"}  # on held-out questions, in a training log


@dataclass
class Run:
    """A set of parameters, or a file of predictions whose parameters are not given."""

    label: str
    path: Path
    record: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)  # lines of training
    held_out: list[dict[str, float]] = field(default_factory=list)  # lines of what was measured on held-out questions
    sha256: str = ""
    # What questioning a run fills in. None for pretraining, which has only curves to show, and where it was not asked.
    said: Any = None  # list[str]: its answers to the questions
    right: Any = None  # (N,) array: is it a right answer?
    answers: Any = None  # Answers: the same answers with their confidences
    unseen: Any = None  # Answers: its answers about names in no text
    filed: tuple[Path, int] | None = None  # a file of its predictions, and how many of them it gives here too
    calibration: Any = None  # Calibration
    packed: Packed | None = None  # the model for the page
    n_parameters: int = 0

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


class Undrawn(ValueError):
    """The page is written, but without its pictures. run.py ends with an exit status of its own."""

    status = 3


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
    lenient: bool = False,
    no_model: bool = False,
) -> dict[str, Any]:
    """Write a page about runs: how they learned, what they know, how sure they are, and how sure they should be.

    The page contains its pictures and the best model, which answers questions there, unless `no_model` leaves it out.
    It needs no network. The pictures are also written into the folder NAME-figures beside it. Beside
    each set of parameters goes a record of how often each confidence was right, which `ask` reads. Parameters from
    pretraining contribute only their curves. Returns {"page": Path, "runs": [Run]}. Raises ValueError if there is
    nothing to report about, or a run was trained on another corpus. Raises Undrawn after a page without pictures is
    written, if matplotlib is missing or broken.
    """
    page_path = Path(outputs_path)
    if page_path.suffix != ".html":  # so that mixed-up flags cannot overwrite what the page is about
        raise ValueError(f"{outputs_path}: the page is a file of HTML: give it a name that ends in .html")
    check_writable(page_path)
    refuse_files_of_runs(page_path)
    with stages.placed(Running(device=device)):  # refuses an unusable device, or several processes, before it reads
        runs = [read_run(path) for path in dict.fromkeys(params_paths)]
        for run in runs:
            check_writable(calibration_path(run.path))
        corpus_path = data.find_file(pretrain_corpus_path)
        refuse_other_corpora(runs, corpus_path)
        text, characters = read_for_search(corpus_path)
        questions = read_questions(eval_corpus_path, text, finetune_corpus_path, runs, lenient)
        questions.corpus = corpus_path.name
        unseen = None
        if unseen_corpus_path is not None:
            characters = readable(runs, characters.union(*questions.form))
            unseen = read_unseen(unseen_corpus_path, text, characters, questions.form)
        for run in runs:
            if run.record["command"] != "pretrain":
                question_run(run, corpus_path, questions, unseen, device, no_model)
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
    state_dict, record = read_parameters(path)
    if record is None:
        raise ValueError(f"{path}: there is no {path}.json that says which variant this is: train or finetune it here")
    shown = [record["config"].get("block_size"), record.get("final_loss", 0.0), record.get("seconds", 0.0)]
    if not all(map(is_number, shown)) or type(shown[0]) is not int:
        raise ValueError(f"{path}.json: not a record of parameters: block_size, final_loss or seconds is not a number")
    record.setdefault("command", "finetune")
    log, held_out = read_log(Path(f"{path}.log.jsonl"))
    if log and log[-1]["step"] != record.get("steps"):
        log = held_out = []  # of another run: the files were moved, or the machine failed between writing the two
    return Run(record["variant"], path, record, log, held_out, state_dict.sha256)


def read_log(path: Path) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """The lines of a training log that have a training loss, and those of what was measured on held-out questions.

    There are none if there is no such file. Raises ValueError if it is damaged.
    """
    if not path.exists():
        return [], []
    try:
        lines = [json.loads(line) for line in data.read_text(path).splitlines() if line.strip()]
        training = [line for line in lines if {"step", "loss", "lr"} <= line.keys()]
        held_out = [line for line in lines if "step" in line and MEASURED & line.keys()]
        shown = [(line, {"step", "loss", "lr"}) for line in training]
        shown += [(line, {"step", *(MEASURED & line.keys())}) for line in held_out]
        if not all(is_number(line[name]) for line, names in shown for name in names):
            raise ValueError("a step, loss or lr is not a number")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not a training log: {error}") from None
    return training, held_out


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
            others.append(Run(label, path, said=said, right=matches(said, questions)))
    return others


def matches(said: list[str], questions: Questions) -> np.ndarray:
    """(N,) is it a right answer?"""
    return np.array([questions.is_right(i, answer) for i, answer in enumerate(said)])


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


# ---------------------------------------------------------------------------------------------------------- answers


def question_run(
    run: Run, corpus_path: Path, questions: Questions, unseen: Unseen | None, device: str | None, no_model: bool
) -> None:
    """Have the run answer everything, compute its calibration, and keep the model for the page."""
    with stages.load_trained(run.record["variant"], corpus_path, run.path, device=device) as (model, vocabulary):
        if vars(model)["sha256"] != run.sha256:
            raise ValueError(f"{run.path}: was replaced while the report was made: start it again")
        run.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        run.packed = None if no_model else packed(model, vocabulary)

        def answers_to(asked: list[str], source: Path) -> Answers:
            ids, lengths = data.encode_questions(asked, vocabulary, model.config.block_size, source)
            try:
                return answer_with_confidence(model, vocabulary, ids, lengths)
            except ValueError as error:
                raise ValueError(f"{run.path}: {error}") from None

        run.answers = answers_to(questions.asked, questions.path)
        run.unseen = answers_to(unseen.asked, unseen.path) if unseen is not None else None
    run.said = run.answers.texts
    run.right = matches(run.said, questions)
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
