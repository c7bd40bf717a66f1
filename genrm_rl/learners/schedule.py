"""Which examples a step sees, and with which learning rate: pure functions of the seed and the step."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np


def batch_indices(examples: int, *, epochs: float, batch_size: int, seed: int) -> list[np.ndarray]:
    """Example indices of every optimizer step, in order.

    Epochs are fresh permutations one after another, cut after ``ceil(epochs * examples)`` entries;
    a batch may span two epochs, and the last one may be smaller. The order depends on nothing but the arguments, so a
    resumed fit and a fit with another number of workers see the same batches.
    """
    total = math.ceil(epochs * examples)
    passes = math.ceil(total / examples)
    order = np.concatenate([np.random.default_rng([seed, epoch]).permutation(examples) for epoch in range(passes)])
    return [order[start : min(start + batch_size, total)] for start in range(0, total, batch_size)]


def learning_rate(
    step: int,
    *,
    total_steps: int,
    peak: float,
    warmup_ratio: float,
    schedule: Literal["cosine", "linear", "constant"],
) -> float:
    """Learning rate of optimizer step ``step`` (from 0): linear rise over the warm-up, then the schedule to 0."""
    warmup = math.ceil(warmup_ratio * total_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    progress = (step - warmup) / max(1, total_steps - warmup)
    return peak * (1 - progress if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress)))


def warmed_up(peak: float, step: int, warmup: int) -> float:
    """Learning rate of step ``step`` (from 0) of a loop without a decay: it rises over ``warmup`` steps to ``peak``."""
    return peak * min(1.0, (step + 1) / (warmup + 1))
