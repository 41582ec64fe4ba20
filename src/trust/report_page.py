"""The parts of the report's page: paragraphs, tables, pictures, and the HTML file that holds them all.

All text from data passes through `esc`. This module knows nothing of runs and questions.
"""

import base64
import hashlib
import html
import json
import math
from pathlib import Path

import trust.report_figures as figures
from safe.own_facts import each
from trust.calibration import wilson

SHOWN = 3  # runs in a picture
LISTED = 10  # answers in a table of examples
FOLDER = Path(__file__).parent
STYLES = ("report.css", "ask.css")


def esc(value) -> str:
    return html.escape(str(value))


def percent(share: float, digits: int = 1) -> str:
    least = 0.1**digits
    if 0 < 100 * share < least / 2:  # a little must not read 0%, and what is not certain must not read 100%
        return f"below {least:.{digits}f}%"
    if 100 - least / 2 < 100 * share < 100:
        return f"above {100 - least:.{digits}f}%"
    return "–" if math.isnan(share) else f"{100 * share:.{digits}f}%"


def counted(right: int, total: int) -> str:
    return f"{right} of {total} = {percent(right / total)}" if total else "0 of 0"


def interval(right: int, total: int) -> str:
    low, high = wilson(right, total)
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{esc(text)}</p>' if kind else f"<p>{esc(text)}</p>"


def shown_answer(places: str) -> str:
    """The right answers of a row, for people."""
    return " or ".join(each(places))


def bullets(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{esc(item)}</li>" for item in items) + "</ul>"


def heading(text: str) -> str:
    return f"<h3>{esc(text)}</h3>"


def folded(title: str, *parts: str) -> str:
    """Details that open on a click."""
    return f"<details><summary>{esc(title)}</summary>{''.join(parts)}</details>" if any(parts) else ""


class Html(str):
    """Text that is markup already."""


def table(headers: list[str], rows: list[list]) -> str:
    """A table. On a phone one of many columns becomes a card for each row, and others scroll sideways."""
    head = "".join(f'<th scope="col">{esc(header)}</th>' for header in headers)

    def cell(header: str, value) -> str:
        return f'<td data-label="{esc(header)}"><span>{value if isinstance(value, Html) else esc(value)}</span></td>'

    body = "".join(f"<tr>{''.join(map(cell, headers, row))}</tr>" for row in rows)
    kind = "wide cards" if len(headers) > 2 else "wide"
    reached = ' tabindex="0" role="group" aria-label="Table"' if len(headers) > 4 else ""  # by keyboard, to scroll it
    return f'<div class="{kind}"{reached}><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def json_script(name: str, value) -> str:
    """An element with `value` as data for a script. Its text cannot end it: that takes a <, which JSON can escape."""
    text = json.dumps(value, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


class Page:
    """Collects sections and pictures. The PNGs are kept as well, to be written beside the page."""

    def __init__(self):
        self.sections: list[tuple[str, str, str]] = []  # (id, short title for the list of links, HTML)
        self.pictures: dict[str, figures.Picture] = {}
        self.scripts: list[str] = []  # names of files of JavaScript for the end of the page
        self.data = ""  # elements with data for them
        self.undrawn: str | None = None  # why there are no more pictures,
        self.missing: list[str] = []  # and which

    def section(self, name: str, short: str, finding: str, text: str, shown: str = "", below: str = "") -> None:
        """A section: the sentence that it finds and what explains it, beside what shows it, and anything below both."""
        right = f"<div>{shown}</div>" if shown else ""
        under = f'<div class="all">{below}</div>' if below else ""
        content = f'<div class="finding"><div><h2>{esc(finding)}</h2>{text}</div>{right}{under}</div>'
        self.sections.append((name, short, content))

    def picture(self, name: str, caption: str, height: float, painter, *arguments) -> str:
        """HTML of a picture with its caption, which is also the text that a screen reader reads.

        Without a matplotlib that works, a note stands in its place, and `undrawn` says why.
        """
        try:
            if self.undrawn is None:
                self.pictures[name] = figures.draw(height, painter, *arguments)
        except Exception as error:  # a package that is installed by half fails in any way
            self.undrawn = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        if name not in self.pictures:
            self.missing.append(name)
            return paragraph(f"A picture is missing, as matplotlib could not draw it. Its caption: {caption}", "note")
        drawn = self.pictures[name]
        svgs = "".join(
            f'<div class="{size}-only" aria-hidden="true">{figures.themed(svg, f"{name}-{size}")}</div>'
            for size, svg in (("wide", drawn.wide), ("narrow", drawn.narrow))
        )
        return f"<figure>{svgs}<figcaption>{esc(caption)}</figcaption></figure>"

    def html(self, title: str, opening: str) -> str:
        links = "".join(f'<li><a href="#{name}">{esc(short)}</a></li>' for name, short, _ in self.sections)
        body = "".join(f'<section id="{name}">{content}</section>\n' for name, _, content in self.sections)
        style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in STYLES)
        code = "".join((FOLDER / name).read_text(encoding="utf-8") for name in self.scripts)
        # The policy tells the browser to fetch nothing and to run only this script.
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        script = f"<script>{code}</script>" if code else ""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f"<title>{esc(title)}</title><style>{style}</style></head>\n<body>\n"
            f'<header>{opening}</header>\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
            f"<main>\n{body}</main>\n{self.data}{script}</body></html>\n"
        )
