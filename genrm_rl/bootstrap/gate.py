"""The gate: a round is promoted only if it judges the held-out gate pairs better than the judge it came from, and by
more than chance.

Both are asked about the same pairs, so what is judged is their *paired* difference: a round without any change has a
difference around zero and passes in (1 - ``gate_confidence``) / 2 of all cases, as
``jobs/benchmarks/benchmark_gate.py`` measures. The default metric is the folded accuracy: the judgment that rewards are
made of, in which a judge that always names the first answer is worth one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.config import BootstrapConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import DifferenceRow
from genrm_rl.evaluation.schema_results import ResultRow


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Gate metrics of parent and candidate, their paired difference, and what follows from it."""

    parent: ResultRow
    candidate: ResultRow
    difference: DifferenceRow
    promoted: bool
    reason: str


def decide(
    parent: Sequence[JudgmentRecord],
    candidate: Sequence[JudgmentRecord],
    config: BootstrapConfig,
    *,
    resamples: int,
    seed: int,
) -> GateDecision:
    """Promote if the lower bound of candidate minus parent on the same pairs is above ``gate_margin``.

    Raises DataError if they share no pair.
    """
    metric = config.gate_metric
    shared = {record.pair_id for record in parent} & {record.pair_id for record in candidate}
    parent, candidate = ([record for record in rows if record.pair_id in shared] for rows in (parent, candidate))
    difference = compare(candidate, parent, resamples=resamples, seed=seed, metric=metric, level=config.gate_confidence)
    if difference is None:
        raise DataError(f"the gate can't compare by {metric}: nothing of the kind was judged; set another one")
    before, after = (summarise(rows, resamples=resamples, seed=seed, by_category=False) for rows in (parent, candidate))
    low, high = (100 * bound for bound in difference.ci95)
    promoted = difference.ci95[0] > config.gate_margin
    reason = (
        f"{metric} {getattr(before, metric):.1%} before and {getattr(after, metric):.1%} now "
        f"on {difference.n} gate pairs: "
        f"{100 * difference.difference:+.1f} points [{low:+.1f}, {high:+.1f}]"
    )
    if not promoted:
        margin = f"{100 * config.gate_margin:g}" if config.gate_margin else "zero"
        reason += f", whose lower bound is not above {margin}"
    return GateDecision(before, after, difference, promoted, reason)
