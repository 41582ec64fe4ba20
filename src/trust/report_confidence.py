"""The report's sections about confidence: examples, calibration, abstaining, and people in no text.

`sure` are the runs whose confidences are known, ordered by right answers, most first; see report_sections.py.
"""

from collections import Counter

import numpy as np

import trust.report_figures as figures
from trust.calibration import needed_for, reliability, risk_coverage, separation, share_among_pairs
from trust.report_page import LISTED, SHOWN, counted, heading, interval, paragraph, percent, table


def nine_in_ten(run):
    """The lowest confidence from which up nine in ten answers are right, or None."""
    return needed_for(risk_coverage(run.answers.confidence, run.right), 0.9)


def telling(higher: np.ndarray, lower: np.ndarray) -> str:
    return f"{separation(higher, lower):.2f}" if len(higher) and len(lower) else "–"


def above(confidence: np.ndarray, threshold: float) -> tuple[int, int]:
    return int((confidence >= threshold).sum()), len(confidence)


def no_parameters() -> str:
    return paragraph("Left out: no parameters were given (--reading_params_path), so no confidences are known.", "note")


def confident(page, sure, questions) -> None:
    title = "Its surest answers, right and wrong"
    if not sure:
        page.section("confident", title, no_parameters())
        return
    run = sure[0]
    order = np.argsort(-run.answers.confidence, kind="stable")
    parts = [
        paragraph(
            f"Of {run.label}. The confidence of an answer is the probability that the model gives to exactly these "
            "characters and an end after them. It is the model's own opinion: nothing in it knows whether the "
            "answer is true. A right answer and a made-up one look the same."
        )
    ]
    for right, name in ((True, "Surest of the right ones"), (False, "Surest of the wrong ones")):
        rows = []
        for i in [i for i in order if run.right[i] == right][:LISTED]:
            row = [percent(run.answers.confidence[i]), questions.asked[i], run.said[i] or "(nothing)"]
            rows.append(row if right else [*row, questions.places[i]])
        headers = ["confidence", "question", "answer"] + ([] if right else ["true place"])
        parts += [heading(name), table(headers, rows) if rows else paragraph("There are none.", "note")]
    page.section("confident", title, *parts)


# ----------------------------------------------------------------------------------------------------- calibration


def calibration(page, sure) -> None:
    title = "Is it as often right as it says?"
    if not sure:
        page.section("calibration", title, no_parameters())
        return
    run, found = sure[0], sure[0].calibration
    bins = reliability(run.answers.confidence, run.right, found.n_bins)
    series = [("as it is", bins)]
    if found.fitted:
        series.append(("temperature scaled", reliability(found.scaled, run.right, found.n_bins)))
    caption = (
        f"Reliability of {run.label}: answers grouped by confidence. Numbers count the answers of a group as it is, "
        "lines are 95% intervals. Below the dashed line the model is surer than it should be, above it less sure."
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
    page.section(
        "calibration",
        title,
        paragraph(
            "A model is calibrated if 70% of the answers that it gives with 70% confidence are right. The expected "
            "calibration error is the mean distance between the two, in percentage points. Even a perfectly "
            "calibrated model does not get 0, because a group of a few answers is off by chance: “by chance alone” "
            "is what it would get with these confidences. Only an error well above that says something about the "
            "model."
        ),
        page.picture("calibration", caption, 4.6, figures.reliability, series),
        calibration_errors(sure),
        heading(f"The groups of {run.label}, as it is"),
        table(["confidence", "answers", "mean confidence", "right", "95% interval"], groups),
        paragraph(
            "Temperature scaling divides the model's logits by one number before they become probabilities. Above 1 "
            "it makes the model less sure, below 1 surer; no answer changes. The number has to be fitted on questions "
            "that the model was not trained on. It knows the training rows by heart, and none were held out for this, "
            "so the questions of this report serve, with cross-fitting: they are split at random into five parts, and "
            "the answers of each part are scaled with the number that fits the other four best (by the log loss of "
            "right and wrong). So no answer influences its own confidence. The temperature in the table is fitted on "
            "all of them. A run that is never right, or always, has none.",
            "note",
        ),
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


# ------------------------------------------------------------------------------------------------------ abstaining


def abstaining(page, sure) -> None:
    title = "What if it only answers when it is sure?"
    if not sure:
        page.section("abstaining", title, no_parameters())
        return
    curves = [(run.label, risk_coverage(run.answers.confidence, run.right)) for run in sure]
    caption = (
        "From left to right the model answers more of the questions, the surest first; at the right end all of "
        "them. The height is the share of those answers that are right. The band is the 95% interval of "
        f"{sure[0].label} at each point. A curve that falls means that the confidence tells right from wrong."
    )
    rows = []
    for run, (_, curve) in zip(sure, curves, strict=True):
        n, point, confidence = len(run.right), needed_for(curve, 0.9), run.answers.confidence
        quarter = next(p for p in curve if p.total >= n / 4)
        rows.append(
            [
                run.label,
                counted(int(run.right.sum()), n),
                counted(quarter.right, quarter.total),
                percent(point.threshold) if point else "none",
                f"{counted(point.total, n)} of the questions; {point.right} right "
                f"({interval(point.right, point.total)})"
                if point
                else "–",
                telling(confidence[run.right], confidence[~run.right]),
            ]
        )
    page.section(
        "abstaining",
        title,
        page.picture("abstaining", caption, 3.9, figures.coverage, curves[:SHOWN]),
        table(
            [
                "run",
                "right, answering all",
                "right, answering the surest quarter",
                "right nine times in ten from",
                "which is",
                "tells right from wrong",
            ],
            rows,
        ),
        paragraph(
            "“Right nine times in ten from” is the lowest confidence from which up at least 90% of the answers are "
            "right, if there are ten such answers. It was chosen on these same questions, so on others it will do a "
            "little worse. “Tells right from wrong” is the probability that a right answer has more confidence than "
            "a wrong one: 1 means always, 0.5 a coin.",
            "note",
        ),
    )


# ---------------------------------------------------------------------------------------------------- unseen people


def unseen(page, sure, people) -> None:
    title = "People nobody wrote about"
    if people is None or not sure:
        note = "Left out: no questions about people whom the corpus does not mention were given (--unseen_corpus_path)."
        page.section("unseen", title, no_parameters() if people is not None else paragraph(note, "note"))
        return
    run, n = sure[0], len(people.asked)
    parts = [
        paragraph(
            f"{n} names of people who are nowhere in the texts. There is nothing to know, and none of these answers "
            "can be right: every one is made up. A model that knew what it does not know would be unsure of all of "
            "them."
        )
    ]
    if not run.record.get("pretrained"):
        parts.append(paragraph(f"{run.label} has read no texts: the people in them are as unknown to it as these."))
    parts += [unseen_picture(page, run), unseen_table(sure, n)]
    parts.append(
        paragraph(
            "“Tells them apart” is the probability that the answer about a person in the texts has more confidence "
            "than one about a person in no text: 1 means always, 0.5 a coin.",
            "note",
        )
    )
    parts += inventions(run, people)
    parts += traditions(sure, people)
    if people.left_out:
        note = f"{people.left_out} questions of {people.path.name} were left out: the corpus mentions these people, or "
        parts.append(paragraph(f"{note}lacks a character of their names.", "note"))
    page.section("unseen", title, *parts)


def unseen_picture(page, run) -> str:
    confidence, point = run.answers.confidence, nine_in_ten(run)
    series = [
        ("people in the texts, answer right", confidence[run.right]),
        ("people in the texts, answer wrong", confidence[~run.right]),
        ("people in no text, answer made up", run.unseen.confidence),
    ]
    caption = (
        f"How sure {run.label} is, as shares of each kind of question (their numbers in the titles). Where the three "
        "look alike, confidence cannot tell knowing from making up."
    )
    if point is not None:
        caption += f" Dashed: from {percent(point.threshold)} up it is right nine times in ten on people in the texts."
    shown = [s for s in series if len(s[1])]
    return page.picture("unseen", caption, 4.4, figures.confidences, shown, point.threshold if point else None)


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
            f"mean confidence: {known} people asked about above",
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
    title = heading("Does the guess go by the name?")
    if people.traditions is None:
        note = (
            "Left out: the tradition of each name, and where traditions are at home, are not known (no "
            f"birth_unseen_traditions.tsv and place_traditions.tsv beside {people.path.name})."
        )
        return [title, paragraph(note, "note")]
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
        title,
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
