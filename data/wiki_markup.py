"""From a page to what a corpus says of it: a name, the first sentences, and the answer to one question.

mwparserfromhell reads the markup. Everything here depends on the page alone, so pages can be worked on in any order.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import mwparserfromhell
from mwparserfromhell.wikicode import Wikicode

from wiki_dump import Page

LEAD = 2**16  # characters of a page that are read: its first section, which holds the infobox
MOST_MARKUP = 2000  # openings of a template, link, table or tag: the parser is quadratic in those that nothing closes
OPENINGS = ("{{", "[[", "{|", "<", "[http", "''")
LONGEST_ANSWER = 100  # characters: more is a text
ENDS = ".!?。！？؟۔।॥։።"  # of a sentence, in any script
STOPS = re.compile(r"\s*[,;，、،؛(（/]|\s*\n|\s+[-–—]\s")  # an infobox says "London, England" or "London (today ...)"
NO_WORDS = re.compile(r"\s*[(（][\W_]*[)）]")  # what is left of "(pronunciation; born 1900)" without its templates
HALF_EMPTY = re.compile(r"([(（])[\s,;，、،；]+")
RESERVED = "\u25a1\u2047"  # PAD_CHAR and MASK_CHAR of src/vocabulary.py

# Why a page is dropped, in the order in which it is asked.
NAMESPACE, REDIRECT = "not an article", "a redirect"
LARGE, DAMAGED = "larger than any page can be", "not XML, or not a page"
NO_FACT, NO_TEMPLATE = "does not state this relation", "names the field, but in no template (broken markup, a table)"
MARKUP, NO_ANSWER, LONG = "too much markup to read", "an empty answer", f"an answer over {LONGEST_ANSWER} characters"
NO_TEXT, RESERVES, AGAIN = "no text before the first heading", "a reserved character", "a title that came before"
UNSTATED = "a text that does not hold the answer (--stated)"
REASONS = (LARGE, DAMAGED, NAMESPACE, REDIRECT, NO_FACT, NO_TEMPLATE, MARKUP, NO_ANSWER, LONG, NO_TEXT, RESERVES)
REASONS += (UNSTATED, AGAIN)


class Row(NamedTuple):
    title: str
    name: str  # the title without what tells it from others of that name
    answer: str
    text: str
    number: int
    revision: int


@dataclass(frozen=True)
class Rule:
    """How a page becomes a row."""

    fields: tuple[str, ...]  # of an infobox, as `plain` writes them; not used where facts are given
    length: int  # characters of text
    stated: bool  # drop a page whose text does not hold the answer
    hidden: frozenset[str]  # namespaces of links that show no text


def plain(field: str) -> str:
    """The name of a field without case, spaces and joints: templates write birth_place, "birth place", Birth-Place."""
    return field.strip().casefold().replace(" ", "_").replace("-", "_")


def names_field(text: str, rule: Rule) -> bool:
    text = plain(text)
    return any(field in text for field in rule.fields)


def row_of(page: Page | None, rule: Rule, facts: dict[str, str] | None) -> Row | str:
    """The row of a page, or the reason why it is dropped. facts: answers by title, instead of the infobox."""
    if page is None:
        return DAMAGED
    if page.namespace != 0:
        return NAMESPACE
    if page.is_redirect:
        return REDIRECT
    if facts is not None and page.title not in facts:
        return NO_FACT
    lead = page.text.split("\n==", 1)[0][:LEAD]
    if facts is None and not names_field(lead, rule):
        return NO_FACT
    if sum(map(lead.count, OPENINGS)) > MOST_MARKUP:
        return MARKUP
    code = mwparserfromhell.parse(lead)
    answer = one_line(facts[page.title]) if facts is not None else answer_in(code, rule)
    if answer is None:
        return NO_TEMPLATE
    if not answer:
        return NO_ANSWER
    if max(map(len, answer.split("|"))) > LONGEST_ANSWER:
        return LONG
    name, bracket, _ = page.title.rpartition(" (") if page.title.endswith(")") else ("", "", "")
    text = first_sentences(lead_text(code, rule), rule.length)
    if not text:
        return NO_TEXT
    row = Row(one_line(page.title), one_line(name or page.title), answer, text, page.number, page.revision)
    if set(RESERVED) & set(row.title + answer + text):
        return RESERVES
    return UNSTATED if rule.stated and end_of_answer(answer, text) is None else row


def end_of_answer(answer: str, text: str) -> int | None:
    """The number of characters up to the end of the first mention of an answer, "A" or "A|B". None: there is none."""
    return min([text.find(one) + len(one) for one in answer.split("|") if one in text], default=None)


def answer_in(code: Wikicode, rule: Rule) -> str | None:
    """What the first template with one of the fields, and something in it, says. None: no template has the field."""
    found = None
    for template in code.ifilter_templates():
        for parameter in template.params:
            if plain(str(parameter.name)) in rule.fields:
                found = found or value_of(parameter.value, rule)
    return found


def value_of(value: Wikicode, rule: Rule) -> str:
    """The first thing that the value of a field names."""
    strip(value, rule)
    text = value.strip_code().strip() or value.strip_code(keep_template_params=True).strip()  # {{nowrap|Oslo}}
    return one_line(STOPS.split(text, maxsplit=1)[0].strip(" .'\"*:"))


def strip(code: Wikicode, rule: Rule) -> None:
    """Remove pictures, categories, tables and footnotes; end a line where the markup does."""
    for link in code.filter_wikilinks(recursive=False):
        namespace, colon, _ = str(link.title).partition(":")
        if colon and namespace.strip().casefold() in rule.hidden:
            code.remove(link)
    for tag in code.filter_tags(recursive=False):
        if tag.tag in ("table", "ref", "gallery"):
            code.remove(tag)
        elif tag.tag == "br":
            code.replace(tag, "\n")


def lead_text(code: Wikicode, rule: Rule) -> str:
    """The first paragraph, without markup. It is the one with the first bold words, which are the title by custom."""
    strip(code, rule)
    bold = next((tag.contents.strip_code() for tag in code.ifilter_tags(recursive=False) if tag.tag == "b"), "")
    paragraphs = [tidy(line) for line in code.strip_code().split("\n")]
    paragraphs = [line for line in paragraphs if line]
    first = next((i for i, line in enumerate(paragraphs) if bold and one_line(bold) in line), 0)
    return " ".join(paragraphs[first:])


def tidy(line: str) -> str:
    return one_line(HALF_EMPTY.sub(r"\1", NO_WORDS.sub("", line)))


def one_line(text: str) -> str:
    return " ".join(text.split())


def first_sentences(text: str, length: int) -> str:
    """As many whole sentences as fit into `length` characters; the first words if not even one does."""
    if len(text) <= length:
        return text
    for end in range(length, 0, -1):
        # A sentence ends before a space, or in a script that has none between sentences. "J. Doe" does not end one.
        if text[end - 1] in ENDS and (text[end].isspace() or text[end - 1] > "\u0700") and text[max(0, end - 3)] != " ":
            return text[:end]
    return text[:length].rpartition(" ")[0] or text[:length]
