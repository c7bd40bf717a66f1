"""The last measurements of a bootstrap: every judge on every test set, and what they have to beat."""

from __future__ import annotations

from genrm_rl.bootstrap.workshop import Workshop
from genrm_rl.evaluation.probe_gate import probe_gate
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.scoring import whole_items
from genrm_rl.judging.judge import Judge
from genrm_rl.learners.probe_record import ProbeRecord, write_record


def measure_all(judges: list[Judge], workshop: Workshop) -> tuple[list[list[JudgmentRecord]], dict[str, ProbeRecord]]:
    """Every judge on every test set, with every decoding, the untrained judge first: one row list each. And the trained
    ones at the probe gate."""
    config = workshop.config.evaluation
    suites: list[list[JudgmentRecord]] = []
    probes: dict[str, ProbeRecord] = {}
    for judge in judges:
        for name, pairs in workshop.splits.test.items():
            for decoding in workshop.measurement.decodings(judge):
                suites.append(workshop.measurement.test_set(judge, name, whole_items(pairs, config.pairs), decoding))
            if config.majority_votes > 1 and judge.form == "cot":
                workshop.measurement.majority_set(judge, name, whole_items(pairs, config.majority_pairs))
        record = probe_gate(judge, workshop.splits.test, workshop.measurement) if judge.iteration else None
        if record is not None:
            write_record(judge.path, record)
            probes[judge.name] = record
    return suites, probes
