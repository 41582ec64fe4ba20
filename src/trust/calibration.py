"""How far to trust an answer: the statistics of confidence, and of right and wrong.

A confidence is the probability that a model gives to its own answer; `right` says whether the answer is the true one.
This module knows no model, no text and no torch. It takes arrays and returns numbers.

Shapes:  N answers, M characters of all answers together, V = vocab_size, G temperatures that are tried.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

Z95 = 1.959963984540054  # 95% of a normal distribution lies within so many standard deviations of its mean
# The temperatures that are tried: even steps of the logarithm, 1 included.
TEMPERATURES = np.exp(np.linspace(math.log(1 / 8), math.log(16), 113))


# ------------------------------------------------------------------------------------------------- counts of right


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share, estimated from `right` out of `total`. Without a sample it is (0, 1).

    Unlike the usual interval, share +- 1.96 standard errors, it stays within 0 and 1 and does not shrink to a point at
    0 of 50. Raises ValueError unless 0 <= right <= total. Source: Wilson, "Probable inference" (1927).
    """
    if not 0 <= right <= total:
        raise ValueError(f"{right} right out of {total}: the count must lie between 0 and the total")
    if total == 0:
        return 0.0, 1.0
    share, shrink = right / total, 1 + Z95**2 / total
    centre = (share + Z95**2 / (2 * total)) / shrink
    half = Z95 / shrink * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    # The formula gives exactly 0 and 1 at the ends, but its floating-point result does not.
    return 0.0 if right == 0 else centre - half, 1.0 if right == total else centre + half


@dataclass(frozen=True)
class Paired:
    """Two runs on the same questions: how many questions both, only one, or neither answered right."""

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float  # probability of a split at least as uneven as this, if the two are equally good
    ahead: float  # accuracy of a minus accuracy of b
    low: float  # 95% interval of `ahead`
    high: float


def paired(a: ArrayLike, b: ArrayLike) -> Paired:
    """McNemar's exact test of two runs: a and b (N,) are True where a run answered the question right.

    A question that both or neither answered right says nothing about which run is better. If the two are equally good,
    each of the others is a fair coin, so p is a two-sided binomial probability. The interval of the difference adds
    half a question to each of the four counts. Sources: McNemar (1947); Agresti and Min (2005).
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape or len(a) == 0:
        raise ValueError(f"{a.size} and {b.size} answers: both runs must have answered the same questions")
    both, only_a = int((a & b).sum()), int((a & ~b).sum())
    only_b, neither = int((~a & b).sum()), int((~a & ~b).sum())
    coins = only_a + only_b
    tail = sum(math.comb(coins, k) for k in range(min(only_a, only_b) + 1))
    p = min(1.0, 2 * tail / 2**coins)
    n, x, y = len(a) + 2, only_a + 0.5, only_b + 0.5
    half = Z95 * math.sqrt(x + y - (x - y) ** 2 / n) / n
    return Paired(both, only_a, only_b, neither, p, (only_a - only_b) / len(a), (x - y) / n - half, (x - y) / n + half)


# ----------------------------------------------------------------------------------------------------- calibration


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is at least `low` and below `high`. The last bin includes 1."""

    low: float
    high: float
    total: int
    right: int
    confidence: float  # mean; 0 for an empty bin

    @property
    def accuracy(self) -> float:
        return self.right / self.total if self.total else 0.0


def _checked(confidence: ArrayLike, right: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    if confidence.shape != right.shape or confidence.ndim != 1:
        raise ValueError(f"confidences {confidence.shape} and answers {right.shape}: each question needs one of each")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence must be a number from 0 to 1")
    return confidence, right


def bin_of(confidence: ArrayLike, n_bins: int) -> np.ndarray:
    """The number of the bin in which each confidence lies, out of `n_bins` bins of equal width."""
    return np.minimum((np.asarray(confidence, float) * n_bins).astype(int), n_bins - 1)


def reliability(confidence: ArrayLike, right: ArrayLike, n_bins: int = 10) -> list[Bin]:
    """The reliability diagram: all bins in order, empty ones too. Source: Guo et al. (arXiv 1706.04599), section 2."""
    confidence, right = _checked(confidence, right)
    where = bin_of(confidence, n_bins)
    bins = []
    for i in range(n_bins):
        inside = where == i
        mean = float(confidence[inside].mean()) if inside.any() else 0.0
        bins.append(Bin(i / n_bins, (i + 1) / n_bins, int(inside.sum()), int(right[inside].sum()), mean))
    return bins


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE: |accuracy - mean confidence| of an answer's bin, averaged over answers. Source: arXiv 1706.04599, eq. 3."""
    total = sum(b.total for b in bins)
    return sum(b.total * abs(b.accuracy - b.confidence) for b in bins) / total if total else 0.0


def unavoidable_error(confidence: ArrayLike, n_bins: int = 10, draws: int = 1000, seed: int = 0) -> float:
    """The mean ECE of a perfectly calibrated model with these confidences.

    In a bin of a few answers, chance alone separates accuracy from confidence. So an ECE should be compared with this
    number instead of 0. It is found by simulation: answers are right with their confidences as probabilities.
    """
    confidence = np.asarray(confidence, float)
    where = bin_of(confidence, n_bins)
    drawn = np.random.default_rng(seed).random((draws, len(confidence))) < confidence  # (draws, N)
    gaps = np.stack([(drawn - confidence)[:, where == i].sum(1) for i in range(n_bins)])  # (n_bins, draws)
    return float(np.abs(gaps).sum(0).mean() / max(1, len(confidence)))


def confidences_at(logits: np.ndarray, tokens: np.ndarray, rows: np.ndarray, temperatures: ArrayLike) -> np.ndarray:
    """(G, N): the confidence of every answer at each temperature t > 0.

    A confidence is the product of softmax(logits / t)[token] over the characters of an answer. Log-probabilities serve
    as logits, because the softmax undoes the shift.

    logits: (M, V) for every character of every answer
    tokens: (M,) the characters
    rows:   (M,) the answer that each character belongs to; each of 0 .. N - 1 occurs
    """
    logits = logits - logits.max(axis=1, keepdims=True)  # no exponential exceeds 1, whatever the temperature
    chosen = logits[np.arange(len(tokens)), tokens]  # (M,)
    table = []
    for t in np.atleast_1d(temperatures):
        log_p = chosen / t - np.log(np.exp(logits / t).sum(axis=1))  # (M,)
        table.append(np.exp(np.bincount(rows, weights=log_p)))
    return np.stack(table).clip(0.0, 1.0)


def log_loss(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """-log of the probability given to what was the case, mean over N: confidence (..., N), right (N,) -> (...,)."""
    p = np.where(right, confidence, 1 - confidence)
    return -np.log(p.clip(1e-12)).mean(axis=-1)  # without the clip one wrong answer of confidence 1 would decide alone


def best_temperature(table: np.ndarray, right: np.ndarray) -> int:
    """The row of `confidences_at`'s table (G, N) with the lowest log loss against `right` (N,).

    Temperature scaling changes how sure a model is, but none of its answers. A temperature above 1 makes it less sure.
    The source fits the probability of the true class; here it is the probability that the answer is right.
    Source: Guo et al., arXiv 1706.04599, section 4.2.
    """
    return int(log_loss(table, right).argmin())


def cross_fitted(table: np.ndarray, right: ArrayLike, folds: int = 5, seed: int = 0) -> np.ndarray:
    """(N,) confidences, each at the temperature that fits the answers of the *other* folds best.

    So no answer influences its own temperature, and no answer is set aside. The folds are drawn at random. With fewer
    answers than folds, each answer is a fold of its own. Raises ValueError for fewer than two answers.
    """
    right = np.asarray(right, bool)
    n = len(right)
    if n < 2:
        raise ValueError(f"{n} answers: a temperature needs some to be fitted on and others to be judged on")
    fold = np.random.default_rng(seed).permutation(n) % min(folds, n)
    result = np.empty(n)
    for i in range(fold.max() + 1):
        held, others = fold == i, fold != i
        result[held] = table[best_temperature(table[:, others], right[others]), held]
    return result


# ------------------------------------------------------------------------------------------------------ abstaining


@dataclass(frozen=True)
class Coverage:
    """What is left if only answers of confidence `threshold` or more are given: how many, and how many are right."""

    threshold: float
    total: int
    right: int

    @property
    def accuracy(self) -> float:
        return self.right / self.total


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> list[Coverage]:
    """One entry for each confidence that occurs, from the highest down. Answers of equal confidence go together.

    Risk is 1 - accuracy; coverage is total / N. Sources: El-Yaniv and Wiener, JMLR 11 (2010); Geifman and El-Yaniv
    (arXiv 1705.08500).
    """
    confidence, right = _checked(confidence, right)
    order = np.argsort(-confidence, kind="stable")
    confidence, total_right = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True)[: len(confidence)])
    return [Coverage(float(confidence[i]), int(i) + 1, int(total_right[i])) for i in last]


def needed_for(curve: list[Coverage], accuracy: float, at_least: int = 10) -> Coverage | None:
    """The lowest threshold above which the share of right answers is at least `accuracy`, or None.

    A threshold that fewer than `at_least` answers reach is not considered: it could be luck.
    """
    good = [point for point in curve if point.total >= at_least and point.accuracy >= accuracy]
    return good[-1] if good else None


def separation(higher: ArrayLike, lower: ArrayLike) -> float:
    """The probability that a number drawn from `higher` exceeds one drawn from `lower`; a tie counts half.

    1 means that every one does, 0.5 that the numbers do not separate the two groups. This is the area under the ROC
    curve. It is NaN if a group is empty.
    """
    higher, lower = np.asarray(higher, float)[:, None], np.asarray(lower, float)[None]
    if not higher.size or not lower.size:
        return math.nan
    return float((higher > lower).mean() + 0.5 * (higher == lower).mean())


def share_among_pairs(first: list[str], second: list[str], belongs: dict[str, list[str]]) -> tuple[float, float]:
    """How often second[i] is in belongs[first[i]], and how often it would be if `second` were shuffled.

    The second number is the mean over all shuffles: what agreement by accident gives. Nothing belongs to an item that
    is not in `belongs`. Both numbers are NaN for empty lists.
    """
    if not first:
        return math.nan, math.nan
    sets = [set(belongs.get(item, ())) for item in first]
    agree = np.array([[other in each for other in second] for each in sets])  # (N, N)
    return float(np.diag(agree).mean()), float(agree.mean())
