"""The probe gate: does a trained judge prefer texts that deserve nothing to the answers that people preferred?

Held-out pairs give the prompts and the real answers; each kind of null answer (:mod:`genrm_rl.preferences.nulls`, the
list that null negatives come from) is shown beside them, greedily, in both orders. A judge passes if no kind wins more
than ``evaluation.probe_limit`` of its judgments; contradicting orders are a tie and no win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest

from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import ProbeRow
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Form
from genrm_rl.learners.probe_record import ProbeRecord, ProbeTally
from genrm_rl.preferences.nulls import KIND, NULLS, null_pairs
from genrm_rl.preferences.types import PreferencePair

NAMES = ("wins", "ties", "losses", "no_verdict")


def probe_gate(
    judge: Judge, tests: Mapping[str, Sequence[PreferencePair]], measurement: Measurement
) -> ProbeRecord | None:
    """Measure one judge, as a stage of the run. None if ``evaluation.probe_pairs`` is 0 or there is no pair to try."""
    shown = probes_for(judge, tests, measurement)
    if not shown:
        return None
    limit = measurement.config.evaluation.probe_limit
    return ProbeRecord(judge.version, limit, tallies(measurement.probe_set(judge, shown)))


def probes_for(
    judge: Judge, tests: Mapping[str, Sequence[PreferencePair]], measurement: Measurement
) -> list[PreferencePair]:
    """Null pairs of held-out pairs; those that the judge can't read in full are left out."""
    settings = measurement.config.evaluation
    held_out = in_turn(tests.values())[: settings.probe_pairs]
    forms: tuple[Form, ...] = (judge.form,) if judge.form else ("direct",)
    shown = null_pairs(held_out, tuple(NULLS), measurement.config.run.seed)
    return [pair for pair in shown if measurement.encoder.misfit(pair, forms) is None]


def in_turn(sets: Iterable[Sequence[PreferencePair]]) -> list[PreferencePair]:
    """Pairs of all test sets in turn, so that each has its share of any beginning; ties have no better answer."""
    columns = [[pair for pair in pairs if not pair.tie] for pairs in sets]
    return [pair for pair in chain.from_iterable(zip_longest(*columns)) if pair is not None]


def tallies(records: Sequence[JudgmentRecord]) -> dict[str, ProbeTally]:
    """Wins of the rejected side by kind, in the order of the list of kinds."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        found.setdefault(str(record.meta[KIND]), Counter())[_outcome(record)] += 1
    return {kind: ProbeTally(**{name: found[kind][name] for name in NAMES}) for kind in NULLS if kind in found}


def _outcome(record: JudgmentRecord) -> str:
    if record.p_a is None:
        return "no_verdict"
    if record.p_a == 0.5:
        return "ties"
    return "losses" if (record.p_a > 0.5) == (record.label == "A") else "wins"


def probe_rows(judge: str, record: ProbeRecord) -> list[ProbeRow]:
    """Rows of the report."""
    return [
        ProbeRow(
            judge=judge,
            probe=kind,
            n=tally.judged,
            wins=tally.wins,
            ties=tally.ties,
            losses=tally.losses,
            no_verdict=tally.no_verdict,
            limit=record.limit,
            passed=kind not in record.failed,
        )
        for kind, tally in record.tallies.items()
    ]
