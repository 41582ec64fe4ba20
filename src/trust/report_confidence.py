"""The report's sections about confidence: calibration, and names in no text.

`sure` are the runs whose confidences are known, ordered by right answers, most first; see report_sections.py.
"""

from collections import Counter

import numpy as np

import trust.report_figures as figures
from trust.calibration import needed_for, reliability, risk_coverage, separation, share_among_pairs
from trust.report_page import LISTED, counted, folded, heading, interval, paragraph, percent, table


def nine_in_ten(run):
    """The lowest confidence from which up nine in ten answers are right, or None."""
    return needed_for(risk_coverage(run.answers.confidence, run.right), 0.9)


def telling(higher: np.ndarray, lower: np.ndarray) -> str:
    return f"{separation(higher, lower):.2f}" if len(higher) and len(lower) else "–"


def above(confidence: np.ndarray, threshold: float) -> tuple[int, int]:
    return int((confidence >= threshold).sum()), len(confidence)


def no_parameters() -> str:
    return paragraph("Left out: no parameters were given (--reading_params_path), so no confidences are known.", "note")


# ----------------------------------------------------------------------------------------------------- calibration


def calibration(page, sure) -> None:
    short, title = "Calibration", "Is it as often right as it says?"
    if not sure:
        page.section("calibration", short, title, no_parameters())
        return
    run, found = sure[0], sure[0].calibration
    bins = reliability(run.answers.confidence, run.right, found.n_bins)
    series = [("as it is", bins)]
    if found.fitted:
        series.append(("temperature scaled", reliability(found.scaled, run.right, found.n_bins)))
    caption = (
        f"Answers of {run.label}, grouped by confidence. Numbers count the answers of a group as it is, lines are 95% "
        "intervals. Below the dashed line the model is surer than it should be, above it less sure."
    )
    groups = [
        [
            f"{percent(b.low, 0)} to {percent(b.high, 0)}",
            b.total,
            percent(b.confidence) if b.total else "–",
            counted(b.right, b.total),
            interval(b.right, b.total) if b.total else "–",
        ]
        for b in bins
    ]
    text = paragraph(
        "A model is calibrated if 70% of the answers that it gives with 70% confidence are right. The expected "
        "calibration error is the mean distance between the two, in percentage points. A group of a few answers is "
        "off by chance, so even a perfectly calibrated model does not get 0: only an error well above “by chance "
        "alone” says something about the model."
    )
    below = folded(
        "Numbers",
        calibration_errors(sure),
        heading(f"The groups of {run.label}, as it is"),
        table(["confidence", "answers", "mean confidence", "right", "95% interval"], groups),
    )
    below += folded("How temperature scaling works", paragraph(SCALING))
    mean, share = run.answers.confidence.mean(), run.right.mean()
    word = "surer than it should be" if mean > share else "less sure than it should be"
    within = found.error <= 1.5 * found.unavoidable
    finding = f"It is {percent(mean, 0)} sure on average and right {percent(share, 0)} of the time: "
    finding += "no further apart than chance would have it" if within else word
    page.section(
        "calibration", short, finding, text, page.picture("calibration", caption, 4.4, figures.reliability, series)
    )


SCALING = (
    "Temperature scaling divides the model's logits by one number before they become probabilities. Above 1 it makes "
    "the model less sure, below 1 surer; no answer changes. The number has to be fitted on questions that the model "
    "was not trained on. It knows the training rows by heart, and none were held out for this, so the questions of "
    "this report serve, with cross-fitting: they are split at random into five parts, and the answers of each part "
    "are scaled with the number that fits the other four best (by the log loss of right and wrong). So no answer "
    "influences its own confidence. The temperature in the table is fitted on all of them. A run that is never "
    "right, or always, has none."
)


def calibration_errors(sure) -> str:
    rows = []
    for run in sure:
        c = run.calibration
        scaled = [f"{c.temperature:.2f}", f"{100 * c.error_scaled:.1f}", f"{100 * c.unavoidable_scaled:.1f}"]
        plain = [f"{100 * c.error:.1f}", f"{100 * c.unavoidable:.1f}"]
        rows.append([run.label, *plain, *(scaled if c.fitted else "–––")])
    return table(
        ["run", "error in points", "by chance alone", "temperature", "error, scaled", "by chance alone, scaled"], rows
    )


# ---------------------------------------------------------------------------------------------------- unseen names


def unseen(page, sure, people) -> None:
    short, title = "Nobody wrote about", "What does it say of names that nobody wrote about?"
    if people is None or not sure:
        note = "Left out: no questions about names that the corpus does not mention were given (--unseen_corpus_path)."
        page.section("unseen", short, title, no_parameters() if people is not None else paragraph(note, "note"))
        return
    run, n, point = sure[0], len(people.asked), nine_in_ten(sure[0])
    text = paragraph(
        f"{n} names that are nowhere in the texts. There is nothing to know, and none of these answers can be "
        "right: every one is made up. A model that knew what it does not know would be unsure of all of them."
    )
    if not run.record.get("pretrained"):
        text += paragraph(f"{run.label} has read no texts: the names in them are as unknown to it as these.")
    note = (
        "“Tells them apart” is the probability that the answer about a name in the texts has more confidence than "
        "one about a name in no text: 1 means always, 0.5 a coin."
    )
    below = folded("Numbers", unseen_table(sure, n), paragraph(note, "note"))
    below += folded("What it makes up", *inventions(run, people))
    below += folded("Does the guess go by the name?", *traditions(sure, people))
    if people.left_out:
        note = f"{people.left_out} questions of {people.path.name} were left out: the corpus mentions these names, or "
        text += paragraph(f"{note}a run lacks one of their characters.", "note")
    level = point.threshold if point else 0.5
    count = above(run.unseen.confidence, level)
    finding = f"It makes up an answer for {counted(*count)} of the names that nobody wrote about with a confidence of "
    finding += f"{percent(level)} or more"
    page.section("unseen", short, finding, text, unseen_picture(page, run), below)


def unseen_picture(page, run) -> str:
    confidence, point = run.answers.confidence, nine_in_ten(run)
    series = [
        ("names in the texts, answer right", confidence[run.right]),
        ("names in the texts, answer wrong", confidence[~run.right]),
        ("names in no text, answer made up", run.unseen.confidence),
    ]
    caption = (
        f"How sure {run.label} is, as shares of each kind of question (their numbers in the titles). Where the three "
        "look alike, confidence cannot tell knowing from making up."
    )
    if point is not None:
        caption += f" Dashed: from {percent(point.threshold)} up it is right nine times in ten on names in the texts."
    shown = [s for s in series if len(s[1])]
    return page.picture("unseen", caption, 4.2, figures.confidences, shown, point.threshold if point else None)


def unseen_table(sure, n: int) -> str:
    rows = []
    for run in sure:
        mark = nine_in_ten(run)
        rows.append(
            [
                run.label,
                percent(run.answers.confidence.mean()),
                percent(run.unseen.confidence.mean()),
                percent(run.calibration.unseen_scaled.mean()) if run.calibration.fitted else "–",
                counted(*above(run.unseen.confidence, mark.threshold)) if mark else "–",
                telling(run.answers.confidence, run.unseen.confidence),
            ]
        )
    known = len(sure[0].answers.confidence)
    return table(
        [
            "run",
            f"mean confidence: {known} names asked about above",
            f"{n} in no text",
            "in no text, temperature scaled",
            "in no text, yet above its nine-in-ten confidence",
            "tells them apart",
        ],
        rows,
    )


def inventions(run, people) -> list[str]:
    """What the run makes up most often, and its surest inventions."""
    confidence, texts, said = run.unseen.confidence, run.unseen.texts, Counter(run.unseen.texts)
    mean = {place: confidence[[text == place for text in texts]].mean() for place in said}
    often = [
        [place or "(nothing)", counted(count, len(texts)), percent(mean[place])] for place, count in said.most_common(8)
    ]
    surest = [
        [percent(confidence[i]), people.asked[i], texts[i] or "(nothing)"]
        for i in np.argsort(-confidence, kind="stable")[:LISTED]
    ]
    return [
        heading(f"What {run.label} makes up most often"),
        table(["answer", "times", "mean confidence"], often),
        heading("Its surest inventions"),
        table(["confidence", "question", "answer"], surest),
    ]


def traditions(sure, people) -> list[str]:
    """How far guesses follow the naming tradition, compared with the same guesses dealt out at random."""
    if people.traditions is None:
        note = (
            "Left out: the tradition of each name, and where traditions are at home, are not known (no "
            f"birth_unseen_traditions.tsv and place_traditions.tsv beside {people.path.name})."
        )
        return [paragraph(note, "note")]
    rows = []
    for run in sure:
        at_home, by_accident = share_among_pairs(run.unseen.texts, people.traditions, people.homes)
        n = len(people.asked)
        home = round(at_home * n)
        rows.append([run.label, counted(home, n), interval(home, n), percent(by_accident)])
    run = sure[0]
    by_tradition = []
    for tradition, count in Counter(people.traditions).most_common(8):
        guesses = [text for text, t in zip(run.unseen.texts, people.traditions, strict=True) if t == tradition]
        home = sum(tradition in people.homes.get(guess, ()) for guess in guesses)
        common = ", ".join(f"{place} {c}" for place, c in Counter(guesses).most_common(3))
        by_tradition.append([tradition, count, counted(home, count), common])
    return [
        paragraph(
            "In the texts, people tend to be born where their name is at home, so a name is a hint. A guess is “at "
            "home” if it is a place of a region where the name's tradition is at home. The last number is what the "
            "same guesses would get if they were dealt out to these people at random: only what exceeds it was read "
            "off the names."
        ),
        table(["run", "guesses at home", "95% interval", "the same, dealt out at random"], rows),
        heading(f"By tradition, {run.label}"),
        table(["tradition", "names", "guesses at home", "most frequent guesses"], by_tradition),
    ]
