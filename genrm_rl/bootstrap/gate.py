"""The gate: a round is promoted only if it judges the held-out gate pairs better than the judge it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.config import BootstrapConfig
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import ResultRow


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Gate metrics of parent and candidate, and what follows from them."""

    parent: ResultRow
    candidate: ResultRow
    promoted: bool
    reason: str


def gate_metrics(records: Sequence[JudgmentRecord], resamples: int, seed: int) -> ResultRow:
    """All metrics of one judge on the gate pairs."""
    return summarise(records, resamples=resamples, seed=seed, by_category=False)


def decide(parent: ResultRow, candidate: ResultRow, config: BootstrapConfig) -> GateDecision:
    """Promote if the configured metric rises by more than ``gate_margin``."""
    metric = config.gate_metric
    before, after = getattr(parent, metric), getattr(candidate, metric)
    promoted = after > before + config.gate_margin
    words = "rose" if after > before else "fell" if after < before else "stayed"
    reason = f"{metric} {words} from {before:.1%} to {after:.1%} on {candidate.n} gate pairs"
    if after > before and not promoted:
        reason += f", less than the margin of {config.gate_margin:.1%}"
    return GateDecision(parent, candidate, promoted, reason)
