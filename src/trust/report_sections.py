"""The report's first screen, its sections about accuracy, and the page put together.

`answered` are the runs with answers and `sure` those with confidences. Both are ordered by right answers, most first.
Pictures show the first SHOWN of them at most; tables show all. The other sections are in the modules beside this one.
"""

import json
from datetime import date
from itertools import combinations
from pathlib import Path
from statistics import mean

import torch

import trust.report_ask as asking
import trust.report_confidence as confidence
import trust.report_figures as figures
import trust.report_groups as by_group
import trust.report_interactive as interactive
import trust.report_training as learning
from safe.files import atomic_write
from trust.calibration import paired
from trust.report_page import (
    LISTED,
    Page,
    bullets,
    counted,
    esc,
    folded,
    heading,
    interval,
    paragraph,
    percent,
    shown_answer,
    table,
)

# Accuracy of public copies of the course's code on the course's own 500 dev questions, in percent: (median, best).
PUBLIC = {"vanilla": (23.0, 31.8), "synthesizer": (11.0, 17.2), "perceiver": (8.6, 19.2), "rope": (31.6, 40.4)}
PUBLIC_NOT_PRETRAINED = (1.6, 2.8)


# ------------------------------------------------------------------------------------------------- the first screen


def kinds(answered) -> list[tuple[str, list]]:
    """(label, runs): runs that differ in nothing but their seed are of one kind. The best kind first."""
    found: dict[str, list] = {}
    for run in answered:
        record = run.record
        same = [record.get(name) for name in ("variant", "recipe", "pretrained", "config")]
        key = json.dumps(same, sort_keys=True) if record else run.label
        found.setdefault(key, []).append(run)
    labelled = []
    several_recipes = len({run.record.get("recipe") for run in answered if run.record}) > 1
    for runs in found.values():
        record, label = runs[0].record, runs[0].label
        if record and len(runs) > 1:
            label = f"{record['variant']}, {'with' if record.get('pretrained') else 'without'} pretraining"
        if record and several_recipes:
            label += f", recipe {record.get('recipe', 'unknown')}"
        labelled.append((f"{label} ({len(runs)} seeds)" if len(runs) > 1 else label, runs))
    return sorted(labelled, key=lambda kind: -mean(run.right.sum() for run in kind[1]))


def what_was_trained(run, runs) -> str:
    """A line about the model and its training."""
    record, config = run.record, run.record.get("config", {})
    if not record:
        return f"Predictions from {run.path.name}; the model is not known."
    parts = [f"{config[name]} {what}" for name, what in SIZES if name in config]
    if run.n_parameters:
        parts.append(f"{run.n_parameters:,} parameters")
    trained = [r for r in (before(run, runs), run) if r is not None]
    steps = sum(r.record.get("steps", 0) for r in trained)
    seconds = sum(r.record.get("seconds", 0) for r in trained)
    told = f"{record.get('recipe', 'unknown')} recipe: {', '.join(parts)}. {steps:,} steps"
    if seconds:
        told += f" in {seconds / 60:.0f} minutes" if seconds > 120 else f" in {seconds:.0f} seconds"
    return f"{told} on {record.get('device', 'an unknown device')}."


SIZES = (("n_layer", "layers"), ("n_head", "heads"), ("n_embd", "channels"))


def before(run, runs):
    """The pretraining that a run started from, if it is among the runs."""
    start = run.record.get("start_sha256")
    return next((other for other in runs if start is not None and other.sha256 == start and other is not run), None)


def first_screen(page, runs, answered, sure, questions, people) -> str:
    """What was trained, one number, one picture, and the question box."""
    label, best = kinds(answered)[0]
    n, right = len(questions.places), mean(run.right.sum() for run in best)
    common, count = questions.baseline
    if len(best) == 1:
        number = f"{counted(int(right), n)}; 95% interval {interval(int(right), n)}."
    else:
        lowest, highest = min(run.right.sum() for run in best), max(run.right.sum() for run in best)
        number = f"Mean of {len(best)} seeds, from {counted(int(lowest), n)} to {counted(int(highest), n)}."
    number += f" “{common}” for every question gets {counted(count, n)}. {asked_about(questions)}"
    curves = learning.curves_of(runs)
    if any("validation_accuracy" in line for curve in curves for line in curve.held_out):
        caption = "Held-out questions answered correctly, measured while the model was trained: this is learning facts."
        picture = page.picture("growth", caption, 3.0, figures.growth, curves)
    else:
        picture = accuracy_picture(page, answered, questions)
    variant = best[0].record.get("variant", best[0].label)
    return (
        f'<p class="kicker">{esc(questions.corpus)} · {date.today()} · torch {esc(torch.__version__)}</p>'
        f"<h1>What {'the ' if best[0].record else ''}{esc(variant)}{' model' if best[0].record else ''} knows, "
        f'and how far to trust it</h1><div class="hero"><div>'
        f'<p class="number"><b>{percent(right / n, 0)}</b> '
        f"<span>of the questions answered right by {esc(label)}</span></p>"
        f"{paragraph(number)}{paragraph(what_was_trained(best[0], runs), 'note')}{picture}</div>"
        f"{asking.box(page, sure, questions, people)}</div>"
    )


def asked_about(questions) -> str:
    """What the questions are, and whether the runs were trained to answer them, as far as it is known."""
    told = f"{len(questions.asked)} questions of {questions.path.name}"
    if questions.train is not None:
        told += f", {questions.trained_on or 'none'} of them among the training rows"
    return f"{told}. Case and accents were ignored." if questions.lenient else f"{told}."


# -------------------------------------------------------------------------------------------------------- accuracy


def accuracy_picture(page, answered, questions) -> str:
    n, (common, count) = len(questions.places), questions.baseline
    rows = [(f"“{common}” for every question", [count], n)]
    rows += [(label, [int(run.right.sum()) for run in runs], n) for label, runs in kinds(answered)]
    public = public_results(answered) if questions.of_course else []
    caption = f"Questions answered {'' if questions.lenient else 'exactly '}right; bars are 95% intervals."
    if any(len(rights) > 1 for _, rights, _ in rows):
        caption += " Where there are several seeds, each is a dot."
    if public:
        caption += " Diamonds and stars: public copies of the course (median and best), on these same questions."
    height = 0.9 + 0.42 * (len(rows) + len(public))
    return page.picture("accuracy", caption, height, figures.accuracy, rows, public)


def public_results(answered) -> list[tuple[str, float, float]]:
    """(label, median, best) of public copies of the course, for the kinds of runs that answered."""
    names = dict.fromkeys(run.record.get("variant") for run in answered)
    public = [(f"public, course's files: {name}", *PUBLIC[name]) for name in names if name in PUBLIC]
    if any(run.record and not run.record.get("pretrained") for run in answered):
        public.append(("public, course's files: no pretraining", *PUBLIC_NOT_PRETRAINED))
    return public


def accuracy(page, answered, questions) -> None:
    n, (common, count) = len(questions.places), questions.baseline
    public = public_results(answered) if questions.of_course else []
    cells = [[f"“{common}” for every question", "", counted(count, n), interval(count, n)]]
    cells += [
        [run.label, run.record.get("seed", "–"), counted(int(run.right.sum()), n), interval(int(run.right.sum()), n)]
        for run in answered
    ]
    cells += [[name, "", f"{median}% (median)", f"best {best}%"] for name, median, best in public]
    text = paragraph(
        "The intervals say how much the choice of questions could change a number. They do not cover what another seed "
        "would change: for that, train several and give the report all of them."
    )
    if public:
        text += paragraph(
            f"{questions.path.name} holds the course's own dev questions. Public copies of the course answered them "
            "after reading the course's texts. A run on other texts cannot be compared with them.",
            "note",
        )
    by_kind = kinds(answered)
    shown = table(["run", "seed", "right", "95% interval"], cells)
    if any(len(runs) > 1 for _, runs in by_kind):
        rights = [(label, [int(run.right.sum()) for run in runs]) for label, runs in by_kind]
        rows = [[label, f"{percent(mean(r) / n)}", percent(min(r) / n), percent(max(r) / n)] for label, r in rights]
        shown = table(["kind of run", "mean", "lowest", "highest"], rows) + folded("Every run", shown)
    if "accuracy" not in page.pictures and "accuracy" not in page.missing:
        shown = accuracy_picture(page, answered, questions) + shown
    page.section("accuracy", "Accuracy", ahead(by_kind, n), text, shown)


def ahead(by_kind, n: int) -> str:
    """The finding: the best kind of run, and by how much it is ahead of the next one."""
    (label, runs), *others = by_kind
    share = mean(run.right.sum() for run in runs) / n
    if not others:
        return f"{label} answers {percent(share)} of the questions rightly"
    points = 100 * (share - mean(run.right.sum() for run in others[0][1]) / n)
    return f"{label} answers {percent(share)} rightly, {points:.1f} points more than {others[0][0]}"


# ------------------------------------------------------------------------------------------------------ two by two


def pairs(page, answered, questions) -> None:
    if len(answered) < 2:
        note = paragraph("Left out: there is only one run.", "note")
        page.section("pairs", "Pairs", "Two runs side by side", note)
        return
    rows = []
    all_pairs = list(combinations(answered, 2))
    for a, b in all_pairs:
        c = paired(a.right, b.right)
        points = f"{100 * c.ahead:+.1f} ({100 * c.low:+.1f} to {100 * c.high:+.1f})"
        counts = [c.both, c.only_a, c.only_b, c.neither]
        rows.append([f"{a.label} against {b.label}", *counts, points, "below 0.001" if c.p < 0.001 else f"{c.p:.3f}"])
    headers = ["first against second", "both right", "only the first", "only the second", "neither"]
    text = paragraph(
        "Both runs answered the same questions, so the questions on which they differ decide. McNemar's test asks "
        "how often fair coins would fall as unevenly: that is p. A small p says that these two sets of parameters "
        "differ on questions like these. It does not say that one recipe is better than the other: another seed can "
        "move a run by several points. Compare several seeds of each."
    )
    if len(all_pairs) > 1:
        bound = f"{0.05 / len(all_pairs):.4f} (0.05 / {len(all_pairs)})"
        note = f"With {len(all_pairs)} pairs, one p below 0.05 is nothing special: look for one below {bound}."
        text += paragraph(note, "note")
    shown = table([*headers, "points ahead (95% interval)", "p"], rows[:6])
    if len(rows) > 6:
        shown += folded("All pairs", table([*headers, "points ahead (95% interval)", "p"], rows[6:]))
    a, b = answered[:2]
    shown += folded(
        "Questions on which the two best runs differ", differing(a, b, questions), differing(b, a, questions)
    )
    c = paired(a.right, b.right)
    finding = f"{a.label} alone knows {c.only_a} of the answers, {b.label} alone {c.only_b}"
    page.section("pairs", "Pairs", finding, text, "", shown)


def differing(first, second, questions) -> str:
    only = [i for i in range(len(questions.asked)) if first.right[i] and not second.right[i]][:LISTED]
    cells = [[questions.asked[i], shown_answer(questions.places[i]), second.said[i] or "(nothing)"] for i in only]
    title = heading(f"Right: {first.label}; wrong: {second.label}")
    headers = ["question", "right answer", "what the other said"]
    return title + (table(headers, cells) if cells else paragraph("There is no such question.", "note"))


def made(page, runs, questions, people) -> None:
    rows = [[run.label, str(run.path), run.sha256[:12] or "–"] for run in runs]
    items = [f"Questions: {questions.path.name}", f"Names in no text: {people.path.name if people else 'not given'}"]
    unsure = [run.label for run in runs if run.record and run.record.get("corpus_sha256") is None]
    if unsure:
        items.append(f"The record does not say on which texts it was trained: {', '.join(unsure)}.")
    for run in runs:
        if run.filed is not None:
            path, same = run.filed
            items.append(
                f"{path.name} agrees with the answers of {run.label} here on {counted(same, len(run.said))}. Rounding "
                "on another device can change a few answers."
            )
    methods = paragraph(
        "Answers are greedy, character by character. Intervals of shares are Wilson's (1927), the paired test is "
        "McNemar's (1947, exact), temperature scaling and the calibration error are those of Guo et al. (2017). The "
        "model in the page has parameters in half precision.",
        "note",
    )
    title = "What this was made from"
    page.section("made", "Sources", title, bullets(items) + methods, table(["run", "file", "SHA-256 begins"], rows))


# -------------------------------------------------------------------------------------------------------- the page


def write(path: Path, runs: list, questions, unseen) -> str | None:
    """Put the page together. Write it to `path`, and its pictures into the folder NAME-figures beside it.

    Returns None, or why there are no pictures.
    """
    page = Page()
    answered = sorted((run for run in runs if run.said is not None), key=lambda run: -run.right.sum())
    sure = [run for run in answered if run.calibration is not None]
    opening = first_screen(page, runs, answered, sure, questions, unseen)
    asking.attention(page, sure)
    interactive.all_answers(page, sure, questions)
    interactive.threshold(page, sure)
    learning.training(page, runs)
    accuracy(page, answered, questions)
    by_group.position(page, answered, questions)
    by_group.frequency(page, answered, questions)
    confidence.calibration(page, sure)
    confidence.unseen(page, sure, unseen)
    pairs(page, answered, questions)
    made(page, runs, questions, unseen)
    page.scripts = [name for name in asking.SCRIPTS if sure and (name == "report.js" or asking.askable(sure))]
    folder = path.with_name(f"{path.stem}-figures")
    if page.pictures:
        folder.mkdir(exist_ok=True)
    for name, picture in page.pictures.items():
        with atomic_write(folder / f"{name}.png") as file:
            file.write(picture.png)
    for name in page.missing:  # that of an earlier page would not belong to this one
        (folder / f"{name}.png").unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(page.html("What the model knows, and how far to trust it", opening).encode())
    return page.undrawn
