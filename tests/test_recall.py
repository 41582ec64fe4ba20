"""Shows which questions `recall` asks a document, against an oracle that reads it with regular expressions."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataset import CAPITAL, LETTER, MAX_SHIFT, SPACE, STOP, CharCorruptionDataset, kinds_of, recall
from vocabulary import MASK_CHAR, PAD_CHAR, Vocabulary

ANY_LETTER = r"(?:[^\W\d_]|['-])"
WORD = rf"(?<!{ANY_LETTER})(?=[^\W\d_]){ANY_LETTER}+"


def oracle(document: str, S: int) -> set[str]:
    """All examples that a document may give if its first S characters are seen, without the masks before the name."""
    seen = document[:S]
    stop = re.search(rf"(?<={ANY_LETTER}{ANY_LETTER})\.(?= )", seen)
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


def written(corpus: CharCorruptionDataset, string: list[int]) -> str:
    return corpus.vocabulary.decode(string).rstrip(PAD_CHAR)


def drawn(documents: list[str], S: int, seed: int = 0) -> list[str | None]:
    """What `recall` makes of each document; None where it finds nothing."""
    corpus = CharCorruptionDataset("\n".join(documents) + "\n", S - 1, max_length=4)
    rows = torch.arange(len(documents))
    text, lengths = corpus.gather(rows, torch.arange(S))
    draws = torch.rand(text.shape, generator=torch.Generator().manual_seed(seed))
    strings, found = recall(text, lengths, corpus.kinds, draws)
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
def test_every_example_is_one_that_the_oracle_finds(documents, S):
    documents = [f"{document}z" for document in documents]  # none is blank
    for document, text in zip(documents, drawn(documents, S), strict=True):
        possible = oracle(document, S)
        assert text in possible if possible else text is None


def test_a_fact_that_is_cut_at_the_end_is_not_asked_for():
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
def test_every_number_of_masks_before_the_name_that_leaves_room_is_equally_likely(S, most):
    document, n = "Ada Example. Born in Oslo.", 3000
    corpus = CharCorruptionDataset(f"{document}\n" * n, S - 1, max_length=4)
    text, lengths = corpus.gather(torch.arange(n), torch.arange(S))
    draws = torch.rand(n, S, generator=torch.Generator().manual_seed(0))
    strings, _ = recall(text, lengths, corpus.kinds, draws)
    texts = [written(corpus, string) for string in strings.tolist()]
    assert {text.lstrip(MASK_CHAR) for text in texts} == {f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}"}
    shifts = Counter(len(text) - len(text.lstrip(MASK_CHAR)) for text in texts)
    assert set(shifts) == set(range(most + 1))
    p = 1 / (most + 1)
    assert all(abs(count - n * p) < 5 * (n * p * (1 - p)) ** 0.5 for count in shifts.values())


def test_the_share_of_recall_examples_is_the_configured_one():
    text = "Ada Example. Ada Example came from Oslo, they say.\n" * 3000 + "nobody in particular, and nothing\n" * 100
    corpus = CharCorruptionDataset(text, 64, recall_share=0.3)
    x, y = corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 1:], y[:, :-1]), "one string, shifted"
    strings = [written(corpus, row).lstrip(MASK_CHAR) for row in x.tolist()]
    asked = [string == f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}" for string in strings]
    assert abs(sum(asked) - 0.3 * 3000) < 5 * (3000 * 0.3 * 0.7) ** 0.5
    assert not any(asked[3000:]), "a document that states no fact is not asked"
    assert torch.equal(x, corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))[0])


def test_capitals_and_letters_are_told_apart_in_any_alphabet():
    characters = Vocabulary.of("Aé.Ł -ж'Ж7中").characters
    kinds = dict(zip(characters, kinds_of(characters).tolist(), strict=True))
    assert {char for char, kind in kinds.items() if kind == CAPITAL} == set("AŁЖ")
    assert {char for char, kind in kinds.items() if kind == LETTER} == set("éж-'中")
    assert (kinds[" "], kinds["."]) == (SPACE, STOP)
