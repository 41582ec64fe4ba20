"""The report's question box and its view of attention: their controls, and the data for model.js, ask.js and look.js.

They are hidden until the script runs. Without a model that the page can compute, a sentence says why.
"""

from pathlib import Path
from typing import Any

from trust.calibration import reliability
from trust.people import PARTICLES
from trust.report_page import Html, esc, json_script, paragraph

SCRIPTS = ["model.js", "report.js", "lookup.js", "look.js", "ask.js"]  # report.js has functions that the others use


def askable(sure) -> Any:
    """The best run that the page can compute, or None."""
    return next((run for run in sure if run.packed is not None and run.packed.weights), None)


def why_not(sure) -> str:
    """Why the page cannot be asked, for people."""
    if not sure:
        return "no parameters were given (--reading_params_path), so there is no model to ask"
    if sure[0].packed is None:
        return "the model was left out (--no-model)"
    return sure[0].packed.why_not


def box(page, sure, questions, people) -> str:
    """The question box. Its data go to the end of the page."""
    run = askable(sure)
    if run is None:
        command = "python src/run.py ask can ask every variant." if sure else ""
        return f'<div id="ask"><h2>Ask it</h2>{paragraph(f"Not here: {why_not(sure)}. {command}", "note")}</div>'
    page.data += json_script("model", data(run, questions, people))
    page.data += f'<script type="text/plain" id="weights">{run.packed.weights}</script>'
    buttons = "".join(
        f'<button type="button" data-name="{esc(name)}">{esc(name)}</button><span class="note">{esc(kind)}</span>'
        for name, kind in examples(questions, people)
    )
    history = "".join(f'<th scope="col">{title}</th>' for title in ("name", "heads off", "answer", "sure"))
    return f"""<div id="ask"><h2>Ask {esc(run.label)}</h2>
<noscript>{paragraph("The model answers in this page, if JavaScript is allowed.", "note")}</noscript>
<div class="touch" hidden><form><label for="ask-name" dir="auto">{esc("…".join(questions.form))}</label>
<div class="row"><input id="ask-name" type="text" dir="auto" autocomplete="off" spellcheck="false" placeholder="a name"
 aria-describedby="ask-warning"><button id="ask-go" class="main">Ask</button></div>
<p id="ask-warning" class="warning" role="status"></p></form>
<div class="picks row" role="group" aria-label="Examples">{buttons}</div>
<div id="ask-answer" hidden><div id="ask-letters" class="letters" dir="auto" aria-hidden="true"></div>
<div id="ask-verdict" aria-live="polite"></div><div id="ask-line"></div>
<details open><summary>What else it might have said</summary><div id="ask-tree" class="tree"></div></details>
<details><summary>What you have asked</summary>
<div class="wide" tabindex="0" role="group" aria-label="What you have asked">
<table id="ask-history" hidden><thead><tr>{history}</tr></thead><tbody></tbody></table></div></details>
<p><a href="#look">Where it looked</a></p></div></div></div>"""


def examples(questions, people) -> list[tuple[str, str]]:
    """(name, what it is an example of): one of the texts, one of none, and one with two letters swapped."""
    known = [name for i, name in enumerate(questions.names) if not questions.known or questions.known[i]]
    found = [(known[0], "in the texts")] if known else []
    if people is not None:
        found.append((people.names[0], "nobody wrote about"))
    for name in known[1:]:
        at = next((i for i in range(2, len(name) - 1) if name[i : i + 2].isalpha() and name[i] != name[i + 1]), None)
        if at is not None:
            return [*found, (name[:at] + name[at + 1] + name[at] + name[at + 2 :], "misspelt")]
    return found


def data(run, questions, people) -> dict[str, Any]:
    """What ask.js needs beside the parameters."""
    bins = reliability(run.answers.confidence, run.right, run.calibration.n_bins) if run.calibration else []
    found: dict[str, Any] = {
        "about": run.packed.about,
        "bins": [{"low": b.low, "high": b.high, "total": b.total, "right": b.right} for b in bins],
        "temperature": run.calibration.temperature if run.calibration and run.calibration.fitted else None,
        "questions": Path(questions.path).name,
        "corpus": questions.corpus,
        "lines": questions.lines,
        "particles": PARTICLES,
        "named": questions.named,
        "form": questions.form,
        "unseenShare": None,
    }
    if run.unseen is not None and bins:
        shares = reliability(run.unseen.confidence, [False] * len(run.unseen.texts), len(bins))
        found["unseenShare"] = [b.total / len(run.unseen.texts) for b in shares]
    return found


def attention(page, sure) -> None:
    """The section with the map of attention."""
    run = askable(sure)
    title, short = "Where it looks while it writes an answer", "Attention"
    if run is None:
        page.section("look", short, title, paragraph(f"Not here: {why_not(sure)}.", "note"))
        return
    text = paragraph(
        "Each head of each layer looks at earlier letters in its own way. Choose a head to see where it looks before "
        "each letter of the answer. Switch it off to see whether the answer depends on it: what it found is then "
        "replaced by zeros."
    )
    controls = """<p id="look-hint" class="note">Ask something first, in the box at the top.</p>
<div class="touch" hidden><div id="look-heads" class="heads" role="group" aria-label="Heads"></div>
<div class="row"><button type="button" id="look-switch"></button>
<button type="button" id="look-all">All heads on</button>
<button type="button" id="look-worth">Measure all heads</button></div>
<p id="look-effect" aria-live="polite"></p>{note}</div>"""
    shown = """<div id="look-map" class="map" tabindex="0" role="region" aria-label="Map of attention"></div>
<p id="look-sentence" class="note"></p>"""
    note = "Rows are letters of the answer, columns what was written before them; \u25a0 is the MASK that opens and "
    note += "closes an answer. The stronger the colour, the larger the weight (its square root is drawn)."
    page.section("look", short, title, text + controls.format(note=paragraph(note, "note")), Html(shown))
