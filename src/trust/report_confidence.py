"""The report's sections about confidence: examples, calibration, abstaining, and people in no text.

`sure` are the runs whose confidences are known, with the most right answers first; see report_sections.py.
"""

from collections import Counter

import numpy as np

import report_figures as figures
from calibration import needed_for, reliability, risk_coverage, separation, share_among_pairs
from report_page import LISTED, SHOWN, counted, heading, interval, paragraph, percent, table


def nine_in_ten(run):
    return needed_for(risk_coverage(run.answers.confidence, run.right), 0.9)


def telling(higher: np.ndarray, lower: np.ndarray) -> str:
    return f"{separation(higher, lower):.2f}" if len(higher) and len(lower) else "–"


def above(confidence: np.ndarray, threshold: float) -> tuple[int, int]:
    return int((confidence >= threshold).sum()), len(confidence)


def confident(page, sure, questions) -> None:
    title = "Its surest answers, right and wrong"
    if not sure:
        page.section("confident", title, no_parameters())
        return
    run = sure[0]
    order = np.argsort(-run.answers.confidence, kind="stable")
    parts = [
        paragraph(
            f"Of {run.label}. The confidence of an answer is the probability the model gives to exactly these "
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


def calibration(page, sure, questions) -> None:
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
        f"Reliability of {run.label}: answers sorted into groups by confidence; numbers count the answers of a group "
        "as it is, lines are 95% intervals. Below the dashed line the model is surer than it should be, above it "
        "less sure."
    )
    rows = []
    for r in sure:
        c = r.calibration
        scaled = [f"{c.temperature:.2f}", f"{100 * c.error_scaled:.1f}", f"{100 * c.unavoidable_scaled:.1f}"]
        plain = [f"{100 * c.error:.1f}", f"{100 * c.unavoidable:.1f}"]
        rows.append([r.label, *plain, *(scaled if c.fitted else "–––")])
    groups = [[f"{percent(b.low, 0)} to {percent(b.high, 0)}", b.total, percent(b.confidence) if b.total else "–",
               counted(b.right, b.total), interval(b.right, b.total) if b.total else "–"] for b in bins]  # fmt: skip
    page.section(
        "calibration",
        title,
        paragraph(
            "A model is calibrated if of the answers it gives with 70% confidence 70% are right. The expected "
            "calibration error is how far the two are apart on average, in percentage points. Even a perfectly "
            "calibrated model does not get 0, since a group of a few answers is off by chance: “by chance alone” is "
            "what it would get with these confidences. Only an error well above that says something about the model."
        ),
        page.picture("calibration", caption, 4.6, figures.reliability, series),
        table(["run", "error in points", "by chance alone", "temperature", "error, scaled", "by chance alone, scaled"],
              rows),
        heading(f"The groups of {run.label}, as it is"),
        table(["confidence", "answers", "mean confidence", "right", "95% interval"], groups),
        paragraph(
            "Temperature scaling divides the model's logits by one number before they become probabilities; above 1 "
            "it makes it less sure, below 1 surer, and no answer changes. The number has to be fitted on questions "
            "the model was not trained on. It knows the training rows by heart, and none were held out for this, so "
            "it is fitted on the questions of this report, cross-fitted: these are split at random into five parts, "
            "and the answers of each part are scaled with the number that fits the other four best (by the log loss "
            "of right and wrong). So no answer had a say in its own confidence. The temperature in the table is "
            "fitted on all of them. A run that is never right, or always, has none.",
            "note",
        ),
    )  # fmt: skip


def abstaining(page, sure) -> None:
    title = "What if it only answers when it is sure?"
    if not sure:
        page.section("abstaining", title, no_parameters())
        return
    curves = [(run.label, risk_coverage(run.answers.confidence, run.right)) for run in sure]
    n = len(sure[0].right)
    caption = (
        "From left to right the model answers more of the questions, the surest first; at the right end all of "
        "them. The height is the share of those answers that is right; the band is the 95% interval of "
        f"{sure[0].label} at each point. A curve that falls means that the confidence tells right from wrong."
    )
    rows = []
    for run, (_, curve) in zip(sure, curves, strict=True):
        quarter = next(p for p in curve if p.total >= n / 4)
        point = needed_for(curve, 0.9)
        confidence = run.answers.confidence
        rows.append([run.label, counted(int(run.right.sum()), n), counted(quarter.right, quarter.total),
                     percent(point.threshold) if point else "none",
                     f"{counted(point.total, n)} of the questions; {point.right} right "
                     f"({interval(point.right, point.total)})"
                     if point else "–",
                     telling(confidence[run.right], confidence[~run.right])])  # fmt: skip
    page.section(
        "abstaining",
        title,
        page.picture("abstaining", caption, 3.9, figures.coverage, curves[:SHOWN]),
        table(["run", "right, answering all", "right, answering the surest quarter", "right nine times in ten from",
               "which is", "tells right from wrong"], rows),
        paragraph(
            "“Right nine times in ten from” is the lowest confidence from which up at least 90% of the answers are "
            "right, if there are ten such answers. It was picked on these same questions, so on others it will do a "
            "little worse. “Tells right from wrong” is the probability that a right answer has more confidence than "
            "a wrong one: 1 is always, 0.5 is a coin.",
            "note",
        ),
    )  # fmt: skip


def no_parameters() -> str:
    return paragraph("Left out: no parameters were given (--reading_params_path), so no confidences are known.", "note")


# ---------------------------------------------------------------------------------------------------- unseen people


def unseen(page, sure, people) -> None:
    title = "People nobody wrote about"
    if people is None or not sure:
        note = "Left out: no questions about people whom the corpus does not mention were given (--unseen_corpus_path)."
        page.section("unseen", title, no_parameters() if people is not None else paragraph(note, "note"))
        return
    run, n = sure[0], len(people.asked)
    confidence, made_up, point = run.answers.confidence, run.unseen.confidence, nine_in_ten(run)
    series = [("people in the texts, answer right", confidence[run.right]), ("people in the texts, answer wrong",
              confidence[~run.right]), ("people in no text, answer made up", made_up)]  # fmt: skip
    caption = (
        f"How sure {run.label} is, as shares of each kind of question (their numbers in the titles). Where the three "
        "look alike, confidence cannot tell knowing from making up."
    )
    if point is not None:
        caption += f" Dashed: from {percent(point.threshold)} up it is right nine times in ten on people in the texts."
    parts = [
        paragraph(
            f"{n} names of people who are nowhere in the texts. There is nothing to know, and none of these answers "
            "can be right: every one is made up. A model that knew what it does not know would be unsure of all of "
            "them."
        ),
        "" if run.record.get("pretrained") else paragraph(
            f"{run.label} has read no texts at all: to it the people in them are as unknown as these."
        ),
        page.picture("unseen", caption, 4.4, figures.confidences, [s for s in series if len(s[1])],
                     point.threshold if point else None),
    ]  # fmt: skip
    rows = []
    for r in sure:
        mark = nine_in_ten(r)
        rows.append([
            r.label, percent(r.answers.confidence.mean()), percent(r.unseen.confidence.mean()),
            percent(r.calibration.unseen_scaled.mean()) if r.calibration.fitted else "–",
            counted(*above(r.unseen.confidence, mark.threshold)) if mark else "–",
            telling(r.answers.confidence, r.unseen.confidence),
        ])  # fmt: skip
    parts.append(table(["run", f"mean confidence: {len(confidence)} people asked about above", f"{n} in no text",
                        "in no text, temperature scaled", "in no text, yet above its nine-in-ten confidence",
                        "tells them apart"], rows))  # fmt: skip
    parts.append(paragraph(
        "“Tells them apart” is the probability that the answer about a person in the texts has more confidence than "
        "one about a person in no text: 1 is always, 0.5 is a coin.", "note"))  # fmt: skip
    said = Counter(run.unseen.texts)
    parts.append(heading(f"What {run.label} makes up most often"))
    mean = {place: made_up[[text == place for text in run.unseen.texts]].mean() for place in said}
    rows = [[place or "(nothing)", counted(count, n), percent(mean[place])] for place, count in said.most_common(8)]
    parts.append(table(["answer", "times", "mean confidence"], rows))
    order = np.argsort(-made_up, kind="stable")[:LISTED]
    parts.append(heading("Its surest inventions"))
    parts.append(table(["confidence", "question", "answer"],
                       [[percent(made_up[i]), people.asked[i], run.unseen.texts[i] or "(nothing)"] for i in order]))
    parts += traditions(sure, people)
    if people.left_out:
        note = f"{people.left_out} questions of {people.path.name} were left out: the corpus mentions these people, or "
        parts.append(paragraph(f"{note}lacks a character of their names.", "note"))
    page.section("unseen", title, *parts)


def traditions(sure, people) -> list[str]:
    """How far guesses follow the naming tradition, against the same guesses dealt out at random."""
    title = heading("Does the guess go by the name?")
    if people.traditions is None:
        note = (f"Left out: which tradition each name is of and where traditions are at home is not known (no "
                f"birth_unseen_traditions.tsv and place_traditions.tsv beside {people.path.name}).")  # fmt: skip
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
            "home” if it is a place of a region where the name's tradition is at home. The second number is what "
            "the very same guesses would get if they were dealt out to these people at random: only what exceeds it "
            "was read off the names."
        ),
        table(["run", "guesses at home", "95% interval", "the same, dealt out at random"], rows),
        heading(f"By tradition, {run.label}"),
        table(["tradition", "names", "guesses at home", "most frequent guesses"], by_tradition),
    ]
