"""The last measurements of a bootstrap: every judge on every test set, and what they have to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.probe_gate import probe_gate
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.scoring import whole_items
from genrm_rl.judging.judge import Judge
from genrm_rl.learners.probe_record import ProbeRecord, write_record
from genrm_rl.preferences.types import PreferencePair


@dataclass(frozen=True)
class Measured:
    """The judges of a bootstrap, one row list for each test set and decoding of each of them, and what the probe gate
    found out about the trained ones, by name."""

    judges: Sequence[Judge]
    suites: Sequence[Sequence[JudgmentRecord]]
    probes: Mapping[str, ProbeRecord]


def measure_all(
    judges: Sequence[Judge], tests: Mapping[str, Sequence[PreferencePair]], measurement: Measurement
) -> Measured:
    """Every judge on every test set, with every decoding, the untrained judge first. And the trained ones at the probe
    gate."""
    config = measurement.config.evaluation
    suites: list[list[JudgmentRecord]] = []
    probes: dict[str, ProbeRecord] = {}
    for judge in judges:
        for name, pairs in tests.items():
            for decoding in measurement.decodings(judge):
                suites.append(measurement.test_set(judge, name, whole_items(pairs, config.pairs), decoding))
            if config.majority_votes > 1 and judge.form == "cot":
                measurement.majority_set(judge, name, whole_items(pairs, config.majority_pairs))
        record = probe_gate(judge, tests, measurement) if judge.iteration else None
        if record is not None:
            write_record(judge.path, record)
            probes[judge.name] = record
    return Measured(judges, suites, probes)
