"""How many bits of knowledge does a model hold? A lower bound, from its loss on names and facts.

Allen-Zhu and Li, "Physics of Language Models: Part 3.3" (arXiv 2404.05405), bound the bits that a model must hold to
predict biographies as it does. For N people whose names are drawn from N0 and who have one of S0 values each
(section 3, their set bioS):

    bits >= N log2(N0 / e^p1) + N log2(S0 / e^p2)

p1 is the mean loss on a name and p2 the mean loss on the value after the name, in nats. Written with entropies,
log2 N0 = H(name) and log2 S0 = H(value | name), it also holds where not all values are equally likely:

    bits >= sum over facts of   count * (H(fact) - loss(fact) / ln 2)

Why: the facts of different people are drawn independently, so the information that the parameters W hold about all of
them is at least the sum over facts of I(W; fact) = H(fact) - H(fact | W). And H(fact | W) is at most the loss of any
prediction that is made from W. A sum that a kind of fact would make smaller counts as zero: information is never
negative. A model that knows everything has loss ln N on a name (which of the N comes first is not knowledge) and 0 on
a value.

Three kinds of tokens of our one-line biographies are counted, because nothing else in what the model reads tells them:

    name    the title of the line, "Martin Schongruber. ". Its first letter is predicted by the letters' frequencies,
            since nothing comes before it in a block.
    place   the birth place, when asked: after "Where was Martin Schongruber born?" and the mask. A name hints at a
            tradition, and a tradition at places, so H is that of the place given the tradition.
    day     day and month of birth or death, where the line states them, after the text before them: one of 12 * 28.

Years, roles, towns, universities and turns of phrase are stored too, but each hints at the others, and some precede
what they hint at. They are left out. So the bound is below what is stored.
"""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "data")]

import numpy as np
import torch

import make_corpus
from biographies import Biography
from corpus_tables import TRADITIONS
from model import GPT, evaluation_mode
from vocabulary import MASK, MASK_CHAR, PAD, Vocabulary

KINDS = ("name", "place", "day")
ROWS = 256  # of a forward pass
MOST_PEOPLE = 4000  # whose loss is measured; of more people evenly spread ones


# ------------------------------------------------------------------------------------- what the generator draws


def entropy(weights: Iterable[float]) -> float:
    """In bits, of a draw with such weights."""
    shares = np.array([weight for weight in weights if weight > 0])
    shares = shares / shares.sum()
    return float(-(shares * np.log2(shares)).sum())


def place_and_tradition(quick: bool = False) -> dict[tuple[str, str], float]:
    """The probability of each pair of a birth place and a tradition of names, as make_corpus draws them."""
    places = make_corpus.QUICK_TOWNS if quick else make_corpus.PLACES
    london = (make_corpus.QUICK_LONDON_PERCENT if quick else make_corpus.LONDON_PERCENT) / 100
    at_home = (make_corpus.QUICK_HOME_NAMES if quick else make_corpus.HOME_NAMES) / 100
    others, all_weights = sum(place.weight for place in places[1:]), sum(t.weight for t in TRADITIONS.values())
    joint: defaultdict[tuple[str, str], float] = defaultdict(float)
    for place in places:
        share = london if place is places[0] else (1 - london) * place.weight / others
        home = place.region.traditions.split()
        for i, key in enumerate(home):  # the first is twice as likely as each of the others
            joint[place.name, key] += share * at_home * (1 + (i == 0)) / (len(home) + 1)
        for key, tradition in TRADITIONS.items():
            joint[place.name, key] += share * (1 - at_home) * tradition.weight / all_weights
    return joint


def name_entropy(traditions: dict[str, float], quick: bool = False) -> float:
    """A lower bound on the entropy of a name in bits: H(surname) + H(first name | tradition).

    Middle names, particles and accents are left out, and of men's and women's first names the fewer are counted. Each
    of these makes the bound smaller. A surname admits the first names with which it is not too long.
    """
    longest = make_corpus.QUICK_MAX_NAME if quick else make_corpus.MAX_NAME
    surnames: defaultdict[str, float] = defaultdict(float)
    first_bits = 0.0
    for key, probability in traditions.items():
        tradition = TRADITIONS[key]
        firsts = min(set(tradition.men.split()), set(tradition.women.split()), key=len)
        heads, tails = tradition.heads.split(), tradition.tails.split() or [""]
        lengths = np.bincount([len(first) for first in firsts], minlength=longest + 1).cumsum()  # so long at most
        for surname in (make_corpus.join_morphemes(head, tail) for head in heads for tail in tails):
            if len(surname) + 2 > longest or not (fitting := int(lengths[longest - 1 - len(surname)])):
                continue
            weight = probability * fitting / len(firsts) / (len(heads) * len(tails))
            surnames[make_corpus.plain_ascii(surname)] += weight
            first_bits += weight * math.log2(fitting)
    return entropy(surnames.values()) + first_bits / sum(surnames.values())


@cache
def entropies(quick: bool = False) -> dict[str, float]:
    """H in bits of each of KINDS."""
    joint = place_and_tradition(quick)
    traditions: defaultdict[str, float] = defaultdict(float)
    for (_, key), probability in joint.items():
        traditions[key] += probability
    place_given_name = entropy(joint.values()) - entropy(traditions.values())
    return {"name": name_entropy(traditions, quick), "place": place_given_name, "day": math.log2(12 * 28)}


# ---------------------------------------------------------------------------------------- what the model predicts


@torch.inference_mode()
def losses(
    model: GPT, vocabulary: Vocabulary, texts: Sequence[str], spans: Sequence[slice], banned: Sequence[int] = ()
) -> np.ndarray:
    """(B,) the loss in nats of the characters texts[i][spans[i]], each given all that is before it.

    The first character of a text is free. Tokens in `banned` have no share of the probability. A text is cut where
    the block ends; a span must not reach beyond.
    """
    found, device = [], model.head.weight.device
    with evaluation_mode(model):
        for begin in range(0, len(texts), ROWS):
            rows = [torch.tensor([vocabulary.stoi[char] for char in text]) for text in texts[begin : begin + ROWS]]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(device)  # (B, T)
            logits = model(ids[:, : model.config.block_size])[0].float()  # (B, T, V)
            logits[..., list(banned)] = -math.inf
            picked = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1 : logits.size(1), None])[..., 0]  # (B, T - 1)
            position = torch.arange(1, logits.size(1), device=device)
            ends = torch.tensor([[span.start, span.stop] for span in spans[begin : begin + ROWS]], device=device)
            inside = (position >= ends[:, :1]) & (position < ends[:, 1:])
            found.append(-torch.where(inside, picked, 0).sum(1))  # where, not a product: banned tokens have -inf
    return torch.cat(found).cpu().numpy()


def name_losses(model: GPT, vocabulary: Vocabulary, names: Sequence[str]) -> np.ndarray:
    """The loss of each name and of the full stop that ends it, as the title of a line."""
    titles = [f"{name}. " for name in names]
    first = Counter(title[0] for title in titles)
    first_loss = np.array([math.log(len(titles) / first[title[0]]) for title in titles])
    spans = [slice(1, len(title)) for title in titles]
    return first_loss + losses(model, vocabulary, titles, spans, banned=(PAD, MASK))


def answer_losses(model: GPT, vocabulary: Vocabulary, questions: Sequence[str], answers: Sequence[str]) -> np.ndarray:
    """The loss of each answer and of the mask that ends it, after the question and the mask that ends that."""
    texts = [f"{question}{MASK_CHAR}{answer}{MASK_CHAR}" for question, answer in zip(questions, answers, strict=True)]
    spans = [slice(len(question) + 1, len(text)) for question, text in zip(questions, texts, strict=True)]
    return losses(model, vocabulary, texts, spans)


def day_losses(model: GPT, vocabulary: Vocabulary, people: Sequence[Biography]) -> np.ndarray:
    """For each day that a line states within the first block."""
    stated = [(p.line, p.span(day)) for p in people for day in (p.birthday, p.deathday) if day]
    stated = [(line, span) for line, span in stated if span.stop <= model.config.block_size]
    if not stated:
        return np.zeros(0)
    lines, spans = zip(*stated, strict=True)
    return losses(model, vocabulary, lines, spans, banned=(PAD, MASK))


# ----------------------------------------------------------------------------------------------------- their sum


def bits_stored(entropy_bits: float, loss_nats: float, count: float) -> float:
    """The bound of one kind of fact: count * (H - loss / ln 2), and not below 0."""
    return count * max(0.0, entropy_bits - loss_nats / math.log(2))


def spread_out(people: Sequence[Biography], most: int = MOST_PEOPLE) -> list[Biography]:
    """At most so many of the people, evenly spread."""
    return [people[i * len(people) // min(most, len(people))] for i in range(min(most, len(people)))]


def knowledge(
    model: GPT, vocabulary: Vocabulary, asked: Sequence[Biography], others: Sequence[Biography], quick: bool = False
) -> dict[str, float]:
    """Mean losses (nats), bits of each kind, their sum, and how many bits it would be for a model that knows all.

    asked: the people whose questions were trained with answers; others: those who appear in the text only
    """
    H, everyone = entropies(quick), [*asked, *others]
    sample = spread_out(everyone)
    named = float(name_losses(model, vocabulary, [person.name for person in sample]).mean())
    found = {"name_loss": named, "name_bits": bits_stored(H["name"], named, len(everyone)), "place_bits": 0.0}
    for group, people in (("asked", spread_out(asked)), ("others", spread_out(others))):
        questions = [f"Where was {person.name} born?" for person in people]
        loss = float(answer_losses(model, vocabulary, questions, [person.place for person in people]).mean())
        found[f"place_loss_{group}"] = loss
        found["place_bits"] += bits_stored(H["place"], loss, len(asked if group == "asked" else others))
    days = day_losses(model, vocabulary, sample)
    n_days = len(days) * len(everyone) / len(sample)
    found["day_loss"] = float(days.mean()) if len(days) else 0.0
    found["day_bits"] = bits_stored(H["day"], found["day_loss"], n_days)
    found["bits"] = sum(found[f"{kind}_bits"] for kind in KINDS)
    in_names = bits_stored(H["name"], math.log(len(everyone)), len(everyone))
    found["bits_of_corpus"] = in_names + len(everyone) * H["place"] + n_days * H["day"]
    return found
