"""What each way of folding two orders makes of the same traces: for the choice of ``judge.aggregate`` (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genrm_rl.evaluation.calibration import expected_calibration_error
from genrm_rl.judging.folding import Aggregate, fold_all
from genrm_rl.judging.probability import sigmoid
from genrm_rl.judging.types import Judgment, Trace, Verdict
from genrm_rl.preferences.types import Slot


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """Of one judge with one number of votes and one aggregate. Shares are of all pairs, except where said.

    ``accuracy`` counts a tie as one half and a missing judgment as wrong; ``accuracy_decided`` is among the pairs with
    a winner; ``accuracy_strict_tie`` if every pair tied whose orders name different answers by most of their votes.
    ``ece`` is of P(A), ties included.
    """

    votes: int
    aggregate: Aggregate
    pairs: int
    accuracy: float
    accuracy_decided: float | None
    accuracy_strict_tie: float
    ece: float | None
    ties: float
    contradictions: float
    not_judged: float


def fold_figures(
    traces: Sequence[Trace], labels: Mapping[str, Slot], aggregate: Aggregate, votes: int
) -> FoldFigures | None:
    """Figures of the first ``votes`` votes of each order. ``labels``: the better slot of each pair, canonically. None
    if no pair was judged."""
    judgments = list(fold_all(first_votes(traces, votes), aggregate).values())
    given = [judgment for judgment in judgments if judgment.p_a is not None]
    if not given:
        return None
    decided = [judgment for judgment in given if not judgment.tie]
    agreeing = [judgment for judgment in decided if judgment.consistent is not False]
    right, right_agreeing = (
        sum(judgment.verdict.slot == labels[judgment.pair_id] for judgment in some) for some in (decided, agreeing)
    )
    ties = len(given) - len(decided)
    return FoldFigures(
        votes=votes,
        aggregate=aggregate,
        pairs=len(judgments),
        accuracy=(right + ties / 2) / len(judgments),
        accuracy_decided=right / len(decided) if decided else None,
        accuracy_strict_tie=(right_agreeing + (len(given) - len(agreeing)) / 2) / len(judgments),
        ece=expected_calibration_error(
            np.asarray([judgment.p_a for judgment in given]),
            np.asarray([float(labels[judgment.pair_id] == "A") for judgment in given]),
        ),
        ties=ties / len(judgments),
        contradictions=sum(judgment.consistent is False for judgment in judgments) / len(judgments),
        not_judged=(len(judgments) - len(given)) / len(judgments),
    )


def first_votes(traces: Iterable[Trace], votes: int) -> list[Trace]:
    """The first ``votes`` votes of each order, with what was asked again for them."""
    return [trace for trace in traces if trace.sample_index < votes]


def leanings(judgments: Iterable[Judgment], labels: Mapping[str, Slot]) -> dict[str, tuple[int, int]]:
    """What contradictions would be if the surer order won, as (right, decided): by the mean of probabilities, and by
    that of log-odds. One vote per order."""
    found = {"mean_probability": [0, 0], "mean_log_odds": [0, 0]}
    for judgment in judgments:
        odds = [trace.canonical_log_odds for trace in judgment.traces if trace.verdict.is_verdict]
        if judgment.consistent is not False or len(odds) != 2 or None in odds:
            continue
        sums = {"mean_probability": sum(map(sigmoid, odds)) - 1, "mean_log_odds": sum(odds)}
        for name, lean in sums.items():
            if lean:
                said = Verdict.of("A" if lean > 0 else "B").slot
                found[name][0] += said == labels[judgment.pair_id]
                found[name][1] += 1
    return {name: (right, decided) for name, (right, decided) in found.items()}
