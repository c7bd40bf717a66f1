"""Does P(A) mean what it says? Expected calibration error, Brier score and the bins of the reliability plot.

Orientation: P(A) is that of the pair's canonical slot A, which is drawn without looking at the label, so a calibrated
judge lies on the diagonal over the whole range 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genrm_rl.evaluation.schema_results import CalibrationBin

Array = NDArray[np.float64]
BINS = 10


def brier_score(p_N: Array, is_a_N: Array) -> float | None:
    """Mean of (P(A) - [A was chosen])^2; None without pairs."""
    return float(np.mean((p_N - is_a_N) ** 2)) if len(p_N) else None


def calibration_bins(p_N: Array, is_a_N: Array) -> tuple[CalibrationBin, ...]:
    """``BINS`` equally wide bins of P(A), the last one closed; mean P(A) and share of A inside each."""
    # The epsilon keeps values such as 0.3, which is 3 bins up but 2.9999999999999996 in floating point, in their own
    # bin.
    bin_N = np.minimum(np.floor(p_N * BINS + 1e-9), BINS - 1).astype(int)
    rows = []
    for index in range(BINS):
        inside = bin_N == index
        n = int(inside.sum())
        rows.append(
            CalibrationBin(
                low=index / BINS,
                high=(index + 1) / BINS,
                n=n,
                mean_p=float(p_N[inside].mean()) if n else None,
                share_a=float(is_a_N[inside].mean()) if n else None,
            )
        )
    return tuple(rows)


def expected_calibration_error(p_N: Array, is_a_N: Array) -> float | None:
    """Mean distance between stated and observed share, weighted by the pairs of each bin; None without pairs."""
    if not len(p_N):
        return None
    rows = calibration_bins(p_N, is_a_N)
    return sum(
        row.n * abs(row.mean_p - row.share_a) for row in rows if row.mean_p is not None and row.share_a is not None
    ) / len(p_N)
