"""Intervals and tests: bootstrap over clusters, paired differences, an exact test of them, and the spread of seeds.

Both orders of a pair, and all pairs of one prompt, share its difficulty: so a prompt, never a pair or a judgment, is
what gets resampled. Callers sum numerators and denominators by prompt first (C clusters below). A statistic is a ratio
of sums (right judgments over judgments), resampled as such; numbers are shares.

Our own because `scipy.stats.bootstrap` draws anew for every figure, where a report's figures share theirs, and has no
interval where one resample holds no observation; arch would be one more dependency for the same.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
_CHUNK = 4_000_000  # drawn clusters held in memory at once (32 MB)


def bootstrap_interval(
    numerator_C: ArrayLike, denominator_C: ArrayLike, *, resamples: int, seed: int, level: float = LEVEL
) -> tuple[float, float] | None:
    """Percentile interval of ``sum(numerator) / sum(denominator)`` over resampled clusters (C).

    None without any observation. Where every observed cluster is right (or every one wrong) resampling can only repeat
    that, so the exact binomial bound for C clusters is given instead of an interval of no width.
    """
    numerator_C, denominator_C = _float(numerator_C), _float(denominator_C)
    if denominator_C.sum() <= 0:
        return None
    seen = denominator_C > 0
    shares = numerator_C[seen] / denominator_C[seen]
    if shares.min() == shares.max() and shares[0] in (0.0, 1.0):
        bound = ((1.0 - level) / 2.0) ** (1.0 / len(shares))
        return (bound, 1.0) if shares[0] == 1.0 else (0.0, 1.0 - bound)
    values = _resampled_ratios([(numerator_C, denominator_C)], resamples, seed)[0]
    return _percentiles(values, level)


def paired_difference(
    numerator_x_C: ArrayLike,
    denominator_x_C: ArrayLike,
    numerator_y_C: ArrayLike,
    denominator_y_C: ArrayLike,
    *,
    resamples: int,
    seed: int,
    level: float = LEVEL,
) -> tuple[float, tuple[float, float]]:
    """Share of x minus share of y on the same C clusters, with its percentile interval.

    Each resample draws the same clusters for both.
    Raises ValueError if either side has no observation.
    """
    x, y = (_float(numerator_x_C), _float(denominator_x_C)), (_float(numerator_y_C), _float(denominator_y_C))
    if x[1].sum() <= 0 or y[1].sum() <= 0:
        raise ValueError("a difference needs at least one judgment on both sides")
    difference = float(x[0].sum() / x[1].sum() - y[0].sum() / y[1].sum())
    ratios_x, ratios_y = _resampled_ratios([x, y], resamples, seed)
    return difference, _percentiles(ratios_x - ratios_y, level)


def sign_flip_test(difference_C: ArrayLike) -> float | None:
    """Two-sided exact p-value of a sum of paired differences: the share of all ways to exchange the two sides within
    clusters that leave it at least as far from zero. None if no cluster differs (nothing to test).

    Where every cluster differs by the same amount or not at all this is McNemar's exact test; with several decisions in
    a cluster it is McNemar's test made aware of the cluster. ``difference_C`` holds multiples of a quarter (decisions
    that count one, one half, or a mean of two of these).
    """
    from scipy.special import gammaln  # late: many read this package's records, and few need scipy

    weights_C = np.rint(4.0 * _float(difference_C)).astype(np.int64)
    sizes, counts = np.unique(np.abs(weights_C[weights_C != 0]), return_counts=True)
    if not len(sizes):
        return None
    unit = int(np.gcd.reduce(sizes))
    chances = np.ones(1)  # of every sum from -total to +total in steps of two units
    for size, count in zip(sizes // unit, counts, strict=True):
        ups = np.arange(count + 1)
        steps = np.zeros(size * count + 1)
        steps[::size] = np.exp(gammaln(count + 1) - gammaln(ups + 1) - gammaln(count - ups + 1) - count * math.log(2))
        chances = np.convolve(chances, steps)
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    extreme = np.abs(sums) >= abs(int(weights_C.sum())) // unit
    return float(min(1.0, chances[extreme].sum()))


def over_seeds(
    by_seed: Sequence[float], within: tuple[float, float], *, level: float = LEVEL
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """The interval of a figure over S seeds, and the part of it that comes from the seeds alone (None for one seed).

    ``by_seed`` is the figure of each seed, ``within`` the interval of the pooled figure over clusters, which takes the
    seeds as given. The seeds' own interval is Student's, mean +/- t(S - 1) s / sqrt(S); the result covers both, so that
    it is never narrower than either. Raises ValueError without a seed.
    """
    from scipy.special import stdtrit

    count = len(by_seed)
    if not count:
        raise ValueError("an interval over seeds needs at least one seed")
    if count == 1:
        return within, None
    mean = math.fsum(by_seed) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in by_seed) / (count - 1))
    half = float(stdtrit(count - 1, (1.0 + level) / 2.0)) * deviation / math.sqrt(count)
    seeds = (mean - half, mean + half)
    return (min(within[0], seeds[0]), max(within[1], seeds[1])), seeds


def _resampled_ratios(
    statistics: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]], resamples: int, seed: int
) -> list[NDArray[np.float64]]:
    """For each (numerator, denominator) the ratio in every resample (R); all of them see the same drawn pairs.

    A resample without any observation is left out of all (it can happen only in tiny, sparse subsets).
    """
    columns_NS = np.stack([column for pair in statistics for column in pair], axis=1)
    totals_RS = np.concatenate([times_RN @ columns_NS for times_RN in _draws(len(columns_NS), resamples, seed)])
    valid_R = (totals_RS[:, 1::2] > 0).all(axis=1)
    ratios_RS = totals_RS[valid_R, 0::2] / totals_RS[valid_R, 1::2]
    return list(ratios_RS.T)


def _draws(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each of ``count`` clusters is drawn in each resample (R, N), in chunks that fit in memory.

    Chunk i comes from its own stream of the seed, so equal arguments give equal draws whoever asks: the resamples of
    two judges on the same clusters are paired by construction.
    """
    per_chunk = max(1, _CHUNK // max(1, count))
    for i, start in enumerate(range(0, resamples, per_chunk)):
        yield _draw_chunk(count, min(per_chunk, resamples - start), seed, i)


@functools.lru_cache(maxsize=4)
def _draw_chunk(count: int, resamples: int, seed: int, chunk: int) -> NDArray[np.float64]:
    """One chunk of draws; cached, because a report asks for the same ones for every metric of every judge."""
    rng = np.random.default_rng([seed, chunk])
    index_RN = rng.integers(0, count, size=(resamples, count)) + count * np.arange(resamples)[:, None]
    return np.bincount(index_RN.ravel(), minlength=resamples * count).reshape(resamples, count).astype(np.float64)


def _percentiles(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(values, [tail, 100.0 - tail])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the resampled statistic is not finite")
    return float(low), float(high)


def _float(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
