"""Whether the step judge's marks say how an episode ends: calibrated against outcomes of held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genrm_rl.evaluation.calibration import expected_calibration_error

FOLDS = 5
LEAST = 20  # marked episodes with an outcome that a calibration needs


@dataclass(frozen=True, slots=True)
class StepCalibration:
    """Of ``episodes`` marked held-out episodes. P(success) is the logistic function of ``slope`` times the mean mark
    plus ``bias`` (Platt); ``ece`` is cross-validated; ``rank_correlation`` is Spearman's,
    of mean mark and score. ``unreadable`` answers are in none of these. ``problem`` says why marks can't be used."""

    episodes: int
    unreadable: int
    slope: float | None
    bias: float | None
    ece: float | None
    rank_correlation: float | None
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the sentence of the report."""
        return asdict(self) | {"sound": not self.problem, "in_words": self.in_words()}

    def in_words(self) -> str:
        """For people."""
        if self.slope is None or self.ece is None or self.rank_correlation is None:
            return f"The step judge can't be used: {self.problem}."
        measured = (
            f"on {self.episodes} held-out episodes its mean mark and the score correlate by "
            f"{self.rank_correlation:.2f} (Spearman), and calibrated it is off by {100 * self.ece:.1f} points (ECE)"
        )
        if self.problem:
            return f"The step judge can't be used: {self.problem}; {measured}."
        return f"The step judge's marks follow the outcomes: {measured}. {self.unreadable} answers were unreadable."


def calibrate(
    marks: Sequence[float], successes: Sequence[bool], scores: Sequence[float], unreadable: int
) -> StepCalibration:
    """Fit and measure: one mean mark, success and score per episode. A judge that is inverted, constant or silent is
    named in ``problem``."""
    from scipy.stats import spearmanr
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    marks_N, wins_N = np.asarray(marks, dtype=float), np.asarray(successes, dtype=int)
    problem = _problem(marks_N, wins_N, unreadable)
    if problem:
        return StepCalibration(len(marks), unreadable, None, None, None, None, problem)
    # Weakly regularised, so that separable episodes have finite slopes.
    logistic = LogisticRegression(C=10.0)
    fitted = logistic.fit(marks_N[:, None], wins_N)
    slope, bias = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    folds = StratifiedKFold(min(FOLDS, int(np.bincount(wins_N).min())), shuffle=True, random_state=0)
    stated_N = cross_val_predict(logistic, marks_N[:, None], wins_N, cv=folds, method="predict_proba")[:, 1]
    ece = expected_calibration_error(stated_N, wins_N.astype(float))
    correlation = float(spearmanr(marks_N, np.asarray(scores, dtype=float)).statistic)
    inverted = "its marks are inverted: episodes that it finds worse end better" if slope <= 0 else ""
    return StepCalibration(len(marks), unreadable, slope, bias, ece, correlation, inverted)


def _problem(marks_N: np.ndarray, wins_N: np.ndarray, unreadable: int) -> str:
    if len(marks_N) < LEAST:
        return f"only {len(marks_N)} of its answers could be read ({unreadable} could not), and {LEAST} are needed"
    if marks_N.min() == marks_N.max():
        return f"it marks every episode alike ({marks_N[0]:.2f} in the mean)"
    rare = int(np.bincount(wins_N, minlength=2).min())
    if rare < 2:
        return f"{rare} of {len(wins_N)} held-out episodes ended unlike the others, so nothing can be calibrated"
    return ""
