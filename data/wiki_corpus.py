"""What is kept of a dump while it is read, and the files of the corpus that are written at the end.

An SQLite database holds the rows, the counts and the position in the dump. A batch is added in one transaction, so a
killed run loses nothing that was counted, and counts nothing twice. Nothing here needs memory that grows with the dump,
except the set of distinct answers.
"""

import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wiki_dump import Header, Position
from wiki_markup import AGAIN, REASONS, Row, end_of_answer

TRAIN, DEV, TEST, UNSEEN = range(4)
# At most so many rows, and at most this share of all. The course has 2,000 / 500 / 437.
DEV_ROWS, TEST_ROWS, UNSEEN_ROWS = (500, 0.17), (437, 0.15), (500, 0.1)
LEAST = 4  # rows: one for each part
SCHEMA = """
create table if not exists state (key text primary key, value text);
create table if not exists counts (reason text primary key, pages integer);
create table if not exists rows (
    id integer primary key, title text unique, name text, answer text, text text,
    number integer, revision integer, draw integer
);
"""


class Unfinished:
    """A run that may have been killed and can go on, in the folder OUT.unfinished."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        """Raises ValueError if the folder is in use, or is that of a run with other settings."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / "rows.db", timeout=0)
        try:
            self.db.execute("pragma locking_mode = exclusive")
            self.db.executescript(SCHEMA)
            known = self.get("settings", None)
            if known is None:
                self.set("settings", settings)
                self.db.commit()
        except sqlite3.Error as error:
            raise ValueError(f"{folder}: {error}: is another run writing there? If not, delete it") from None
        if known not in (None, settings):
            changed = ", ".join(key for key in settings if known.get(key) != settings[key])
            raise ValueError(
                f"{folder}: the run that was stopped there differs in {changed}: go on as it was, or delete it"
            )

    def get(self, key: str, default: Any) -> Any:
        found = self.db.execute("select value from state where key = ?", (key,)).fetchone()
        return default if found is None else json.loads(found[0])

    def set(self, key: str, value: Any) -> None:
        self.db.execute("insert or replace into state values (?, ?)", (key, json.dumps(value)))

    @property
    def position(self) -> Position:
        return Position(*self.get("position", [0, 0]))

    def add(self, found: list[Row | str], position: Position) -> int:
        """Add what a batch of pages gave, and where reading goes on. Returns how many rows were kept."""
        counts, kept = Counter(row for row in found if isinstance(row, str)), 0
        for row in found:
            if isinstance(row, Row):
                draw = int.from_bytes(hashlib.sha256(row.title.encode()).digest()[:7], "big")
                new = self.db.execute(
                    "insert or ignore into rows (title, name, answer, text, number, revision, draw) "
                    "values (?, ?, ?, ?, ?, ?, ?)",
                    (*row, draw),
                ).rowcount
                kept += new
                counts[AGAIN] += 1 - new
        for reason, pages in counts.items():
            self.db.execute("insert or ignore into counts values (?, 0)", (reason,))
            self.db.execute("update counts set pages = pages + ? where reason = ?", (pages, reason))
        self.set("position", position)
        return kept

    def dropped(self) -> dict[str, int]:
        found = dict(self.db.execute("select reason, pages from counts"))
        return {reason: found[reason] for reason in REASONS if found.get(reason)}

    def kept(self) -> int:
        return self.db.execute("select count(*) from rows").fetchone()[0]

    def close(self, remove: bool) -> None:
        self.db.close()
        if remove:
            shutil.rmtree(self.folder)


# -------------------------------------------------------------------------------------------------------- the corpus


class Entry(NamedTuple):
    part: int
    title: str
    number: int
    revision: int
    line: str
    question: str
    answer: str


def split(unfinished: Unfinished) -> list[tuple[str, int]]:
    """Name and divide the rows, in a temporary table. Returns the ambiguous names, with how many bear each.

    A name that several bear is replaced by the title, as "John Smith (footballer)", which is unique. The parts are
    drawn by the hash of the title, so that they are the same in whatever order pages come.
    """
    db, total = unfinished.db, unfinished.kept()
    db.executescript(
        "drop table if exists named; create temp table named (id integer primary key, part integer, name text, draw);"
        f"insert into named select id, {TRAIN}, name, draw from rows; create index temp.by_name on named (name);"
        "create temp table ambiguous as select name, count(*) as pages from named group by name having pages > 1;"
        "update named set name = (select title from rows where rows.id = named.id)"
        " where name in (select name from ambiguous); create index temp.by_draw on named (draw, id);"
    )
    for part, (most, share) in ((UNSEEN, UNSEEN_ROWS), (DEV, DEV_ROWS), (TEST, TEST_ROWS)):
        rows = min(most, max(1, round(total * share)))
        db.execute(
            f"update named set part = {part} where id in "
            f"(select id from named where part = {TRAIN} order by draw, id limit ?)",
            (rows,),
        )
    unseen = dict(db.execute(f"select id, name from named where part = {UNSEEN}"))
    for lines in chunks(
        row[0] for row in db.execute(f"select text from rows join named using (id) where part != {UNSEEN}")
    ):
        unseen = {key: name for key, name in unseen.items() if name not in lines}
    mentioned = [key for (key,) in db.execute(f"select id from named where part = {UNSEEN}") if key not in unseen]
    db.executemany(f"update named set part = {TRAIN} where id = ?", [(key,) for key in mentioned])
    return list(db.execute("select name, pages from ambiguous order by pages desc, name"))


def chunks(lines: Iterator[str], size: int = 10_000) -> Iterator[str]:
    block: list[str] = []
    for line in lines:
        block.append(line)
        if len(block) == size:
            yield "\n".join(block)
            block.clear()
    yield "\n".join(block)


def entries(unfinished: Unfinished, template: str) -> Iterator[Entry]:
    """All rows in the order of the files: train, dev, test, unseen; within each as in the dump."""
    found = unfinished.db.execute(
        "select part, title, number, revision, named.name, text, answer "
        "from named join rows using (id) order by part, id"
    )
    for part, title, number, revision, name, text, answer in found:
        yield Entry(part, title, number, revision, f"{name}. {text}", template.replace("{}", name), answer)


class Statistics:
    """The rows of `make_corpus.py --stats`, of a corpus that is seen once and not kept."""

    def __init__(self) -> None:
        self.rows, self.lengths, self.characters = Counter[int](), Counter[int](), {"\n"}
        self.answers, self.dev = Counter[str](), Counter[str]()
        self.ends: dict[int, Counter] = {TRAIN: Counter(), DEV: Counter()}
        self.not_ascii, self.longest, self.longest_answered = Counter[int](), 0, 0

    def add(self, entry: Entry) -> None:
        part, line, answer = entry.part, entry.line, entry.answer
        self.rows[part] += 1
        self.lengths[len(line)] += 1
        self.characters |= set(line)
        self.not_ascii[part] += not entry.question.isascii()
        self.longest = max(self.longest, len(entry.question))
        if part == TEST:
            return
        (self.answers if part == TRAIN else self.dev)[answer] += 1
        self.ends[part][end_of_answer(answer, line)] += 1
        self.longest_answered = max(self.longest_answered, len(entry.question) + len(answer))

    def within(self, part: int, limit: int | None = None) -> str:
        ends = self.ends[part]
        found = sum(n for end, n in ends.items() if end is not None and (limit is None or end <= limit))
        return share(found, ends.total())

    def block_size(self) -> int:
        """A block holds every question with its answer, and what is asked for in nine of ten documents."""
        ends = sorted(end for end in self.ends[TRAIN].elements() if end is not None)
        needed = ends[int(0.9 * len(ends))] * 8 // 7 if ends else 0  # a document is shown to 7/8 of the block
        return -(-max(self.longest_answered + 2, min(needed, 512)) // 16) * 16

    def table(self) -> list[tuple[str, str]]:
        lengths = sorted(self.lengths.elements())
        train, dev, test = (self.rows[part] for part in (TRAIN, DEV, TEST))
        often = self.answers.most_common(5)
        unknown = sum(n for answer, n in self.dev.items() if answer not in self.answers)
        answers = [
            (f"{name}: {label}", self.within(part, limit))
            for name, part in (("train", TRAIN), ("dev", DEV))
            for label, limit in [("answer in its line", None), ("answer ends within 32 characters", 32)]
            + [(f"within {limit}", limit) for limit in (64, 96, 112)]
        ]
        return [
            ("rows: wiki / train / dev / test", f"{len(lengths):,} / {train:,} / {dev} / {test}"),
            ("characters in wiki.txt", f"{sum(lengths) + len(lengths):,}"),
            ("distinct characters in wiki.txt", f"{len(self.characters)}"),
            ("line length: mean", f"{sum(lengths) / len(lengths):.1f}"),
            (
                "line length: 5 / 25 / 50 / 75 / 95%",
                " / ".join(str(lengths[len(lengths) * q // 100]) for q in (5, 25, 50, 75, 95)),
            ),
            ("lines over 128 characters", share(sum(n > 128 for n in lengths), len(lengths))),
            ("distinct answers: train / dev", f"{len(self.answers)} / {len(self.dev)}"),
            ("most frequent in train", ", ".join(f"{answer} {n}" for answer, n in often)),
            (f"dev answers {often[0][0]}, the most frequent", share(self.dev[often[0][0]], dev)),
            ("dev answers never seen in train", share(unknown, dev)),
            *answers,
            ("names not in ASCII: train / dev / test", " / ".join(str(self.not_ascii[p]) for p in (TRAIN, DEV, TEST))),
            ("longest question with answer", f"{self.longest_answered}"),
            ("longest question", f"{self.longest}"),
        ]


def share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.1f}%)"


FILES = {
    "wiki.txt": lambda e: e.line if e.part != UNSEEN else None,
    "birth_places_train.tsv": lambda e: f"{e.question}\t{e.answer}" if e.part == TRAIN else None,
    "birth_dev.tsv": lambda e: f"{e.question}\t{e.answer}" if e.part == DEV else None,
    "birth_test_inputs.tsv": lambda e: e.question if e.part == TEST else None,
    "birth_test_answers.tsv": lambda e: f"{e.question}\t{e.answer}" if e.part == TEST else None,
    "birth_unseen_inputs.tsv": lambda e: e.question if e.part == UNSEEN else None,
    "sources.tsv": lambda e: f"{e.title}\t{e.number}\t{e.revision}" if e.part != UNSEEN else None,
}


def write_corpus(unfinished: Unfinished, out: Path, header: Header, template: str, about: str) -> Statistics:
    """Write the folder `out`, which appears whole or not at all. Raises ValueError if too few rows were kept."""
    if unfinished.kept() < LEAST:
        raise ValueError(f"only {unfinished.kept()} pages were kept, and a corpus needs {LEAST}: nothing is written")
    ambiguous, statistics = split(unfinished), Statistics()
    target = unfinished.folder / "files"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    files = {name: open(target / name, "w", encoding="utf-8", newline="\n") for name in FILES}
    try:
        for entry in entries(unfinished, template):
            for name, row in FILES.items():
                if (text := row(entry)) is not None:
                    files[name].write(f"{text}\n")
            if entry.part != UNSEEN:
                statistics.add(entry)
    finally:
        for file in files.values():
            file.close()
    page = source_page(unfinished, header, about, ambiguous, statistics)
    (target / "SOURCE.md").write_text(page, encoding="utf-8", newline="\n")
    target.rename(out)
    return statistics


def source_page(
    unfinished: Unfinished, header: Header, about: str, ambiguous: list[tuple[str, int]], statistics: Statistics
) -> str:
    """Where the corpus comes from, under which licence, and what was kept and dropped."""
    dropped, kept = unfinished.dropped(), unfinished.kept()
    seen = statistics.rows.total()
    counts = [("pages", sum(dropped.values()) + kept), *((f"dropped: {why}", n) for why, n in dropped.items())]
    counts += [("kept", kept), ("kept: in wiki.txt", seen), ("kept: asked about only (unseen)", kept - seen)]
    pages = sum(n for _, n in ambiguous)
    names = "".join(f"- {name}: {n}\n" for name, n in ambiguous[:20])
    wiki = header.base or header.wiki or "the wiki"
    return f"""# Where this corpus comes from

{about}

## Licence

The text is from {wiki} and its authors, shortened and freed of markup. It is under the Creative Commons
Attribution-ShareAlike licence (CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0/): whoever passes it on
names the source and keeps the licence. `sources.tsv` names title, page and revision of each line of `wiki.txt`. The
history of a page names its authors.

## Pages

{markdown(("", "pages"), [(label, f"{n:,}") for label, n in counts])}
## Ambiguous names

{len(ambiguous):,} names belong to several pages, {pages:,} in all. These are asked about by their title, as "John
Smith (footballer)".

{names}
## Statistics

{markdown(("", "value"), statistics.table())}"""


def markdown(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
