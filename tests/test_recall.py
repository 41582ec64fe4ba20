"""Shows which questions `recall` asks a document, against an oracle that reads it with regular expressions."""

import re
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dataset import CAPITAL, CASELESS, LETTER, MAX_CUE, MAX_SHIFT, SPACE, STOP, CharCorruptionDataset, kinds_of, recall
from vocabulary import MASK_CHAR, PAD_CHAR, Vocabulary

ANY_LETTER = r"(?:[^\W\d_]|['-])"
WORD = rf"(?<!{ANY_LETTER})(?=[^\W\d_]){ANY_LETTER}+"


def oracle(document: str, W: int) -> set[str]:
    """All examples that a document may give if its first W characters are seen, without the masks before them."""
    seen = document[:W]
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
    opens = [m.start() for m in re.finditer(rf"(?<!{ANY_LETTER}){ANY_LETTER}", seen)]
    first = stop.end() + 1  # of the text after the name
    for start, end in runs:
        if start > first and end < min(len(document), W):
            cues = {
                max(first, min(word for word in opens if word >= start - n)) for n in range(min(start, MAX_CUE) + 1)
            }
            for cue in cues:
                for split in {min(word for word in opens if word >= at) for at in range(cue, start + 1)}:
                    asks = seen[cue:split] + name + seen[split - 1 : start - 1]
                    found.add(f"{asks}{MASK_CHAR}{seen[start:end]}{MASK_CHAR}")
    return found


def written(corpus: CharCorruptionDataset, string: list[int]) -> str:
    return corpus.vocabulary.decode(string).rstrip(PAD_CHAR)


def drawn(documents: list[str], W: int, seed: int = 0, S: int | None = None) -> list[str | None]:
    """What `recall` makes of the first W characters of each document; None where it finds nothing."""
    S = W if S is None else S
    corpus = CharCorruptionDataset("\n".join(documents) + "\n", S - 1, max_length=4)
    text, lengths = corpus.gather(torch.arange(len(documents)), torch.arange(W))
    draws = torch.rand(text.shape, generator=torch.Generator().manual_seed(seed))
    strings, found = recall(text, lengths, corpus.kinds, draws, S)
    assert strings.shape == (len(documents), S)
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
    found = {drawn([document], 80, seed)[0] for seed in range(60)}
    assert {text and text.split(MASK_CHAR)[1] for text in found} == (set(facts) or {None})
    assert found <= (oracle(document, 80) or {None})


def test_a_name_stands_before_any_word_of_the_cue_or_after_all():
    document = "Ada Example. Ada Example was born in Oslo, they say."
    found = {str(text).split(MASK_CHAR)[0] for text in drawn([document] * 4000, 80)}
    starts = ["Ada Example", "in Ada Example", "Ada Example in", "born in Ada Example", "was Ada Example born in"]
    assert found >= {*starts, "Ada Example was born in"}
    assert found == {text.split(MASK_CHAR)[0] for text in oracle(document, 80)}


def test_every_length_of_the_cue_is_equally_likely():
    document, n = "Ada Example. She a b c d e f g h i j k l m n o p q r s t Oslo, they say.", 4000
    cues = Counter(len(str(text).split(MASK_CHAR)[0]) - len("Ada Example") for text in drawn([document] * n, 80))
    # Words of one letter: a cue of 2 k characters for 2 k and 2 k + 1 that are drawn.
    assert set(cues) == set(range(0, MAX_CUE + 1, 2))
    p = 2 / (MAX_CUE + 1)
    assert all(abs(cues[k] - n * p) < 5 * (n * p * (1 - p)) ** 0.5 for k in range(0, MAX_CUE, 2))


PIECES = st.sampled_from(["Ada", "ada", "Ö", "é", "x", "Q", "-", "'", " ", " ", ".", ". ", ",", "7", "Oslo", "in "])


@given(st.lists(st.lists(PIECES, min_size=1, max_size=20).map("".join), min_size=1, max_size=5), st.integers(8, 40))
def test_every_example_is_one_that_the_oracle_finds(documents, S):
    documents = [f"{document}z" for document in documents]  # none is blank
    for document, text in zip(documents, drawn(documents, S), strict=True):
        possible = oracle(document, S)
        assert text in possible if possible else text is None


def test_a_fact_that_is_cut_at_the_end_is_not_asked_for():
    document = "Ada Example. Born in Oslo or in Bergen, she left."
    found = [drawn([document], document.index("Bergen") + n, seed)[0] for n in range(7) for seed in range(9)]
    assert {str(text).split(MASK_CHAR)[1] for text in found} == {"Oslo"}


def test_a_fact_may_stand_behind_the_block_but_its_example_fits():
    document = "Ada Example. She has not been to any of the places where one goes, but was born in Oslo, they say."
    assert {len(str(text)) for seed in range(9) for text in drawn([document], 120, seed, S=60)} >= {17}
    texts = [drawn([document], 120, seed, S=30)[0] for seed in range(60)]
    assert None in texts and max(len(text) for text in texts if text) <= 30
    assert {text for text in texts if text} <= oracle(document, 120)


def test_every_fact_is_equally_likely():
    document, n = "Ada Example. She saw Oslo, Turku, Bergen and Kyoto once.", 4000
    counts = Counter(str(text).split(MASK_CHAR)[1] for text in drawn([document] * n, 70))
    assert len(counts) == 4
    error = (n * 1 / 4 * 3 / 4) ** 0.5
    assert all(abs(count - n / 4) < 5 * error for count in counts.values())


@pytest.mark.parametrize("S, most", [(70, MAX_SHIFT), (26, 9)])
def test_every_number_of_masks_before_the_name_that_leaves_room_is_equally_likely(S, most):
    document, n = "Ada Example. Born in Oslo.", 12000
    corpus = CharCorruptionDataset(f"{document}\n" * n, S - 1, max_length=4)
    text, lengths = corpus.gather(torch.arange(n), torch.arange(S))
    draws = torch.rand(n, S, generator=torch.Generator().manual_seed(0))
    strings, _ = recall(text, lengths, corpus.kinds, draws, S)
    texts = [written(corpus, string) for string in strings.tolist()]
    texts = [text for text in texts if text.lstrip(MASK_CHAR) == f"Ada Example{MASK_CHAR}Oslo{MASK_CHAR}"]  # no cue
    shifts, n = Counter(len(text) - len(text.lstrip(MASK_CHAR)) for text in texts), len(texts)
    assert n > 1000 and set(shifts) == set(range(most + 1))
    p = 1 / (most + 1)
    assert all(abs(count - n * p) < 5 * (n * p * (1 - p)) ** 0.5 for count in shifts.values())


def test_the_share_of_recall_examples_is_the_configured_one():
    text = "Ada Example. Ada Example came from Oslo, they say.\n" * 3000 + "nobody in particular, and nothing\n" * 100
    corpus = CharCorruptionDataset(text, 64, recall_share=0.3)
    x, y = corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))
    assert torch.equal(x[:, 1:], y[:, :-1]), "one string, shifted"
    strings = [written(corpus, row).lstrip(MASK_CHAR) for row in x.tolist()]
    asked = [string.endswith(f"{MASK_CHAR}Oslo{MASK_CHAR}") and string.count(MASK_CHAR) == 2 for string in strings]
    assert abs(sum(asked) - 0.3 * 3000) < 5 * (3000 * 0.3 * 0.7) ** 0.5
    assert not any(asked[3000:]), "a document that states no fact is not asked"
    assert torch.equal(x, corpus.batch(torch.arange(len(corpus)), torch.Generator().manual_seed(0))[0])


def test_capitals_and_letters_are_told_apart_in_any_alphabet():
    characters = Vocabulary.of("Aé.Ł -ж'Ж7中").characters
    kinds = dict(zip(characters, kinds_of(characters).tolist(), strict=True))
    assert {char for char, kind in kinds.items() if kind == CAPITAL} == set("AŁЖ")
    assert {char for char, kind in kinds.items() if kind == LETTER} == set("éж-'")
    assert {char for char, kind in kinds.items() if kind == CASELESS} == set("中")
    assert (kinds[" "], kinds["."]) == (SPACE, STOP)
