"""Rows of a run's report that stages recorded: gates, time and tokens, data, publications."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.promotion import GATE_METRICS
from genrm_rl.evaluation.schema import (
    DataRow,
    GateRow,
    StageRow,
    SyncRow,
)
from genrm_rl.preferences.data_report import DataReport
from genrm_rl.preferences.splits import EQUAL, NEAR
from genrm_rl.runtime.storage import MARKER, is_complete, read_json, read_manifest


def gate_rows(run: Path) -> Iterable[GateRow]:
    """The learning curve: the base at the gate, then every round."""
    for folder in sorted((run / "methods").glob("*/round*/gate")):
        method, iteration = folder.parent.parent.name, int(folder.parent.name.removeprefix("round"))
        manifest = read_manifest(folder)
        if iteration == 1:
            yield gate_row(method, 0, read_json(folder / "parent.json"), promoted=True, reason="before training")
        checkpoint = read_manifest(folder.parent / "checkpoint")
        chosen = folder.parent / "examples"  # none where traces are learned from as they are sampled
        examples = read_manifest(chosen)["examples"] if is_complete(chosen) else None
        yield gate_row(
            method, iteration, read_json(folder / "candidate.json"), promoted=manifest["promoted"],
            reason=manifest["reason"],
            examples=examples, loss=checkpoint.get("final_loss"),
            checkpoint=str((folder.parent / "checkpoint").relative_to(run)),
        )  # fmt: skip


def gate_row(method: str, iteration: int, row: dict[str, Any], **more: Any) -> GateRow:
    """One point of the learning curve from recorded gate metrics."""
    kept = {key: row[key] for key in ("n", "ci95", *GATE_METRICS)}
    return GateRow(method=method, iteration=iteration, **kept, **more)


def stage_rows(run: Path) -> Iterable[StageRow]:
    """Seconds and tokens of every complete stage, in the order in which they ended."""
    markers = [
        path for path in run.rglob(MARKER) if not any(part.startswith(".") for part in path.relative_to(run).parts[:-1])
    ]
    for marker in sorted(markers, key=lambda path: path.stat().st_mtime_ns):
        facts = read_json(marker)
        parts = marker.parent.relative_to(run).parts
        seconds = facts.get("seconds", facts.get("seconds_by_phase", {}).get("total"))
        if seconds is None:
            continue
        yield StageRow(
            name="/".join(parts),
            seconds=seconds,
            method=parts[1] if parts[0] in ("methods", "evaluation", "probes") else "",
            iteration=int(parts[2].removeprefix("round")) if parts[0] == "methods" else None,
            prompt_tokens=facts.get("prompt_tokens"),
            completion_tokens=facts.get("completion_tokens"),
            trained_tokens=facts.get("trained_tokens"),
            steps=facts.get("steps"),
        )


def data_rows(report: DataReport) -> Iterable[DataRow]:
    """What was read per source and what was left out; copies across splits are counted on the side that lost them."""
    lost: dict[str, dict[str, int]] = {}
    for (loser, _, kind), count in report.leaks.counts.items():
        side = lost.setdefault(loser, {})
        side[kind] = side.get(kind, 0) + count
    for source in report.sources:
        side, _, _ = source.side.partition("/")
        first_of_side = next(item for item in report.sources if item.side == source.side) is source
        leaks = lost.get(source.side, {}) if first_of_side else {}
        yield DataRow(
            name=source.name,
            split=side,
            read=source.rows,
            pairs=source.pairs,
            exact_duplicates=source.duplicates + leaks.get(EQUAL, 0),
            near_duplicates=leaks.get(NEAR, 0),
            rejected=source.refused,
            layout=source.layout,
            read_as=source.read_as,
        )


def sync_rows(run: Path) -> Iterable[SyncRow]:
    """Weight publications with their proof."""
    for file in sorted((run / "sync").glob("*.json")):
        receipt = read_json(file)
        probe = receipt["probe"]
        yield SyncRow(
            version=receipt["version"],
            backend=receipt["backend"],
            megabytes=receipt["bytes"] / 1e6,
            seconds=receipt["seconds"],
            engines=receipt["engines"],
            mean_abs_difference_nats=probe["mean_abs_difference_nats"],
            limit_nats=probe["limit_nats"],
            passed=receipt["passed"],
        )
