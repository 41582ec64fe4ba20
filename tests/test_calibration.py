"""Statistics of confidence, against values worked out by hand, published values, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trust.calibration as c

answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def split(pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])


# ------------------------------------------------------------------------------------------------- counts of right


def test_wilson_gives_the_intervals_that_newcombe_published():
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662; 15 of 148, 0.0624 to 0.1605; 0 of 20, 0 to 0.1611."""
    assert c.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert c.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert c.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_lies_within_0_and_1_and_contains_the_share(case):
    right, total = case
    low, high = c.wilson(right, total)
    assert 0 <= low <= right / total <= high <= 1
    mirrored = c.wilson(total - right, total)
    assert (1 - high, 1 - low) == pytest.approx(mirrored), "the interval of the wrong answers is the mirror image"


def test_wilson_without_a_sample_is_everything_and_an_impossible_count_is_refused():
    assert c.wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="3 right out of 2"):
        c.wilson(3, 2)


def test_mcnemar_gives_the_numbers_worked_out_by_hand():
    """6 only a, 1 only b: at most 1 of 7 fair coins is b's with probability (1 + 7) / 128; twice that for two sides."""
    a = [True] * 6 + [False] + [True] * 10 + [False] * 3
    b = [False] * 6 + [True] + [True] * 10 + [False] * 3
    found = c.paired(a, b)
    assert (found.both, found.only_a, found.only_b, found.neither) == (10, 6, 1, 3)
    assert found.p == pytest.approx(2 * 8 / 128) and found.ahead == pytest.approx(5 / 20)
    # Agresti and Min: d = 5/22, se = sqrt(8 - 25/22) / 22.
    half = 1.959964 * math.sqrt(8 - 25 / 22) / 22
    assert (found.low, found.high) == pytest.approx((5 / 22 - half, 5 / 22 + half))


def test_a_run_does_not_differ_from_itself_and_swapping_two_runs_changes_only_signs():
    a, b = np.random.default_rng(0).random((2, 50)) < 0.4
    assert c.paired(a, a).p == 1 and c.paired(a, a).ahead == 0
    one, other = c.paired(a, b), c.paired(b, a)
    assert one.p == other.p and one.ahead == -other.ahead and one.low == pytest.approx(-other.high)
    with pytest.raises(ValueError, match="same questions"):
        c.paired(a, b[:-1])


def test_mcnemar_calls_at_most_5_percent_of_equally_good_pairs_different():
    """An exact test of counts stays below its 5%. The bound leaves five standard deviations of room."""
    rng = np.random.default_rng(0)
    called = sum(c.paired(rng.random(60) < 0.3, rng.random(60) < 0.3).p < 0.05 for _ in range(2000))
    assert 20 <= called <= 100 + 5 * 95**0.5


# ----------------------------------------------------------------------------------------------------- calibration


def test_expected_calibration_error_is_the_number_worked_out_by_hand():
    """Two answers at 0.95, one of them right: gap 0.45. Three at 0.2, none right: gap 0.2."""
    bins = c.reliability([0.95, 0.95, 0.2, 0.2, 0.2], [True, False, False, False, False])
    assert [(b.total, b.right) for b in bins if b.total] == [(3, 0), (2, 1)]
    assert bins[9].confidence == pytest.approx(0.95) and bins[9].accuracy == 0.5
    assert c.expected_calibration_error(bins) == pytest.approx((2 * 0.45 + 3 * 0.2) / 5)


@given(answers)
def test_every_answer_is_counted_in_the_bin_of_its_confidence(pairs):
    confidence, right = split(pairs)
    bins = c.reliability(confidence, right)
    assert sum(b.total for b in bins) == len(pairs) and sum(b.right for b in bins) == right.sum()
    assert all(b.low - 1e-9 <= b.confidence <= b.high + 1e-9 for b in bins if b.total)
    assert 0 <= c.expected_calibration_error(bins) <= 1


def test_impossible_confidences_and_missing_answers_are_refused_by_name():
    with pytest.raises(ValueError, match="from 0 to 1"):
        c.reliability([1.5], [True])
    with pytest.raises(ValueError, match="each question needs one of each"):
        c.reliability([0.5, 0.5], [True])


def test_the_error_of_a_calibrated_model_shrinks_as_a_bin_grows():
    """One answer of confidence 0.5 is always off by 0.5. With n answers in a bin the gap is of order 1 / sqrt(n)."""
    assert c.unavoidable_error([0.5]) == pytest.approx(0.5)
    assert c.unavoidable_error(np.full(100, 0.55)) == pytest.approx(math.sqrt(2 / math.pi * 0.55 * 0.45 / 100), rel=0.1)
    assert c.unavoidable_error(np.ones(50)) == 0


def synthetic(sharpness: float, n: int = 3000, seed: int = 0):
    """Answers of two characters from known distributions, with `sharpness` times the true logits.

    An answer is right if both draws from the true distributions are the characters that the model chose.
    """
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(2 * n, 5)) * 2  # (M, V)
    p = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    tokens, rows = true.argmax(1), np.arange(2 * n) // 2
    hit = rng.random(2 * n) < p[np.arange(2 * n), tokens]
    return sharpness * true, tokens, rows, hit.reshape(n, 2).all(1)


def test_confidence_is_the_product_over_the_characters_of_an_answer():
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]))
    table = c.confidences_at(logits, np.array([0, 1, 2]), np.array([0, 0, 1]), [1.0, 1e6])
    assert table[0] == pytest.approx([0.5 * 0.8, 0.6])
    assert table[1] == pytest.approx([1 / 9, 1 / 3], rel=1e-3), "very hot, all characters are equally likely"


def test_log_probabilities_serve_as_logits():
    logits, tokens, rows, _ = synthetic(2.0, n=20)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    tables = [c.confidences_at(x, tokens, rows, [0.5, 1.0, 3.0]) for x in (logits, log_probs)]
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-9)


def test_large_float32_logits_do_not_overflow():
    """In float32 exp(100) is infinite."""
    logits = np.array([[200.0, 199.0, 0.0]], dtype=np.float32)
    table = c.confidences_at(logits, np.array([0]), np.array([0]), [1 / 8, 1.0])
    assert table[:, 0] == pytest.approx([1 / (1 + math.exp(-8)), 1 / (1 + math.exp(-1))], rel=1e-4)


def test_one_of_the_temperatures_leaves_the_model_unchanged():
    assert np.isclose(c.TEMPERATURES, 1).any()


@pytest.mark.parametrize("sharpness", [0.2, 0.5, 1.0, 3.0, 10.0])
def test_the_best_temperature_is_the_factor_by_which_logits_were_sharpened(sharpness):
    logits, tokens, rows, right = synthetic(sharpness)
    table = c.confidences_at(logits, tokens, rows, c.TEMPERATURES)
    assert c.TEMPERATURES[c.best_temperature(table, right)] == pytest.approx(sharpness, rel=0.12)
    before = c.confidences_at(logits, tokens, rows, 1.0)[0]
    after = c.cross_fitted(table, right)
    errors = [c.expected_calibration_error(c.reliability(x, right)) for x in (before, after)]
    assert errors[1] < 0.03 and (sharpness == 1 or errors[1] < errors[0] / 2)
    assert errors[1] < c.unavoidable_error(after) + 0.02


def test_no_answer_influences_its_own_temperature():
    """If one answer changes from right to wrong, its own confidence stays the same."""
    logits, tokens, rows, right = synthetic(2.0, n=40)
    table = c.confidences_at(logits, tokens, rows, c.TEMPERATURES)
    changed = right.copy()
    changed[7] = ~changed[7]
    before, after = c.cross_fitted(table, right), c.cross_fitted(table, changed)
    assert before[7] == after[7]
    with pytest.raises(ValueError, match="1 answers"):
        c.cross_fitted(table[:, :1], right[:1])


# ------------------------------------------------------------------------------------------------------ abstaining


def test_risk_coverage_and_the_needed_threshold_are_those_worked_out_by_hand():
    curve = c.risk_coverage([0.9, 0.5, 0.9, 0.1], [True, False, True, True])
    assert [(p.threshold, p.total, p.right) for p in curve] == [(0.9, 2, 2), (0.5, 3, 2), (0.1, 4, 3)]
    assert c.needed_for(curve, 0.7, at_least=1) == curve[2], "the lowest threshold that suffices, not the first"
    assert c.needed_for(curve, 0.9, at_least=1) == curve[0]
    assert c.needed_for(curve, 0.9, at_least=3) is None, "two answers are too few"
    assert c.needed_for(curve, 0.7) is None, "four answers are too few by default"
    assert c.risk_coverage([], []) == []


@given(answers)
def test_risk_coverage_counts_the_answers_from_each_threshold_up_and_ends_with_all(pairs):
    confidence, right = split(pairs)
    curve = c.risk_coverage(confidence, right)
    assert (curve[-1].total, curve[-1].right) == (len(pairs), right.sum())
    assert all((confidence >= p.threshold).sum() == p.total for p in curve)
    assert all(a.threshold > b.threshold for a, b in zip(curve, curve[1:], strict=False))


def test_separation_is_the_probability_of_the_right_order():
    assert c.separation([3, 4], [1, 2]) == 1 and c.separation([1, 2], [3]) == 0
    assert c.separation([1, 1], [1]) == 0.5 and c.separation([2, 0], [1, 0]) == 0.625
    assert math.isnan(c.separation([], [1]))


def test_agreement_is_compared_with_agreement_by_accident():
    homes = {"Rome": ["italian"], "Perth": ["english", "scottish"]}
    found = c.share_among_pairs(["Rome", "Perth", "Perth"], ["italian", "scottish", "german"], homes)
    assert found == pytest.approx((2 / 3, 3 / 9))
    assert c.share_among_pairs(["Xyz"], ["italian"], homes) == (0, 0), "nothing belongs to an unknown place"
