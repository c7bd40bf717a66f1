"""A judge whose errors are known, for benchmarks of rules: what it says about two answers of stated quality.

In each order its log-odds are the difference of qualities times ``sharpness``, its opinion about this pair (normal, the
same in both orders: asking twice does not mend it), noise of this order (normal), and ``position`` for the answer that
is shown first. An order fails with probability ``failures``, is asked once more, and then there is no judgment. As in a
real judgment, orders that contradict each other are a tie, and P comes from the mean log-odds of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_ODDS = 30.0


@dataclass(frozen=True, slots=True)
class NoisyJudge:
    """``opinion`` and ``noise`` are standard deviations in log-odds; ``verdicts_only``: P is 0, one half or 1."""

    sharpness: float = 2.0
    opinion: float = 0.0
    noise: float = 0.0
    position: float = 0.0
    failures: float = 0.0
    verdicts_only: bool = False

    def judge(self, first: np.ndarray, second: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """P(the first answer wins) for each of N pairs of qualities [N]; NaN where there is no judgment."""
        size = len(first)
        mean = self.sharpness * (first - second) + self.opinion * draw.standard_normal(size)
        orders = mean + self.position * np.array([[1.0], [-1.0]]) + self.noise * draw.standard_normal((2, size))
        odds = np.clip(orders.mean(axis=0), -LARGEST_ODDS, LARGEST_ODDS)
        p = (np.sign(odds) + 1) / 2 if self.verdicts_only else 1 / (1 + np.exp(-odds))
        p[np.sign(orders[0]) != np.sign(orders[1])] = 0.5
        p[(draw.random((2, size)) < self.failures**2).any(axis=0)] = np.nan
        return p


JUDGES = {
    "exact": NoisyJudge(),
    "low noise": NoisyJudge(opinion=0.5, noise=0.5, position=0.5, failures=0.1),
    "medium noise": NoisyJudge(opinion=1.0, noise=1.0, position=1.0, failures=0.2),
    "high noise": NoisyJudge(opinion=2.0, noise=2.0, position=2.0, failures=0.3),
    "medium, verdicts only": NoisyJudge(opinion=1.0, noise=1.0, position=1.0, failures=0.2, verdicts_only=True),
}
