"""The report's sections about where in a text the answer stands, and how common it is.

`answered` are the runs with answers, ordered by right answers, most first; see report_sections.py.
"""

from collections import Counter

import numpy as np

import trust.report_figures as figures
from safe.own_facts import each
from trust.calibration import wilson
from trust.report_page import SHOWN, counted, folded, heading, interval, paragraph, percent, table


def grouped(names: list[str], members: np.ndarray, answered) -> tuple[list[str], dict[str, list[tuple[int, int]]]]:
    """The groups that occur, and {run: (right, total) of each}. members (N,): the group of each question."""
    present = [i for i in range(len(names)) if (members == i).any()]
    counts = {
        run.label: [(int(run.right[members == i].sum()), int((members == i).sum())) for i in present]
        for run in answered
    }
    return [names[i] for i in present], counts


def groups_table(labels: list[str], counts: dict[str, list[tuple[int, int]]]) -> str:
    rows = [
        [label.replace("\n", " "), run, counted(*pairs[i]), interval(*pairs[i])]
        for i, label in enumerate(labels)
        for run, pairs in counts.items()
    ]
    return table(["group", "run", "right", "95% interval"], rows)


def apart(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Do the 95% intervals of two shares not overlap?"""
    (low_a, high_a), (low_b, high_b) = wilson(*a), wilson(*b)
    return high_a < low_b or high_b < low_a


def position(page, answered, questions) -> None:
    short, title = "Position", "Does it matter where in the text the answer stands?"
    if questions.ends is None:
        note = paragraph("Left out: the corpus is too large to search for names.", "note")
        page.section("position", short, title, note)
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
        "Accuracy by the character at which the answer ends in the text about the name (in brackets: questions; lines: "
        "95% intervals)."
    )
    labels, counts = grouped(names, members, answered)
    shown = dict(list(counts.items())[:SHOWN])
    xlabel = "where in the text the answer ends, in characters"
    text = paragraph(
        f"Pretraining reads at most the first {questions.reach} characters of a text, and mostly fewer with some "
        "recipes, so the model sees what comes later rarely or never. A right answer that is not in the text "
        "cannot have been read there: it was guessed or inferred."
    )
    below = folded("Numbers", groups_table(labels, counts))
    picture = page.picture("position", caption, 3.4, figures.groups, labels, shown, xlabel)
    page.section("position", short, early_or_late(members, answered[0], title), text, picture, below)


def early_or_late(members: np.ndarray, run, title: str) -> str:
    """The finding: the first and the last group of answers that stand in a text, compared."""
    inside = [i for i in range(5) if (members == i).sum() >= 5]
    if len(inside) < 2:
        return title
    first, last = [(int(run.right[members == i].sum()), int((members == i).sum())) for i in (inside[0], inside[-1])]
    shares = f"{percent(first[0] / first[1], 0)} of the answers that stand early, "
    shares += f"{percent(last[0] / last[1], 0)} of those late"
    if not apart(first, last):
        return f"Where the answer stands in a text makes no clear difference: {shares} are known"
    return f"It knows {shares} in a text"


def frequency(page, answered, questions) -> None:
    short, title = "Frequency", "Does it matter how common the answer is?"
    if questions.train is None:
        note = "Left out: the rows that the runs were trained on were not given (--finetune_corpus_path)."
        page.section("frequency", short, title, paragraph(note, "note"))
        return
    edges = [0, 1, 4, 9, 24]
    names = ["never", "once", "2–4", "5–9", "10–24", "25 or\nmore"]
    often = [max(questions.train[answer] for answer in each(place)) for place in questions.places]
    members = np.searchsorted(edges, often)
    labels, counts = grouped(names, members, answered)
    caption = f"Accuracy by how often the right answer is one among the {questions.train_rows} rows of finetuning."
    xlabel = "times the answer is one in training rows"
    shown = dict(list(counts.items())[:SHOWN])
    picture = page.picture("frequency", caption, 3.4, figures.groups, labels, shown, xlabel)
    text = paragraph("A model that only guesses common answers is right on the far right and nowhere else.")
    text += invented(answered[0], answered, questions)
    below = folded("Numbers", groups_table(labels, counts), said_most(answered[0], questions))
    page.section("frequency", short, rare_or_common(members, answered[0], title), text, picture, below)


def rare_or_common(members: np.ndarray, run, title: str) -> str:
    present = [i for i in range(6) if (members == i).sum() >= 5]
    if len(present) < 2:
        return title
    rare, common = [(int(run.right[members == i].sum()), int((members == i).sum())) for i in (present[0], present[-1])]
    shares = f"it knows {percent(rare[0] / rare[1], 0)} of the rarest answers and "
    shares += f"{percent(common[0] / common[1], 0)} of the most common"
    if not apart(rare, common):
        return f"How common an answer is makes no clear difference: {shares}"
    return f"Common answers are {'easier' if common[0] * rare[1] > rare[0] * common[1] else 'harder'}: {shares}"


def invented(best, answered, questions) -> str:
    n = len(questions.places)
    count = sum(place not in questions.train for place in best.said)
    others = [run.label for run in answered if run.record.get("questions_sha256") not in (None, questions.train_sha256)]
    also = f" Not so for {', '.join(others)}, which was trained on other rows." if others else ""
    return paragraph(
        f"{counted(count, n)} of the answers of {best.label} are not the answer of any training row: they are "
        f"known only from the texts, or misspelt.{also}",
        "note",
    )


def said_most(best, questions) -> str:
    said, true = Counter(best.said), Counter(answer for place in questions.places for answer in each(place))
    rows = [
        [
            place or "(nothing)",
            count,
            true[place],
            questions.train[place],
            sum(bool(right) for answer, right in zip(best.said, best.right, strict=True) if answer == place),
        ]
        for place, count in said.most_common(8)
    ]
    headers = ["answer", "said", "is the answer here", "in the training rows", "said rightly"]
    return heading(f"What {best.label} says most often") + table(headers, rows)
