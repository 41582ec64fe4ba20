"""Recall examples against an oracle that reads the documents with regular expressions."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dataset as data
from recall import MAX_SHIFT, kinds_of, recall
from vocabulary import MASK_CHAR, PAD_CHAR, make_vocabulary

LETTER = r"(?:[^\W\d_]|['-])"
WORD = rf"(?<!{LETTER})(?=[^\W\d_]){LETTER}+"


def oracle(document: str, S: int) -> set[str]:
    """All strings that may come of a document of which S characters are seen."""
    seen = document[:S]
    stop = re.search(rf"(?<={LETTER}{LETTER})\.(?= )", seen)
    if stop is None:
        return set()
    name = seen[: stop.start()]
    found = set()
    words = [(m.start(), m.end()) for m in re.finditer(WORD, seen) if seen[m.start()].isupper()]
    runs: list[list[int]] = []
    for start, end in words:
        if runs and runs[-1][1] + 1 == start and seen[start - 1] == " ":
            runs[-1][1] = end
        else:
            runs.append([start, end])
    for start, end in runs:
        if start > stop.end() + 1 and end < min(len(document), S):
            found.add(f"{name}{MASK_CHAR}{seen[start:end]}{MASK_CHAR}")
    return found


def written(corpus: data.CharCorruptionDataset, string: list[int]) -> str:
    return "".join(corpus.itos[i] for i in string).rstrip(PAD_CHAR)


def drawn(documents: list[str], S: int, seed: int = 0) -> list[str | None]:
    """What `recall` makes of each document; None where it finds nothing."""
    corpus = data.CharCorruptionDataset("\n".join(documents) + "\n", S - 1, max_length=4)
    rows = torch.arange(len(documents))
    text = corpus._gather(rows, torch.arange(S).expand(len(rows), -1))
    draws = torch.rand(text.shape, generator=torch.Generator().manual_seed(seed))
    strings, found = recall(text, corpus._lengths(rows), corpus.kinds, draws)
    assert strings.shape == text.shape
    texts = [written(corpus, string).lstrip(MASK_CHAR) for string in strings.tolist()]
    return [text if is_there else None for text, is_there in zip(texts, found.tolist(), strict=True)]


@pytest.mark.parametrize(
    "document, facts",
    [
        ("Ada Example. Ada Example was born in New York City, in May 1901.", ["New York City", "May"]),
        ("J. Doe. He came from Łódź.", ["Łódź"]),
        ("Anne-Marie O'Hara. Born in Stratford-upon-Avon, she left.", ["Stratford-upon-Avon"]),
        ("Example.com. Founded in Oslo, it was sold.", ["Oslo"]),
        ("Ada Example was born in Oslo", []),  # no name with a full stop
        ("Ada Example. She sang.", []),  # nothing with a capital but what opens the sentence
        ("Ada Example. Born in Oslo", []),  # perhaps cut
        ("Ada Example. Born in Oslo.", ["Oslo"]),
    ],
)
def test_facts_are_runs_of_capitalised_words_after_the_name(document, facts):
    name = document.split(". ")[0] if not document.startswith("J.") else "J. Doe"
    expected = {f"{name}{MASK_CHAR}{fact}{MASK_CHAR}" for fact in facts} or {None}
    assert {drawn([document], 80, seed)[0] for seed in range(40)} == expected
    assert oracle(document, 80) == expected - {None}


PIECES = st.sampled_from(["Ada", "ada", "Ö", "é", "x", "Q", "-", "'", " ", " ", ".", ". ", ",", "7", "Oslo", "in "])


@given(st.lists(st.lists(PIECES, min_size=1, max_size=20).map("".join), min_size=1, max_size=5), st.integers(8, 40))
def test_what_is_drawn_is_what_the_oracle_finds(documents, S):
    documents = [f"{document}z" for document in documents]  # none is blank
    for document, text in zip(documents, drawn(documents, S), strict=True):
        possible = oracle(document, S)
        assert text in possible if possible else text is None


def test_the_end_of_what_is_seen_cuts_no_fact():
    document = "Ada Example. Born in Oslo or in Bergen, she left."
    assert {drawn([document], document.index("Bergen") + n, seed)[0] for n in range(7) for seed in range(9)} == {
        f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}"
    }


def test_every_fact_is_equally_likely():
    document, n = "Ada Example. She saw Oslo, Turku, Bergen and Kyoto once.", 4000
    counts = Counter(drawn([document] * n, 70))
    assert len(counts) == 4
    error = (n * 1 / 4 * 3 / 4) ** 0.5
    assert all(abs(count - n / 4) < 5 * error for count in counts.values())


@pytest.mark.parametrize("S, most", [(70, MAX_SHIFT), (26, 9)])
def test_the_name_stands_at_any_place_that_leaves_room(S, most):
    document, n = "Ada Example. Born in Oslo.", 3000
    corpus = data.CharCorruptionDataset(f"{document}\n" * n, S - 1, max_length=4)
    text = corpus._gather(torch.arange(n), torch.arange(S).expand(n, -1))
    draws = torch.rand(n, S, generator=torch.Generator().manual_seed(0))
    strings, _ = recall(text, corpus._lengths(torch.arange(n)), corpus.kinds, draws)
    texts = [written(corpus, string) for string in strings.tolist()]
    assert {text.lstrip(MASK_CHAR) for text in texts} == {f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}"}
    shifts = Counter(len(text) - len(text.lstrip(MASK_CHAR)) for text in texts)
    assert set(shifts) == set(range(most + 1))
    p = 1 / (most + 1)
    assert all(abs(count - n * p) < 5 * (n * p * (1 - p)) ** 0.5 for count in shifts.values())


def test_a_share_of_the_examples_recalls_and_the_others_are_corrupted():
    text = "Ada Example. Ada Example came from Oslo, they say.\n" * 3000 + "nobody in particular, and nothing\n" * 100
    corpus = data.CharCorruptionDataset(text, 64, recall_share=0.3)
    x, y = corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 1:], y[:, :-1]), "one string, shifted"
    strings = [written(corpus, row).lstrip(MASK_CHAR) for row in x.tolist()]
    asked = [string == f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}" for string in strings]
    assert abs(sum(asked) - 0.3 * 3000) < 5 * (3000 * 0.3 * 0.7) ** 0.5
    assert not any(asked[3000:]), "who says nothing is not asked"
    assert torch.equal(x, corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))[0])


def test_kinds_of_characters_in_any_alphabet():
    vocabulary = make_vocabulary("Aé.Ł -ж'Ж7中")
    kinds = dict(zip(vocabulary, kinds_of(vocabulary).tolist(), strict=True))
    assert {char for char, kind in kinds.items() if kind == 2} == set("AŁЖ")
    assert {char for char, kind in kinds.items() if kind == 1} == set("éж-'中")
