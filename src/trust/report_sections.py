"""The report's sections about training and accuracy, and the page put together.

`answered` are the runs with answers and `sure` those with confidences. Both are ordered by right answers, most first.
Pictures show the first SHOWN of them at most; tables show all. The sections about confidence are in
report_confidence.py.
"""

from collections import Counter
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

import trust.report_confidence as confidence
import trust.report_figures as figures
import trust.report_interactive as interactive
from safe.files import atomic_write
from trust.calibration import paired
from trust.report_confidence import above, nine_in_ten
from trust.report_page import LISTED, SHOWN, Page, bullets, counted, heading, interval, paragraph, percent, table

# Accuracy of public copies of the course's code on the course's own 500 dev questions, in percent: (median, best).
PUBLIC = {"vanilla": (23.0, 31.8), "synthesizer": (11.0, 17.2), "perceiver": (8.6, 19.2), "rope": (31.6, 40.4)}
PUBLIC_NOT_PRETRAINED = (1.6, 2.8)


def in_short(answered, sure, questions) -> list[str]:
    best, n = answered[0], len(questions.places)
    right, london = int(best.right.sum()), questions.places.count("London")
    items = [
        f"Most right answers: {best.label}, {counted(right, n)} (95% interval {interval(right, n)}). "
        f"“London” for everyone gets {counted(london, n)}."
    ]
    if not sure:
        return [*items, "How sure the runs are is not known: no parameters were given."]
    run, point = sure[0], nine_in_ten(sure[0])
    if point is None:
        items.append(f"{run.label}: there is no confidence from which up it is right nine times in ten.")
    else:
        items.append(
            f"{run.label} is right nine times in ten if it only answers from a confidence of "
            f"{percent(point.threshold)} up; that is {counted(point.total, n)} of the questions, and {point.right} of "
            f"these answers are right (95% interval {interval(point.right, point.total)})."
        )
    if run.unseen is not None:
        if point is not None:
            count = counted(*above(run.unseen.confidence, point.threshold))
            sentence = f"From the same confidence up it answers {count}"
        else:
            sentence = f"With a confidence of 50% or more it answers {counted(*above(run.unseen.confidence, 0.5))}"
        items.append(f"{sentence} of the questions about people nobody wrote about. All of these answers are made up.")
    return items


# -------------------------------------------------------------------------------------------------------- training


def training(page, runs) -> None:
    parts = [
        paragraph(
            "The loss says how surprised the model is by the next character, in nats: 0 is no surprise. The three "
            "kinds of training ask for different characters (pretraining for hidden pieces of text, finetuning for "
            "answers), so their losses cannot be compared with each other. And a low loss is not knowledge: it is "
            "measured on what the model was trained on."
        )
    ]
    order = ("Pretraining", "Finetuning after pretraining", "Finetuning without pretraining")
    for i, stage in enumerate(sorted({run.stage for run in runs if run.log}, key=order.index)):
        logs = [(run.label, run.log) for run in runs if run.stage == stage and run.log]
        caption = f"{stage}: mean loss since the previous point (above) and learning rate (below), over steps."
        parts.append(page.picture(f"training-{i + 1}", caption, 4.4, figures.curves, logs))
    rows = []
    for run in sorted((run for run in runs if run.record), key=lambda run: order.index(run.stage)):
        record, loss = run.record, run.record.get("final_loss")
        rows.append(
            [
                run.stage,
                run.label,
                record.get("steps", "–"),
                "–" if loss is None else f"{loss:.3f}",
                f"{record['seconds']:.0f} s" if "seconds" in record else "–",
                record.get("device", "–"),
                record.get("recipe", "–"),
                record.get("seed", "–"),
            ]
        )
    if rows:
        parts.append(table(["stage", "run", "steps", "last loss", "time", "device", "recipe", "seed"], rows))
    if not any(run.log for run in runs):
        why = "There are no curves: no set of parameters has the log of its run (P.log.jsonl) beside it."
        parts.append(paragraph(why, "note"))
    page.section("training", "How they learned", *parts)


# -------------------------------------------------------------------------------------------------------- accuracy


def accuracy(page, answered, questions) -> None:
    n, london = len(questions.places), questions.places.count("London")
    rows = [("“London” for everyone", london, n)] + [(run.label, int(run.right.sum()), n) for run in answered]
    public = public_results(answered) if questions.of_course else []
    caption = (
        "Share of the questions answered exactly right. The line is the 95% interval: with this many questions, "
        "chance alone makes a run look better or worse by that much. It does not cover what another training "
        "seed would change."
    )
    if public:
        caption += " Diamonds and stars: public copies of the course (median and best), on these same questions."
    cells = [[label, counted(right, total), interval(right, total)] for label, right, total in rows]
    other = [[name, f"{median}% (median)", f"best {best}%"] for name, median, best in public]
    page.section(
        "accuracy",
        "What they know",
        page.picture("accuracy", caption, 1.2 + 0.5 * (len(rows) + len(public)), figures.accuracy, rows, public),
        table(["run", "right", "95% interval"], cells + other),
        paragraph(
            f"{questions.path.name} holds the course's own dev questions. Public copies of the course answered them "
            "after reading the course's texts. A run on other texts cannot be compared with them.",
            "note",
        )
        if public
        else "",
    )


def public_results(answered) -> list[tuple[str, float, float]]:
    """(label, median, best) of public copies of the course, for the kinds of runs that answered."""
    names = dict.fromkeys(run.record.get("variant") for run in answered)
    public = [(f"public, course's files: {name}", *PUBLIC[name]) for name in names if name in PUBLIC]
    if any(run.record and not run.record.get("pretrained") for run in answered):
        public.append(("public, course's files: no pretraining", *PUBLIC_NOT_PRETRAINED))
    return public


def grouped(page, name: str, caption: str, names: list[str], members: np.ndarray, answered, xlabel: str) -> str:
    """Picture and table of accuracy by group. members (N,) is the group of each question, an index into `names`."""
    present = [i for i in range(len(names)) if (members == i).any()]
    counts = {
        run.label: [(int(run.right[members == i].sum()), int((members == i).sum())) for i in present]
        for run in answered
    }
    labels = [names[i] for i in present]
    shown = dict(list(counts.items())[:SHOWN])
    rows = [
        [label, run, counted(*pairs[i]), interval(*pairs[i])]
        for i, label in enumerate(labels)
        for run, pairs in counts.items()
    ]
    return page.picture(name, caption, 3.6, figures.groups, labels, shown, xlabel) + table(
        ["group", "run", "right", "95% interval"], rows
    )


def position(page, answered, questions) -> None:
    title = "Does it matter where the answer stands?"
    if questions.ends is None:
        page.section("position", title, paragraph("Left out: the corpus is too large to search for people.", "note"))
        return
    edges = [round(questions.reach * quarter / 4) for quarter in (1, 2, 3, 4)]
    names = [f"{low + 1}–{high}" for low, high in zip([0, *edges], edges, strict=False)]
    names += [f"after {edges[-1]}", "not in\nthe text", "nothing\nwritten"]
    members = np.array(
        [
            6 if not known else 5 if end is None else int(np.searchsorted(edges, end))
            for end, known in zip(questions.ends, questions.known, strict=True)
        ]
    )
    caption = (
        "Accuracy by the character at which the birth place ends in the person's text (number of questions in "
        f"brackets; lines are 95% intervals). Pretraining reads at most the first {questions.reach} characters of a "
        "text, and mostly fewer with some recipes, so the model sees what comes later rarely or never. A right answer "
        "whose place is not in the text cannot have been read there: it was guessed or inferred."
    )
    xlabel = "where in the text the answer ends, in characters"
    page.section("position", title, grouped(page, "position", caption, names, members, answered, xlabel))


def frequency(page, answered, questions) -> None:
    title = "Does it matter how common the place is?"
    if questions.train is None:
        note = "Left out: the rows that the runs were trained on were not given (--finetune_corpus_path)."
        page.section("frequency", title, paragraph(note, "note"))
        return
    edges = [0, 1, 4, 9, 24]
    names = ["never", "once", "2–4", "5–9", "10–24", "25 or\nmore"]
    members = np.searchsorted(edges, [questions.train[place] for place in questions.places])
    best, n = answered[0], len(questions.places)
    caption = (
        f"Accuracy by how often the true place is an answer among the {questions.train_rows} rows of finetuning, "
        "which are about other people. A model that only guesses common places is right on the far right and "
        "nowhere else."
    )
    said, true = Counter(best.said), Counter(questions.places)
    rows = [
        [
            place,
            count,
            true[place],
            questions.train[place],
            sum(a == b == place for a, b in zip(best.said, questions.places, strict=True)),
        ]
        for place, count in said.most_common(8)
    ]
    invented = sum(place not in questions.train for place in best.said)
    others = [run.label for run in answered if run.record.get("questions_sha256") not in (None, questions.train_sha256)]
    also = f" Not so for {', '.join(others)}, which was trained on other rows." if others else ""
    page.section(
        "frequency",
        title,
        grouped(page, "frequency", caption, names, members, answered, "times the place is an answer in training rows"),
        heading(f"What {best.label} says most often"),
        table(["answer", "said", "is the answer here", "in the training rows", "said rightly"], rows),
        paragraph(
            f"{counted(invented, n)} of its answers are not the answer of any training row: they are places known "
            f"only from the texts, or misspelt ones.{also}",
            "note",
        ),
    )


# ------------------------------------------------------------------------------------------------------ two by two


def pairs(page, answered, questions) -> None:
    title = "Two runs side by side"
    if len(answered) < 2:
        page.section("pairs", title, paragraph("Left out: there is only one run.", "note"))
        return
    all_pairs = list(combinations(answered, 2))
    rows = []
    for a, b in all_pairs:
        c = paired(a.right, b.right)
        p = "below 0.001" if c.p < 0.001 else f"{c.p:.3f}"
        rows.append(
            [
                f"{a.label} against {b.label}",
                c.both,
                c.only_a,
                c.only_b,
                c.neither,
                f"{100 * c.ahead:+.1f} ({100 * c.low:+.1f} to {100 * c.high:+.1f})",
                p,
            ]
        )
    a, b = answered[:2]
    parts = [
        paragraph(
            "Both runs answered the same questions, so the questions on which they differ decide. McNemar's test asks "
            "how often fair coins would fall as unevenly as “only the first” and “only the second”: that is p. A "
            "small p says that these two sets of parameters differ on questions like these. It does not say that one "
            "recipe is better than the other: another seed can move a run by several points, and one of the two may "
            "have been trained longer (see the first table). Compare several seeds of each."
        ),
        table(
            [
                "first against second",
                "both right",
                "only the first",
                "only the second",
                "neither",
                "points ahead (95% interval)",
                "p",
            ],
            rows,
        ),
    ]
    if len(all_pairs) > 1:
        parts.append(
            paragraph(
                f"With {len(all_pairs)} pairs, one p below 0.05 is nothing special: look for one below "
                f"{0.05 / len(all_pairs):.4f} (0.05 / {len(all_pairs)}).",
                "note",
            )
        )
    for first, second in ((a, b), (b, a)):
        only = [i for i in range(len(questions.asked)) if first.right[i] and not second.right[i]][:LISTED]
        parts.append(heading(f"Right: {first.label}; wrong: {second.label}"))
        cells = [[questions.asked[i], questions.places[i], second.said[i] or "(nothing)"] for i in only]
        headers = ["question", "right answer", "what the other said"]
        parts.append(table(headers, cells) if cells else paragraph("There is no such question.", "note"))
    page.section("pairs", title, *parts)


def made(page, runs, questions, people) -> None:
    rows = [[run.label, str(run.path), run.sha256[:12] or "–"] for run in runs]
    unseen = people.path.name if people else "not given"
    items = [f"Questions: {questions.path.name}", f"People in no text: {unseen}"]
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
    page.section(
        "made",
        "What this was made from",
        table(["run", "file", "SHA-256 begins"], rows),
        bullets(items),
        paragraph(
            "Answers are greedy, character by character. Intervals of shares are Wilson's (1927), the paired test is "
            "McNemar's (1947, exact), temperature scaling and the calibration error are those of Guo et al. (2017).",
            "note",
        ),
    )


def asked_about(questions) -> str:
    """What the questions are, and whether the runs were trained to answer them, as far as it is known."""
    n, name = len(questions.asked), questions.path.name
    if questions.train is None:
        return f"{n} questions of {name}."
    if questions.trained_on:
        return f"{n} questions of {name}, {questions.trained_on} of them among the training rows."
    return f"{n} questions of {name}, none of them among the training rows."


def write(path: Path, runs: list, questions, unseen) -> str | None:
    """Put the page together. Write it to `path`, and its pictures into the folder NAME-figures beside it.

    Returns None, or why there are no pictures.
    """
    page = Page()
    answered = sorted((run for run in runs if run.said is not None), key=lambda run: -run.right.sum())
    sure = [run for run in answered if run.calibration is not None]
    opening = paragraph(f"{asked_about(questions)} Written on {date.today()} with torch {torch.__version__}.")
    short = bullets(in_short(answered, sure, questions))
    opening += f'<div class="short"><strong>In short</strong>{short}</div>'
    training(page, runs)
    accuracy(page, answered, questions)
    position(page, answered, questions)
    frequency(page, answered, questions)
    confidence.confident(page, sure, questions)
    confidence.calibration(page, sure)
    confidence.abstaining(page, sure)
    confidence.unseen(page, sure, unseen)
    interactive.add(page, sure, questions)
    pairs(page, answered, questions)
    made(page, runs, questions, unseen)
    folder = path.with_name(f"{path.stem}-figures")
    if page.pictures:
        folder.mkdir(exist_ok=True)
    for name, picture in page.pictures.items():
        with atomic_write(folder / f"{name}.png") as file:
            file.write(picture.light)
    for name in page.missing:  # that of an earlier page would not belong to this one
        (folder / f"{name}.png").unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(page.html("What the model knows, and how far to trust it", opening).encode())
    return page.undrawn
