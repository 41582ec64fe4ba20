"""Hidden tests of part e."""

from collections import Counter

import pytest
import torch

from dataset import CharCorruptionDataset
from vocabulary import MASK, MASK_CHAR, PAD, PAD_CHAR

BLOCK_SIZE = 40
LONGEST = BLOCK_SIZE * 7 // 8
LETTERS = "".join(chr(code) for code in range(0x400, 0x400 + 80))
DRAWS = 800


def examples(document: str, count: int, block_size: int = BLOCK_SIZE) -> list[tuple[str, str, str]]:
    """(before, after, span) of so many examples of a document that stands between others."""
    dataset = CharCorruptionDataset(f"another one\n{document}\nand one more\n", block_size)
    found = []
    for _ in range(count):
        x, y = dataset[1]
        assert x.shape == y.shape == (block_size,) and torch.equal(x[1:], y[:-1])
        ids = [*x[:1].tolist(), *y.tolist()]
        assert all(0 <= i < dataset.vocab_size for i in ids)
        text = "".join(dataset.itos[i] for i in ids).rstrip(PAD_CHAR)
        assert text.count(MASK_CHAR) in (2, 3) and PAD_CHAR not in text, text
        found.append(tuple(text.removesuffix(MASK_CHAR).split(MASK_CHAR)))
    return found


@pytest.mark.parametrize("document", ["q", "qr", "qrs", "qrst", "qrstu"])
def test_a_tiny_document_still_has_a_masked_span(document):
    for before, after, span in examples(document, 60):
        assert span and before + span + after == document[: len(before + span + after)]
        assert len(before + span + after) >= min(4, len(document))


def test_the_name_at_the_beginning_is_never_cut_off():
    for before, after, span in examples(LETTERS, 200):
        assert (before + span + after).startswith(LETTERS[:4])


@pytest.mark.parametrize("block_size", [24, 128])
def test_lengths_follow_the_block_size(block_size):
    longest = block_size * 7 // 8
    document = "".join(chr(code) for code in range(0x400, 0x400 + 150))
    lengths = [sum(map(len, example)) for example in examples(document, DRAWS, block_size)]
    assert set(lengths) <= set(range(4, longest + 1)) and {min(lengths), max(lengths)} <= {4, 5, longest - 1, longest}
    mean, sigma = (4 + longest) / 2, (longest - 3) / 12**0.5 / DRAWS**0.5
    assert abs(sum(lengths) / DRAWS - mean) < 5 * sigma


def test_spans_have_many_lengths_between_one_and_half_of_the_prefix():
    found = [(sum(map(len, example)), len(example[2])) for example in examples(LETTERS, DRAWS)]
    assert all(1 <= span <= kept / 2 + 1 for kept, span in found)
    shares = [span / kept for kept, span in found if kept > 8]
    assert 0.2 < sum(shares) / len(shares) < 0.3  # spans of 1 .. kept // 2 characters have 0.27
    for low in (16, 22, 28):
        assert len({span for kept, span in found if low <= kept < low + 6}) > 4


def test_a_span_may_begin_anywhere():
    document = "abcdefghijkl"
    kept = [(len(b), len(s)) for b, a, s in examples(document, 3 * DRAWS) if len(b + a + s) == len(document)]
    size = Counter(span for _, span in kept).most_common(1)[0][0]
    starts = Counter(start for start, span in kept if span == size)
    places, total = len(document) - size + 1, starts.total()
    for start in range(places):
        share = 1 / places
        off = abs(starts[start] - total * share)
        assert off < 5 * (total * share * (1 - share)) ** 0.5, f"start {start}: {starts[start]} of {total}"


def test_a_document_of_one_repeated_character_keeps_its_length():
    for before, after, span in examples("zzzzzzzz", 100):
        assert 4 <= len(before + span + after) <= 8


def test_padding_and_masks_are_the_tokens_0_and_1():
    dataset = CharCorruptionDataset("abcdef\n", BLOCK_SIZE)
    for _ in range(50):
        x, y = dataset[0]
        assert x.dtype == y.dtype == torch.long
        assert (x == MASK).sum() in (2, 3) and x[-1] == y[-1] == PAD
        assert int((y != PAD).sum()) <= 6 + 3
