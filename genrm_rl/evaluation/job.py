"""The evaluation job: any judge on any pair files, without a bootstrap run around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genrm_rl.config import RunConfig
from genrm_rl.errors import JudgeFailure
from genrm_rl.evaluation import view
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.schema import ResultRow
from genrm_rl.evaluation.scoring import check_scoring, whole_items
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Form
from genrm_rl.learners.checkpoint import judge_hash
from genrm_rl.learners.judge_checkpoint import judge_in
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.sources import check_test_sets, load_sources
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.room import check_room
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json


@dataclass(frozen=True, slots=True)
class Measured:
    """A judge, one row per test set and decoding, and where the run and this judge's results are."""

    judge: Judge
    rows: list[ResultRow]
    run: Path
    folder: Path


def evaluate_judge(config: RunConfig, judge_name: str, form: Form, console: Console) -> Path:
    """:func:`measure_judge`, then print what came out. Returns the run directory. Raises JudgeFailure at the end if not
    one judgment is a verdict."""
    found = measure_judge(config, judge_name, form, console)
    console.print(result_table(found.rows))
    if any(row.benchmark for row in found.rows):
        console.print(benchmark_table(found.rows))
    console.print(f"judgments and results: {found.folder}", highlight=False)
    refuse_silence(found.judge.name, found.rows, found.folder)
    return found.run


def measure_judge(config: RunConfig, judge_name: str, form: Form, console: Console) -> Measured:
    """Measure ``llm_judge`` (the untrained model) or a checkpoint directory on ``data.test``.

    Judgments (JSONL) and traces (Parquet) go to the run directory, kept apart by the judge's files and by what each
    test set holds: the same run id continues, another checkpoint or edited data are measured anew, and another
    ``evaluation.scoring`` scores what was judged without judging again. ``results.json`` has this judge's figures;
    a copy lies beside its judgments. Raises ConfigError without test sets, ModelError for a directory that is no
    finished checkpoint, and DataError for pairs that the scoring rule can't use.
    """
    check_test_sets(config.data)
    judge = judge_of(config, judge_name, form)
    judge = replace(judge, weights=judge_hash(judge.path))
    check_room(config.rollout, config.learner)
    encoder = JudgeEncoder.from_config(load_tokenizer(judge.path), config.judge, config.model.max_context)
    forms: tuple[Form, ...] = (judge.form,) if judge.form else ("direct",)
    with RunDirectory(config) as run:
        splits = load_sources(
            config.data.model_copy(update={"train": (), "gate": ()}),
            config.run.seed,
            misfit=lambda pair: encoder.misfit(pair, forms),
            rejects_path=run.path / "rejects_evaluation.jsonl",
        )
        tests = {name: whole_items(pairs, config.evaluation.pairs) for name, pairs in splits.test.items()}
        for name, pairs in tests.items():
            check_scoring(name, pairs, config.evaluation.scoring)
        run.claim()
        console.print(f"evaluate {judge.name} in {run.path}: {splits.report.describe()}", highlight=False)
        rows = _measure(config, run, encoder, judge, tests, console)
        folder = write_results(run.path, judge, rows)
    return Measured(judge, rows, run.path, folder)


def _measure(
    config: RunConfig,
    run: RunDirectory,
    encoder: JudgeEncoder,
    judge: Judge,
    tests: Mapping[str, Sequence[PreferencePair]],
    console: Console,
) -> list[ResultRow]:
    """One row per test set and decoding. Ray starts only if something has to be judged."""
    with ExitStack() as stack:
        engine = JudgeEngine(config, run, encoder, judge, console)
        measurement = Measurement(config, run, encoder, engine)
        suites = [(name, decoding) for name in tests for decoding in measurement.decodings(judge)]
        if not all(measurement.measured(judge, name, tests[name], decoding) for name, decoding in suites):
            stack.enter_context(ray_session())
        stack.enter_context(engine)
        return [
            summarise(
                measurement.test_set(judge, name, tests[name], decoding),
                resamples=config.evaluation.bootstrap_resamples,
                seed=config.run.seed,
                scoring=config.evaluation.scoring,
            )
            for name, decoding in suites
        ]


def refuse_silence(judge: str, rows: Sequence[ResultRow], directory: Path) -> None:
    """Raise JudgeFailure if not one judgment of any row is a verdict: 0 % would be read as a bad judge."""
    if not rows or any(row.non_verdict_rate < 1 for row in rows):
        return
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in rows[0].non_verdicts.items())
    raise JudgeFailure(
        f"{judge} gave no verdict at all ({kinds}), so these figures say nothing about it; read what it wrote in "
        f"{directory}, and choose another judge.template, a longer judge.max_rationale, or "
        "judge.force_verdict true"
    )


def judge_of(config: RunConfig, name: str, form: Form) -> Judge:
    """The judge that a name or a checkpoint directory stands for."""
    if name == "llm_judge":
        return Judge("llm_judge", "generative", resolve_model(config.model).path, "base", form)
    return judge_in(name, config.model, form, untrained="llm_judge")


def write_results(directory: Path, judge: Judge, rows: list[ResultRow]) -> Path:
    """``results.json``: the judge and one row per test set and decoding (fields as in the report's results), in the run
    directory and beside the judge's judgments. Returns the latter folder."""
    facts = {"name": judge.name, "kind": judge.kind, "form": judge.form, "version": judge.version}
    results = {
        "judge": facts | {"path": str(judge.path), "weights": judge.weights},
        "results": [row.model_dump(mode="json") for row in rows],
    }
    folder = directory / "evaluation" / f"{judge.name}-{judge.weights}"
    for place in (folder, directory):
        write_json(place / "results.json", results)
    return folder


def benchmark_table(rows: list[ResultRow]) -> Table:
    """The benchmark's own score of each row, in percent, for the terminal."""
    table = Table("test set", "decoding", "rule", "score", "sections", "questions left out")
    for row in rows:
        if row.benchmark is not None:
            score = row.benchmark
            sections = ", ".join(f"{name} {view.percent(value)}" for name, value in score.sections.items())
            cells = (score.rule, view.percent(score.overall), sections, str(score.left_out or "-"))
            table.add_row(row.test_set, row.decoding, *cells)
    return table


def result_table(rows: list[ResultRow]) -> Table:
    """The main figures of each row, in percent, for the terminal."""
    columns = ("test set", "decoding", "pairs", "accuracy", "95 %", "of verdicts", "folded", "ties", "consistent")
    table = Table(*columns, "right in both", "no verdict", "ECE")
    for row in rows:
        cells = (row.accuracy_decided, row.accuracy_folded, row.tie_rate, row.consistent, row.right_in_both)
        shown = [view.percent(cell) for cell in (*cells, row.non_verdict_rate, row.ece)]
        accuracy, interval = view.percent(row.accuracy_strict), view.percent_interval(row.ci95)
        table.add_row(row.test_set, row.decoding, str(row.n), accuracy, interval, *shown)
    return table
