"""Answers by title, from a TSV or from a JSON dump of Wikidata: kept in a database on disk, however many they are.

The dump of Wikidata (https://www.wikidata.org/wiki/Wikidata:Database_download) has an item a line. A line gives the
title of the item's page in one wiki, the values of a property (P19 is the place of birth), and the item's own label,
which is needed where it is the value of another item.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wiki_dump import Piece, Position, pieces

SCHEMA = """
create table if not exists state (key text primary key, value text);
create table if not exists labels (item text primary key, label text) without rowid;
create table if not exists claims (title text, value text, is_item integer);
create table if not exists facts (title text primary key, answer text) without rowid;
"""


class Facts:
    """{title: answer}, on disk. Several answers are joined by a vertical bar: each is right."""

    def __init__(self, path: Path):
        self.db = sqlite3.connect(path, timeout=30)
        self.db.executescript(SCHEMA)

    def get(self, key: str, default: Any = None) -> Any:
        found = self.db.execute("select value from state where key = ?", (key,)).fetchone()
        return default if found is None else json.loads(found[0])

    def set(self, key: str, value: Any) -> None:
        self.db.execute("insert or replace into state values (?, ?)", (key, json.dumps(value)))

    def of(self, titles: list[str]) -> dict[str, str]:
        """The answers for those of the titles that have one."""
        rows = [self.db.execute("select title, answer from facts where title = ?", (title,)) for title in titles]
        return {title: answer for found in rows for title, answer in found}

    def add_claims(self, title: str, values: list[tuple[str, bool]]) -> None:
        rows = [(title, value, is_item) for value, is_item in values]
        self.db.executemany("insert into claims values (?, ?, ?)", rows)

    def finish(self) -> int:
        """Turn claims into answers, in the order in which they were made. Returns the number of titles."""
        self.db.executescript(
            "delete from facts; create temp table named as select title, min(claims.rowid) as first,"
            " case when is_item then label else value end as answer"
            " from claims left join labels on is_item and labels.item = claims.value"
            " group by title, answer having answer is not null and answer != '';"
            "insert into facts select title, group_concat(answer, '|') from (select * from named order by title, first)"
            " group by title; drop table named;"
        )
        self.set("complete", True)
        self.db.commit()
        return self.db.execute("select count(*) from facts").fetchone()[0]


def canonical(title: str) -> str:
    """A title as pages bear it: spaces for underscores, and a capital first letter."""
    title = " ".join(title.replace("_", " ").split())
    return title[:1].upper() + title[1:]


def read_tsv(path: Path, prop: str | None, facts: Facts) -> None:
    """Rows title<TAB>value, or title<TAB>property<TAB>value, of which those of `prop` count.

    Raises ValueError with the row for any other row.
    """
    properties: set[str] = set()
    with open(path, encoding="utf-8-sig", newline=None) as file:
        try:
            for number, line in enumerate(file, 1):
                fields = [field.strip() for field in line.rstrip("\n").split("\t")]
                if not line.strip():
                    continue
                if len(fields) not in (2, 3) or not all(fields):
                    raise ValueError(f"{path}, row {number}: neither title<TAB>value nor title<TAB>property<TAB>value")
                if len(fields) == 3:
                    properties.add(fields[1])
                    if prop is not None and fields[1] != prop:
                        continue
                facts.add_claims(canonical(fields[0]), [(fields[-1], False)])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from None
    if prop is None and len(properties) > 1:
        some = ", ".join(sorted(properties)[:5])
        raise ValueError(f"{path}: it has several properties ({some} ...): choose one with --property")
    if prop is not None and properties and prop not in properties:
        raise ValueError(f"{path}: no row has the property {prop}")
    facts.finish()


Found = tuple[str, str, str, list[tuple[str, bool]]]  # item, label, title, values


def claims_of(line: bytes, prop: str, language: str, wiki: str) -> Found | None:
    """What a line of the dump says. None: nothing that is needed. Raises ValueError if it is no item."""
    line = line.strip().rstrip(b",")
    if line in (b"", b"[", b"]"):
        return None
    item = json.loads(line)
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        raise ValueError("not an item")
    labels = item.get("labels") or {}
    label = (labels.get(language) or labels.get("mul") or {}).get("value", "")
    title = ((item.get("sitelinks") or {}).get(wiki) or {}).get("title", "")
    claims = (item.get("claims") or {}).get(prop, []) if title else []
    ranks = {claim.get("rank") for claim in claims}
    best = "preferred" if "preferred" in ranks else "normal"
    values = [value_of(claim.get("mainsnak") or {}) for claim in claims if claim.get("rank", "normal") == best]
    return item["id"], label, title, [value for value in values if value is not None]


def value_of(snak: dict[str, Any]) -> tuple[str, bool] | None:
    """(value, whether it is an item that has a label). None for what has no short name: a quantity, a coordinate."""
    value = (snak.get("datavalue") or {}).get("value")
    if isinstance(value, dict):
        if isinstance(value.get("id"), str):
            return value["id"], True
        if isinstance(value.get("time"), str):  # +1952-03-11T00:00:00Z
            return value["time"].lstrip("+").split("T")[0].split("-")[0], False
        value = value.get("text")
    return (value, False) if isinstance(value, str) else None


def read_lines(arguments: tuple[str, str, str], contents: list[bytes | None]) -> tuple[list[Found], int]:
    """What these lines say, and how many of them are damaged."""
    found, damaged = [], 0
    for content in contents:
        try:
            one = claims_of(content, *arguments) if content is not None else None
            damaged += content is None
        except (ValueError, TypeError, AttributeError, RecursionError):
            damaged += 1
            continue
        if one is not None:
            found.append(one)
    return found, damaged


def read_wikidata(
    path: Path, facts: Facts, run: Callable[[Iterator[Piece]], Iterator[tuple[tuple[list[Found], int], Position]]]
) -> int:
    """Add what the dump says, going on where a killed run stopped. Returns how many lines are damaged.

    run: applies `read_lines` to batches of pieces, in order
    """
    items = 0
    for (found, damaged), position in run(pieces(path, b"\n", Position(*facts.get("position", [0, 0])))):
        for item, label, title, values in found:
            if label:
                facts.db.execute("insert or replace into labels values (?, ?)", (item, label))
            facts.add_claims(title, values)
        facts.set("damaged", facts.get("damaged", 0) + damaged)
        facts.set("items", items := facts.get("items", 0) + len(found))
        facts.set("position", position)
        facts.db.commit()
    if not facts.get("items", items):
        raise ValueError(f"{path}: not a JSON dump of Wikidata: no line is an item")
    facts.finish()
    return facts.get("damaged", 0)
