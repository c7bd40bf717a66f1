"""Importance weights between the engine that sampled an answer and the learner, on plain numbers.

Axes: T generated tokens of one answer. The two compute the same weights in different arithmetic, or, one step off, the
learner is ahead; either way the sampled tokens come from the engine's distribution.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Correction = Literal["off", "truncate", "mask"]
Level = Literal["token", "sequence"]
LARGEST_LOG_RATIO = 20.0  # keeps exp() finite


def importance_weights(
    learner_T: np.ndarray, engine_T: np.ndarray, correction: Correction, level: Level, limits: tuple[float, float]
) -> np.ndarray:
    """Weight of each token [T] from the log-probabilities of learner and engine, float64.

    The ratio pi_learner / pi_engine is taken of each token, or (``sequence``) as its geometric mean over the answer, as
    in GSPO (arXiv 2507.18071). ``truncate`` is min(ratio, limits[1]): small ratios stay what they are (truncated
    importance sampling, Ionides 2008). ``mask`` is 0 outside of ``limits`` and the ratio inside (IcePop). ``off``: 1.
    """
    learner_T, engine_T = (np.asarray(values, dtype=np.float64) for values in (learner_T, engine_T))
    if correction == "off":
        return np.ones_like(learner_T)
    log_ratio_T = learner_T - engine_T
    if level == "sequence":
        log_ratio_T = np.full_like(log_ratio_T, log_ratio_T.mean())
    ratio_T = np.exp(np.clip(log_ratio_T, -LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    low, high = limits
    if correction == "truncate":
        return np.minimum(ratio_T, high)
    return np.where((ratio_T >= low) & (ratio_T <= high), ratio_T, 0.0)
