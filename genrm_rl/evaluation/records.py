"""One row per judged pair: what every metric is computed from, and its JSONL file."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from genrm_rl.errors import DataError
from genrm_rl.evaluation.schema_results import Decoding
from genrm_rl.judging.folding import Aggregate
from genrm_rl.judging.scalar import fold_probabilities, verdict_of
from genrm_rl.judging.types import Judgment, Trace, Verdict
from genrm_rl.preferences.dedup import prompt_key
from genrm_rl.preferences.types import PreferencePair, Slot, content_hash
from genrm_rl.runtime.storage import write_atomic

RECORDS = "judgments.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Vote:
    """One trace's verdict and P(A), both in the pair's canonical orientation."""

    verdict: Verdict
    p_a: float | None = None


@dataclass(frozen=True, slots=True)
class JudgmentRecord:
    """What one judge said about one labelled pair with one decoding, in the pair's canonical orientation.

    ``label`` is the slot of the chosen answer, None of a pair that is a tie; ``prompt_id`` names the prompt, which
    several pairs may share.
    ``verdict`` is the folded verdict: ABSTAINED for a tie, a named non-verdict where there is no judgment.
    ``verdict_ab`` and ``verdict_ba`` are the verdicts of the two orders, None where that order was not asked. An
    order-free judge (Bradley-Terry) has one verdict, in ``verdict_ab``, and ``order_free`` set: position metrics do not
    exist for it. ``p_a_ab`` and ``p_a_ba`` are P(canonical A wins) by order, ``p_a`` that of the folded judgment:
    exactly one half for a tie, None without a judgment. ``tie_ab``/``tie_ba`` mark verdicts that are missing because
    votes or scores were equal. ``votes_ab`` and ``votes_ba`` hold the single votes in sampling order, for maj@k.
    """

    judge: str
    test_set: str
    decoding: Decoding
    pair_id: str
    label: Slot | None
    verdict_ab: Verdict | None
    verdict_ba: Verdict | None
    verdict: Verdict | None = None
    prompt_id: str = ""
    p_a_ab: float | None = None
    p_a_ba: float | None = None
    p_a: float | None = None
    tie_ab: bool = False
    tie_ba: bool = False
    order_free: bool = False
    category: str = ""
    chars_chosen: int = 0
    chars_rejected: int = 0
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    judge_version: str = ""
    votes_ab: tuple[Vote, ...] = ()
    votes_ba: tuple[Vote, ...] = ()
    trace_ids: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


def record_from_judgment(
    pair: PreferencePair, judgment: Judgment, *, judge: str, test_set: str, decoding: Decoding
) -> JudgmentRecord:
    """The row of a judgment that was made from traces (chain-of-thought or direct).

    A folded verdict that is missing because the votes of that order balance is a tie. Raises ValueError when pair and
    judgment do not belong together.
    """
    if judgment.pair_id != pair.id:
        raise ValueError(f"judgment of pair {judgment.pair_id} can't be scored against the label of pair {pair.id}")
    by_order = {
        swapped: sorted((trace for trace in judgment.traces if trace.swapped is swapped), key=lambda t: t.sample_index)
        for swapped in (False, True)
    }
    return JudgmentRecord(
        judge=judge,
        test_set=test_set,
        decoding=decoding,
        pair_id=pair.id,
        label=None if pair.tie else pair.label(),
        verdict_ab=judgment.verdict_ab,
        verdict_ba=judgment.verdict_ba,
        verdict=judgment.verdict,
        prompt_id=prompt_id(pair),
        p_a_ab=_mean_p(by_order[False]),
        p_a_ba=_mean_p(by_order[True]),
        p_a=judgment.p_a,
        tie_ab=_is_tie(judgment.verdict_ab, by_order[False]),
        tie_ba=_is_tie(judgment.verdict_ba, by_order[True]),
        category=pair.category or pair.source,
        chars_chosen=len(pair.chosen),
        chars_rejected=len(pair.rejected),
        completion_tokens=sum(len(trace.completion_token_ids) for trace in judgment.traces)
        if judgment.traces
        else None,
        prompt_tokens=sum(len(trace.prompt_token_ids) for trace in judgment.traces) if judgment.traces else None,
        judge_version=judgment.traces[0].judge_version if judgment.traces else "",
        votes_ab=tuple(Vote(t.canonical_verdict, t.canonical_p_a) for t in by_order[False]),
        votes_ba=tuple(Vote(t.canonical_verdict, t.canonical_p_a) for t in by_order[True]),
        trace_ids=tuple(trace.trace_id for trace in judgment.traces),
        meta=_plain_meta(pair),
    )


def record_from_probability(
    pair: PreferencePair,
    p_a: float,
    p_a_swapped: float | None = None,
    *,
    judge: str,
    test_set: str,
    judge_version: str = "",
    aggregate: Aggregate = "mean_probability",
    prompt_tokens: int | None = None,
) -> JudgmentRecord:
    """The row of a judge that gives P(A) without words.

    Bradley-Terry: ``p_a`` is sigma(r_a - r_b), there is no order, and ``p_a_swapped`` stays None. PairRM: ``p_a`` is
    P(canonical A wins) shown in the canonical order and ``p_a_swapped`` is P(canonical A wins) shown the other way
    round. Exactly 0.5 is a tie. Raises ValueError for anything outside 0..1 (NaN included).
    """
    given = [p_a] if p_a_swapped is None else [p_a, p_a_swapped]
    for value in given:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"pair {pair.id}: P(A) of judge {judge} is {value}, which is no probability")
    verdicts = [verdict_of(value) for value in given]
    order_free = p_a_swapped is None
    folded = fold_probabilities(p_a, p_a_swapped, aggregate)
    return JudgmentRecord(
        judge=judge,
        test_set=test_set,
        decoding="deterministic",
        pair_id=pair.id,
        label=None if pair.tie else pair.label(),
        verdict_ab=verdicts[0],
        verdict_ba=None if order_free else verdicts[1],
        verdict=verdict_of(folded),
        prompt_id=prompt_id(pair),
        p_a_ab=p_a,
        p_a_ba=p_a_swapped,
        p_a=folded,
        tie_ab=p_a == 0.5,
        tie_ba=p_a_swapped == 0.5,
        order_free=order_free,
        category=pair.category or pair.source,
        chars_chosen=len(pair.chosen),
        chars_rejected=len(pair.rejected),
        prompt_tokens=prompt_tokens,
        judge_version=judge_version,
        meta=_plain_meta(pair),
    )


def prompt_id(pair: PreferencePair) -> str:
    """Names the prompt of a pair: equal for prompts that differ in case and white space only."""
    return content_hash(prompt_key(pair.prompt))


def write_records(path: str | Path, records: Iterable[JudgmentRecord]) -> Path:
    """Write one JSON object per line, gzipped if the name ends in ``.gz``, atomically and byte-for-byte repeatable."""
    path = Path(path)
    lines = "".join(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    payload = lines.encode("utf-8")
    return write_atomic(path, gzip.compress(payload, mtime=0) if path.suffix == ".gz" else payload)


def read_records(path: str | Path) -> list[JudgmentRecord]:
    """Read what :func:`write_records` wrote. Raises DataError naming file and line."""
    return list(iter_records(path))


def iter_records(path: str | Path) -> Iterator[JudgmentRecord]:
    """:func:`read_records` one row at a time."""
    path = Path(path)
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = _record(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    f"{path}, line {number}: not a judgment row ({error}); evaluate again to rewrite it"
                ) from error
            yield record


def _record(row: dict[str, Any]) -> JudgmentRecord:
    unknown = set(row) - {f.name for f in fields(JudgmentRecord)}
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    for key in ("verdict_ab", "verdict_ba", "verdict"):
        row[key] = None if row[key] is None else Verdict(row[key])
    for key in ("votes_ab", "votes_ba"):
        row[key] = tuple(Vote(Verdict(vote["verdict"]), vote["p_a"]) for vote in row[key])
    row["trace_ids"] = tuple(row["trace_ids"])
    return JudgmentRecord(**row)


def _mean_p(traces: list[Trace]) -> float | None:
    values = [trace.canonical_p_a for trace in traces if trace.canonical_p_a is not None]
    return sum(values) / len(values) if values else None


def _is_tie(folded: Verdict | None, traces: list[Trace]) -> bool:
    if folded is None or folded.slot is not None:
        return False
    slots = [trace.verdict.slot for trace in traces if trace.verdict.slot is not None]
    if any(trace.verdict is Verdict.TIED for trace in traces):
        return True
    return bool(slots) and (slots.count("A") == slots.count("B") or _mean_p(traces) == 0.5)


def _plain_meta(pair: PreferencePair) -> dict[str, Any]:
    """The scalar part of the pair's metadata, how many messages the conversation has with its answer, which answers
    these are and where the chosen one stands: what scoring rules need, and all that JSON can hold without surprises."""
    plain = {
        key: value
        for key, value in pair.meta.items()
        if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
    }
    answers = {"chosen_id": content_hash(pair.chosen), "rejected_id": content_hash(pair.rejected)}
    return plain | answers | {"messages": len(pair.prompt) + 1, "chosen_slot": pair.chosen_slot}
