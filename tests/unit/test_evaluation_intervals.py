from __future__ import annotations

import math

import numpy as np
import pytest

from genrm_rl.evaluation.intervals import bootstrap_interval, over_seeds, paired_difference, sign_flip_test


def test_interval_matches_the_normal_approximation_for_independent_pairs():
    right = np.asarray([1.0] * 700 + [0.0] * 300)
    low, high = bootstrap_interval(right, np.ones(1000), resamples=4000, seed=0)
    standard_error = math.sqrt(0.7 * 0.3 / 1000)
    assert low == pytest.approx(0.7 - 1.96 * standard_error, abs=0.004)
    assert high == pytest.approx(0.7 + 1.96 * standard_error, abs=0.004)


def test_two_equal_judgments_of_a_pair_do_not_narrow_the_interval():
    right = np.asarray([1.0] * 60 + [0.0] * 40)
    once = bootstrap_interval(right, np.ones(100), resamples=2000, seed=5)
    twice = bootstrap_interval(2 * right, 2 * np.ones(100), resamples=2000, seed=5)
    assert once == twice


def test_the_same_seed_gives_the_same_interval_and_chunks_do_not_matter(monkeypatch):
    right, ones = np.arange(50) % 3 == 0, np.ones(50)
    first = bootstrap_interval(right, ones, resamples=500, seed=7)
    assert first == bootstrap_interval(right, ones, resamples=500, seed=7)
    assert first != bootstrap_interval(right, ones, resamples=500, seed=8)
    monkeypatch.setattr("genrm_rl.evaluation.intervals._CHUNK", 50 * 33)
    chunked = bootstrap_interval(right, ones, resamples=500, seed=7)
    assert chunked == pytest.approx(first, abs=0.06)


def test_a_perfect_score_is_not_certain():
    low, high = bootstrap_interval(np.ones(20), np.ones(20), resamples=100, seed=0)
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 20))  # Clopper-Pearson
    assert bootstrap_interval(np.zeros(20), np.ones(20), resamples=100, seed=0) == (
        0.0,
        pytest.approx(1 - 0.025 ** (1 / 20)),
    )


def test_nothing_observed_has_no_interval():
    assert bootstrap_interval(np.zeros(5), np.zeros(5), resamples=100, seed=0) is None


def test_pairing_removes_the_difficulty_that_both_share():
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.5
    x, y = hard.astype(float), hard.astype(float)
    y[:20] = 0.0
    difference, (low, high) = paired_difference(x, np.ones(400), y, np.ones(400), resamples=2000, seed=1)
    assert difference == pytest.approx((x - y).mean())
    assert high - low < 0.05  # unpaired it would be about 0.14
    shuffled = rng.permutation(y)
    _, (loose_low, loose_high) = paired_difference(x, np.ones(400), shuffled, np.ones(400), resamples=2000, seed=1)
    assert loose_high - loose_low > 0.1


@pytest.mark.parametrize(
    ("x", "y", "p"),
    [
        (0, 0, None),
        (5, 5, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (9, 1, 2 * (1 + 10) / 2**10),
        (1, 9, 2 * (1 + 10) / 2**10),
        (12, 2, 2 * (1 + 14 + 91) / 2**14),
    ],
)
@pytest.mark.parametrize("size", [1.0, 0.5])
def test_with_one_decision_a_cluster_it_is_mcnemars_exact_test(x, y, p, size):
    found = sign_flip_test(size * np.asarray([1.0] * x + [-1.0] * y + [0.0] * 7))
    assert found == (p if p is None else pytest.approx(p))


def test_a_cluster_of_several_decisions_counts_as_one_draw():
    # Sums of +-2 +-1 +-1: 4, 2, 2, 0 and their negatives, each of 8 ways. Seen: +2 +1 +1 = 4.
    assert sign_flip_test([2, 1, 1]) == pytest.approx(2 / 8)
    # Seen: +2 -1 +1 = 2: as far from zero are 4, 2, 2 and their negatives.
    assert sign_flip_test([2, -1, 1]) == pytest.approx(6 / 8)
    # Six decisions in one cluster can always be the other way round.
    assert sign_flip_test([6]) == 1.0


def test_the_exact_test_survives_counts_beyond_floating_point():
    assert 0.0 < sign_flip_test([1.0] * 1400 + [-1.0] * 1200) < 1e-3
    assert sign_flip_test([1.0] * 2000) < 1e-300


def test_the_seeds_own_spread_is_in_the_interval():
    # Mean 5.933, s 2.082, t(2) = 4.303: 5.933 +- 5.17, wider than the pairs' own interval.
    interval, seeds = over_seeds([7.6, 3.6, 6.6], (4.5, 7.4))
    assert interval == seeds == pytest.approx((0.76, 11.10), abs=0.01)
    # Equal seeds: what the pairs leave open stays open.
    assert over_seeds([5.0, 5.0, 5.0], (4.5, 7.4)) == ((4.5, 7.4), pytest.approx((5.0, 5.0)))
    assert over_seeds([5.0], (4.5, 7.4)) == ((4.5, 7.4), None)
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds([], (0.0, 1.0))
