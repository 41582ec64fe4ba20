"""A grid of cells, each trained and measured once, and the table of their results: what capacity.py and relations.py
share.

A cell is a frozen dataclass of strings and whole numbers. Its fields are the first columns of its row. `people` and
`corpus` ("full" or "quick") say on which corpus it is trained.
"""

import csv
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from biographies import write_people
from safe.files import atomic_write

Row = dict[str, Any]


def silent() -> None:
    """Drop what this process prints, as the stages of run.py do: of a cell, the program prints one line."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def cell_of(row: Row, kind: type) -> Any:
    """The cell of a row."""
    return kind(**{field.name: (int if field.type is int else str)(row[field.name]) for field in fields(kind)})


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a table, none if there is no file. Raises ValueError if it has other columns or a damaged row."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != list(columns):
            raise ValueError(f"{path}: has other columns than this program writes: choose another --out")
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {number}: has more or fewer values than columns: delete the line")
    return rows


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write the whole table anew, so that no row is ever half there."""
    with atomic_write(path) as file:
        for values in (columns, *([row[name] for name in columns] for row in rows)):
            line = [f"{value:.6g}" if isinstance(value, float) else str(value) for value in values]
            file.write((",".join(text.replace(",", "") for text in line) + "\n").encode())


def run_grid(
    cells: Sequence[Any],
    table: Path,
    columns: Sequence[str],
    jobs: int,
    work: Callable[[Any, Path], Row],
    show: Callable[[Row], str],
    make: Callable[[Path, int, bool], None] = write_people,
    pool: Any = None,
) -> int:
    """Measure the cells that the table lacks, `jobs` at a time, in their order. Returns how many failed.

    work(cell, folder) gives the row of a cell, in a process of its own. Corpora are made once, beside the table. A cell
    waits for its own corpus only, and the first one whose corpus is there comes next.
    """
    rows = read_table(table, columns)
    known = {cell_of(row, type(cells[0])) for row in rows}
    todo = [cell for cell in cells if cell not in known]
    print(f"{len(cells)} cells, {len(cells) - len(todo)} of them in {table} already", flush=True)
    failed, made = 0, set()
    with pool or ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as workers:
        waiting: dict[Future, Any] = {}
        for people, corpus in sorted({(cell.people, cell.corpus) for cell in todo}):
            folder = table.parent / f"{corpus}-{people}"
            waiting[workers.submit(make, folder, people, corpus == "quick")] = folder
        while waiting or todo:
            ready = [cell for cell in todo if f"{cell.corpus}-{cell.people}" in made]
            for cell in ready[: max(0, jobs - len(waiting))]:
                todo.remove(cell)
                waiting[workers.submit(work, cell, table.parent / f"{cell.corpus}-{cell.people}")] = cell
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                done = waiting.pop(future)
                if isinstance(done, Path):  # a corpus
                    future.result()
                    made.add(done.name)
                    continue
                try:
                    rows.append(future.result())
                except BrokenProcessPool:
                    raise
                except (RuntimeError, OSError, ValueError) as error:  # such as too little memory: the others go on
                    failed += 1
                    print(f"{done}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
                    continue
                write_table(table, columns, rows)
                print(show(rows[-1]), flush=True)
    return failed


def command(
    program: str, cells: Sequence[Any], table: Path, columns: Sequence[str], jobs: int, work: partial, show: Callable
) -> int:
    """`run_grid` as a command ends: what went wrong in a line, and an exit status."""
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        failed = run_grid(cells, table, columns, jobs, work, show)
    except (OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(f"{program}: a process was killed: the same command continues with what is left", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped: the same command continues with the cells that are left", file=sys.stderr)
        return 130
    print(f"{table}: " + (f"complete but for {failed} that failed" if failed else "complete"))
    return 1 if failed else 0
