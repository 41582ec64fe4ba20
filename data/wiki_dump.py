"""Reads a dump in flat memory, from any position: a file as pieces, a piece as a page.

The file is plain or bz2, of one stream or, as Wikimedia's "multistream" files, of many. A piece ends with a delimiter
such as </page>. Its position in the file is kept, so that reading can go on there: at the start of the stream that it
ends in, and so many bytes further.
"""

import bz2
import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import mwxml

CHUNK = 2**20  # bytes that are read, and decompressed, at once
LARGEST = 2**24  # bytes of a piece: MediaWiki saves no page of more than 2 MiB, and no entity of Wikidata is larger
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
FILE_NAMESPACE, CATEGORY_NAMESPACE = "6", "14"


class Position(NamedTuple):
    stream: int = 0  # where the compressed stream starts in the file; 0 for a plain file
    inside: int = 0  # bytes of its content that were read


BEGINNING = Position()


class Piece(NamedTuple):
    content: bytes | None  # without the delimiter; None if it is larger than LARGEST
    end: Position  # after the delimiter
    offset: int  # bytes of the file that were read by then, for a progress bar
    is_last: bool  # is this what follows the last delimiter?


def blocks(path: Path, start: Position) -> Iterator[tuple[bytes, Position, int]]:
    """(bytes, where they start, bytes of the file that were read), from `start` on.

    Raises ValueError if the file is bz2 and damaged or cut short.
    """
    with open(path, "rb") as file:
        if file.read(3) != b"BZh":
            file.seek(start.inside)
            while block := file.read(CHUNK):
                yield block, Position(0, file.tell() - len(block)), file.tell()
            return
        file.seek(start.stream)
        stream, skipped, compressed = start.stream, start.inside, file.read(CHUNK)
        while compressed.strip(b"\0"):
            decompressor, inside = bz2.BZ2Decompressor(), 0
            while not decompressor.eof:
                if decompressor.needs_input and not compressed and not (compressed := file.read(CHUNK)):
                    raise ValueError(f"{path}: the file ends too early: was the download cut short?")
                try:
                    block = decompressor.decompress(compressed, CHUNK)  # with a limit: zeros decompress a millionfold
                except OSError:
                    raise ValueError(f"{path}: damaged: no bz2 stream, near byte {file.tell():,}") from None
                compressed, begin, inside = b"", inside, inside + len(block)
                if inside > skipped:
                    cut = max(0, skipped - begin)
                    yield block[cut:], Position(stream, begin + cut), file.tell()
            compressed, skipped = decompressor.unused_data, max(0, skipped - inside)
            stream = file.tell() - len(compressed)
            compressed = compressed or file.read(CHUNK)


def pieces(path: Path, delimiter: bytes, start: Position = BEGINNING) -> Iterator[Piece]:
    """The file cut at every delimiter, from `start` on. What follows the last one comes last."""
    rest, position, offset, too_large = b"", start, 0, False
    marks: deque[tuple[int, Position]] = deque()  # (bytes read before a block, where the block starts)
    read = end = 0  # bytes read, and bytes of the pieces so far
    for block, begin, offset in blocks(path, start):
        marks.append((read, begin))
        read += len(block)
        position = Position(begin.stream, begin.inside + len(block))
        *whole, rest = (rest + block).split(delimiter)
        for content in whole:
            end += len(content) + len(delimiter)
            while len(marks) > 1 and marks[1][0] < end:
                marks.popleft()
            first, (stream, inside) = marks[0]
            fits = not too_large and len(content) <= LARGEST
            yield Piece(content if fits else None, Position(stream, inside + end - first), offset, False)
            too_large = False
        if len(rest) > LARGEST:
            too_large = True
            kept = len(delimiter) - 1  # which may begin the delimiter
            end += len(rest) - kept
            rest = rest[-kept:] if kept else b""
    yield Piece(None if too_large else rest, position, offset, True)


# ------------------------------------------------------------------------------------------------------------ pages


@dataclass(frozen=True)
class Header:
    """What a dump says of itself before its first page."""

    encoding: str
    xml: str  # up to the first page
    start: Position  # of the first page
    language: str = ""  # such as "en"
    wiki: str = ""  # such as "enwiki"
    base: str = ""  # the address of its main page
    hidden: frozenset[str] = field(default_factory=frozenset)  # namespaces of links that show no text, in lower case

    @property
    def delimiter(self) -> bytes:
        return "</page>".encode(self.encoding)


def read_header(path: Path) -> Header:
    """Raises ValueError if the file does not begin as a dump does."""
    begin = b""
    for block, _, _ in blocks(path, BEGINNING):
        begin += block
        marks = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
        encoding = marks.get(begin[:2], "utf-8")
        at = begin.find("<page>".encode(encoding))
        if at >= 0 or len(begin) > 2 * CHUNK:
            break
    if not begin:
        raise ValueError(f"{path}: the file is empty")
    xml = begin[: max(0, at)].decode(encoding, "replace").removeprefix("\ufeff").strip()
    if at < 0 or "<mediawiki" not in xml:
        raise ValueError(f"{path}: not a dump of MediaWiki: no <mediawiki> with a <page>, in plain XML or in bz2")
    if "<!" in xml:
        raise ValueError(f"{path}: not a dump of MediaWiki: it declares entities or a document type")
    try:
        root = ElementTree.fromstring(f"{xml}</mediawiki>")
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path}: what precedes the first page is not XML: {error}") from None
    texts, hidden = {}, {"file", "image", "category"}
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        texts[tag] = (element.text or "").strip()
        if tag == "namespace" and element.get("key") in (FILE_NAMESPACE, CATEGORY_NAMESPACE):
            hidden.add(texts[tag].casefold())
    if "siteinfo" not in texts:
        xml += "<siteinfo></siteinfo>"  # some excerpts leave it out, and mwxml wants it
    start = Position(0, at)
    about = root.get(LANG, ""), texts.get("dbname", ""), texts.get("base", "")
    return Header(encoding, xml, start, *about, frozenset(hidden))


class Page(NamedTuple):
    title: str
    namespace: int
    is_redirect: bool
    number: int
    revision: int
    text: str


def parse_pages(header: Header, contents: list[bytes]) -> list[Page | None]:
    """The pages of these pieces. None for one that is not XML, or not a page.

    All are parsed together, which is faster, and one by one if that fails.
    """
    try:
        texts = [content.decode(header.encoding) for content in contents]
        xml = header.xml + "".join([f"{text}</page>" for text in texts]) + "</mediawiki>"
        found: list[Page | None] = []
        for page in mwxml.Dump.from_file(io.StringIO(xml)).pages:
            *_, last = page  # its revisions, of which most dumps hold one
            redirect = page.redirect is not None or last.text[:9].casefold() == "#redirect" if last.text else False
            about = page.title, page.namespace, redirect, page.id, last.id
            found.append(Page(*about, last.text or ""))
        if len(found) != len(contents):
            raise ValueError("there are not as many pages as pieces")
        return found
    except Exception:  # whatever a library says to bytes that may be anything
        if len(contents) == 1:
            return [None]
        return [page for content in contents for page in parse_pages(header, [content])]
