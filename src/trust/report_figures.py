"""The pictures of the report: SVG that takes the colours of the page it stands in, and PNG to use elsewhere.

A painter is a function that takes an empty matplotlib Figure and what to draw on it; `draw` runs it once for a wide
window and once for a phone, so that type has the size of the page's own. The sections of the report decide what is
shown. Only this module uses matplotlib, without pyplot and its global state, so that no display is needed. It is
imported when the first picture is drawn, because a page can do without.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from trust.calibration import Bin, Coverage, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Most colour-blind people can tell them apart. Readable on white and on near-black. After Okabe and Ito.
COLOURS = ["#2f7fd0", "#d9760c", "#1f9e77", "#c05a9e", "#8a7fd1", "#a08a1c", "#d1495b", "#6c757d"]
MARKERS = "osD^vPX*"
GREY = "#8a8f98"
# Colours of the light page that an SVG takes from its page, by the names that they have in report.css.
THEME = {"--ink": "#1d2126", "--line": "#d5d9de", "--page": "#ffffff"}
WIDE, NARROW = 7.2, 3.7  # inches; 9 points are then 12 to 13 pixels in a column of 700 pixels, or of 350


@dataclass
class Picture:
    wide: str  # SVG; see `themed`
    narrow: str
    png: bytes  # the wide one, on white


def imported() -> Any:
    """matplotlib, imported without the user's settings: they may name a backend that is not installed."""
    if "matplotlib" not in sys.modules:
        theirs = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
        os.environ["MATPLOTLIBRC"] = os.devnull  # an empty file of settings, instead of the one in the home folder
        try:
            with chdir(Path(__file__).parent):  # a file `matplotlibrc` of the current folder would come first
                import matplotlib.figure
        finally:
            del os.environ["MATPLOTLIBRC"]
            os.environ.update({name: value for name, value in theirs.items() if value is not None})
    import matplotlib.figure

    return matplotlib


def draw(height: float, painter: Callable[..., None], *arguments) -> Picture:
    """The painter's picture, in matplotlib's own style, `height` inches high where it is wide.

    Raises whatever a matplotlib raises that is missing or damaged.
    """
    matplotlib = imported()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    ink, line, page = THEME.values()
    own = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    colours = {"text": ink, "axes.labelcolor": ink, "xtick.color": ink, "ytick.color": ink, "axes.edgecolor": line}
    style: dict[Any, Any] = {name if "." in name else f"{name}.color": value for name, value in colours.items()}
    style |= {"figure.facecolor": page, "axes.facecolor": "none", "savefig.facecolor": page, "grid.color": line}
    style |= {"font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9, "legend.fontsize": 9}
    style |= {"axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False}
    style |= {"text.parse_math": False, "legend.frameon": False, "xtick.color": ink, "ytick.color": ink}
    style |= {"svg.fonttype": "none", "svg.hashsalt": "report"}
    drawn: dict[str, Any] = {}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about settings on their way out, and letters that no font has
        matplotlib.rcParams.update(own | style)
        for name, width in (("wide", WIDE), ("narrow", NARROW)):
            size = (width, height if name == "wide" else min(height, 3.0 + 0.25 * height))
            figure = matplotlib.figure.Figure(figsize=size, dpi=150, layout="constrained")
            FigureCanvasAgg(figure)  # whatever backend is chosen
            painter(figure, *arguments)
            layout: Any = figure.get_layout_engine()
            layout.execute(figure)  # once: else it is computed for each file, which takes a third of the time
            figure.set_layout_engine(None)
            file = io.BytesIO()
            figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
            drawn[name] = file.getvalue().decode()
            if name == "wide":
                file = io.BytesIO()
                figure.savefig(file, format="png")
                drawn["png"] = file.getvalue()
    return Picture(**drawn)


def themed(svg: str, prefix: str) -> str:
    """The <svg> element, to stand in a page: with the page's colours and font, and without ids that it may have too."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'((?:id|href)="#?|url\(#)(?=[mp][0-9a-f]{8})', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)  # the style would be the page's
    svg = re.sub(r"font(-family)?: ([\d.]+px )?[^;\"]*", lambda m: f"font-size: {m[2]}" if m[2] else "", svg)
    for name, colour in THEME.items():
        svg = svg.replace(colour, f"var({name})")
    return re.sub(r">\s+<", "><", svg)


def is_narrow(figure: "Figure") -> bool:
    return figure.get_figwidth() < 5


def add_legend(figure: "Figure") -> None:
    """Add a legend above the axes, where it hides nothing. Long labels get a line each, because a phone is narrow."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    width = 40 if is_narrow(figure) else 80
    columns = max(1, min(len(labels), width // (max(map(len, labels)) + 6)))
    labels = [fill(label, width) for label in labels]
    lines = "\n".join(labels).count("\n") + 1
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, lines // columns - 1))  # the axes keep their height
    figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def in_percent(axis, low: float | None = None, high: float | None = None) -> None:
    """Label an axis in percent, with the limits `low` and `high` if they are given."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if low is not None:
        (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)


@dataclass
class Curve:
    """What one stage of training logged. Its steps are counted from `offset`: those of the stage before it."""

    label: str
    stage: str
    offset: int
    log: list[dict[str, float]]
    held_out: list[dict[str, float]]
    begins_new: bool = True  # with a model that knows nothing

    def of(self, name: str) -> tuple[list[float], list[float]]:
        """(steps, values) of what was logged under this name."""
        lines = [line for line in [*self.log, *self.held_out] if name in line]
        return [self.offset + line["step"] for line in lines], [line[name] for line in lines]


def looks(curves: list[Curve]) -> list[tuple[str, str]]:
    """(colour, style) of each curve. One kind of run: a colour for each stage; several: a colour for each of them."""
    labels, stages = list(dict.fromkeys(c.label for c in curves)), list(dict.fromkeys(c.stage for c in curves))
    if len(labels) == 1:
        return [(COLOURS[stages.index(c.stage) % 8], "-") for c in curves]
    return [(COLOURS[labels.index(c.label) % 8], ("-", "--", "-.")[stages.index(c.stage) % 3]) for c in curves]


def losses(figure: "Figure", curves: list[Curve], ln_v: float | None) -> None:
    """Loss over steps on one axis: a panel for stages that begin at step 0, and a stretched one for what follows."""
    later = [curve.offset > 0 for curve in curves]
    panels = 2 if any(later) and not all(later) else 1
    axes = np.atleast_1d(figure.subplots(1, panels, sharey=True, width_ratios=(3, 2)[:panels]))
    labelled: set[str] = set()
    for curve, (colour, style), is_later in zip(curves, looks(curves), later, strict=True):
        ax, name = axes[-1 if is_later else 0], curve.stage if len({c.label for c in curves}) == 1 else curve.label
        for key, more in (("loss", ""), ("validation_loss", ", held-out questions")):
            x, y = curve.of(key)
            if not x:
                continue
            if key == "loss" and ln_v is not None and curve.begins_new:
                x, y = [0, *x], [ln_v, *y]  # as model.py sees to
            look: dict[str, Any] = {"color": colour, "linestyle": style if key == "loss" else ":", "clip_on": False}
            look |= {"marker": "o" if len(x) < 12 else "", "markersize": 4, "linewidth": 1.6}
            label = f"{name}{more}"
            axes[0].plot([], [], label="" if label in labelled else label, **look)  # for the legend
            labelled.add(label)
            ax.plot(x, y, **look)
    if ln_v is not None:
        axes[0].axhline(ln_v, color=GREY, linestyle="--", linewidth=1, label=f"ln V = {ln_v:.1f}: knows nothing")
        axes[0].set_ylim(0, ln_v * 1.08)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("loss (nats per character)")
    for ax in axes:
        ax.set_xlabel("step")
        ax.ticklabel_format(axis="x", style="plain", useOffset=False)
        ax.locator_params(axis="x", nbins=4 if is_narrow(figure) else 7, integer=True)
    if not all(later):
        axes[0].set_xlim(left=0)
    if panels == 2:
        first = min(curve.offset for curve in curves if curve.offset)
        axes[1].set_xlim(left=first)
        axes[1].set_xlabel("further steps" if is_narrow(figure) else "further steps (stretched)")
        axes[1].locator_params(axis="x", nbins=2 if is_narrow(figure) else 3, integer=True)
    add_legend(figure)


def growth(figure: "Figure", curves: list[Curve]) -> None:
    """Accuracy on held-out questions over steps, as it grows during training."""
    ax = figure.subplots()
    labelled: set[str] = set()
    for curve, (colour, style) in zip(curves, looks(curves), strict=True):
        x, y = curve.of("validation_accuracy")
        name = curve.stage if len({c.label for c in curves}) == 1 else curve.label
        label = name if name not in labelled else ""
        labelled.add(name)
        if x:
            ax.plot(x, y, color=colour, linestyle=style, marker="o", markersize=4, clip_on=False, label=label)
    in_percent(ax.yaxis, 0, 1)
    ax.set_xlim(left=0)
    ax.set_xlabel("training step")
    ax.set_ylabel("held-out questions right")
    add_legend(figure)


def accuracy(figure: "Figure", rows: list[tuple[str, list[int], int]], public: list[tuple[str, float, float]]) -> None:
    """A row for each kind of run: (label, right answers of each of its runs, questions); public in percent.

    One run has the 95% interval of its questions. Of several the dots are the runs and the line is their mean.
    """
    ax = figure.subplots()
    width = 18 if is_narrow(figure) else 30
    for y, (_, rights, total) in enumerate(rows):
        colour = GREY if y == 0 else COLOURS[0]  # what is said of everything is not a run
        mean = sum(rights) / len(rights) / total
        if len(rights) == 1:
            ax.plot(wilson(rights[0], total), [y, y], color=colour, linewidth=3, solid_capstyle="butt", alpha=0.45)
        ax.plot([right / total for right in rights], [y] * len(rights), "o", color=colour, markersize=6, clip_on=False)
        if len(rights) > 1:
            ax.plot([mean, mean], [y - 0.25, y + 0.25], color=colour, linewidth=2)
        label = f"{mean:.1%}" if len(rights) == 1 else f"mean {mean:.1%}"
        side = "left" if mean < 0.1 else "center"  # the labels of the rows are on the left
        ax.annotate(label, (mean, y), (0, 8), textcoords="offset points", ha=side, va="bottom")
    for y, (_, median, best) in enumerate(public, len(rows)):
        ax.plot([median / 100, best / 100], [y, y], ":", color=GREY)
        first = y == len(rows)
        ax.plot(median / 100, y, "D", color=GREY, fillstyle="none", label="median of public copies" if first else "")
        ax.plot(best / 100, y, "*", color=GREY, markersize=10, label="best of public copies" if first else "")
    ax.set_yticks(range(len(rows) + len(public)), [fill(label, width) for label, *_ in [*rows, *public]])
    ax.set_ylim(len(rows) + len(public) - 0.5, -0.8)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    top = max([max(rights) / total for _, rights, total in rows] + [best / 100 for *_, best in public])
    in_percent(ax.xaxis, -0.02, 1.02 if top > 0.5 else None)
    ax.set_xlabel("questions answered correctly")
    if public:
        add_legend(figure)


def groups(figure: "Figure", names: list[str], counts: dict[str, list[tuple[int, int]]], xlabel: str) -> None:
    """Accuracy, with intervals, in each group of questions: counts {run: (right, total) for each group}."""
    ax = figure.subplots()
    width = 0.22
    for i, (label, pairs) in enumerate(counts.items()):
        for x, (right, total) in enumerate(pairs):
            low, high = wilson(right, total)
            at = x + (i - (len(counts) - 1) / 2) * width
            ax.plot([at, at], [low, high], color=COLOURS[i % 8], linewidth=2.5, alpha=0.45)
            ax.plot(at, right / total, MARKERS[i % 8], color=COLOURS[i % 8], label=label if x == 0 else "")
    totals = [total for _, total in next(iter(counts.values()))]
    labels = [f"{name}\n({total})" for name, total in zip(names, totals, strict=True)]
    ax.set_xticks(range(len(names)), labels, fontsize=7.5 if is_narrow(figure) else 9)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("answered correctly")
    ax.grid(visible=False, axis="x")
    in_percent(ax.yaxis, -0.04, 1.04)
    add_legend(figure)


def reliability(figure: "Figure", series: list[tuple[str, list[Bin]]]) -> None:
    """Accuracy of each bin over its mean confidence, with intervals; the diagonal is perfect calibration."""
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], "--", color=GREY, label="as often right as it says")
    for i, (label, bins) in enumerate(series):
        full = [b for b in bins if b.total]
        x = np.array([b.confidence for b in full])
        for at, b in zip(x, full, strict=True):
            ax.plot([at, at], wilson(b.right, b.total), color=COLOURS[i], alpha=0.55)
        ax.plot(x, [b.accuracy for b in full], MARKERS[i], color=COLOURS[i], label=label)
        if i == 0:
            for at, b in zip(x, full, strict=True):
                ax.annotate(f"{b.total}", (at, b.accuracy), (5, -2), textcoords="offset points", va="top")
    in_percent(ax.xaxis, -0.03, 1.06)
    in_percent(ax.yaxis, -0.04, 1.06)
    ax.set_xlabel("confidence (mean of the group)")
    ax.set_ylabel("share of these answers that are right")
    add_legend(figure)


def coverage(figure: "Figure", curves: list[tuple[str, list[Coverage]]]) -> None:
    """The share of answers that are right, over the share of questions answered, surest first."""
    ax = figure.subplots()
    ax.axhline(0.9, color=GREY, linestyle=":", label="right nine times in ten")
    for i, (label, points) in enumerate(curves):
        total = points[-1].total
        # A few answers say little, so a curve begins at five.
        shown = [p for p in points if p.total >= min(5, total)]
        x, y = [p.total / total for p in shown], [p.accuracy for p in shown]
        ax.plot(x, y, color=COLOURS[i % 8], label=label)
        if i == 0:
            intervals = np.array([wilson(p.right, p.total) for p in shown])
            ax.fill_between(x, intervals[:, 0], intervals[:, 1], color=COLOURS[0], alpha=0.18, linewidth=0)
    in_percent(ax.xaxis, 0, 1.02)
    in_percent(ax.yaxis, -0.04, 1.04)
    ax.set_xlabel("share of the questions it answers, surest first")
    ax.set_ylabel("share of those answers that are right")
    add_legend(figure)


def confidences(figure: "Figure", series: list[tuple[str, np.ndarray]], threshold: float | None) -> None:
    """Histograms of confidences, one above the other. Each shows shares of its own group."""
    axes = np.atleast_1d(figure.subplots(len(series), 1, sharex=True, sharey=True))
    for i, (ax, (label, values)) in enumerate(zip(axes, series, strict=True)):
        weights = np.full(len(values), 1 / max(1, len(values)))
        ax.hist(values, bins=np.linspace(0, 1, 21), weights=weights, color=COLOURS[i])
        ax.set_title(f"{label}: {len(values)}", loc="left")
        in_percent(ax.yaxis)
        if threshold is not None:
            ax.axvline(threshold, color=GREY, linestyle="--")
    in_percent(axes[-1].xaxis, 0, 1)
    axes[-1].set_xlabel("confidence")
