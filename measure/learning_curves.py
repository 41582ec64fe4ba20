"""Draw the learning curves of one or several runs: loss against training steps, and accuracy if it was measured.

    python measure/learning_curves.py LABEL=P.log.jsonl [LABEL=Q.log.jsonl ...] --out docs/learning-curves.svg

A log is what training writes beside its parameters: one JSON object per line, with `step` and either `loss` (the mean
training loss since the line before) or `validation_loss` (the mean loss on questions that are not trained on). The
training loss is a solid line, the validation loss a dashed line of the same colour. If a log has `validation_accuracy`,
the share of those questions that is answered right has axes of its own, above the losses. Labels stand beside the ends
of the curves, so the figure needs no legend. The ending of --out decides the format: .svg or .png.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

import picture
from picture import COLORS

NAMES = {"loss", "validation_loss", "validation_accuracy"}
LINE_HEIGHT = 0.065  # of a label, as a share of the height of the axes


@dataclass(frozen=True)
class Curve:
    """One line of the figure."""

    label: str
    steps: list[int]
    values: list[float]
    color: str
    style: str


def read_log(path: Path) -> dict[str, tuple[list[int], list[float]]]:
    """The curves of one log: each of NAMES -> (steps, values). A curve without a line is left out.

    Raises OSError if the file cannot be read, ValueError if it is not a log or holds no loss.
    """
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            for name in line.keys() & NAMES:
                steps, values = curves.setdefault(name, ([], []))
                steps.append(int(line["step"]))
                values.append(float(line[name]))
        except (ValueError, AttributeError, KeyError, TypeError):
            raise ValueError(f"{path}, line {number}: not a line of a training log") from None
    if not curves.keys() & {"loss", "validation_loss"}:
        raise ValueError(f"{path}: holds no loss")
    return curves


def curves_of(logs: list[tuple[str, Path]]) -> tuple[list[Curve], list[Curve]]:
    """(losses, accuracies), the accuracies in percent."""
    losses, accuracies = [], []
    for i, (label, path) in enumerate(logs):
        read, color = read_log(path), COLORS[i % len(COLORS)]
        if "loss" in read:
            losses.append(Curve(label, *read["loss"], color, "-"))
        if "validation_loss" in read:
            losses.append(Curve(f"{label}, validation", *read["validation_loss"], color, "--"))
        if "validation_accuracy" in read:
            steps, shares = read["validation_accuracy"]
            accuracies.append(Curve(label, steps, [100 * share for share in shares], color, "-"))
    return losses, accuracies


def spread(heights: list[float], gap: float) -> list[float]:
    """The heights, moved until any two of them are at least `gap` apart. Their order and, above 0, their mean stay."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    moved = list(heights)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    too_high = sum(moved) / len(moved) - sum(heights) / len(heights)
    return [height - min(too_high, min(moved)) for height in moved]


def draw(losses: list[Curve], accuracies: list[Curve]) -> Figure:
    figure = Figure(figsize=(9, 8 if accuracies else 4.5), facecolor="white", layout="constrained")
    *above, below = figure.subplots(2 if accuracies else 1, sharex=True, squeeze=False)[:, 0]
    last = max(curve.steps[-1] for curve in losses)
    for axes in above:
        plot(axes, accuracies, last, 100)
        axes.set_ylabel("held-out questions right (%)", fontsize=13)
    plot(below, losses, last, 1.05 * max(max(curve.values) for curve in losses))
    below.set_xlabel("training steps", fontsize=13)
    below.set_ylabel("loss in nats per character", fontsize=13)
    return figure


def plot(axes: Axes, curves: list[Curve], last: int, top: float) -> None:
    heights = spread([curve.values[-1] for curve in curves], LINE_HEIGHT * top)
    for curve, height in zip(curves, heights, strict=True):
        axes.plot(curve.steps, curve.values, curve.style, color=curve.color, linewidth=1.8)
        # All labels stand in one column, each with a thin line to the end of its curve.
        axes.annotate(
            curve.label,
            xy=(curve.steps[-1], curve.values[-1]),
            xytext=(1.03 * last, height),
            verticalalignment="center",
            color=curve.color,
            fontsize=13,
            annotation_clip=False,
            arrowprops=dict(arrowstyle="-", color=curve.color, linewidth=0.6, shrinkA=0, shrinkB=0, relpos=(0, 0.5)),
        )
    axes.set(xlim=(0, last), ylim=(0, max(top, *heights)))
    axes.tick_params(labelsize=12)
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def label_and_path(argument: str) -> tuple[str, Path]:
    label, equals, path = argument.partition("=")
    if not label or not equals or not path:
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form LABEL=P.log.jsonl")
    return label, Path(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", nargs="+", type=label_and_path, metavar="LABEL=LOG", help="a label and a P.log.jsonl")
    parser.add_argument("--out", type=picture.out, required=True, help="the picture to write, an .svg or a .png")
    args = parser.parse_args(argv)
    return picture.write(args.out, lambda: draw(*curves_of(args.logs)), "learning_curves.py")


if __name__ == "__main__":
    sys.exit(main())
