"""From the stages of a run to its report: only reads what the stages recorded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from genrm_rl.bootstrap.fit_curves import fit_curves
from genrm_rl.bootstrap.measuring import Measured
from genrm_rl.bootstrap.stage_rows import data_rows, gate_rows, stage_rows, sync_rows
from genrm_rl.config import RunConfig
from genrm_rl.evaluation.baselines import INFOS, baseline_infos
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.examples import choose_examples, example_from_trace
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.paper import PAPER_ROWS
from genrm_rl.evaluation.probe_gate import probe_rows
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import (
    ExampleTrace,
    JudgeInfo,
    Machine,
    Report,
    RunInfo,
    SelectionRow,
    TestSetInfo,
)
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.scoring import whole_items
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.sources import DataSplits
from genrm_rl.preferences.types import PreferencePair, content_hash
from genrm_rl.rollout.trace_store import read_traces
from genrm_rl.runtime.storage import read_json, read_manifest

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
Tests = Mapping[str, Sequence[PreferencePair]]


def build_report(
    measured: Measured,
    baselines: Sequence[Sequence[JudgmentRecord]],
    splits: DataSplits,
    measurement: Measurement,
    notes: Iterable[str] = (),
) -> Report:
    """Everything that the run measured, as one validated document. ``baselines`` are the rows of what the judges have
    to beat."""
    config, run, judges = measurement.config, measurement.run, measured.judges
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
        test_sets=tuple(test_set_info(name, pairs, config) for name, pairs in splits.test.items()),
        results=result_rows(judges, [*measured.suites, *baselines], splits.test, measurement),
        differences=compare_all([*baselines, *measured.suites], resamples=resamples, seed=config.run.seed),
        probes=tuple(row for name, record in measured.probes.items() for row in probe_rows(name, record)),
        learning_curve=tuple(gate_rows(run.path)),
        fit_curves=tuple(fit_curves(run.path)),
        selection=tuple(selection_rows(run.path, {pair.id: pair for pair in (*splits.train, *splits.tied)})),
        stages=tuple(stage_rows(run.path)),
        data=tuple(data_rows(splits.report)),
        sync=tuple(sync_rows(run.path)),
        traces=example_traces(judges, splits.test, measurement),
        paper=PAPER_ROWS,
        notes=tuple(notes),
    )


def result_rows(
    judges: Sequence[Judge], suites: Sequence[Sequence[JudgmentRecord]], tests: Tests, measurement: Measurement
) -> tuple[ResultRow, ...]:
    """Metrics per judge, test set and decoding; the maj@k curve hangs on the sampled row."""
    config, seed = measurement.config.evaluation, measurement.config.run.seed
    by_name = {judge.name: judge for judge in judges}
    rows = []
    for records in suites:
        row = summarise(records, resamples=config.bootstrap_resamples, seed=seed, scoring=config.scoring)
        judge = by_name.get(row.judge)
        if judge is not None and row.decoding == "sampled" and config.majority_votes > 1 and judge.form == "cot":
            asked = whole_items(tests[row.test_set], config.majority_pairs)
            voted = measurement.majority_set(judge, row.test_set, asked)
            curve = summarise(voted, resamples=config.bootstrap_resamples, seed=seed, by_category=False).majority_curve
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


def test_set_info(name: str, pairs: Sequence[PreferencePair], config: RunConfig) -> TestSetInfo:
    """A test set; it is in distribution if training pairs come from the same source or world set."""
    source = next(source for source in config.data.test if source.label == name)
    trained = {Path(item.path).parent if item.path else None for item in config.data.train} - {None}
    if source.world is not None:
        inside = source.world in IN_DISTRIBUTION
    else:
        inside = Path(str(source.path)).parent in trained and str(Path(str(source.path)).parent) != "."
    pairs = whole_items(pairs, config.evaluation.pairs)
    return TestSetInfo(
        name=name,
        pairs=len(pairs),
        distribution="in" if inside else "out",
        label_source=", ".join(sorted({pair.label_source for pair in pairs})),
    )


def selection_rows(run: Path, pairs: Mapping[str, PreferencePair]) -> Iterable[SelectionRow]:
    """What became of the sampled traces of each round, with a few to read. ``pairs``: all that were learned from, by
    id."""
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
                    example_from_trace(pairs[found[i].pair_id], found[i], judge=method) for i in ids if i in found
                )
                for reason, ids in facts["shown"].items()
            },
        )


def all_traces(folder: Path) -> Iterable[Trace]:
    """Traces of every complete stage below ``folder``."""
    for file in sorted(folder.glob("*/traces.parquet")):
        yield from read_traces(file)


def example_traces(judges: Sequence[Judge], tests: Tests, measurement: Measurement) -> tuple[ExampleTrace, ...]:
    """Judgments to read, per judge and test set, right and wrong and without a verdict in turn."""
    limit, run = measurement.config.evaluation.example_traces, measurement.run.path
    shown: list[ExampleTrace] = []
    for judge in judges:
        if judge.form is None or limit == 0:
            continue
        for name, pairs in tests.items():
            decoding = measurement.decodings(judge)[0]
            by_id = {pair.id: pair for pair in pairs}
            traces = read_traces(run / f"evaluation/{judge.name}/{name}/{decoding}/traces/traces.parquet")
            shown += choose_examples(
                ((by_id[trace.pair_id], trace) for trace in traces),
                judge=judge.name,
                limit=max(1, limit // len(tests)),
                seed=int(content_hash(measurement.config.run.seed, judge.name, name, length=8), 16),
                test_set=name,
                decoding=decoding,
            )
    return tuple(shown)
