"""Judgments of labelled pairs: evaluations, gates and probe gates of a bootstrap or of `evaluate`, and what a judge
learned from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genrm_rl.config import RunConfig
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, iter_records
from genrm_rl.preferences.nulls import KIND
from genrm_rl.preferences.types import content_hash
from genrm_rl.reading.pair_texts import find_pairs, null_texts
from genrm_rl.reading.sampled import sampled_files, sampled_pairs, sampled_parts
from genrm_rl.reading.text_store import TextStore
from genrm_rl.reading.types import Part, ReadJudgment, Texts
from genrm_rl.runtime.storage import is_complete

LABELLED = "the pair's label says so"
PROBED = "a null answer deserves no more than the answer that people preferred"
ABOUT = {
    "evaluation": "judgments of held-out pairs",
    "gate": "judgments of the gate's pairs, which decide what is promoted",
    "probes": "null answers beside real ones",
}


def judged_parts(run: Path, config: RunConfig, store: TextStore, name: str) -> Iterator[Part]:
    """One part per finished stage of judgments, or of traces to learn from, of the run in ``run``, which reports call
    ``name``."""
    stages = sorted(path.parent for path in run.glob(f"*/**/judgments/{RECORDS}") if is_complete(path.parent))
    stages = [stage for stage in stages if stage.relative_to(run).parts[0] in ABOUT]
    sampled = sampled_files(run)
    if not stages and not sampled:
        return
    pairs, answers = _wanted(stages)
    pairs |= sampled_pairs(sampled)
    notes = find_pairs(config.data, config.run.seed, store, pairs, answers)
    for stage in stages:
        suite = stage.parent.relative_to(run)
        place = f"{name}{suite.as_posix()}"
        yield Part(place, ABOUT[suite.parts[0]], _judgments(stage, place, store), notes)
        notes = []
    yield from sampled_parts(run, sampled, store, name, notes)


def _wanted(stages: list[Path]) -> tuple[set[str], set[str]]:
    """Ids of the judged pairs, and hashes of the answers that null answers are made of."""
    pairs: set[str] = set()
    answers: set[str] = set()
    for record in (record for stage in stages for record in iter_records(stage / RECORDS)):
        if KIND in record.meta:
            answers |= {str(record.meta["chosen_id"]), str(record.meta["rejected_id"])}
        else:
            pairs.add(record.pair_id)
    return pairs, answers


def _judgments(stage: Path, place: str, store: TextStore) -> Iterator[ReadJudgment]:
    traces = stage.parent / "traces" / "traces.parquet"
    if traces.is_file():
        store.read_traces(traces)
    for record in iter_records(stage / RECORDS):
        probe = str(record.meta.get(KIND, ""))
        texts = null_texts(record, store) if probe else store.texts(record.pair_id)
        yield judgment_of(record, texts, store, content_hash(place, record.pair_id))


def judgment_of(record: JudgmentRecord, texts: Texts | None, store: TextStore, identifier: str) -> ReadJudgment:
    """A record with its texts and the words of its traces."""
    probe = str(record.meta.get(KIND, ""))
    return ReadJudgment(
        id=identifier,
        texts=texts,
        verdict=record.verdict,
        verdict_ab=record.verdict_ab,
        verdict_ba=record.verdict_ba,
        p_a=record.p_a,
        tie=record.p_a == 0.5,
        votes=store.votes(record.trace_ids),
        gold=record.label or "tie",
        gold_from=PROBED if probe else LABELLED,
        order_free=record.order_free,
        probe=probe,
        facts=tuple(_facts(record)),
        p_by_order=(record.p_a_ab, record.p_a_ba),
    )


def _facts(record: JudgmentRecord) -> Iterator[tuple[str, str]]:
    yield "judge", f"{record.judge} {record.judge_version}".strip()
    if record.category:
        yield "category", record.category
    if "file" in record.meta:
        yield "from", f"{record.meta['file']}:{record.meta.get('line', '')}"
    yield "pair", record.pair_id
