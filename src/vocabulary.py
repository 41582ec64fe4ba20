"""Characters and their token ids: PAD, MASK, then the distinct characters of a corpus in Unicode order.

Knows no files, no datasets and no torch.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Written as escapes: an editor that loses a strange character would silently change the vocabulary.
PAD_CHAR = "\u25a1"  # white square: fills a row up to its length and carries no loss
MASK_CHAR = "\u2047"  # double question mark: stands for a masked span, and opens and closes an answer
PAD, MASK = 0, 1  # their token ids


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows. The character at place i has token id i."""

    characters: str

    @classmethod
    def of(cls, text: Iterable[str]) -> "Vocabulary":
        """PAD, MASK and the sorted distinct characters of `text`."""
        return cls("".join([PAD_CHAR, MASK_CHAR, *sorted(set(text))]))

    def extended(self, text: Iterable[str]) -> "Vocabulary":
        """This vocabulary and, after it, the characters of `text` that it lacks. No token id changes."""
        return Vocabulary(self.characters + "".join(sorted(set(text) - set(self.characters))))

    def __len__(self) -> int:
        return len(self.characters)

    @cached_property
    def stoi(self) -> dict[str, int]:
        """Token ids by character: "string to integer", as minGPT calls it."""
        return {char: i for i, char in enumerate(self.characters)}

    @cached_property
    def itos(self) -> dict[int, str]:
        """Characters by token id."""
        return dict(enumerate(self.characters))

    def encode(self, text: str, where: str = "the text") -> list[int]:
        """The token ids of `text`. Raises ValueError, beginning with `where`, for a character that has none.

        PAD and MASK are no characters of a text, so they are refused as well.
        """
        refuse_reserved(text, where)
        for char in text:
            if char not in self.stoi:
                unknown = f"{where}: the character {show(char)} does not occur in the pretraining corpus"
                raise ValueError(f"{unknown} or its questions, so the model has no token for it: pretrain with both")
        return [self.stoi[char] for char in text]

    def encode_rows(self, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of all rows, end to end, and the offset at which each row starts: `encode` for a corpus.

        tokens (characters,) in the smallest integer type, starts (rows + 1,) int64: row i is
        tokens[starts[i]:starts[i + 1]]. Every character must have a token.
        """
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        table = np.zeros(sys.maxunicode + 1, dtype=smallest_type(len(self)))  # token ids by Unicode number
        table[code_points(self.characters)] = np.arange(len(self))
        return table[code_points("".join(rows))], starts

    def decode(self, ids: Iterable[int]) -> str:
        """The text with these token ids."""
        return "".join([self.characters[i] for i in ids])

    def decode_answer(self, ids: Iterable[int]) -> str:
        """An answer as one line of text, up to the MASK that closes it."""
        return self.decode(ids).split(MASK_CHAR)[0].replace("\n", " ")  # the newline is a character of the vocabulary


def code_points(text: str) -> np.ndarray:
    """The Unicode number of every character, (len(text),) uint32."""
    # A byte of the command line that is not UTF-8 arrives as a surrogate. It has a number, and no vocabulary has it.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def smallest_type(vocab_size: int) -> np.dtype:
    """The smallest integer type that holds every token id and that torch can index: 1, 2 or 4 bytes."""
    return np.dtype(np.uint8 if vocab_size <= 2**8 else np.int16 if vocab_size <= 2**15 else np.int32)


def refuse_reserved(text: str, where: str) -> None:
    """Raise ValueError, beginning with `where`, if the text contains PAD_CHAR or MASK_CHAR."""
    for reserved in (PAD_CHAR, MASK_CHAR):
        if reserved in text:
            raise ValueError(f"{where}: contains {show(reserved)}, which is reserved")


def show(char: str) -> str:
    """A character and its Unicode number, for messages: many characters look alike, and some look like nothing."""
    return f"{char!r} (U+{ord(char):04X})"


def printable(text: str) -> str:
    """`text` as one line that is safe to print: control characters and invisible ones appear as escapes.

    A terminal obeys control characters, and bidirectional marks change the order of what is read.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def message_of(error: Exception) -> str:
    """What an error says to people. For one from the operating system: the file and what is wrong with it."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
