"""Draw the capacity law from tables of capacity.py: what models of each size know of more and more people.

    python measure/capacity_figure.py capacity/capacity.csv --out docs/capacity.svg

Left: right answers about people who were never asked about in training. Right: bits stored per parameter, at least
(knowledge.py), beside the two bits of Allen-Zhu and Li (arXiv 2404.05405). One line for each size, over the number of
people. Drawn are the cells of one number of exposures, by default the one with the most cells, with questions and
recall. The ending of --out decides the format: .svg or .png.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data")]

from matplotlib.figure import Figure

import picture
from capacity import COLUMNS, Cell
from grid import Row, cell_of, read_table
from picture import COLORS

MARKERS = "osD^vP"
PER_PARAMETER = 2.0  # bits, of Allen-Zhu and Li after a thousand exposures


def read(tables: Sequence[Path]) -> list[Row]:
    """The rows of all tables. Raises ValueError if there is no such table."""
    for table in tables:
        if not table.is_file():
            raise ValueError(f"{table}: there is no such table")
    return [row for table in tables for row in read_table(table, COLUMNS)]


def chosen(rows: Sequence[Row], exposures: int | None = None) -> list[Row]:
    """The rows to draw, in the order of parameters and people. Raises ValueError if there is none."""
    plain = [row for row in rows if cell_of(row, Cell).questions and cell_of(row, Cell).recall]
    counts = Counter(int(row["exposures"]) for row in plain)
    if not counts or (exposures is not None and exposures not in counts):
        raise ValueError(f"no cell of {exposures or 'any'} exposures with questions and recall")
    exposures = exposures or counts.most_common(1)[0][0]
    rows = [row for row in plain if int(row["exposures"]) == exposures]
    return sorted(rows, key=lambda row: (int(row["parameters"]), int(row["people"])))


def draw(rows: Sequence[Row]) -> Figure:
    figure = Figure(figsize=(10, 4), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    for number, size in enumerate(sizes):
        mine = [row for row in rows if row["size"] == size]
        people = [int(row["people"]) for row in mine]
        label = f"{int(mine[0]['parameters']) / 1e6:.2g}M ({size})"
        look = dict(color=COLORS[number % len(COLORS)], marker=MARKERS[number % len(MARKERS)], linewidth=1.8)
        left.plot(people, [float(row["accuracy_others"]) for row in mine], label=label, **look)
        right.plot(people, [float(row["bits_per_parameter"]) for row in mine], label=label, **look)
    left.set(ylabel="right answers, % of people never asked about", ylim=(0, 100))
    right.set(ylabel="bits per parameter, at least")
    if max(float(row["bits_per_parameter"]) for row in rows) > PER_PARAMETER / 10:
        right.axhline(PER_PARAMETER, color="black", linewidth=0.8, linestyle="--")
        right.annotate("Allen-Zhu and Li: 2", (0.02, PER_PARAMETER), xycoords=("axes fraction", "data"), va="bottom")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(sorted({int(row["people"]) for row in rows}), minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
        axes.set_xlabel(f"people in the corpus, each read {rows[0]['exposures']} times")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    right.set_ylim(bottom=0)
    left.legend(title="parameters", frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, metavar="CSV", help="tables of capacity.py")
    parser.add_argument("--exposures", type=int, metavar="E", help="default: the number with the most cells")
    parser.add_argument("--out", type=picture.out, required=True, help="the picture to write, an .svg or a .png")
    args = parser.parse_args(argv)
    return picture.write(args.out, lambda: draw(chosen(read(args.tables), args.exposures)), "capacity_figure.py")


if __name__ == "__main__":
    sys.exit(main())
