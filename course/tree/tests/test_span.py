"""Part e: python -m pytest -n 0 tests/test_span.py"""

import random

import pytest
import torch

from dataset import CharCorruptionDataset
from vocabulary import MASK, MASK_CHAR, PAD, PAD_CHAR

BLOCK_SIZE = 64
# All characters of a document differ, so that every position of an example can be told from its character.
LONG = "".join(chr(code) for code in range(0x100, 0x100 + 90))
SHORT = "abcdefghij"
DRAWS = 1000


@pytest.fixture
def dataset() -> CharCorruptionDataset:
    torch.manual_seed(0)
    random.seed(0)
    return CharCorruptionDataset(f"{LONG}\n{SHORT}\n", BLOCK_SIZE)


def parts_of(dataset: CharCorruptionDataset, index: int) -> tuple[str, str, str]:
    """(before, after, span) of one example: the text on both sides of the first mask, and what was masked."""
    x, y = dataset[index]
    string = "".join(dataset.itos[int(token)] for token in [x[0], *y])
    text = string.rstrip(PAD_CHAR)
    assert text.count(MASK_CHAR) in (2, 3), f"expected [before] MASK [after] MASK [span], got {text!r}"
    before, after, span = text.removesuffix(MASK_CHAR).split(MASK_CHAR)
    return before, after, span


def test_x_and_y_are_rows_of_token_ids_and_y_is_x_moved_by_one(dataset):
    for index in range(2):
        x, y = dataset[index]
        assert x.shape == y.shape == (BLOCK_SIZE,), "x and y have block_size entries each"
        assert x.dtype == y.dtype == torch.long
        assert torch.equal(x[1:], y[:-1]), "y[i] is the character that follows x[i]"


def test_the_pieces_make_a_prefix_of_the_document(dataset):
    for document, index in [(LONG, 0), (SHORT, 1)] * 200:
        before, after, span = parts_of(dataset, index)
        whole = before + span + after
        assert span, "the masked span has at least one character"
        assert document.startswith(whole), f"{whole!r} is not a prefix of the document"


def test_what_follows_the_example_is_padding(dataset):
    x, y = dataset[1]
    ends = (y == PAD).nonzero()
    assert len(ends), "a document of ten characters does not fill the block"
    assert (y[ends[0, 0] :] == PAD).all() and MASK in y


def test_lengths_of_prefixes_are_uniform_from_4_to_seven_eighths_of_the_block(dataset):
    lengths = [len("".join(parts_of(dataset, 0))) for _ in range(DRAWS)]
    longest = BLOCK_SIZE * 7 // 8
    assert min(lengths) >= 4, f"a prefix of {min(lengths)} characters"
    assert max(lengths) <= longest, f"a prefix of {max(lengths)} characters, of at most {longest}"
    assert min(lengths) <= 6 and max(lengths) >= longest - 2, "both ends are drawn"
    mean, sigma = (4 + longest) / 2, (longest - 3) / 12**0.5 / DRAWS**0.5
    assert abs(sum(lengths) / DRAWS - mean) < 5 * sigma, f"mean {sum(lengths) / DRAWS:.1f}, expected {mean}"


def test_a_document_shorter_than_the_draw_is_kept_whole(dataset):
    whole = sum(len("".join(parts_of(dataset, 1))) == len(SHORT) for _ in range(DRAWS)) / DRAWS
    assert 0.8 < whole < 1, f"{whole:.0%} of the examples hold all ten characters"


def test_the_span_is_random_and_a_quarter_of_the_prefix_on_average(dataset):
    examples = [parts_of(dataset, 0) for _ in range(DRAWS)]
    shares = [len(span) / len(before + after + span) for before, after, span in examples]
    mean = sum(shares) / DRAWS  # rounding to whole characters, as 1 .. length // 2 does, adds up to 0.02
    assert 0.2 < mean < 0.3, f"the span is {mean:.2f} of the prefix on average, expected 0.25"
    spans = {len(span) for before, after, span in examples if 36 <= len(before + after + span) <= 44}
    assert len(spans) > 5, "prefixes of like length get spans of different lengths"


def test_every_position_where_the_span_fits_is_equally_likely(dataset):
    examples = [parts_of(dataset, 0) for _ in range(DRAWS)]
    at = [len(before) / (len(before) + len(after)) for before, after, _ in examples if before or after]
    assert abs(sum(at) / len(at) - 0.5) < 0.05, f"the span begins at {sum(at) / len(at):.2f} of its range on average"
    assert any(not before for before, _, _ in examples), "the span may open the prefix"
    assert any(not after for _, after, _ in examples), "the span may end the prefix"


def test_examples_are_drawn_anew_each_time(dataset):
    assert len({parts_of(dataset, 0) for _ in range(20)}) > 10
