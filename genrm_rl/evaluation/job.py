"""The evaluation job: any judge on any pair files, without a bootstrap run around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genrm_rl.config import RunConfig
from genrm_rl.errors import DataError, JudgeFailure
from genrm_rl.evaluation import view
from genrm_rl.evaluation.baselines import INFOS, baseline_suites
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.headline import not_beaten
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.probe_gate import probe_gate, probe_rows, probes_for
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import DifferenceRow
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.scoring import check_scoring, whole_items
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge, untrained_judge
from genrm_rl.judging.types import Asked, Form
from genrm_rl.learners.checkpoint import judge_hash
from genrm_rl.learners.judge_checkpoint import judge_in
from genrm_rl.learners.probe_record import ProbeRecord, write_record
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.sources import DataSplits, Misfit, check_test_sets, load_sources
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.console import number, people_table
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json
from placement.room import check_room

WIDE, NARROW = 130, 5  # characters from which all columns fit, and how many of them do in 80


@dataclass(frozen=True, slots=True)
class Measured:
    """A judge, one row per test set and decoding, where the run and this judge's results are, the rows of the
    baselines, the differences of the judge to them, notes on what could not be measured, and its probe gate."""

    judge: Judge
    rows: list[ResultRow]
    run: Path
    folder: Path
    baselines: list[ResultRow]
    differences: list[DifferenceRow]
    notes: list[str]
    probes: ProbeRecord | None = None


def measure_judge(
    config: RunConfig, judge_name: str, form: Asked, console: Console, *, probe: bool = False
) -> Measured:
    """Measure ``llm_judge`` (the untrained model) or a checkpoint directory on ``data.test``.

    Judgments (JSONL) and traces (Parquet) go to the run directory, kept apart by the judge's files and by what each
    test set holds: the same run id continues, another checkpoint or edited data are measured anew, and another
    ``evaluation.scoring`` scores what was judged without judging again. ``results.json`` has this judge's figures;
    a copy lies beside its judgments. With ``probe`` the judge goes through the probe gate too, whose record is kept
    beside its checkpoint. Raises ConfigError without test sets, ModelError for a directory that is no
    finished checkpoint, and DataError for pairs that the scoring rule can't use.
    """
    check_test_sets(config.data)
    judge = judge_of(config, judge_name, form)
    judge = replace(judge, weights=judge_hash(judge.path))
    check_room(config.rollout, config.learner)
    encoder = JudgeEncoder.from_config(load_tokenizer(judge.path), config.judge, config.model.max_context)
    if judge.kind == "points":
        _ = encoder.points  # whether the tokenizer can write them
    forms: tuple[Form, ...] = (judge.form,) if judge.form else ("direct",)
    with RunDirectory(config) as run:
        splits, notes = _load(config, lambda pair: encoder.misfit(pair, forms), run.path / "rejects_evaluation.jsonl")
        tests = {name: whole_items(pairs, config.evaluation.pairs) for name, pairs in splits.test.items()}
        for name, pairs in tests.items():
            check_scoring(name, pairs, config.evaluation.scoring)
        run.claim()
        console.print(f"evaluate {judge.name} in {run.path}: {splits.report.describe()}", highlight=False)
        suites, probes = _measure(config, run, encoder, judge, tests, console, probe=probe)
        beside, missing = baseline_suites(run, splits.train, tests, seed=config.run.seed, apart=True)
        figures = {"resamples": config.evaluation.bootstrap_resamples, "seed": config.run.seed}
        rows, baselines = (
            [summarise(records, scoring=config.evaluation.scoring, **figures) for records in some]
            for some in (suites, beside)
        )
        differences = [row for row in compare_all([*beside, *suites], **figures) if row.judge == judge.name]
        folder = write_results(run.path, judge, rows, baselines, differences, probes)
        if probes is not None:
            missing += _keep(judge, probes)
    return Measured(judge, rows, run.path, folder, baselines, differences, [*notes, *missing], probes)


def _keep(judge: Judge, probes: ProbeRecord) -> list[str]:
    """Put the record of the probe gate beside the checkpoint; a note where that is not allowed."""
    try:
        write_record(judge.path, probes)
    except OSError as problem:
        return [f"the record of the probe gate can't be kept beside {judge.path} ({problem.strerror})"]
    return []


def _load(config: RunConfig, misfit: Misfit, rejects: Path) -> tuple[DataSplits, list[str]]:
    """Test sets, and the training pairs of the configuration for the lexical baseline. Where these can't be read, the
    judge is measured all the same, and a note says why it has one baseline less."""
    if config.data.train:
        try:
            return load_sources(config.data, config.run.seed, misfit=misfit, rejects_path=rejects), []
        except DataError as problem:
            note = [f"the training pairs can't be read: {problem}"]
    else:
        note = []
    tests_only = config.data.model_copy(update={"train": (), "gate": ()})
    return load_sources(tests_only, config.run.seed, misfit=misfit, rejects_path=rejects), note


def _measure(
    config: RunConfig,
    run: RunDirectory,
    encoder: JudgeEncoder,
    judge: Judge,
    tests: Mapping[str, Sequence[PreferencePair]],
    console: Console,
    *,
    probe: bool,
) -> tuple[list[list[JudgmentRecord]], ProbeRecord | None]:
    """Judgments per test set and decoding, and the probe gate. Ray starts only if something has to be judged."""
    with ExitStack() as stack:
        engine = JudgeEngine(config, run, encoder, judge, console)
        measurement = Measurement(config, run, encoder, engine)
        suites = [(name, decoding) for name in tests for decoding in measurement.decodings(judge)]
        done = all(measurement.measured(judge, name, tests[name], decoding) for name, decoding in suites)
        if not done or (probe and not measurement.probed(judge, probes_for(judge, tests, measurement))):
            stack.enter_context(ray_session())
        stack.enter_context(engine)
        records = [measurement.test_set(judge, name, tests[name], decoding) for name, decoding in suites]
        return records, probe_gate(judge, tests, measurement) if probe else None


def unbeaten_baselines(found: Measured) -> list[str]:
    """One sentence per baseline that the judge does not beat on every test set."""

    def place(row: DifferenceRow) -> str:
        return f"{row.test_set} {row.decoding} {view.points(row.difference)}"

    sentences = (
        not_beaten(
            found.judge.name,
            f"the {info.label.lower()}",
            [row for row in found.differences if row.baseline == info.name],
            place,
        )
        for info in INFOS
    )
    return [sentence for sentence in sentences if sentence]


def refuse_silence(judge: str, rows: Sequence[ResultRow], directory: Path) -> None:
    """Raise JudgeFailure if not one judgment of any row is a verdict: 0 % would be read as a bad judge."""
    if not rows or any(row.non_verdict_rate < 1 for row in rows):
        return
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in rows[0].non_verdicts.items())
    raise JudgeFailure(
        f"{judge} gave no verdict at all ({kinds}), so these figures say nothing about it; read what it wrote in "
        f"{directory}, and choose another judge.template, a longer judge.max_rationale or judge.max_thinking, or "
        "judge.force_verdict true"
    )


def judge_of(config: RunConfig, name: str, form: Asked) -> Judge:
    """The judge that a name or a checkpoint directory stands for."""
    if name == "llm_judge":
        return untrained_judge(resolve_model(config.model).path, form)
    return judge_in(name, config.model, form, untrained="llm_judge")


def write_results(
    directory: Path,
    judge: Judge,
    rows: list[ResultRow],
    baselines: list[ResultRow],
    differences: list[DifferenceRow],
    probes: ProbeRecord | None,
) -> Path:
    """``results.json``: the judge and one row per test set and decoding, the same of both baselines, the judge's paired
    differences to them and its probe gate (fields as in the report), in the run directory and beside the judge's
    judgments. Returns the latter folder."""
    facts = {"name": judge.name, "kind": judge.kind, "form": judge.form, "version": judge.version}
    results = {
        "judge": facts | {"path": str(judge.path), "weights": judge.weights},
        "results": [row.model_dump(mode="json") for row in rows],
        "baselines": [row.model_dump(mode="json") for row in baselines],
        "differences": [row.model_dump(mode="json") for row in differences],
        "probes": [row.model_dump(mode="json") for row in probe_rows(judge.name, probes)] if probes else [],
    }
    folder = directory / "evaluation" / f"{judge.name}-{judge.weights}"
    for place in (folder, directory):
        write_json(place / "results.json", results)
    return folder


def benchmark_table(rows: list[ResultRow]) -> Table:
    """The benchmark's own score of each row, in percent, for the terminal."""
    table = people_table("test set", "decoding", "rule", number("score"), "sections", "left out")
    for row in rows:
        if row.benchmark is not None:
            score = row.benchmark
            sections = ", ".join(f"{name} {view.percent(value)}" for name, value in score.sections.items())
            cells = (score.rule, view.percent(score.overall), sections, str(score.left_out or "-"))
            table.add_row(row.test_set, row.decoding, *cells)
    return table


def result_table(rows: list[ResultRow], width: int) -> Table:
    """The main figures of each row, in percent, for a terminal of ``width`` characters: a narrow one shows fewer."""
    every = ("pairs", "accuracy", "95 %", "ties", "folded", "no verdict", "of verdicts", "consistent", "in both", "ECE")
    columns = every if width >= WIDE else every[:NARROW]
    table = people_table("judge", "test set, decoding", *map(number, columns))
    for row in rows:
        cells = (row.tie_rate, row.accuracy_folded, row.non_verdict_rate, row.accuracy_decided, row.consistent)
        shown = [view.percent(cell) for cell in (*cells, row.right_in_both, row.ece)]
        accuracy, interval = view.percent(row.accuracy_strict), view.percent_interval(row.ci95)
        numbers = [str(row.n), accuracy, interval, *shown][: len(columns)]
        table.add_row(row.judge, f"{row.test_set}, {row.decoding}", *numbers)
    return table
