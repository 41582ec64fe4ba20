"""Make a dump of a wiki that does not exist, to try data/from_wikipedia.py on: fictional people, in four scripts.

    python data/make_dump.py small.xml.bz2 --people 300
    python data/make_dump.py small.xml.bz2 --people 300 --script cyrillic
    python data/make_dump.py large.xml --people 900000 --filler 2000

Beside the people there is what real dumps hold: redirects, pages of other namespaces, tables, pages of two people with
the same name, and broken markup. The people are those of data/make_corpus.py; in other scripts their names are letters
of that script, one for one, and the sentences are made for it. --filler adds characters to each page. The same
arguments give the same bytes.
"""

import argparse
import bz2
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from make_corpus import LEAST_PEOPLE, draw_entries, plain_ascii

DIFFERENT = 5000  # people that are made up; further ones bear a number
LATIN = "abcdefghijklmnopqrstuvwxyz"


class Script(NamedTuple):
    language: str
    letters: str  # for the letters a to z
    field: str
    sentence: str
    more: str  # what a page goes on with
    redirect: str
    file: str


SCRIPTS = {
    "latin": Script(
        *("en", LATIN, "birth_place", "was born in [[{place}]] and died in [[{other}]]."),
        *("Nothing else is known.", "#REDIRECT", "File"),
    ),
    "cyrillic": Script(
        *("bg", "абцдефгхижклмнопярстувшьйз", "място на раждане", "е роден в град [[{place}]] и умира в [[{other}]]."),
        *("Друго не се знае.", "#виж", "Файл"),
    ),
    "arabic": Script(
        *("ar", "ابتثجحخدذرزسشصضطظعغفقكلمنه", "مكان الولادة", "ولد في [[{place}]] وتوفي في [[{other}]]."),
        *("لا يعرف شيء آخر.", "#تحويل", "ملف"),
    ),
    "chinese": Script(
        *(
            "zh",
            "安白成大恩方高海一江科林明南欧平奇仁山天文维吴西亚泽",
            "出生地",
            "出生于[[{place}]]，卒于[[{other}]]。",
        ),
        *("其他不详。", "#重定向", "文件"),
    ),
}
PAGE = """{{Infobox person
| name = NAME
| FIELD = [[PLACE]], [[OTHER]]
}}
[[FILE:Portrait.jpg|thumb|NAME {{circa|1900}}]]
'''NAME'''<ref>{{cite book|title=x}}</ref> ({{lang-x|y}}) SENTENCE MORE

== A ==
{|
! a !! b
|-
| 1 || 2
|}
"""
BROKEN = ("{{Infobox person\n| name = NAME\n| FIELD = [[PLACE\n'''NAME''' SENTENCE", "{{{{[[[['''''<ref>NAME FIELD")


def written(text: str, script: Script) -> str:
    """`text` in the letters of the script."""
    if script.letters == LATIN:
        return text
    return plain_ascii(text).casefold().translate(str.maketrans(LATIN, script.letters)).title()


def pages(people: int, script: Script, filler: int) -> Iterator[tuple[str, int, str | None, str]]:
    """(title, namespace, title that it redirects to, markup) of every page."""
    entries, before = list(draw_entries(people=max(LEAST_PEOPLE, min(people, DIFFERENT)))), ""
    for i in range(people):
        entry, turn = entries[i % len(entries)], i // len(entries)
        name = written(entry.name, script) + (f" {turn}" if turn else "")
        place, other = (written(entries[k % len(entries)].place, script) for k in (i, i * 7 + 1))
        if i % 40 == 39:
            title, name = f"{before} (2)", before  # two people of one name
        else:
            title = name
        text = PAGE if i % 50 != 49 else BROKEN[i // 50 % 2]
        sentence = script.sentence.replace("{place}", place).replace("{other}", other)
        about = dict(
            SENTENCE=sentence, FIELD=script.field, FILE=script.file, MORE=script.more, PLACE=place, OTHER=other
        )
        for word, value in (about | dict(NAME=name)).items():
            text = text.replace(word, value)
        yield title, 0, None, text + (script.more + " ") * (filler // (len(script.more) + 1))
        if i % 3 == 0:
            yield f"{title} ({place})", 0, title, f"{script.redirect} [[{title}]]"
        if i % 10 == 0:
            yield f"{place} {i}", 0, None, f"'''{place}''' {script.more}\n{{| class=x\n| {script.field}\n|}}"
            yield f"Talk:{title}", 1, None, script.more
        before = name


def dump(people: int, script: Script, filler: int = 0) -> Iterator[str]:
    """The dump, piece by piece."""
    yield (
        f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="{script.language}">\n'
        f"  <siteinfo>\n    <sitename>Fiction</sitename>\n    <dbname>{script.language}fiction</dbname>\n"
        f'    <namespaces>\n      <namespace key="0" />\n      <namespace key="1">Talk</namespace>\n'
        f'      <namespace key="6">{script.file}</namespace>\n    </namespaces>\n  </siteinfo>\n'
    )
    for number, (title, namespace, target, text) in enumerate(pages(people, script, filler), 1):
        redirect = f'    <redirect title="{escape(target)}" />\n' if target else ""
        yield (
            f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{redirect}"
            f"    <revision>\n      <id>{number + 1000}</id>\n      <timestamp>2026-01-01T00:00:00Z</timestamp>\n"
            f"      <contributor>\n        <username>Nobody</username>\n        <id>1</id>\n      </contributor>\n"
            f"      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
            f'      <text xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
        )
    yield "</mediawiki>\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="to write; compressed if its name ends with .bz2")
    parser.add_argument("--people", type=int, default=300, help="pages of people (default 300)")
    parser.add_argument("--script", choices=SCRIPTS, default="latin", help="default latin, in English")
    parser.add_argument(
        "--filler", type=int, default=0, metavar="N", help="further characters of each page of a person"
    )
    options = parser.parse_args(arguments)
    opener = bz2.open if options.file.suffix == ".bz2" else open
    try:
        with opener(options.file, "wt", encoding="utf-8", newline="\n") as file:
            for text in dump(options.people, SCRIPTS[options.script], options.filler):
                file.write(text)
    except OSError as error:
        print(f"make_dump.py: {options.file}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
