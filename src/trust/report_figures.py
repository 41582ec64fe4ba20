"""The pictures of the report. Each is drawn twice: for a light page and for a dark one.

A painter is a function that takes an empty matplotlib Figure and what to draw on it; `draw` runs it and returns PNGs.
The sections of the report decide what is shown. Only this module uses matplotlib, without pyplot and its global state,
so that no display is needed. It is imported when the first picture is drawn, because a page can do without.
"""

import io
import os
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
THEMES = {"light": ("#ffffff", "#1d2126", "#d5d9de"), "dark": ("#15181c", "#e3e6ea", "#3a4047")}  # page, ink, grid


@dataclass
class Picture:
    light: bytes  # PNG
    dark: bytes


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
    """The painter's picture, in matplotlib's own style. At 5.6 inches its text can be read when scaled to a phone.

    Raises whatever a matplotlib raises that is missing or damaged.
    """
    matplotlib = imported()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    own = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    pngs = {}
    for theme, (page, ink, grid) in THEMES.items():
        colours = {"text": ink, "axes.labelcolor": ink, "xtick.color": ink, "ytick.color": ink, "axes.edgecolor": grid}
        style: dict[Any, Any] = {name if "." in name else f"{name}.color": value for name, value in colours.items()}
        style |= {"figure.facecolor": page, "axes.facecolor": page, "savefig.facecolor": page, "grid.color": grid}
        style |= {"font.size": 11, "axes.grid": True, "axes.axisbelow": True, "legend.framealpha": 0.8}
        style |= {"axes.spines.top": False, "axes.spines.right": False, "text.parse_math": False}
        style |= {"legend.facecolor": page, "legend.edgecolor": grid}
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings on their way out, and letters that no font has
            matplotlib.rcParams.update(own | style)
            figure = matplotlib.figure.Figure(figsize=(5.6, height), dpi=180, layout="constrained")
            FigureCanvasAgg(figure)  # whatever backend is chosen
            painter(figure, *arguments)
            file = io.BytesIO()
            figure.savefig(file, format="png")
        pngs[theme] = file.getvalue()
    return Picture(**pngs)


def add_legend(figure: "Figure") -> None:
    """Add a legend above the axes, where it hides nothing. Long labels get a line each, because a phone is narrow."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) < 22 else 1
    labels = [fill(label, 60) for label in labels]
    lines = "\n".join(labels).count("\n") + 1
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, lines // columns - 2))  # the axes keep their height
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, fontsize=9.5)


def in_percent(axis, low: float | None = None, high: float | None = None) -> None:
    """Label an axis in percent, with the limits `low` and `high` if they are given."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if low is not None:
        (axis.axes.set_xlim if axis.axis_name == "x" else axis.axes.set_ylim)(low, high)


def curves(figure: "Figure", logs: list[tuple[str, list[dict]]]) -> None:
    """Loss above, learning rate below, over steps."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for i, (label, log) in enumerate(logs):
        step = [line["step"] for line in log]
        look = {"label": label, "color": COLOURS[i % 8], "marker": "o" if len(step) < 15 else "", "markersize": 4}
        look |= {"clip_on": False}  # so that a point on the axis is drawn whole
        above.plot(step, [line["loss"] for line in log], **look)
        below.plot(step, [line["lr"] for line in log], **look)
    above.set_ylabel("loss (nats per character)")
    above.set_ylim(bottom=0)
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    below.set_xlim(left=0)  # otherwise the last two points of a short training look like all of it
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    below.set_ylim(bottom=0)
    if len(logs) > 1:
        add_legend(figure)


def accuracy(figure: "Figure", rows: list[tuple[str, int, int]], public: list[tuple[str, float, float]]) -> None:
    """A point and its interval for each of `rows` (label, right, total); public (label, median, best) in percent."""
    ax = figure.subplots()
    for y, (_, right, total) in enumerate(rows):
        low, high = wilson(right, total)
        colour = GREY if y == 0 else COLOURS[0]  # London is not a run
        ax.plot([low, high], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(right / total, y, "o", color=colour, markersize=8)
        ax.annotate(f"{right / total:.1%}", (right / total, y), (0, 7), textcoords="offset points", ha="center")
    for y, (_, median, best) in enumerate(public, len(rows)):
        ax.plot([median / 100, best / 100], [y, y], ":", color=GREY)
        first = y == len(rows)
        ax.plot(median / 100, y, "D", color=GREY, fillstyle="none", label="median of public copies" if first else "")
        ax.plot(best / 100, y, "*", color=GREY, markersize=10, label="best of public copies" if first else "")
    ax.set_yticks(range(len(rows) + len(public)), [fill(label, 24) for label, *_ in [*rows, *public]])
    ax.set_ylim(len(rows) + len(public) - 0.4, -0.8)
    in_percent(ax.xaxis)
    ax.set_xlim(left=-0.04)
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
            ax.plot([at, at], [low, high], color=COLOURS[i % 8], linewidth=2)
            ax.plot(at, right / total, MARKERS[i % 8], color=COLOURS[i % 8], label=label if x == 0 else "")
    totals = [total for _, total in next(iter(counts.values()))]
    labels = [f"{name}\n({total})" for name, total in zip(names, totals, strict=True)]
    ax.set_xticks(range(len(names)), labels, fontsize=9)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("answered correctly")
    in_percent(ax.yaxis, -0.02, 1.02)
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
                ax.annotate(f" {b.total}", (at, b.accuracy), fontsize=9, va="bottom")
    in_percent(ax.xaxis, -0.02, 1.04)
    in_percent(ax.yaxis, -0.02, 1.04)
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
    in_percent(ax.xaxis, 0, 1)
    in_percent(ax.yaxis, -0.02, 1.02)
    ax.set_xlabel("share of the questions it answers, surest first")
    ax.set_ylabel("share of those answers that are right")
    add_legend(figure)


def confidences(figure: "Figure", series: list[tuple[str, np.ndarray]], threshold: float | None) -> None:
    """Histograms of confidences, one above the other. Each shows shares of its own group."""
    axes = np.atleast_1d(figure.subplots(len(series), 1, sharex=True, sharey=True))
    for i, (ax, (label, values)) in enumerate(zip(axes, series, strict=True)):
        weights = np.full(len(values), 1 / max(1, len(values)))
        ax.hist(values, bins=np.linspace(0, 1, 21), weights=weights, color=COLOURS[i])
        ax.set_title(f"{label}: {len(values)}", fontsize=10, loc="left")
        in_percent(ax.yaxis)
        if threshold is not None:
            ax.axvline(threshold, color=GREY, linestyle="--")
    in_percent(axes[-1].xaxis, 0, 1)
    axes[-1].set_xlabel("confidence")
