"""The parts of the report's page: paragraphs, tables, pictures, and the HTML file that holds them all.

All text from data passes through `esc`. This module knows nothing of runs and questions.
"""

import base64
import hashlib
import html
import math

import trust.report_figures as figures
from trust.calibration import wilson

SHOWN = 3  # runs in a picture
LISTED = 10  # answers in a table of examples

# The colours follow the reader's system. Pictures come in a light and a dark version, and the browser shows one.
CSS = """
:root { color-scheme: light dark; --page: #fff; --ink: #1d2126; --soft: #5b6470; --line: #d5d9de; --box: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --page: #15181c; --ink: #e3e6ea; --soft: #a3abb5; --line: #3a4047; --box: #1e2228; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; background: var(--page); color: var(--ink);
       font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { line-height: 1.2; font-size: 1.7rem; } h2 { margin-top: 3rem; line-height: 1.25; font-size: 1.3rem; }
h3 { margin-bottom: 0.3rem; font-size: 1.05rem; }
nav { font-size: 0.95rem; margin-top: 1rem; } nav a { margin-right: 0.9rem; white-space: nowrap; } a { color: inherit; }
.short { background: var(--box); border-radius: 0.5rem; padding: 0.7rem 1.1rem; } .short ul { padding-left: 1.1rem; }
figure { margin: 1.2rem 0; } img { width: 100%; height: auto; display: block; border-radius: 0.3rem; }
figcaption, .note { color: var(--soft); font-size: 0.93rem; }
.wide { overflow-x: auto; margin: 0.8rem 0; }
table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.8rem 0.25rem 0; }
th, td { border-bottom: 1px solid var(--line); } th { font-weight: 600; min-width: 3.6rem; }
td { white-space: nowrap; } td.text { white-space: normal; min-width: 8rem; }
.touch { background: var(--box); border-radius: 0.5rem; padding: 0.7rem 1.1rem; } .touch[hidden] { display: none; }
.touch label { display: block; margin: 0.3rem 0; } .touch label output { font-weight: 600; }
.touch input, .touch select { font: inherit; width: 100%; min-height: 2.75rem; margin: 0; accent-color: #2f7fd0; }
.touch p { margin: 0.7rem 0 0.3rem; }
.bar { display: flex; height: 1.7rem; border-radius: 0.3rem; overflow: hidden; background: var(--line); }
.bar i { flex: 0 1 0; min-width: 0; overflow: hidden; font-style: normal; font-size: 0.85rem; line-height: 1.7rem;
         text-indent: 0.4rem; white-space: nowrap; }
.bar [class] { color: #000; } .bar .right { background: #2f7fd0; } .bar .wrong { background: #d9760c; }
.bar .made-up { background: #c05a9e; }
.scroll { max-height: 24rem; overflow: auto; border: 1px solid var(--line); border-radius: 0.3rem; margin: 0.8rem 0; }
.scroll .wide { overflow: visible; margin: 0; } .scroll table { width: 100%; } .scroll td, .scroll th {
  white-space: normal; min-width: 0; padding-left: 0.5rem; padding-right: 0.3rem; }
.scroll th { position: sticky; top: 0; background: var(--page); }
@media (max-width: 30rem) {
  table { font-size: 0.82rem; } th, td { padding-right: 0.5rem; } td.text { min-width: 6rem; }
}
"""


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


def bullets(items: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{esc(item)}</li>" for item in items) + "</ul>"


def heading(text: str) -> str:
    return f"<h3>{esc(text)}</h3>"


def table(headers: list[str], rows: list[list]) -> str:
    """A table that scrolls sideways in a narrow window. Long texts wrap."""
    head = "".join(f"<th>{esc(header)}</th>" for header in headers)

    def cell(value) -> str:
        return f"<td{' class=text' if len(str(value)) > 24 else ''}>{esc(value)}</td>"

    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class Page:
    """Collects sections and pictures. The PNGs are kept as well, to be written beside the page."""

    def __init__(self):
        self.sections: list[tuple[str, str, str]] = []  # (id, title, HTML)
        self.pictures: dict[str, figures.Picture] = {}
        self.script = ""  # JavaScript for the end of the page
        self.undrawn: str | None = None  # why there are no more pictures,
        self.missing: list[str] = []  # and which

    def section(self, name: str, title: str, *parts: str) -> None:
        self.sections.append((name, title, "".join(parts)))

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
        light, dark = (f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (drawn.light, drawn.dark))
        return (
            f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
            f'<img src="{light}" alt="{esc(caption)}"></picture><figcaption>{esc(caption)}</figcaption></figure>'
        )

    def html(self, title: str, opening: str) -> str:
        links = " ".join(f'<a href="#{name}">{esc(heading)}</a>' for name, heading, _ in self.sections)
        body = "".join(f'<section id="{n}"><h2>{esc(h)}</h2>{content}</section>\n' for n, h, content in self.sections)
        # The policy tells the browser to fetch nothing and to run only this script.
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
        script = f"<script>{self.script}</script>" if self.script else ""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f"<title>{esc(title)}</title><style>{CSS}</style></head>\n<body><h1>{esc(title)}</h1>\n"
            f"{opening}\n<nav>{links}</nav>\n{body}{script}</body></html>\n"
        )
