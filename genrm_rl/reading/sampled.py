"""Traces that a judge could learn from, by pair: verdicts, whether they are right, and what selection made of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Slot, content_hash
from genrm_rl.reading.text_store import COLUMNS, TextStore, parquet_rows, vote_in
from genrm_rl.reading.types import Part, ReadTraces, SampledTrace
from genrm_rl.rollout.trace_store import REASONS_FILE
from genrm_rl.runtime.storage import is_complete, read_manifest

TRACES = "traces.parquet"
ABOUT = "traces sampled for training, by pair"
TOLD = "traces sampled for training by a judge that was told which answer is better, by pair"
NOT_RECORDED = (
    "what the selection of {rounds} made of each trace is not recorded (an earlier version made them); right and wrong "
    "are by the pair's label"
)


def sampled_files(run: Path) -> list[Path]:
    """The files of traces that rounds of a bootstrap chose from."""
    return [file for file in sorted(run.glob(f"traces/*/{TRACES}")) if is_complete(file.parent)]


def sampled_pairs(files: list[Path]) -> set[str]:
    """Ids of the pairs that they are about."""
    return {row["pair_id"] for file in files for row in parquet_rows(file, ["pair_id"])}


def sampled_parts(run: Path, files: list[Path], store: TextStore, name: str, notes: list[str]) -> Iterator[Part]:
    """One part per file of the run in ``run``, which reports call ``name``; ``notes`` go to the first one."""
    notes = [*notes, *_read_reasons(run, store)]
    for file in files:
        place = f"{name}{file.parent.relative_to(run).as_posix()}"
        about = TOLD if file.parent.name.endswith("rationalized") else ABOUT
        yield Part(place, about, _by_pair(file, place, store), notes)
        notes = []


def _read_reasons(run: Path, store: TextStore) -> list[str]:
    """Into the store; a note where finished rounds have none."""
    store.forget_reasons()
    unknown = []
    for folder in sorted(run.glob("methods/*/round*/examples")):
        by = " ".join(folder.relative_to(run).parts[1:3])
        if not is_complete(folder) or "reasons" not in read_manifest(folder):
            continue
        if (folder / REASONS_FILE).is_file():
            store.read_reasons(folder / REASONS_FILE, by)
        else:
            unknown.append(by)
    return [NOT_RECORDED.format(rounds=", ".join(unknown))] if unknown else []


def _by_pair(file: Path, place: str, store: TextStore) -> Iterator[ReadTraces]:
    rows = parquet_rows(file, (*COLUMNS, "judge_version"))  # sorted by ids, so that a pair's traces are together
    for pair, mine in itertools.groupby(rows, key=lambda row: row["pair_id"]):
        traces, gold = list(mine), store.gold(pair)
        facts = [("judge", traces[0]["judge_version"]), ("pair", pair)]
        shown = [_trace(row, gold, store) for row in traces]
        yield ReadTraces(content_hash(place, pair), store.texts(pair), gold, shown, facts)


def _trace(row: dict[str, Any], gold: Slot | Literal["tie"] | None, store: TextStore) -> SampledTrace:
    vote = vote_in(row)
    right = None
    if gold is not None and vote.verdict.is_verdict:
        right = vote.verdict is (Verdict.TIED if gold == "tie" else Verdict.of(gold))
    return SampledTrace(vote, right, store.reasons(row["trace_id"]))
