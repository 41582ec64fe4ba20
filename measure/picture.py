"""How programs that draw a figure from measurements look and end.

A picture is an .svg or a .png. The same data give the same bytes: neither a date nor random names are in an SVG.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#6c6c6c", "#e69f00")  # told apart by colour-blind readers too


def out(text: str) -> Path:
    """The argument --out: the ending decides the format."""
    if not text.endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .svg or .png")
    return Path(text)


def write(path: Path, draw: Callable[[], Figure], program: str) -> int:
    """Draw, and write the figure. Returns the exit status: 2 after one line about what was wrong with the data."""
    matplotlib.rcParams["svg.hashsalt"] = program
    try:
        draw().savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")
    return 0
