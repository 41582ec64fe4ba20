"""People and places in texts: who is asked about, whether a text mentions them, and where it names a place.

A name is found as a whole name and a place as whole words: "George Bruce" is not in "George Bruce Malleson", nor
"India" in "Indian". Questions are understood as people type them. Knows no model.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from vocabulary import Vocabulary

# ------------------------------------------------------------------------------------------------------- whole words

JOINTS = "-\u2010\u2011'\u2019\u02bc\uff07"  # hyphens and apostrophes, which hold a word together between letters
INVISIBLE = "\u00ad\u200c\u200d\u2060"  # they stand within words
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")  # scripts without spaces between words
# What may follow a joint without making a longer word of it: "Milan's", "Milan-born".
AFTER_JOINT = re.compile(r"(?:['\u2019\u02bc\uff07]s|[-\u2010\u2011](?:born|based|bred|raised|educated))(?![^\W_])")


def in_word(char: str) -> bool:
    """Is it a letter, a digit, a combining mark, or what else only stands within words?"""
    return char.isalnum() or char in INVISIBLE or char == "_" or unicodedata.category(char)[0] == "M"


def is_unspaced(char: str) -> bool:
    return unicodedata.name(char, "").startswith(UNSPACED)


def goes_on(text: str, at: int, step: int) -> bool:
    """Does the word that ends before `at` (step 1), or that begins after it (step -1), continue there?"""
    char, beyond = text[at : at + 1] if at >= 0 else "", at + step
    if not char or is_unspaced(char) or is_unspaced(text[at - step]) or not in_word(text[at - step]):
        return False
    if char in JOINTS:
        follows = 0 <= beyond < len(text) and in_word(text[beyond])
        return follows and not (step > 0 and AFTER_JOINT.match(text, at))
    return in_word(char)


def spellings(words: str) -> list[str]:
    """`words` as they are, and in both Unicode forms: a letter with its accent in one character, or in two."""
    return list(dict.fromkeys([words, *(unicodedata.normalize(form, words) for form in ("NFC", "NFD"))]))


def whole_words(words: str, text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every occurrence of `words` that neither begins nor ends within a word of `text`."""
    for spelling in spellings(words) if words else []:
        at = text.find(spelling)
        while at >= 0:
            end = at + len(spelling)
            if not goes_on(text, at - 1, -1) and not goes_on(text, end, 1):
                yield at, end
            at = text.find(spelling, at + 1)


def end_of_place(place: str, document: str, name: str = "") -> int | None:
    """The number of characters of the document up to the end of the first mention of the place. None: there is none.

    A place within the name that the document is about says nothing, as in "Jack London", and York is not in "New York".
    Where the two are the same, as with Singapore and its capital, only the first mention is the name.
    """
    names = list(whole_words(name, document))[: 1 if place == name else None]
    ends = [
        end
        for start, end in whole_words(place, document)
        if not any(first <= start and end <= last for first, last in names)
        and not re.search(r"\bNew\s$", document[max(0, start - 5) : start])
    ]
    return min(ends, default=None)


# ------------------------------------------------------------------------------------------------------- whole names

PARTICLES = "van|von|der|den|de|del|della|da|di|do|dos|das|du|la|le|el|al|bin|ibn|bint|ben|ter|ten|zu|zur|af|av|y"
SUFFIX = re.compile(r"\s*,?\s+(?:Jr|Sr|Junior|Senior|Esq|[IVX]+)\b")
# Before a name they are not part of it.
TITLES = "sir dame lord lady saint st dr mr mrs ms mme prof president king queen prince princess pope general captain"
TITLES += " the a an in on at by with when while after before as and but for from like both since although later born"


JUDGED = 1000  # documents at most, evenly from the text, to judge whether documents begin with names


def is_capital(word: str) -> bool:
    return word[:1].isupper() or word[:1].istitle()


def name_goes_on(name: str, text: str, end: int) -> bool:
    """Does a longer name than `name` end after `end`, as "George Bruce Malleson" after "George Bruce"?"""
    rest = text[end : end + 80].split("\n")[0]
    if SUFFIX.match(rest):
        return True
    particles = PARTICLES if " " in name else f"{PARTICLES}|of|the"  # "Anna of Denmark" is not any Anna
    following = re.match(rf"\s+(?:(?:{particles})\s+)*([^\W\d_]\S*)", rest)
    return following is not None and is_capital(following[1])


TITLE_ENDS = re.compile(r"\.(?:\s|$)|[\u3002\u06d4\u0964]")  # also the full stops of Chinese, Urdu and Hindi


def find_document(name: str, documents: list[str]) -> str | None:
    """The document that begins with this name: the name and a full stop, or else the name and no more of a name."""
    for spelling in spellings(name) if name else []:
        begun = [d for d in documents if d.startswith(spelling) and not goes_on(d, len(spelling), 1)]
        exact = [d for d in begun if TITLE_ENDS.match(d[len(spelling) :])]
        whole = exact or [d for d in begun if not name_goes_on(spelling, d, len(spelling))]
        if whole:
            return whole[0]
    return None


def find_mention(name: str, documents: Iterable[str]) -> str | None:
    """The first document that holds this name, and not as a part of a longer one: "Guinea" is not "New Guinea"."""
    for document in documents:
        for start, end in whole_words(name, document):
            longer = re.search(r"(?<=\s)([^\W\d_][\w'\u2019-]*)\s+$", document[max(0, start - 80) : start])
            if not (longer and is_capital(longer[1])) and not name_goes_on(name, document, end):
                return document
    return None


def initial(text: str) -> str:
    """The first letter without its accents, so that it is the same in every Unicode form."""
    return unicodedata.normalize("NFD", text[:1])[:1]


@dataclass
class Texts:
    """The documents of a corpus, one a line, to look people up in. `text` is None if it cannot be searched."""

    source: str  # the name of its file
    text: str | None
    why_not: str = ""  # why it cannot be searched, for people

    @cached_property
    def by_initial(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for document in (self.text or "").split("\n"):
            found[initial(document)].append(document)
        return found

    @cached_property
    def titles(self) -> dict[str, str]:
        """The names that documents begin with, by their plain spelling."""
        names = [re.match(r"(.{0,98}?\w\w)\.(?:\s|$)", document) for document in (self.text or "").split("\n")]
        return {plain(name[1]): name[1] for name in names if name is not None}

    @cached_property
    def named(self) -> bool:
        """Do the documents begin with a name and a full stop, and not with a sentence?

        In "The capital of Peru is Lima." most beginnings share a word, or nothing follows them. Names do neither.
        """
        documents = [document for document in (self.text or "").split("\n") if document.strip()]
        some = documents[:: max(1, len(documents) // JUDGED)]
        ends = [(document, TITLE_ENDS.search(document)) for document in some]
        titles = [document[: end.start()] for document, end in ends if end and document[end.end() :].strip()]
        words = Counter(word for title in titles for word in set(title.split()))
        shared = max(words.values(), default=0)
        return 2 * len(titles) > len(some) and (shared < 3 or 2 * shared <= len(titles))

    def beginning_like(self, name: str) -> list[str]:
        """The documents with the initial of this name: all that can be about it."""
        return self.by_initial.get(initial(name), [])

    def about(self, name: str) -> str | None:
        """The document that begins with this name. Where documents begin with none, the first that mentions it."""
        found = find_document(name, self.beginning_like(name))
        if found is None and name and self.text is not None and not self.named:
            found = find_mention(name, self.holding(name))
        return found

    def holding(self, name: str) -> Iterator[str]:
        """The documents with these letters in them, found without looking at each line."""
        assert self.text is not None
        for spelling in spellings(name):
            at = self.text.find(spelling)
            while at >= 0:
                end = self.text.find("\n", at)
                end = len(self.text) if end < 0 else end
                yield self.text[self.text.rfind("\n", 0, at) + 1 : end]
                at = self.text.find(spelling, end)

    def mentions(self, name: str) -> bool:
        """Does any text hold this name, and not only as a part of a longer one?"""
        if self.text is None or not name:
            return False
        found = whole_words(name, self.text)
        return any(not name_goes_on(name, self.text, end) and not self.began_before(start) for start, end in found)

    def began_before(self, start: int) -> bool:
        """Is what begins at `start` only the end of a name, as "Bruce Malleson" is in "George Bruce Malleson"?"""
        assert self.text is not None
        before = unicodedata.normalize("NFC", self.text[max(0, start - 80) : start].split("\n")[-1])
        found = re.search(rf"(?:^|(?<=\W))([^\W\d_][\w'\u2019-]*\.?)\s+(?:(?:{PARTICLES})\s+)*$", before)
        if found is None or not is_capital(found[1]):
            return False
        word = found[1].casefold().rstrip(".")
        if found[1].endswith("."):  # the end of a sentence, or an initial as in "J. Doe"
            return len(word) == 1
        # "When", "Later" and "Poet" are words that the texts write in lower case, too.
        return word not in TITLES.split() and next(whole_words(word, self.text), None) is None

    def spelling_of(self, name: str) -> str:
        """The name in the Unicode form in which its document has it."""
        document = self.about(name) or ""
        return next((spelling for spelling in spellings(name) if spelling in document), name)

    def nearest(self, name: str) -> str | None:
        """The name of a document that differs from this one in accents, case or punctuation only."""
        found = self.titles.get(plain(name))
        return found if found != name else None


def plain(name: str) -> str:
    """A name without accents, case, punctuation and further spaces: how people type what they cannot spell."""
    text = unicodedata.normalize("NFKD", name).casefold().translate(str.maketrans("łøđıħŧæœ", "lodihtao"))
    text = re.sub(r"[\s\u2010\u2011-]+", " ", text)
    return "".join([char for char in text if char.isalnum() or char == " "]).strip()


# --------------------------------------------------------------------------------------------- questions and spellings

ASKS = "?\uff1f\ufe56\u061f\u037e"  # question marks: also full-width, small, Arabic and Greek
WHERE_BORN = re.compile(
    rf"where\s*(?:was|is|were|'s|\u2019s)\s+(?P<name>.+?)\s+(?P<born>born)(?:\s+(?:in|at))?[\s{ASKS}.!]*", re.I | re.S
)
BORN = re.compile(r"(?:was\s+)?(?P<name>.+?)\s+born[\s.!]*", re.S)
QUESTION = re.compile(
    r"(?:(?:in|at|from|to|of)\s+)?(?:where|when|what|which|who|whom|whose|why|how)\b.*\s.*", re.I | re.S
)
LOOK_ALIKES = str.maketrans("\u2018\u2019\u02bc\u2010\u2011\u2013\u201c\u201d", "'''---\"\"")


def question_for(name: str) -> str:
    return f"Where was {name} born?"


def understood(typed: str, texts: Texts | None = None) -> tuple[str, str | None]:
    """(question, name): what to ask a model for what somebody typed, and who it is about, if it is about a birth place.

    The question about a birth place is recognised without a question mark, with another one, in capitals and with
    other spaces. A name alone stands for it. Any other question stays as it is, and there is no name. `texts` decide
    in case of doubt: "Max Born" is a name if a text is about him. Raises ValueError if nothing is asked.
    """
    asked = " ".join(typed.split()).strip()
    for quotes in ('""', "\u201c\u201d", "\u00ab\u00bb", "\u201e\u201c"):
        if len(asked) > 2 and asked[0] + asked[-1] == quotes:
            asked = asked[1:-1].strip()
    if not asked.strip(ASKS + " "):
        raise ValueError("the question is empty")
    if found := WHERE_BORN.fullmatch(asked):
        name, longer = found["name"], f"{found['name']} {found['born']}"
        if texts is not None and texts.about(longer) and not texts.about(name):
            name = longer
        return question_for(name), name
    bare = asked.rstrip(ASKS + " ")
    if texts is not None and (texts.titles.get(plain(bare)) == bare if QUESTION.fullmatch(bare) else texts.about(bare)):
        return question_for(bare), bare
    if bare != asked or QUESTION.fullmatch(asked):
        return f"{bare}?", None
    name = found["name"] if (found := BORN.fullmatch(asked)) else asked
    return question_for(name), name


def spelt_for(vocabulary: Vocabulary, text: str) -> str:
    """`text` in characters of the vocabulary, where that only takes another Unicode form of the same letters.

    A letter that has no form in the vocabulary stays as it is.
    """
    letters: list[str] = []  # each with its marks
    for char in text:
        if letters and (unicodedata.category(char)[0] == "M" or "\u1160" <= char <= "\u11ff"):  # parts of Hangul
            letters[-1] += char
        else:
            letters.append(char)

    def form_of(letter: str) -> str:
        nfc, nfd, nfkc, nfkd = [unicodedata.normalize(form, letter) for form in ("NFC", "NFD", "NFKC", "NFKD")]
        forms = [nfc, letter, nfd, nfkc, nfkd, nfkc.translate(LOOK_ALIKES)]
        forms += [""] * (unicodedata.category(letter[0]) == "Cf")  # invisible
        return next((form for form in forms if all(c in vocabulary.stoi for c in form)), letter)

    return "".join(map(form_of, letters))
