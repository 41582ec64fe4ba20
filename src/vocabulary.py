"""Characters and their token ids: PAD, MASK, then the distinct characters of a corpus in the order of Unicode.

Knows no files, no datasets and no torch.
"""

import sys
from collections.abc import Iterable, Sequence

import numpy as np

# Written as escapes: an editor that loses a strange character would silently change the vocabulary.
PAD_CHAR = "\u25a1"  # white square: fills a row up to its length, carries no loss
MASK_CHAR = "\u2047"  # double question mark: stands for a masked span, and opens and closes an answer
PAD, MASK = 0, 1  # their token ids


def make_vocabulary(characters: Iterable[str]) -> str:
    """The vocabulary of a text with these characters: the character at place i has token id i."""
    return "".join([PAD_CHAR, MASK_CHAR, *sorted(set(characters))])


def code_points(text: str) -> np.ndarray:
    """The Unicode number of every character, (len(text),) uint32."""
    # Surrogates stand for bytes of a command line that are no UTF-8: they have a number, and no vocabulary has them.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def token_table(vocabulary: Iterable[str]) -> np.ndarray:
    """Token ids by Unicode number, (every number there is,) int32; -1 where the vocabulary lacks the character.

    `token_table(vocabulary)[code_points(text)]` is the text as tokens.
    """
    table = np.full(sys.maxunicode + 1, -1, dtype=np.int32)
    codes = [ord(char) for char in vocabulary]
    table[codes] = np.arange(len(codes))
    return table


def smallest_type(vocab_size: int) -> np.dtype:
    """The smallest integer type that holds every token id and that torch can index: 1, 2 or 4 bytes."""
    return np.dtype(np.uint8 if vocab_size <= 256 else np.int16 if vocab_size <= 2**15 else np.int32)


def encode_rows(rows: Sequence[str], stoi: dict[str, int], where: str) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all rows end to end, in the smallest type, and the offset at which each starts, int64.

    tokens (characters,), starts (rows + 1,): row i is tokens[starts[i]:starts[i + 1]]. ValueError for a character
    without a token; `where` precedes the row's number in it.
    """
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    tokens = token_table(stoi)[code_points("".join(rows))]
    if len(unknown := np.flatnonzero(tokens < 0)):
        row = int(np.searchsorted(starts, unknown[0], side="right")) - 1
        char = rows[row][unknown[0] - starts[row]]
        raise ValueError(
            f"{where} {row + 1}: the character {show(char)} does not occur in the pretraining corpus, "
            "so the model has no token for it"
        )
    return tokens.astype(smallest_type(len(stoi))), starts


def show(char: str) -> str:
    """A character as errors name it, its number included: many look alike, and some look like nothing."""
    return f"{char!r} (U+{ord(char):04X})"


def printable(text: str) -> str:
    """`text` for a terminal, which obeys some characters and shows others as nothing: each of those as its number.

    Control characters could rewrite the screen, bidirectional marks the order of what is read. One line stays one.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message_of(error: Exception) -> str:
    """What an error says to people: one from the operating system, which file and what is the matter with it."""
    filename = getattr(error, "filename", None)
    return f"{filename}: {error.strerror}" if filename else str(error)


def refuse_reserved(text: str, where: str) -> None:
    """ValueError, beginning with `where`, if the text holds PAD_CHAR or MASK_CHAR."""
    for reserved in (PAD_CHAR, MASK_CHAR):
        if reserved in text:
            raise ValueError(f"{where}: contains {show(reserved)}, which is reserved")
