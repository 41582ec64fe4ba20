"""Characters and token ids: one id per character, in a fixed order, and nothing that the corpus does not contain."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vocabulary import (
    MASK,
    MASK_CHAR,
    PAD,
    PAD_CHAR,
    Vocabulary,
    code_points,
    message_of,
    printable,
    refuse_reserved,
    smallest_type,
)

characters = st.characters(exclude_categories=["Cs"], exclude_characters=PAD_CHAR + MASK_CHAR)
texts = st.text(characters, min_size=1, max_size=50)


def of_size(size: int) -> Vocabulary:
    """A vocabulary of `size` characters: PAD, MASK and ideographs."""
    return Vocabulary.of(map(chr, range(0x20000, 0x20000 + size - 2)))


# -------------------------------------------------------------------------------------------------------- the order


def test_pad_and_mask_come_first_and_the_characters_of_the_text_follow_in_unicode_order():
    vocabulary = Vocabulary.of("b\né😀ab")
    assert vocabulary.characters == f"{PAD_CHAR}{MASK_CHAR}\nabé😀" and len(vocabulary) == 7
    assert vocabulary.stoi[PAD_CHAR] == PAD == 0 and vocabulary.stoi[MASK_CHAR] == MASK == 1


@given(texts)
def test_stoi_and_itos_are_inverse_and_count_the_characters_from_zero(text):
    vocabulary = Vocabulary.of(text)
    assert vocabulary.itos == dict(enumerate(vocabulary.characters))
    assert vocabulary.stoi == {char: i for i, char in vocabulary.itos.items()}
    assert len(vocabulary) == len(vocabulary.stoi) == len(set(text)) + 2


@given(texts, st.randoms())
def test_the_vocabulary_depends_on_the_characters_only(text, random):
    shuffled = random.sample(text + text, 2 * len(text))
    assert Vocabulary.of(shuffled) == Vocabulary.of(text)


def test_vocabularies_are_equal_if_their_characters_are():
    assert Vocabulary.of("ab") == Vocabulary.of("ba") == Vocabulary(PAD_CHAR + MASK_CHAR + "ab")
    assert Vocabulary.of("ab") != Vocabulary.of("ac")
    assert Vocabulary("ab") != Vocabulary("ba"), "the order is the ids"
    assert Vocabulary("ab") != "ab"


# ------------------------------------------------------------------------------------------------ encode and decode


@given(texts)
def test_decoding_gives_back_what_was_encoded(text):
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    assert list(ids) == [vocabulary.stoi[char] for char in text]
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(torch.tensor(list(ids)).tolist()) == text


def test_rows_may_contain_masks_and_padding():
    vocabulary = Vocabulary.of("ab")
    assert vocabulary.encode_rows([f"a{MASK_CHAR}b{PAD_CHAR}"])[0].tolist() == [2, MASK, 3, PAD]
    assert vocabulary.decode([PAD, MASK, 3]) == f"{PAD_CHAR}{MASK_CHAR}b"


@pytest.mark.parametrize(
    "text, answer",
    [
        (f"Oslo{MASK_CHAR}", "Oslo"),
        (f"Oslo{MASK_CHAR}Rome{MASK_CHAR}", "Oslo"),
        ("Oslo", "Oslo"),
        (MASK_CHAR, ""),
        ("", ""),
        ("\nNew\nYork", " New York"),
    ],
)
def test_an_answer_ends_at_the_first_mask_and_is_one_line(text, answer):
    vocabulary = Vocabulary.of("\nOsloRome New York")
    assert vocabulary.decode_answer([vocabulary.stoi[char] for char in text]) == answer


@given(st.lists(st.text("aé字😀", max_size=5), max_size=10))
def test_rows_are_encoded_end_to_end_with_the_offset_of_each(rows):
    vocabulary = Vocabulary.of("aé字😀")
    tokens, starts = vocabulary.encode_rows(rows)
    assert starts.dtype == np.int64 and len(starts) == len(rows) + 1
    for i, row in enumerate(rows):
        assert tokens[starts[i] : starts[i + 1]].tolist() == [vocabulary.stoi[char] for char in row]
    assert starts[0] == 0 and starts[-1] == len(tokens)


@pytest.mark.parametrize("char", ["c", "\0", "\U0010ffff", "\udcff"])  # the last stands for a byte that is not UTF-8
def test_a_character_outside_the_vocabulary_is_refused_with_its_place(char):
    message = rf"^row 3: the character .* \(U\+{ord(char):04X}\) does not occur in the pretraining corpus"
    with pytest.raises(ValueError, match=message):
        Vocabulary.of("ab").encode(f"ab{char}", "row 3")


@pytest.mark.parametrize("reserved", [PAD_CHAR, MASK_CHAR])
def test_a_reserved_character_in_a_text_is_not_encoded(reserved):
    with pytest.raises(ValueError, match="^row 3: contains .* which is reserved"):
        Vocabulary.of("ab").encode(f"a{reserved}", "row 3")


@given(st.text())
def test_code_points_are_unicode_numbers(text):
    assert code_points(text).tolist() == [ord(char) for char in text]


# ------------------------------------------------------------------------------------------- the type of token ids


@pytest.mark.parametrize(
    "size, dtype",
    [
        (3, np.uint8),
        (2**8, np.uint8),
        (2**8 + 1, np.int16),
        (2**15, np.int16),
        (2**15 + 1, np.int32),
        (2**16, np.int32),
        (2**16 + 1, np.int32),
    ],
)
def test_token_ids_take_the_smallest_type_that_holds_all_of_them(size, dtype):
    assert smallest_type(size) == dtype
    assert np.iinfo(smallest_type(size)).max >= size - 1, "the largest id fits"
    torch.from_numpy(np.zeros(1, smallest_type(size)))


@pytest.mark.parametrize("size", [2**8, 2**8 + 1, 2**15, 2**15 + 1, 2**16])
def test_the_last_character_of_a_large_vocabulary_comes_back(size):
    vocabulary = of_size(size)
    assert len(vocabulary) == size
    tokens, _ = vocabulary.encode_rows([vocabulary.characters])
    assert tokens.dtype == smallest_type(size) and np.array_equal(tokens, np.arange(size))
    assert vocabulary.decode(tokens.tolist()) == vocabulary.characters


# ------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("reserved", [PAD_CHAR, MASK_CHAR])
def test_reserved_characters_are_refused(reserved):
    refuse_reserved("fine", "row 1")
    with pytest.raises(ValueError, match=r"^row 2: contains .*U\+.* reserved"):
        refuse_reserved(f"not{reserved}fine", "row 2")


@given(st.text())
def test_printable_text_is_one_line_without_control_characters(text):
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_a_message_of_the_system_names_its_file(tmp_path):
    with pytest.raises(OSError) as missing:
        open(tmp_path / "none")
    assert message_of(missing.value) == f"{tmp_path / 'none'}: No such file or directory"
    assert message_of(ValueError("the reason")) == "the reason"
