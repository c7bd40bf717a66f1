"""The gate promotes what is better on the same pairs by more than chance, and hardly ever what is not better."""

from __future__ import annotations

import numpy as np
import pytest

from genrm_rl.bootstrap.gate import decide
from genrm_rl.config import BootstrapConfig
from tests.unit.evaluation_rows import row


def judgments(right: np.ndarray, judge: str = "judge") -> list:
    """Rows whose two orders are right or wrong as given (N x 2); a contradiction is a tie."""
    return [
        row(f"p{i}", "A", "".join("BA"[int(each)] for each in orders), [0.1, 0.5, 0.9][int(sum(orders))], judge=judge)
        for i, orders in enumerate(right)
    ]


def gate(parent, candidate, **settings):
    return decide(parent, candidate, BootstrapConfig(**settings), resamples=200, seed=0)


def test_a_judge_without_change_is_promoted_in_few_of_many_gates():
    promoted = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        parent, candidate = (judgments(rng.random((40, 2)) < 0.67) for _ in range(2))
        promoted += gate(parent, candidate).promoted
    assert promoted <= 0.05 * 150  # an improvement of any size would promote nearly half of them


def test_a_better_judge_is_promoted_and_the_reason_says_by_how_much():
    right = np.zeros((40, 2), dtype=bool)
    right[:20] = True
    better = right.copy()
    better[20:30] = True
    decision = gate(judgments(right), judgments(better))
    assert decision.promoted
    assert decision.difference.difference == pytest.approx(0.25)
    assert decision.reason.startswith("accuracy_folded 50.0% before and 75.0% now on 40 gate pairs: +25.0 points [+")
    assert not gate(judgments(better), judgments(right)).promoted
    assert not gate(judgments(right), judgments(better), gate_margin=0.2).promoted


def test_pairing_promotes_where_two_intervals_would_overlap():
    right = np.zeros((100, 2), dtype=bool)
    right[:60] = True
    better = right.copy()
    better[60:68] = True  # 60 and 68 %: each is known to about ten points only
    decision = gate(judgments(right), judgments(better))
    assert decision.parent.ci95[1] > decision.candidate.ci95[0] and decision.promoted


def test_a_judge_that_always_names_the_first_answer_gains_nothing_by_tying():
    wrong, first = np.zeros((40, 2), dtype=bool), np.zeros((40, 2), dtype=bool)
    first[:, 0] = True
    decision = gate(judgments(first), judgments(first))
    assert not decision.promoted and decision.candidate.accuracy_folded == 0.5 and decision.candidate.tie_rate == 1.0
    assert gate(judgments(wrong), judgments(first), gate_metric="right_in_both").promoted is False
