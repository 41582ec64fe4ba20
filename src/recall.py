"""Examples that give a name and ask for a fact: for pretraining, beside span corruption.

Span corruption always shows what stands around the text it asks for. A question does not: it gives a name, and the fact
must be found from that alone. These examples ask the corpus in this way about whatever it says:

    Walter Altenhof. Walter Altenhof was born in Philadelphia on March 3, 1868.    becomes
    Walter Altenhof MASK Philadelphia MASK    or    Walter Altenhof MASK March MASK    (without the spaces)

A document begins with its name and a question does not. Up to MAX_SHIFT masks stand before the name, so that with
learned positions, too, what is known of it is found wherever it stands.

Shapes:  B rows, S characters of each, V tokens of the vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vocabulary import MASK, PAD

MAX_SHIFT = 16
OTHER, LETTER, CAPITAL, SPACE, STOP = range(5)


def kinds_of(vocabulary: Sequence[str]) -> Tensor:
    """(V,) which of the five kinds each token is, as uint8."""

    def kind(char: str) -> int:
        if char.isalpha() or char in "'-":
            return CAPITAL if char.isupper() else LETTER
        return {" ": SPACE, ".": STOP}.get(char, OTHER)

    return torch.tensor([kind(char) for char in vocabulary], dtype=torch.uint8)


def recall(text: Tensor, lengths: Tensor, kinds: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Strings `[masks] [name] MASK [fact] MASK` and PAD, (B, S), and for which documents there is one, (B,).

    Name: the document up to its first full stop. Fact: a run of capitalised words after it, with single spaces between
    them; all runs are equally likely, but for the one that opens the sentence after the name, often the name again.
    A run at the very end of a document, or of what `text` has of it, is none: it may have been cut there. Any number of
    masks up to MAX_SHIFT that leaves room is equally likely.

    text: (B, S) the beginnings of documents; lengths: (B,) of the whole documents; kinds: (V,) from `kinds_of`;
    draws: (B, S) uniform on [0, 1)
    """
    S = text.size(1)
    place = torch.arange(S, device=text.device)  # (S,)
    kind = kinds[text].masked_fill(place >= lengths[:, None], OTHER)  # (B, S)
    letter, space = (kind == LETTER) | (kind == CAPITAL), kind == SPACE
    # The name ends with a full stop after two letters, unlike the one of "J. Doe", and before a space.
    stop = (kind == STOP) & _before(letter & _before(letter)) & _after(space)
    name = stop.int().argmax(dim=1, keepdim=True)  # (B, 1) its length; 0 if there is none

    word = torch.where(letter & ~_before(letter), place, 0).cummax(dim=1).values  # (B, S) where each one's word starts
    named = letter & (kind.gather(1, word) == CAPITAL)
    run = named | (space & _before(named) & _after(named))
    outside = torch.where(run, S, place)  # (B, S) the nearest place outside runs, from here on:
    ends = outside.flip(1).cummin(dim=1).values.flip(1)  # (B, S)
    is_whole = ends < lengths[:, None].clamp(max=S)
    opens = run & ~_before(run) & (place > name + 2) & is_whole
    start = (draws * opens).argmax(dim=1, keepdim=True)  # (B, 1)

    second_mask = name + 1 + ends.gather(1, start) - start  # (B, 1) within S, as the fact follows the name
    found = (name > 0) & opens.any(dim=1, keepdim=True)
    # No fact opens at the first place: its draw is free for the shift.
    place = place - (draws[:, :1] * (1 + (S - 1 - second_mask).clamp(0, MAX_SHIFT))).long()  # (B, S) as without one
    string = text.gather(1, torch.where(place < name, place, place - name - 1 + start).clamp(0, S - 1))
    is_mask = (place < 0) | (place == name) | (place == second_mask)
    return string.masked_fill(is_mask, MASK).masked_fill(place > second_mask, PAD), found[:, 0]


def _before(x: Tensor) -> Tensor:
    """(B, S) -> (B, S): what holds one place earlier."""
    return F.pad(x, (1, 0))[:, :-1]


def _after(x: Tensor) -> Tensor:
    """(B, S) -> (B, S): what holds one place later."""
    return F.pad(x, (0, 1))[:, 1:]
