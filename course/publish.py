"""Publishes the handout of an edition: one HTML file and a PDF.

pip install -r requirements-course.txt
python course/make.py publish --edition rope --out DIR
"""

import argparse
import base64
import html
import importlib
import io
import re
from pathlib import Path
from typing import Any

from parts import EDITIONS

HERE = Path(__file__).resolve().parent
BLOCK = re.compile(r"<!-- ([\w ]+) -->\n(.*?)<!-- end -->\n", re.DOTALL)
FORMULA = re.compile(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>', re.DOTALL)
POINTS = {"inline": 12, "display": 13}  # size of formulas on paper


def edition_text(edition: str) -> str:
    """The handout in Markdown with the blocks of this edition only. ValueError for an unknown edition or block."""
    if edition not in EDITIONS:
        raise ValueError(f"no edition {edition!r}: choose from {', '.join(EDITIONS)}")
    text = (HERE / "handout.md").read_text(encoding="utf-8")
    if unknown := {name for name, _ in BLOCK.findall(text)} - {*EDITIONS, "all editions"}:
        raise ValueError(f"course/handout.md: blocks of no edition: {', '.join(sorted(unknown))}")
    text = BLOCK.sub(lambda block: block[2] if block[1] == edition else "", text)
    return text.replace("MECHANISM", edition)


def needed(module: str) -> Any:
    """A library of requirements-course.txt. Raises ValueError that says how to install it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: weasyprint without the system's pango
        raise ValueError(
            f"{module}: {error}\nInstall what publish needs: pip install -r requirements-course.txt"
        ) from None


def to_html(markdown: str, *formulas: str) -> str:
    """A page with its style inside. formulas: pandoc's options for them."""
    title, _, body = markdown.removeprefix("# ").partition("\n")
    options = [f"--metadata=title:{title}", "--metadata=lang:en", "--standalone", "--toc", "--toc-depth=2", *formulas]
    options += [f"--css={HERE / 'handout.css'}", "--wrap=none"]
    return needed("pypandoc").convert_text(body, "html5", format="gfm", extra_args=options)


def draw(formula: re.Match) -> str:
    """A formula as a picture with its TeX as the alternative text: on paper there is no MathML."""
    mathtext, fonts = needed("matplotlib.mathtext"), needed("matplotlib.font_manager")
    kind, tex = formula[1], " ".join(html.unescape(formula[2]).split())
    shown = tex.replace(r"\frac", r"\dfrac") if kind == "display" else tex
    picture, prop = io.BytesIO(), fonts.FontProperties(size=POINTS[kind], math_fontfamily="stix")
    depth = mathtext.math_to_image(f"${shown}$", picture, prop=prop, dpi=72, format="svg")
    data = base64.b64encode(picture.getvalue()).decode()
    image = f'<img alt="{html.escape(tex)}" style="vertical-align: -{depth}pt" src="data:image/svg+xml;base64,{data}">'
    return f'<span class="{kind}">{image}</span>'


def publish(edition: str, out: Path) -> list[Path]:
    """Write the handout of an edition as HTML and PDF into a folder. Returns the files."""
    text = edition_text(edition)
    page = to_html(text, "--mathml", "--embed-resources")
    paper = FORMULA.sub(draw, to_html(text, "--mathjax"))
    pdf = needed("weasyprint").HTML(string=paper, base_url=str(HERE)).write_pdf(pdf_tags=True)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"handout-{edition}.html", out / f"handout-{edition}.pdf"]
    files[0].write_text(page, encoding="utf-8")
    files[1].write_bytes(pdf)
    return files


def add_command(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("publish", help="the handout as HTML and PDF")
    parser.add_argument("--edition", required=True, choices=EDITIONS, help="named after the mechanism of part g")
    parser.add_argument("--out", required=True, type=Path, help="the folder to write to", metavar="DIR")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    return "\n".join(str(path) for path in publish(options.edition, options.out))
