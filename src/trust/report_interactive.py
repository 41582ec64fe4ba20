"""The report's sections that can be touched without a model: a threshold to move, and all answers to search.

Without JavaScript they are complete, as tables. The page includes report.js, which shows their controls and gets its
data as JSON. `sure` are the runs whose confidences are known; see report_sections.py.
"""

import numpy as np

import trust.report_figures as figures
from safe.own_facts import each
from trust.calibration import risk_coverage
from trust.people import end_of_place
from trust.report_confidence import above, nine_in_ten, no_parameters, telling
from trust.report_page import (
    SHOWN,
    Html,
    counted,
    esc,
    folded,
    interval,
    json_script,
    paragraph,
    percent,
    shown_answer,
    table,
)

LEVELS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)  # the thresholds of the table; the slider has many more


def choice(label: str, options: dict[str, str]) -> str:
    """A labelled menu. options: {value: what the reader sees}."""
    items = "".join(f'<option value="{esc(value)}">{esc(text)}</option>' for value, text in options.items())
    return f"<label>{esc(label)} <select>{items}</select></label>"


# -------------------------------------------------------------------------------------------------- the threshold


def threshold(page, sure) -> None:
    short, title = "Abstaining", "How sure must it be to answer?"
    if not sure:
        page.section("try", short, title, no_parameters())
        return
    run, point = sure[0], nine_in_ten(sure[0])
    n = len(run.right)
    finding = f"There is no confidence from which up {run.label} is right nine times in ten"
    if point is not None:
        finding = f"Answering only from {percent(point.threshold)} up, it is right nine times in ten, "
        finding += f"and still answers {percent(point.total / n, 0)} of the questions"
    text = paragraph(
        "A model that answers only when it is sure enough says less. If its confidence tells right from wrong, more "
        "of what it still says is right. Where would you put the threshold?"
    )
    if run.unseen is not None:
        text += paragraph(
            "Everything that it says about names that nobody wrote about is invented. Is there a threshold that "
            "silences these answers, and how much of what it knows does it silence too?"
        )
    curves = [(one.label, risk_coverage(one.answers.confidence, one.right)) for one in sure]
    caption = (
        "From left to right the model answers more of the questions, the surest first. The height is the share of "
        f"those answers that are right, with the 95% interval of {run.label}."
    )
    note = paragraph(
        f"The thresholds are about {run.label}. One that is picked on these questions will do a little worse on "
        "others, and one that leaves few answers says little: see the intervals.",
        "note",
    )
    below = folded("Numbers", levels(run, point), runs_table(sure, curves), note)
    picture = page.picture("abstaining", caption, 3.8, figures.coverage, curves[:SHOWN])
    page.section("try", short, finding, text + controls(sure), picture, below)


def levels(run, point) -> str:
    confidence, right = run.answers.confidence, run.right
    rows = []
    for level in sorted({*LEVELS, *([point.threshold] if point else [])}):
        given = confidence >= level
        n, of_them = int(given.sum()), int(right[given].sum())
        row = [percent(level), f"{n} of {len(right)}", f"{counted(of_them, n)} ({interval(of_them, n)})" if n else "–"]
        rows.append(row if run.unseen is None else [*row, "{} of {}".format(*above(run.unseen.confidence, level))])
    headers = ["it answers from", "questions answered", "of these right (95% interval)"]
    return table(headers + ([] if run.unseen is None else ["made up about names that nobody wrote about"]), rows)


def runs_table(sure, curves) -> str:
    rows = []
    for run, (_, curve) in zip(sure, curves, strict=True):
        n, point, confidence = len(run.right), nine_in_ten(run), run.answers.confidence
        quarter = next(p for p in curve if p.total >= n / 4)
        row = [run.label, counted(int(run.right.sum()), n), counted(quarter.right, quarter.total)]
        row.append(percent(point.threshold) if point else "none")
        row.append(f"{counted(point.total, n)}; {point.right} right" if point else "–")
        rows.append([*row, telling(confidence[run.right], confidence[~run.right])])
    headers = ["run", "right, answering all", "right, answering the surest quarter", "right nine times in ten from"]
    note = (
        "“Right nine times in ten from” is the lowest confidence from which up at least 90% of the answers are "
        "right, if there are ten such answers. “Tells right from wrong” is the probability that a right answer has "
        "more confidence than a wrong one: 1 means always, 0.5 a coin."
    )
    return table([*headers, "which is", "tells right from wrong"], rows) + paragraph(note, "note")


def controls(sure) -> str:
    """The slider, the sentences that it changes, and bars. They are hidden until the script runs."""
    run = choice("Run", {str(i): run.label for i, run in enumerate(sure)}) if len(sure) > 1 else ""
    parts = [
        f'<div class="touch" hidden>{run}',
        '<label for="threshold">Answer only when at least this sure: <output>50.0%</output></label>',
        '<input id="threshold" type="range" min="0" max="100" step="0.5" value="50">',
        "<p><output></output></p>",
        '<div class="bar" aria-hidden="true"><i class="right"></i><i class="wrong"></i><i></i></div>',
        '<div class="key"><span><i class="right"></i>right</span><span><i class="wrong"></i>wrong</span>'
        "<span><i></i>silent</span></div>",
    ]
    if sure[0].unseen is not None:
        parts.append("<p><output></output></p>")
        parts.append('<div class="bar" aria-hidden="true"><i class="made-up"></i><i></i></div>')
        parts.append('<div class="key"><span><i class="made-up"></i>made up</span><span><i></i>silent</span></div>')
    return "".join(parts) + "</div>"


# ----------------------------------------------------------------------------------------------------- all answers


def all_answers(page, sure, questions) -> None:
    short, title = "Answers", "All its answers, beside what the texts say"
    if not sure:
        page.section("answers", short, title, no_parameters())
        return
    run = sure[0]
    order = np.argsort(-run.answers.confidence, kind="stable")
    answers, rows = [], []
    for i in order:
        name, said, right = questions.names[i], run.said[i], bool(run.right[i])
        answer = shown_answer(questions.places[i])
        answers.append({"name": name, "said": said, "answer": answer, "right": right})
        row = [percent(run.answers.confidence[i]), name, f"{'✓' if right else '✗'} {said or '(nothing)'}", answer]
        rows.append(row if questions.ends is None else [*row, line_about(questions, i, said)])
    headers = ["sure", "name", "answer", "right answer"]
    text = f"Of {run.label}, the surest first; ✓ right, ✗ wrong."
    if questions.ends is not None:
        headers.append(f"what {questions.corpus} says")
        text += " In the texts the answer is marked and the right one underlined."
    runs = [
        {
            "label": r.label,
            "confidence": r.answers.confidence.tolist(),
            "right": r.right.tolist(),
            "unseen": r.unseen.confidence.tolist() if r.unseen is not None else None,
        }
        for r in sure
    ]
    verdicts = {"all": "right and wrong", "right": "right only", "wrong": "wrong only"}
    orders = {"sure": "surest first", "unsure": "least sure first", "name": "by name"}
    page.data += json_script("data", {"runs": runs, "answers": answers})
    search = '<label>Name or answer <input type="search" autocomplete="off"></label>'
    filters = f'<div class="row filters">{search}{choice("Show", verdicts)}{choice("Order", orders)}</div>'
    below = f'<div class="touch" hidden>{filters}<p><output></output></p></div>'
    region = f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(title)}">{table(headers, rows)}</div>'
    page.section("answers", short, finding(run, questions), paragraph(text), "", below + region)


def finding(run, questions) -> str:
    """How many answers, right or wrong, stand in the text about the name."""
    wrong = [i for i, right in enumerate(run.right) if not right]
    if not wrong or questions.documents is None:
        return f"All answers of {run.label}, beside the right ones"
    inside = sum(end_of_place(run.said[i], questions.documents[i] or "", questions.names[i]) is not None for i in wrong)
    return f"Its wrong answers: {inside} from the text about the name, {len(wrong) - inside} made up"


def line_about(questions, i: int, said: str) -> Html:
    """The text about the name, with the answer marked and the right one underlined."""
    line = questions.documents[i] if questions.documents else None
    if line is None:
        return Html("no text")
    spans: list[tuple[int, int, str]] = []
    right = [(place, '<mark class="true">') for place in each(questions.places[i])]
    for place, opening in ((said, "<mark>"), *right):
        end = end_of_place(place, line, questions.names[i])
        if end is not None and not any(start < end and end - len(place) < stop for start, stop, _ in spans):
            spans.append((end - len(place), end, opening))
    html, at = "", 0
    for start, end, opening in sorted(spans):
        html += f"{esc(line[at:start])}{opening}{esc(line[start:end])}</mark>"
        at = end
    note = "" if questions.ends[i] is not None else ' <span class="note">(the right answer is not in it)</span>'
    return Html(f"{html}{esc(line[at:])}{note}")
