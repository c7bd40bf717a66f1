"""From the stages of a run to its report: only reads what the stages recorded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.fit_curves import fit_curves
from genrm_rl.bootstrap.star import GATE_METRICS
from genrm_rl.bootstrap.workshop import Workshop
from genrm_rl.evaluation.baselines import INFOS, baseline_infos
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.examples import choose_examples, example_from_trace
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.paper import PAPER_ROWS
from genrm_rl.evaluation.probe_gate import probe_rows
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import (
    DataRow,
    ExampleTrace,
    GateRow,
    JudgeInfo,
    Machine,
    Report,
    ResultRow,
    RunInfo,
    SelectionRow,
    StageRow,
    SyncRow,
    TestSetInfo,
)
from genrm_rl.evaluation.scoring import whole_items
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Trace
from genrm_rl.learners.probe_record import ProbeRecord
from genrm_rl.preferences.sources import DataReport
from genrm_rl.preferences.splits import EQUAL, NEAR
from genrm_rl.preferences.types import content_hash
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.storage import MARKER, is_complete, read_json, read_manifest

KINDS = {"bradley_terry": "scalar", "pairrm": "pair_classifier", "points": "scalar"}
LABELS = {
    "llm_judge": "LLM judge (untrained)",
    "llm_judge_direct": "LLM judge, no reasoning",
    "bradley_terry": "Bradley-Terry",
    "pairrm": "PairRM",
    "genrm_direct": "GenRM (no reasoning)",
    "genrm_points": "GenRM by points",
    "star_sft": "STaR-SFT",
    "star_dpo": "STaR-DPO",
    "star_rationalizer": "STaR-Rationalizer",
    "star_rationalizer_dpo": "STaR-Rationalizer DPO",
    "verdict_rl": "Verdict RL",
    "self_distilled": "Self-distilled",
}
LABELS |= {info.name: info.label for info in INFOS}
IN_DISTRIBUTION = ("id", "id_neutral")


def build_report(
    judges: Sequence[Judge],
    suites: Sequence[Sequence[JudgmentRecord]],
    baselines: Sequence[Sequence[JudgmentRecord]],
    probes: Mapping[str, ProbeRecord],
    workshop: Workshop,
    notes: Iterable[str] = (),
) -> Report:
    """Everything that the run measured, as one validated document. ``baselines`` are the rows of what the judges have
    to beat, ``probes`` what the probe gate found out by judge."""
    config, run = workshop.config, workshop.run
    provenance = read_json(run.path / "provenance.json")
    resamples = config.evaluation.bootstrap_resamples
    return Report(
        title=f"Judge bootstrap: {config.run.id}",
        run=RunInfo(
            id=config.run.id,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            command=provenance.get("command", ""),
            seed=config.run.seed,
            seconds=sum(row.seconds for row in stage_rows(run.path)),
            code_revision=provenance["code_revision"],
        ),
        versions=provenance["versions"],
        machine=Machine(
            platform=f"{provenance['machine']['cpu']}, {provenance['machine']['system']}",
            cpus=provenance["machine"]["cores"],
            memory_gib=provenance["machine"]["memory_gib"],
        ),
        config=config.model_dump(mode="json"),
        baseline="llm_judge" if any(judge.name == "llm_judge" for judge in judges) else judges[0].name,
        judges=(*(judge_info(judge, run.path) for judge in judges), *baseline_infos(baselines)),
        test_sets=tuple(test_set_info(name, workshop) for name in workshop.splits.test),
        results=result_rows(judges, [*suites, *baselines], workshop),
        differences=compare_all([*baselines, *suites], resamples=resamples, seed=workshop.seed),
        probes=tuple(row for name, record in probes.items() for row in probe_rows(name, record)),
        learning_curve=tuple(gate_rows(run.path)),
        fit_curves=tuple(fit_curves(run.path)),
        selection=tuple(selection_rows(workshop)),
        stages=tuple(stage_rows(run.path)),
        data=tuple(data_rows(workshop.splits.report)),
        sync=tuple(sync_rows(run.path)),
        traces=example_traces(judges, workshop),
        paper=PAPER_ROWS,
        notes=tuple(notes),
    )


def result_rows(
    judges: Sequence[Judge], suites: Sequence[Sequence[JudgmentRecord]], workshop: Workshop
) -> tuple[ResultRow, ...]:
    """Metrics per judge, test set and decoding; the maj@k curve hangs on the sampled row."""
    config = workshop.config.evaluation
    by_name = {judge.name: judge for judge in judges}
    rows = []
    for records in suites:
        row = summarise(records, resamples=config.bootstrap_resamples, seed=workshop.seed, scoring=config.scoring)
        judge = by_name.get(row.judge)
        if judge is not None and row.decoding == "sampled" and config.majority_votes > 1 and judge.form == "cot":
            voted = workshop.measurement.majority_set(
                judge, row.test_set, whole_items(workshop.splits.test[row.test_set], config.majority_pairs)
            )
            curve = summarise(
                voted, resamples=config.bootstrap_resamples, seed=workshop.seed, by_category=False
            ).majority_curve
            row = row.model_copy(update={"majority_curve": curve})
        rows.append(row)
    return tuple(rows)


def judge_info(judge: Judge, run: Path) -> JudgeInfo:
    """How a judge is named and where its weights are."""
    note = "" if judge.promoted else "no round passed the gate; this is the last one, kept as evidence"
    kind = KINDS.get(judge.kind, "direct" if judge.form == "direct" else "generative")
    inside = judge.path.is_relative_to(run)
    return JudgeInfo(
        name=judge.name,
        label=LABELS.get(judge.name, judge.name),
        kind=kind,  # type: ignore[arg-type]
        note=note,
        iteration=judge.iteration,
        judge_version=judge.version,
        checkpoint=str(judge.path.relative_to(run)) if inside else None,
    )


def test_set_info(name: str, workshop: Workshop) -> TestSetInfo:
    """A test set; it is in distribution if training pairs come from the same source or world set."""
    source = next(source for source in workshop.config.data.test if source.label == name)
    trained = {Path(item.path).parent if item.path else None for item in workshop.config.data.train} - {None}
    if source.world is not None:
        inside = source.world in IN_DISTRIBUTION
    else:
        inside = Path(str(source.path)).parent in trained and str(Path(str(source.path)).parent) != "."
    pairs = whole_items(workshop.splits.test[name], workshop.config.evaluation.pairs)
    return TestSetInfo(
        name=name,
        pairs=len(pairs),
        distribution="in" if inside else "out",
        label_source=", ".join(sorted({pair.label_source for pair in pairs})),
    )


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


def selection_rows(workshop: Workshop) -> Iterable[SelectionRow]:
    """What became of the sampled traces of each round, with a few to read."""
    run = workshop.run.path
    for folder in sorted((run / "methods").glob("*/round*/examples")):
        facts = read_manifest(folder)
        if "reasons" not in facts:
            continue
        wanted = {trace_id for ids in facts["shown"].values() for trace_id in ids}
        method = folder.parent.parent.name
        found = {trace.trace_id: trace for trace in all_traces(run / "traces") if trace.trace_id in wanted}
        yield SelectionRow(
            method=method,
            iteration=int(folder.parent.name.removeprefix("round")),
            traces=facts["traces"],
            reasons=facts["reasons"],
            pairs=facts["pairs"],
            all_right=facts["all_right"],
            all_wrong=facts["all_wrong"],
            examples={
                reason: tuple(
                    example_from_trace(workshop.train_by_id[found[i].pair_id], found[i], judge=method)
                    for i in ids
                    if i in found
                )
                for reason, ids in facts["shown"].items()
            },
        )


def all_traces(folder: Path) -> Iterable[Trace]:
    """Traces of every complete stage below ``folder``."""
    for file in sorted(folder.glob("*/traces.parquet")):
        yield from read_traces(file)


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


def example_traces(judges: Sequence[Judge], workshop: Workshop) -> tuple[ExampleTrace, ...]:
    """Judgments to read, per judge and test set, right and wrong and without a verdict in turn."""
    limit = workshop.config.evaluation.example_traces
    tests = workshop.splits.test
    shown: list[ExampleTrace] = []
    for judge in judges:
        if judge.form is None or limit == 0:
            continue
        for name, pairs in tests.items():
            decoding = workshop.measurement.decodings(judge)[0]
            by_id = {pair.id: pair for pair in pairs}
            traces = read_traces(workshop.run.path / f"evaluation/{judge.name}/{name}/{decoding}/traces/traces.parquet")
            shown += choose_examples(
                ((by_id[trace.pair_id], trace) for trace in traces),
                judge=judge.name,
                limit=max(1, limit // len(tests)),
                seed=int(content_hash(workshop.seed, judge.name, name, length=8), 16),
                test_set=name,
                decoding=decoding,
            )
    return tuple(shown)
