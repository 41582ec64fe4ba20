"""The report's interactive sections: a threshold to move, and all answers to search.

Without JavaScript they are complete, as tables. The page includes report.js, which shows their controls and gets its
data as JSON. `sure` are the runs whose confidences are known; see report_sections.py.
"""

import json
from pathlib import Path

import numpy as np

from trust.report_confidence import above, nine_in_ten, no_parameters
from trust.report_page import counted, esc, interval, paragraph, percent, table

SCRIPT = Path(__file__).with_name("report.js")
LEVELS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)  # the thresholds of the table; the slider has many more


def json_script(value) -> str:
    """An element with `value` as data for a script. Its text cannot end it: that takes a <, which JSON can escape."""
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json">{text}</script>'


def choice(label: str, options: dict[str, str]) -> str:
    """A labelled menu. options: {value: what the reader sees}."""
    items = "".join(f'<option value="{esc(value)}">{esc(text)}</option>' for value, text in options.items())
    return f"<label>{esc(label)} <select>{items}</select></label>"


def add(page, sure, questions) -> None:
    """Add both sections and, if there are confidences, the script."""
    threshold(page, sure)
    all_answers(page, sure, questions)
    if sure:
        page.script = SCRIPT.read_text(encoding="utf-8")


def threshold(page, sure) -> None:
    title = "Try it: how sure must it be?"
    if not sure:
        page.section("try", title, no_parameters())
        return
    run, point = sure[0], nine_in_ten(sure[0])
    confidence, right = run.answers.confidence, run.right
    rows = []
    for level in sorted({*LEVELS, *([point.threshold] if point else [])}):
        given = confidence >= level
        n, of_them = int(given.sum()), int(right[given].sum())
        row = [percent(level), f"{n} of {len(right)}", f"{counted(of_them, n)} ({interval(of_them, n)})" if n else "–"]
        rows.append(row if run.unseen is None else [*row, "{} of {}".format(*above(run.unseen.confidence, level))])
    headers = ["it answers from", "questions answered", "of these right (95% interval)"]
    headers += [] if run.unseen is None else ["made up about people nobody wrote about"]
    unseen = (
        ""
        if run.unseen is None
        else (
            " Everything that it says about people nobody wrote about is invented. Is there a threshold that silences "
            "these answers, and how much of what it knows does it silence too?"
        )
    )
    page.section(
        "try",
        title,
        paragraph(
            "A model that answers only when it is sure enough says less. If its confidence tells right from wrong, "
            f"more of what it still says is right. Where would you put the threshold?{unseen}"
        ),
        controls(sure),
        table(headers, rows),
        paragraph(
            f"The table is about {run.label}. A threshold picked on these questions will do a little worse on others, "
            "and one that leaves few answers says little: see the intervals.",
            "note",
        ),
    )


def controls(sure) -> str:
    """The slider, the sentences that it changes, and bars. They are hidden until the script runs."""
    run = choice("Run", {str(i): run.label for i, run in enumerate(sure)}) if len(sure) > 1 else ""
    parts = [
        f'<div class="touch" hidden>{run}',
        "<label>Answer only when at least this sure: <output>50.0%</output>",
        '<input type="range" min="0" max="100" step="0.5" value="50"></label>',
        "<p><output></output></p>",
        '<div class="bar" aria-hidden="true"><i class="right">right</i><i class="wrong">wrong</i><i>silent</i></div>',
    ]
    if sure[0].unseen is not None:
        parts.append("<p><output></output></p>")
        parts.append('<div class="bar" aria-hidden="true"><i class="made-up">made up</i><i>silent</i></div>')
    return "".join(parts) + "</div>"


def all_answers(page, sure, questions) -> None:
    title = "All its answers"
    if not sure:
        page.section("answers", title, no_parameters())
        return
    run = sure[0]
    order = np.argsort(-run.answers.confidence, kind="stable")
    answers, rows = [], []
    for i in order:
        person, said, place, right = questions.names[i], run.said[i], questions.places[i], bool(run.right[i])
        answers.append({"person": person, "said": said, "place": place, "right": right})
        row = [percent(run.answers.confidence[i]), person, f"{'✓' if right else '✗'} {said or '(nothing)'}", place]
        rows.append(row if questions.ends is None else [*row, where(questions, i)])
    headers = ["confi\u00addence", "person", "answer", "true place"]
    where_note = ""
    if questions.ends is not None:
        headers.append("place ends at")
        where_note = (
            " The last column is the character of the person's text at which the true place first ends; pretraining "
            f"reads at most the first {questions.reach}."
        )
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
    page.section(
        "answers",
        title,
        paragraph(f"Of {run.label}, the surest first; ✓ right, ✗ wrong.{where_note}"),
        '<div class="touch" hidden><label>Name or place <input type="search" autocomplete="off"></label>',
        choice("Show", verdicts),
        choice("Order", orders),
        "<p><output></output></p></div>",
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(title)}">{table(headers, rows)}</div>',
        json_script({"runs": runs, "answers": answers}),
    )


def where(questions, i: int) -> str:
    if not questions.known[i]:
        return "no text"
    return "not in it" if questions.ends[i] is None else str(questions.ends[i])
