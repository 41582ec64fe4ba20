"""Shows what the readers accept, how span corruption is distributed, which targets of a question count, and scoring."""

import math
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dataset
from dataset import (
    CharCorruptionDataset,
    MixedDataset,
    NameDataset,
    encode_questions,
    evaluate_places,
    parse_places,
    read_corpus,
    read_places,
    read_text,
)
from vocabulary import MASK, MASK_CHAR, PAD, PAD_CHAR

BLOCK_SIZE = 128
LONGEST = 112  # int(128 * 7 / 8)


def decode(corpus, ids) -> str:
    return corpus.vocabulary.decode(ids.tolist())


def document(length: int) -> str:
    """A text in which every character occurs once, so that it tells its place."""
    return "".join(chr(0x20000 + i) for i in range(length))


def take_apart(corpus: CharCorruptionDataset, x, y, masks: int = 2) -> tuple[str, str, str]:
    """(prefix, suffix, masked span) of an example, whose layout is checked on the way."""
    assert len(x) == len(y) == corpus.block_size
    assert torch.equal(x[1:], y[:-1]), "y is x one step ahead"
    string = decode(corpus, x) + corpus.itos[int(y[-1])]
    content = string.rstrip(PAD_CHAR)
    assert PAD_CHAR not in content
    assert content.count(MASK_CHAR) == masks
    if masks == 3:
        assert content.endswith(MASK_CHAR)
    prefix, suffix, span, *_ = content.split(MASK_CHAR)
    return prefix, suffix, span


# --------------------------------------------------------------------------------------------- span corruption


@pytest.mark.parametrize("third_mask", [False, True])
def test_documents_of_every_length_become_the_examples_of_the_specification(third_mask):
    text = "\n".join(document(length) for length in range(1, 301))
    corpus = CharCorruptionDataset(text, BLOCK_SIZE, third_mask=third_mask)
    for _ in range(20):
        x, y = corpus.batch(torch.arange(len(corpus)))
        for length, (row_x, row_y) in enumerate(zip(x, y, strict=True), 1):
            prefix, suffix, span = take_apart(corpus, row_x, row_y, masks=2 + third_mask)
            kept = prefix + span + suffix
            assert kept == document(length)[: len(kept)], "a prefix of the document, in order"
            assert min(4, length) <= len(kept) <= min(LONGEST, length)
            assert len(span) >= 1, "even the shortest document gives a character"
            assert len(span) <= max(1, math.ceil(len(kept) / 2))


def test_truncation_keeps_the_start_of_the_document():
    """A random window would drop the name that the document is about."""
    corpus = CharCorruptionDataset(document(300), BLOCK_SIZE)
    for _ in range(200):
        prefix, suffix, span = take_apart(corpus, *corpus[0])
        assert (prefix + span + suffix)[0] == document(300)[0]


def test_a_document_shorter_than_the_drawn_length_still_gets_a_masked_span():
    """A span that was chosen for the drawn length would be empty, or lie outside the document."""
    corpus = CharCorruptionDataset("abcde", BLOCK_SIZE)
    for _ in range(200):
        prefix, suffix, span = take_apart(corpus, *corpus[0])
        assert span and "abcde".startswith(prefix + span + suffix)


def five_sigma(n: int, p: float) -> float:
    return 5 * math.sqrt(n * p * (1 - p))


@pytest.fixture(scope="module")
def draws() -> list[tuple[int, int, int]]:
    """(length of the prefix kept, length of the span, its start) of 20,000 examples of one long document."""
    corpus = CharCorruptionDataset(document(300), BLOCK_SIZE)
    x, y = corpus.batch(torch.zeros(20_000, dtype=torch.long), torch.Generator().manual_seed(1))
    mask_1, mask_2 = (x == MASK).nonzero()[:, 1].view(-1, 2).T
    end = (torch.cat([x, y[:, -1:]], dim=1) != PAD).sum(1)
    return list(zip((end - 2).tolist(), (end - mask_2 - 1).tolist(), mask_1.tolist(), strict=True))


def test_every_truncation_length_occurs_equally_often(draws):
    n, lengths = len(draws), [kept for kept, _, _ in draws]
    p = 1 / (LONGEST - 4 + 1)
    assert set(lengths) == set(range(4, LONGEST + 1))
    for length in range(4, LONGEST + 1):
        assert abs(lengths.count(length) - n * p) < five_sigma(n, p), length


def test_a_quarter_of_the_prefix_is_masked_on_average(draws):
    shares = torch.tensor([span / kept for kept, span, _ in draws], dtype=torch.float64)
    assert abs(shares.mean() - 0.25) < 5 * shares.std() / math.sqrt(len(draws))
    for low, high in [(4, 8), (8, 16), (16, 64), (64, 113)]:  # and not only over all lengths together
        some = torch.tensor([span / kept for kept, span, _ in draws if low <= kept < high], dtype=torch.float64)
        assert abs(some.mean() - 0.25) < 5 * some.std() / math.sqrt(len(some)), (low, high)


def test_the_length_of_the_span_is_random_for_every_length_of_the_prefix(draws):
    for kept in range(12, LONGEST + 1, 10):
        spans = {span for k, span, _ in draws if k == kept}
        assert min(spans) <= max(2, kept // 10) and max(spans) >= kept // 2 - max(2, kept // 10), kept


def test_every_place_for_the_span_is_equally_likely(draws):
    places = torch.tensor([start / (kept - span) for kept, span, start in draws], dtype=torch.float64)
    assert places.min() == 0 and places.max() == 1
    assert abs(places.mean() - 0.5) < 5 * places.std() / math.sqrt(len(draws))


def test_the_draws_of_an_example_are_independent(draws):
    """No correlation between the length of the prefix, the share that is masked, and the place of the span."""
    long = [(kept, span / kept, start / (kept - span)) for kept, span, start in draws if kept >= 32]
    correlation = torch.corrcoef(torch.tensor(long, dtype=torch.float64).T)  # (3, 3)
    assert (correlation - torch.eye(3)).abs().max() < 5 / math.sqrt(len(long))


def test_with_equal_limits_every_document_is_kept_as_long_as_possible():
    corpus = CharCorruptionDataset(f"{document(300)}\n{document(50)}", BLOCK_SIZE, min_length=LONGEST)
    for i, length in enumerate([LONGEST, 50]):
        assert {sum(map(len, take_apart(corpus, *corpus[i]))) for _ in range(50)} == {length}


def test_an_item_is_a_batch_of_one(corpus, questions):
    for rows in (corpus, questions):
        for i in range(len(rows)):
            torch.manual_seed(i)
            x, y = rows[i]
            torch.manual_seed(i)
            batch_x, batch_y = rows.batch(torch.tensor([i]))
            assert torch.equal(x, batch_x[0]) and torch.equal(y, batch_y[0])
            assert x.dtype == y.dtype == torch.long
        with pytest.raises(IndexError):
            rows[len(rows)]


def test_the_same_generator_draws_the_same_batch(corpus):
    a, b, c = (corpus.batch(torch.arange(8), torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@given(st.text(st.characters(exclude_characters=PAD_CHAR + MASK_CHAR, exclude_categories=["Cs"]), max_size=400))
@settings(max_examples=100)
def test_any_text_with_a_document_is_a_corpus(text):
    try:
        corpus = CharCorruptionDataset(text, BLOCK_SIZE)
    except ValueError:
        assert not any(line.strip() for line in text.split("\n"))
        return
    assert corpus.data == [line for line in text.split("\n") if line.strip()]
    for i, line in enumerate(corpus.data):
        prefix, suffix, span = take_apart(corpus, *corpus[i])
        assert line.startswith(prefix + span + suffix)


def test_the_vocabulary_is_pad_mask_and_the_sorted_characters():
    corpus = CharCorruptionDataset("cab\nbé\n", BLOCK_SIZE)
    assert [corpus.itos[i] for i in range(corpus.vocab_size)] == [PAD_CHAR, MASK_CHAR, "\n", "a", "b", "c", "é"]
    assert all(corpus.stoi[char] == i for i, char in corpus.itos.items())


def test_tokens_take_the_smallest_type_that_holds_them():
    assert CharCorruptionDataset(document(100), BLOCK_SIZE).tokens.dtype == torch.uint8
    assert CharCorruptionDataset(document(1000), BLOCK_SIZE).tokens.dtype == torch.int16
    largest = CharCorruptionDataset(document(2**15), BLOCK_SIZE)
    assert largest.tokens.dtype == torch.int32 and largest.tokens[-1] == largest.vocab_size - 1


@pytest.mark.parametrize("block_size, third_mask", [(4, False), (8, True)])
def test_a_block_too_small_for_the_masks_is_refused(block_size, third_mask):
    with pytest.raises(ValueError, match=f"block_size {block_size} is too small"):
        CharCorruptionDataset("abcdef", block_size, third_mask=third_mask)


# ------------------------------------------------------------------------------------------------ question rows


def test_the_loss_is_on_the_answer_only(corpus, questions, questions_text):
    for i, row in enumerate(questions_text.splitlines()):
        question, place = row.split("\t")
        x, y = questions[i]
        assert len(x) == len(y) == corpus.block_size
        assert decode(corpus, x).rstrip(PAD_CHAR) == f"{question}{MASK_CHAR}{place}{MASK_CHAR}"
        target = PAD_CHAR * (len(question) - 1) + f"{MASK_CHAR}{place}{MASK_CHAR}"
        assert decode(corpus, y).rstrip(PAD_CHAR) == target


def test_letters_outside_ascii_are_kept_in_training_and_evaluation(corpus, questions):
    """A model whose names were stripped to ASCII in training would be asked about people it has not seen."""
    assert "Çem Ok" in decode(corpus, questions[2][0])
    ids, lengths = encode_questions(["Where was Çem Ok born?"], corpus.vocabulary, corpus.block_size, "here")
    assert decode(corpus, ids[0]) == f"Where was Çem Ok born?{MASK_CHAR}" and lengths.tolist() == [ids.size(1)]


@pytest.mark.parametrize(
    "row, message",
    [
        ("Where was Bo Lind born?\tOslo!", r"question 2: the character '!' \(U\+0021\)"),
        ("Where was Bo Lind born?", "row 2: has no tab"),
        ("Where was Bo Lind born?\tOslo\tTurku", "row 2: 2 tabs"),
        ("Where was Bo Lind born?\t", "row 2: the place is empty"),
        ("Where was Bo Lind born?\tOslo|", "row 2: the place is empty"),
        ("Where was Bo Lind born?\t | Oslo", "row 2: the place is empty"),
        ("\tOslo", "row 2: the question is empty"),
        ("Where was " + "o" * 50 + " born?\tOslo", "question 2: 72 characters with masks, the block holds 65"),
        (f"Where was Bo{MASK_CHAR} born?\tOslo", "question 2: contains .* reserved"),
    ],
)
def test_a_bad_question_names_its_row(corpus, row, message):
    with pytest.raises(ValueError, match=f"file.tsv, {message}"):
        NameDataset(corpus, f"Where was Ada Fern born?\tOslo\n{row}\n", source="file.tsv")


def test_spaces_around_alternatives_are_no_part_of_them():
    assert parse_places("Where was Bo Lind born?\tOslo | Abo|Turku \n") == [
        ("Where was Bo Lind born?", "Oslo|Abo|Turku")
    ]


def test_unlabelled_questions_cannot_be_trained_on(corpus):
    with pytest.raises(ValueError, match="question 1: no tab and no place"):
        NameDataset(corpus, "Where was Ada Fern born?\n")


def test_a_question_that_leaves_no_room_for_an_answer_is_refused(corpus):
    encode_questions(["o" * 62], corpus.vocabulary, 64, "here")
    with pytest.raises(ValueError, match="here, question 1: a question of 63 characters leaves no room"):
        encode_questions(["o" * 63], corpus.vocabulary, 64, "here")


def test_a_mixed_dataset_is_the_documents_followed_by_rows_of_questions(corpus, questions):
    mixed = MixedDataset(corpus, questions, 0.5)
    assert mixed.block_size == corpus.block_size, "the trainer limits by it how many rows it draws together"
    assert len(mixed) == len(corpus) + round(len(corpus) / 2)
    x, y = mixed.batch(torch.arange(len(mixed)), torch.Generator().manual_seed(0))
    all_x, all_y = questions.batch(torch.arange(len(questions)))
    is_question = (x[:, None] == all_x).all(2) & (y[:, None] == all_y).all(2)  # (rows, questions)
    assert is_question.any(1).tolist() == [i >= len(corpus) for i in range(len(mixed))]


def test_every_question_is_drawn_equally_often(corpus, questions):
    mixed = MixedDataset(corpus, questions, 0.5)
    x, _ = mixed.batch(torch.full((8000,), len(mixed) - 1), torch.Generator().manual_seed(0))
    counts = (x[:, None] == questions.batch(torch.arange(len(questions)))[0]).all(2).sum(0)  # (questions,)
    p = 1 / len(questions)
    assert (counts - 8000 * p).abs().max() < 5 * (8000 * p * (1 - p)) ** 0.5


# ------------------------------------------------------------------------------------------- reading and scoring


def test_reading_tolerates_line_ends_blank_lines_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("\ufeffÅsa. A\r\n\r\nBo. B\rCy. C".encode())
    assert read_corpus(path) == "Åsa. A\nBo. B\nCy. C\n"


def test_a_corpus_is_the_same_with_and_without_a_final_newline(tmp_path):
    for name, text in [("with", "Åsa. A\nBo. B\n"), ("without", "Åsa. A\nBo. B")]:
        (tmp_path / name).write_text(text, encoding="utf-8")
    with_newline, without = (CharCorruptionDataset(read_corpus(tmp_path / n), 64) for n in ("with", "without"))
    assert with_newline.stoi == without.stoi and len(with_newline) == len(without) == 2


def test_only_newlines_separate_documents(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("Åsa\u2028A\x0bB\x85C\n", encoding="utf-8")
    assert CharCorruptionDataset(read_corpus(path), 64).data == ["Åsa\u2028A\x0bB\x85C"]


def test_text_in_another_encoding_is_refused_with_its_line(tmp_path):
    """`open()` without an encoding would read it as something else on some machines."""
    path = tmp_path / "latin.txt"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + "Bo. B\nÅsa. A\n".encode("latin-1"))
        with pytest.raises(ValueError, match=r"latin.txt, line 2: not UTF-8 text \(byte 0xc5\)"):
            read_text(path)


def test_reading_does_not_depend_on_the_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    path = tmp_path / "corpus.txt"
    path.write_bytes("Åsa Łoś. A\n".encode())
    assert read_corpus(path) == "Åsa Łoś. A\n"


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("\n \n")
    for read in (read_corpus, read_places):
        with pytest.raises(ValueError, match="empty.txt.*empty"):
            read(path)


def test_the_special_characters_are_written_as_escapes():
    """An editor may lose a literal character, and nothing would fail."""
    assert (PAD_CHAR, MASK_CHAR) == ("\u25a1", "\u2047")
    for path in Path(dataset.__file__).parent.rglob("*.py"):
        source = read_text(path)
        assert PAD_CHAR not in source and MASK_CHAR not in source, path


@pytest.mark.parametrize("reserved", [PAD_CHAR, MASK_CHAR])
def test_reserved_characters_in_a_corpus_are_refused(reserved):
    with pytest.raises(ValueError, match="document 2: contains .* reserved"):
        CharCorruptionDataset(f"fine\nnot{reserved}fine", 64)


def test_either_all_rows_have_a_place_or_none_has():
    assert parse_places("a?\tX\n\nb?\tY\n") == [("a?", "X"), ("b?", "Y")]
    assert parse_places("a?\nb?\n") == [("a?", None), ("b?", None)]
    assert parse_places(" a? \t X \n") == [("a?", "X")], "fields without the blanks around them"
    with pytest.raises(ValueError, match="row 2: has no tab"):
        parse_places("a?\tX\nb?\n")
    with pytest.raises(ValueError, match="row 2: has a place"):
        parse_places("a?\nb?\tX\n")


def test_the_scorer_counts_every_row_and_the_exact_matches(tmp_path):
    """No row is skipped, and there must be exactly one prediction for each."""
    path = tmp_path / "dev.tsv"
    path.write_text("a?\tOslo\nb?\tŁódź\nc?\tRome\n", encoding="utf-8")
    assert evaluate_places(path, ["Oslo", "Łódź", "Rom"]) == (3, 2)
    assert evaluate_places(path, ["oslo", "", "Rome "]) == (3, 0)
    for wrong in (["Oslo", "Łódź"], ["Oslo", "Łódź", "Rome", "Rome"]):
        with pytest.raises(ValueError, match=f"{len(wrong)} predictions for the 3 questions"):
            evaluate_places(path, wrong)


def test_a_file_without_places_has_no_score(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("a?\nb?\n")
    assert evaluate_places(path, ["Oslo", "Rome"]) == (0, 0)


@pytest.mark.parametrize("kind", ["namedata", "charcorruption"])
def test_the_demonstration_prints_four_examples(kind, folder, capsys):
    assert dataset.main([kind, "--corpus", "wiki.txt", "--places", "train.tsv", "--seed", "3"]) == 0
    first = capsys.readouterr().out
    assert [line[:3] for line in first.splitlines()] == ["x: ", "y: "] * 4
    assert {len(line) for line in first.splitlines()} == {3 + BLOCK_SIZE}
    dataset.main([kind, "--corpus", "wiki.txt", "--places", "train.tsv", "--seed", "3"])
    assert capsys.readouterr().out == first


def test_the_demonstration_names_a_file_that_is_missing(folder, capsys):
    assert dataset.main(["namedata", "--corpus", "no.txt"]) == 2
    assert "no.txt" in capsys.readouterr().err


@pytest.mark.course
def test_the_courses_files_have_the_known_numbers_of_rows(course_data):
    corpus = CharCorruptionDataset(read_corpus(course_data / "wiki.txt"), BLOCK_SIZE)
    assert (len(corpus), corpus.vocab_size, sum(len(d) > 128 for d in corpus.data)) == (2937, 256, 1514)
    assert len(NameDataset(corpus, read_text(course_data / "birth_places_train.tsv"))) == 2000
    assert evaluate_places(course_data / "birth_dev.tsv", ["London"] * 500) == (500, 25)
    questions = [question for question, _ in read_places(course_data / "birth_test_inputs.tsv")]
    assert encode_questions(questions, corpus.vocabulary, BLOCK_SIZE, "test")[0].shape[0] == 437


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("read", [read_text, read_corpus, read_places])
def test_what_is_no_plain_file_is_refused_instead_of_read_for_ever(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(3 * 2**30)
    for name, reason in {"pipe": "not a plain file", "sparse": "larger than", "/dev/zero": "not a plain file"}.items():
        with pytest.raises(ValueError, match=reason):
            read(tmp_path / name)
