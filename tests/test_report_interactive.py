"""The interactive parts of the report: they count as Python does, and no text from data becomes markup."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import trust.report_interactive as interactive
from trust.asking import Answers
from trust.calibration import risk_coverage, wilson
from trust.report import Questions, Run
from trust.report_page import FOLDER, Page, counted, percent

EVIL = "</script><script>document.title='broken'</script><!--<script>&amp;"
NODE = shutil.which("node")
N, UNSEEN, SCRIPT = 40, 30, FOLDER / "report.js"


def run_of(label: str, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    confidence = rng.random(N).round(2)  # some are equal, and some are exactly a step of the slider
    right = rng.random(N) < confidence
    said = [f"Place {i}" if r else EVIL for i, r in enumerate(right)]
    empty = np.zeros((0, 1))
    unseen = Answers(["Oslo"] * UNSEEN, empty, empty, empty, rng.random(UNSEEN).round(2))
    return Run(
        label, Path("P"), said=said, right=right, answers=Answers(said, empty, empty, empty, confidence), unseen=unseen
    )


RUNS = [run_of(EVIL, 0), run_of("the other", 1)]
NAMES = [f"{EVIL} {i}" if i % 2 else f"Łukasz Érd {i}" for i in range(N)]
TEXTS = [f"{name}. Born in {EVIL if i % 2 else f'Place {i}'}." for i, name in enumerate(NAMES)]
PLACES = [f"Place {i}" for i in range(N)]
QUESTIONS = Questions(
    Path("dev.tsv"), NAMES, NAMES, PLACES, [None, 30] * (N // 2), [True] * N, 56, None, documents=TEXTS
)


@cache
def page_of(confident: bool = True) -> str:
    page, runs = Page(), RUNS if confident else []
    interactive.all_answers(page, runs, QUESTIONS)
    interactive.threshold(page, runs)
    page.scripts = ["report.js"] if runs else []
    return page.html("Title", "")


class Scripts(HTMLParser):
    """The texts of the scripts in a page, as a browser would find them."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.found, self.inside = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "script"
        if self.inside:
            self.found.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1] += data


def test_no_text_in_the_data_becomes_markup_or_script():
    data, script = Scripts(page_of()).found
    order = np.argsort(-RUNS[0].answers.confidence, kind="stable")
    found = json.loads(data)
    assert "<" not in data and [a["name"] for a in found["answers"]] == [NAMES[i] for i in order]
    assert found["runs"][0]["label"] == EVIL and found["runs"][1]["confidence"] == RUNS[1].answers.confidence.tolist()
    assert script == SCRIPT.read_text(encoding="utf-8") and "innerHTML" not in script


def test_the_policy_allows_only_the_pages_own_script():
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page_of())[1]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.read_bytes()).digest()).decode()
    assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy


def test_without_the_script_the_tables_hold_everything_and_the_controls_are_hidden():
    page = page_of()
    body = re.search(r'class="scroll".*?<tbody>(.*?)</tbody>', page, re.S)[1]
    assert body.count("<tr>") == N and "not in it" in body and page.count('class="touch" hidden') == 2
    for point in risk_coverage(RUNS[0].answers.confidence, RUNS[0].right):
        if point.threshold in interactive.LEVELS:
            assert counted(point.right, point.total) in page


def test_without_confidences_there_are_no_controls_and_no_script():
    page = page_of(confident=False)
    assert "<script" not in page and page.count("no parameters were given") == 2


# ------------------------------------------------------------------------------------------- what the script counts


def javascript(expression: str, **given):
    """The value of an expression with the script's functions and `given` in scope."""
    if NODE is None:
        pytest.skip("needs node to run JavaScript")
    names = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
    program = f"{SCRIPT.read_text(encoding='utf-8')}{names}console.log(JSON.stringify({expression}))"
    done = subprocess.run([NODE, "-"], input=program, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout)


def test_the_slider_counts_what_the_risk_coverage_curve_counts():
    run = RUNS[0]
    data = {"confidence": run.answers.confidence.tolist(), "right": run.right.tolist()}
    data["unseen"] = run.unseen.confidence.tolist()
    curve = risk_coverage(run.answers.confidence, run.right)
    found = javascript("levels.map(level => abstain(run, level))", run=data, levels=[p.threshold for p in curve])
    assert [(f["answered"], f["right"], f["total"]) for f in found] == [(p.total, p.right, N) for p in curve]
    assert [f["madeUp"] for f in found] == [int((run.unseen.confidence >= p.threshold).sum()) for p in curve]
    nothing = javascript("abstain(run, 1.01)", run={**data, "unseen": None})
    assert nothing == {"total": N, "answered": 0, "right": 0, "unseen": 0, "madeUp": 0}


def test_shares_and_intervals_read_the_same_as_in_the_tables():
    pairs = [(right, total) for total in [*range(1, 41), 500, 5000] for right in {0, 1, total // 2, total - 1, total}]
    assert javascript("pairs.map(([a, b]) => counted(a, b))", pairs=pairs) == [counted(*pair) for pair in pairs]
    found = javascript("pairs.map(([a, b]) => wilson(a, b))", pairs=pairs)
    np.testing.assert_allclose(found, [wilson(*pair) for pair in pairs], atol=1e-12)
    shares = [0, 0.0004, 0.0625, 0.5, 0.9996, 1]
    assert javascript("shares.map(percent)", shares=shares) == [percent(share) for share in shares]


def test_sentences_say_what_their_numbers_count():
    count = {"total": 50, "answered": 0, "right": 0, "unseen": 100, "madeUp": 0}
    known, unseen = javascript("sentences(1, count)", count=count)
    assert "none of the 50 questions" in known and "0 of 100 = 0.0%" in unseen and "made up" not in unseen
    known, unseen = javascript("sentences(0.5, count)", count={**count, "answered": 40, "right": 30, "madeUp": 7})
    assert "40 of 50 = 80.0%" in known and "30 of 40 = 75.0%" in known and "7 of 100 = 7.0%" in unseen


@pytest.mark.parametrize(
    "query, verdict, order, expected",
    [
        ("", "all", "sure", [0, 1, 2, 3]),
        (" LODZ", "all", "sure", [1, 2]),
        ("emile", "all", "sure", [0]),
        ("", "right", "unsure", [3, 0]),
        ("", "wrong", "name", [2, 1]),
        (".*", "all", "sure", []),
    ],
)
def test_answers_are_found_by_name_or_answer_whatever_their_accents(query, verdict, order, expected):
    rows = [("Émile Roux", "Paris", "Paris"), ("Zoe", "Łódź", "Oslo"), ("Ada", "Oslo", "Łódź"), ("Bo", "Rome", "Rome")]
    answers = [{"name": n, "said": s, "answer": a, "right": s == a} for n, s, a in rows]
    asked = {"answers": answers, "query": query, "verdict": verdict, "order": order}
    assert javascript("select(answers, query, verdict, order)", **asked) == expected
