"""Make a corpus from a dump of Wikipedia, in any language: lines about people, capitals or books, and questions.

    pip install -r requirements-wikipedia.txt
    python data/from_wikipedia.py enwiki-latest-pages-articles.xml.bz2 mine
    python data/from_wikipedia.py bgwiki.xml.bz2 mine --relation capital
    python data/from_wikipedia.py zhwiki.xml.bz2 mine --field 出生地 --question '{}在哪里出生？'
    python data/from_wikipedia.py arwiki.xml.bz2 mine --relation birth --wikidata latest-all.json.bz2
    python data/from_wikipedia.py enwiki.xml.bz2 mine --facts mine.tsv --question 'What did {} invent?'

What is asked for stands in a field of an infobox, or in Wikidata, or in a TSV of titles and values. The folder gets the
files of data/README.md, under the names of the course, so that DATA_DIR=mine ./run.sh quick trains on them. SOURCE.md
says what was kept and dropped, and under which licence. sources.tsv names the page behind each line.

A run that is killed goes on where it was when the same command is given again. The same dump gives the same bytes,
whatever the number of processes.
"""

import argparse
import functools
import hashlib
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tqdm import tqdm

try:
    from wiki_corpus import Unfinished, write_corpus
    from wiki_dump import Header, Piece, Position, parse_pages, pieces, read_header
    from wiki_facts import Facts, read_lines, read_tsv, read_wikidata
    from wiki_markup import LARGE, RESERVED, Row, Rule, plain, row_of
except ModuleNotFoundError as error:
    sys.exit(f"from_wikipedia.py: there is no module {error.name}: pip install -r requirements-wikipedia.txt")

BATCH_PAGES, BATCH_BYTES = 64, 2**20  # that a process works on at once
AHEAD = 3  # batches for each process that wait for it or for those before them
COMMIT = 2  # seconds of work that a kill may lose
LENGTH = 240  # characters of text in a line


class Relation(NamedTuple):
    prop: str  # of Wikidata
    fields: str  # of infoboxes, in several languages
    questions: dict[str, str]  # by language


RELATIONS = {
    "birth": Relation(
        "P19",
        "birth_place|birthplace|place of birth|Geburtsort|lieu de naissance|lugar de nacimiento|LuogoNascita|"
        "geboorteplaats|miejsce urodzenia|nascimento_local|место рождения|роден-място|място на раждане|"
        "місце народження|τόπος γέννησης|مكان الولادة|زادگاه|出生地|出生地點|출생지",
        {
            "en": "Where was {} born?",
            "simple": "Where was {} born?",
            "de": "Wo wurde {} geboren?",
            "fr": "Où est né {} ?",
            "es": "¿Dónde nació {}?",
            "ru": "Где родился {}?",
            "bg": "Къде е роден {}?",
            "ar": "أين ولد {}؟",
            "zh": "{}在哪里出生？",
            "ja": "{}はどこで生まれましたか？",
        },
    ),
    "capital": Relation(
        "P36",
        "capital|Hauptstadt|capitale|hoofdstad|stolica|столица|столиця|العاصمة|عاصمة|首都",
        {
            "en": "What is the capital of {}?",
            "simple": "What is the capital of {}?",
            "de": "Was ist die Hauptstadt von {}?",
            "fr": "Quelle est la capitale de {} ?",
            "es": "¿Cuál es la capital de {}?",
            "ru": "Какая столица: {}?",
            "bg": "Коя е столицата на {}?",
            "ar": "ما هي عاصمة {}؟",
            "zh": "{}的首都是哪里？",
            "ja": "{}の首都はどこですか？",
        },
    ),
    "author": Relation(
        "P50",
        "author|Autor|auteur|autore|автор|المؤلف|作者|著者",
        {
            "en": "Who wrote {}?",
            "simple": "Who wrote {}?",
            "de": "Wer schrieb {}?",
            "fr": "Qui a écrit {} ?",
            "es": "¿Quién escribió {}?",
            "ru": "Кто написал: {}?",
            "bg": "Кой написа {}?",
            "ar": "من كتب {}؟",
            "zh": "{}的作者是谁？",
            "ja": "{}を書いたのは誰ですか？",
        },
    ),
}


# -------------------------------------------------------------------------------------------------- several processes


class Job(NamedTuple):
    """What a process has to know to work on pages."""

    header: Header
    rule: Rule
    facts: Path | None  # the database, or None to read infoboxes


@functools.cache
def opened(path: Path) -> Facts:
    return Facts(path)


def read_pages(job: Job, contents: list[bytes | None]) -> list[Row | str]:
    pages = parse_pages(job.header, [content for content in contents if content is not None])
    facts = opened(job.facts).of([page.title for page in pages if page]) if job.facts else None
    return [row_of(page, job.rule, facts) for page in pages] + [LARGE] * contents.count(None)


def begin_process() -> None:
    """Leave signals to the first process, and end with it, even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def batches(found: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in found:
        batch.append(piece)
        size += len(piece.content or b"")
        if len(batch) == BATCH_PAGES or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def in_order(
    function: Callable[..., Any], argument: Any, found: Iterator[Piece], pool: ProcessPoolExecutor | None, bar: tqdm
) -> Iterator[tuple[Any, Position]]:
    """function(argument, contents) of each batch of pieces, in order, with the position after it."""
    waiting: deque[tuple[Future | None, list[Piece]]] = deque()
    most = AHEAD * pool._max_workers if pool else 0

    def first() -> tuple[Any, Position]:
        future, batch = waiting.popleft()
        result = future.result() if future else function(argument, [piece.content for piece in batch])
        bar.update(batch[-1].offset - bar.n)
        return result, batch[-1].end

    for batch in batches(found):
        future = pool.submit(function, argument, [piece.content for piece in batch]) if pool else None
        waiting.append((future, batch))
        if len(waiting) > most:
            yield first()
    while waiting:
        yield first()


# ---------------------------------------------------------------------------------------------------------- the run


def pages_of(path: Path, header: Header, start: Position) -> Iterator[Piece]:
    """Raises ValueError if the dump ends within a page."""
    for piece in pieces(path, header.delimiter, start):
        if not piece.is_last:
            yield piece
        elif piece.content is None or "</mediawiki>".encode(header.encoding) not in piece.content:
            raise ValueError(f"{path}: ends without </mediawiki>: was it cut short?")


def read_dump(options: argparse.Namespace, header: Header, unfinished: Unfinished, pool: Any) -> None:
    facts = unfinished.folder / "facts.db" if options.facts or options.wikidata else None
    if facts is not None:
        gather_facts(options, header, facts, pool)
    fields = tuple(plain(field) for field in options.field)
    job = Job(header, Rule(fields, options.length, options.stated, header.hidden), facts)
    start = unfinished.position if unfinished.get("begun", False) else header.start
    unfinished.set("begun", True)
    kept, pages, committed = unfinished.kept(), 0, time.monotonic()
    began = committed
    with progress(options.dump) as bar:
        for found, position in in_order(read_pages, job, pages_of(options.dump, header, start), pool, bar):
            kept += unfinished.add(found, position)
            pages += len(found)
            bar.set_postfix(pages=pages, kept=kept, refresh=False)
            if time.monotonic() - committed > COMMIT:
                unfinished.db.commit()
                committed = time.monotonic()
    unfinished.db.commit()
    seconds = time.monotonic() - began
    tell(f"{pages:,} pages in {seconds:,.1f} s: {pages / max(seconds, 1e-9):,.0f} a second")


def gather_facts(options: argparse.Namespace, header: Header, path: Path, pool: Any) -> None:
    facts = Facts(path)
    try:
        if facts.get("complete"):
            return
        if options.facts:
            facts.db.execute("delete from claims")
            read_tsv(options.facts, options.property, facts)
            return
        if not header.wiki:
            raise ValueError(f"{options.dump}: names no dbname, so it is not known whose titles Wikidata should give")
        arguments = options.property, header.language, header.wiki
        with progress(options.wikidata) as bar:
            damaged = read_wikidata(
                options.wikidata, facts, lambda found: in_order(read_lines, arguments, found, pool, bar)
            )
        if damaged:
            tell(f"{options.wikidata}: {damaged:,} lines are no items, or damaged")
    finally:
        facts.db.close()


def progress(path: Path) -> tqdm:
    """A bar over the bytes of the file. Nothing is shown where the output is not a terminal."""
    return tqdm(total=path.stat().st_size, desc=path.name[:30], unit="B", unit_scale=True, disable=None)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """All that decides which bytes come out: a killed run goes on only if it is the same."""
    found = {name: getattr(options, name) for name in ("field", "property", "question", "length", "stated")}
    for name in ("dump", "facts", "wikidata"):
        if path := getattr(options, name):
            with open(path, "rb") as file:
                begin = hashlib.sha256(file.read(2**20)).hexdigest()
            found[name] = [path.name, begin]
    return found


def describe(options: argparse.Namespace) -> str:
    source = f"the field {', '.join(options.field)} of infoboxes"
    if options.facts or options.wikidata:
        source = f"{(options.facts or options.wikidata).name}" + (f" ({options.property})" if options.property else "")
    stated = " Only pages whose text holds the answer are kept." if options.stated else ""
    return (
        f"Made by `data/from_wikipedia.py` from {options.dump.name}. The answers are from {source}.\nA line is the "
        f"title and the first sentences, up to {options.length} characters.{stated}"
    )


def make(options: argparse.Namespace) -> None:
    header = read_header(options.dump)
    complete(options, header)
    unfinished, pool = Unfinished(Path(f"{options.out}.unfinished"), settings(options)), None
    remove = False
    try:
        if options.processes > 1:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(options.processes, context, begin_process)
        read_dump(options, header, unfinished, pool)
        for why, pages in unfinished.dropped().items():
            print(f"{pages:>12,}  dropped: {why}")
        print(f"{unfinished.kept():>12,}  kept", flush=True)
        statistics = write_corpus(unfinished, options.out, header, options.question, describe(options))
        remove = True
    except ValueError:  # this dump will never do
        remove = True
        raise
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        opened.cache_clear()  # closes the database in this process
        unfinished.close(remove)
    print(f"{options.out}: {statistics.rows.total():,} lines. SOURCE.md describes them. To train on them:")
    print(f"DATA_DIR={options.out} ./run.sh quick --block_size {statistics.block_size()}")


def complete(options: argparse.Namespace, header: Header) -> None:
    """Fill in what follows from the relation and the language of the dump. Raises ValueError if something does not."""
    relation = RELATIONS[options.relation]
    custom = options.field or options.facts or (options.property and options.property != relation.prop)
    options.field = options.field or relation.fields.split("|")
    if options.wikidata:
        options.property = options.property or relation.prop
    if options.question is None:
        options.question = None if custom else relation.questions.get(header.language)
        if options.question is None:
            language = header.language or "not named"
            raise ValueError(f"--question is missing: say what to ask, in the language of the dump ({language})")
    if options.question.count("{}") != 1 or set(options.question) & set(f"{RESERVED}\t\n"):
        raise ValueError(f"--question {options.question!r}: write {{}} once, where the name goes, and no tab")
    if not options.out.parent.is_dir():
        raise ValueError(f"{options.out.parent}: no such folder")
    if options.out.exists():
        raise ValueError(f"{options.out}: exists already: name a folder that does not")


# ------------------------------------------------------------------------------------------------------ command line


def tell(text: str) -> None:
    print(f"from_wikipedia.py: {text}", file=sys.stderr, flush=True)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        tell(f"{message} (see --help)")
        sys.exit(2)


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path, help="pages-articles.xml.bz2, or the same as plain XML")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--relation", choices=RELATIONS, default="birth", help="what is asked for (default birth)")
    parser.add_argument("--field", action="append", help="the field of infoboxes that states it; may be repeated")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--facts", type=Path, metavar="TSV", help="rows title<TAB>value or title<TAB>property<TAB>value"
    )
    source.add_argument("--wikidata", type=Path, metavar="JSON", help="dump of Wikidata, JSON, plain or bz2")
    parser.add_argument("--property", metavar="P", help="of Wikidata or of the TSV (default: the relation's)")
    parser.add_argument("--question", metavar="TEXT", help="what to ask, with {} for the name")
    parser.add_argument("--length", type=int, default=LENGTH, help=f"characters of text in a line (default {LENGTH})")
    parser.add_argument("--stated", action="store_true", help="keep only pages whose text holds the answer")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), metavar="N", help="default: one for each core")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = make_parser().parse_args(arguments)

    def stop(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        if options.length < 20 or options.processes < 1:
            raise ValueError("--length must be at least 20, and --processes at least 1")
        make(options)
    except KeyboardInterrupt:
        tell("stopped: the same command goes on from here")
        return 130
    except BrokenProcessPool:
        tell("a process was killed, perhaps for want of memory: the same command goes on (--processes 1 needs least)")
        return 2
    except sqlite3.Error as error:
        tell(f"{options.out}.unfinished: {error}")
        return 2
    except OSError as error:
        tell(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 2
    except ValueError as error:
        tell(str(error))
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
