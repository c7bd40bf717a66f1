"""Intervals and tests: bootstrap clustered by pair, paired differences, McNemar's exact test.

Both orders of a pair share its difficulty, so a pair, never a judgment, is what gets resampled. A statistic is a ratio
of sums (right judgments over judgments), resampled as such; numbers are shares.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
_CHUNK = 4_000_000  # drawn pairs held in memory at once (32 MB)


def bootstrap_interval(
    numerator_N: ArrayLike, denominator_N: ArrayLike, *, resamples: int, seed: int, level: float = LEVEL
) -> tuple[float, float] | None:
    """Percentile interval of ``sum(numerator) / sum(denominator)`` over resampled pairs (N).

    None without any observation. Where every observed pair is right (or every one wrong) resampling can only repeat
    that, so the exact binomial bound for N pairs is given instead of an interval of no width.
    """
    numerator_N, denominator_N = _float(numerator_N), _float(denominator_N)
    if denominator_N.sum() <= 0:
        return None
    seen = denominator_N > 0
    shares = numerator_N[seen] / denominator_N[seen]
    if shares.min() == shares.max() and shares[0] in (0.0, 1.0):
        bound = ((1.0 - level) / 2.0) ** (1.0 / len(shares))
        return (bound, 1.0) if shares[0] == 1.0 else (0.0, 1.0 - bound)
    values = _resampled_ratios([(numerator_N, denominator_N)], resamples, seed)[0]
    return _percentiles(values, level)


def paired_difference(
    numerator_x_N: ArrayLike,
    denominator_x_N: ArrayLike,
    numerator_y_N: ArrayLike,
    denominator_y_N: ArrayLike,
    *,
    resamples: int,
    seed: int,
    level: float = LEVEL,
) -> tuple[float, tuple[float, float]]:
    """Share of x minus share of y on the same N pairs, with its percentile interval.

    Each resample draws the same pairs for both.
    Raises ValueError if either side has no observation.
    """
    x, y = (_float(numerator_x_N), _float(denominator_x_N)), (_float(numerator_y_N), _float(denominator_y_N))
    if x[1].sum() <= 0 or y[1].sum() <= 0:
        raise ValueError("a difference needs at least one judgment on both sides")
    difference = float(x[0].sum() / x[1].sum() - y[0].sum() / y[1].sum())
    ratios_x, ratios_y = _resampled_ratios([x, y], resamples, seed)
    return difference, _percentiles(ratios_x - ratios_y, level)


def mcnemar_exact(only_x_right: int, only_y_right: int) -> float | None:
    """Two-sided exact McNemar p-value from the two discordant counts; None if there are none (nothing to test)."""
    discordant = only_x_right + only_y_right
    if discordant == 0:
        return None
    smaller = min(only_x_right, only_y_right)
    tail, term = 1, 1  # exact integers: 2 ** n overflows a float from n = 1024 on
    for i in range(1, smaller + 1):
        term = term * (discordant - i + 1) // i
        tail += term
    return min(1.0, 2 * tail / 2**discordant)


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
    """How often each of ``count`` pairs is drawn in each resample (R, N), in chunks that fit in memory.

    Chunk i comes from its own stream of the seed, so equal arguments give equal draws whoever asks: the resamples of
    two judges on the same pairs are paired by construction.
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
