"""Figures of the ways to fold: ties are one half, a missing judgment is wrong."""

from __future__ import annotations

import pytest

from genrm_rl.evaluation.folds import fold_figures, leanings
from genrm_rl.judging.folding import fold_all
from genrm_rl.judging.types import Verdict
from tests.unit.judging_cases import trace

A, B = Verdict.PREFERS_A, Verdict.PREFERS_B
TRACES = [
    *(trace(A, 0.9, pair_id="right"), trace(B, 0.2, swapped=True, pair_id="right")),
    *(trace(A, 0.99, pair_id="first"), trace(A, 0.6, swapped=True, pair_id="first")),
    *(trace(A, 0.9, pair_id="half"), trace(Verdict.TRUNCATED, swapped=True, pair_id="half")),
    *(trace(A, 0.9, index=1, pair_id="right"), trace(A, 0.9, index=1, swapped=True, pair_id="right")),
]
LABELS = {"right": "A", "first": "B", "half": "A"}


def test_figures_by_hand() -> None:
    row = fold_figures(TRACES, LABELS, "mean_probability", 1)
    assert (row.pairs, row.accuracy, row.accuracy_decided) == (3, pytest.approx(1.5 / 3), 1.0)
    assert (row.ties, row.contradictions, row.not_judged) == (pytest.approx(1 / 3),) * 3
    assert fold_figures(TRACES, LABELS, "majority", 2).ties == pytest.approx(1 / 3)
    assert fold_figures(TRACES[4:6], LABELS, "majority", 1) is None


def test_what_contradictions_lean_to() -> None:
    found = leanings(fold_all(TRACES[:6]).values(), LABELS)
    assert found == {"mean_probability": (0, 1), "mean_log_odds": (0, 1)}
