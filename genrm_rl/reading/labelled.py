"""What the judge said about new comparisons of a closed loop, and which label came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genrm_rl.closed_loop.labels import LABELS_FILE
from genrm_rl.config.loop import LoopConfig
from genrm_rl.judging.folding import fold
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import Slot, as_messages, content_hash
from genrm_rl.preferences.world.style import verify
from genrm_rl.reading.rewarded import VERIFIED
from genrm_rl.reading.text_store import vote_of
from genrm_rl.reading.types import Part, ReadJudgment, Texts
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.storage import is_complete


def labelled_parts(run: Path, config: LoopConfig, name: str) -> Iterator[Part]:
    """One part per turn whose comparisons are labelled."""
    for folder in sorted(run.glob("turn*/preferences/labels")):
        if is_complete(folder):
            place = f"{name}{folder.relative_to(run).parts[0]}/preferences"
            yield Part(place, "labels of the policy's answers", _judgments(folder, place, config))


def _judgments(folder: Path, place: str, config: LoopConfig) -> Iterator[ReadJudgment]:
    traces: dict[str, list[Any]] = {}
    sampled = folder.parent / "traces" / "traces.parquet"
    for trace in read_traces(sampled) if sampled.is_file() else ():
        traces.setdefault(trace.pair_id, []).append(trace)
    judge = config.judge.judge
    with open(folder / LABELS_FILE, encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            shown = Texts(as_messages(row["prompt"]), row["answer_a"], row["answer_b"], Guide.of(row))
            asked = traces.get(row["id"], [])
            found = fold(asked, judge.aggregate, judge.orders) if asked else None
            gold, gold_from = _gold(row)
            yield ReadJudgment(
                id=content_hash(place, row["id"]),
                texts=shown,
                verdict=found and found.verdict,
                verdict_ab=found and found.verdict_ab,
                verdict_ba=found and found.verdict_ba,
                p_a=found and found.p_a,
                tie=found is not None and found.tie,
                votes=[vote_of(trace) for trace in asked],
                gold=gold,
                gold_from=gold_from,
                facts=list(_facts(row)),
            )


def _gold(row: dict[str, Any]) -> tuple[Slot | None, str]:
    """The better answer and who says so: a verifier where one can, else a person."""
    if row["world"]:
        a, b = (verify(row["world"], row[name]) for name in ("answer_a", "answer_b"))
        return (None if a == b else "A" if a else "B"), VERIFIED
    by_person = row["by"] == "human" and row["label"] in ("a", "b")
    return (row["label"].upper() if by_person else None), "a person said so"


def _facts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if row["label"] is None:
        yield "label", f"none: {str(row['reason']).replace('_', ' ')}"
    else:
        yield (
            "label",
            f"{row['label'].upper()} is better, said by {'a person' if row['by'] == 'human' else 'the judge'}",
        )
    for text in row["rationales"]:
        yield "reason that was given", text
    yield "comparison", row["id"]
