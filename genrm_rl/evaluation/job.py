"""The evaluation job: any judge on any pair files, without a bootstrap run around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from genrm_rl.config import RunConfig
from genrm_rl.errors import JudgeFailure
from genrm_rl.evaluation import view
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.schema import ResultRow
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.types import Form
from genrm_rl.learners.judge_checkpoint import judge_in
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.sources import check_test_sets, load_sources
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.room import check_room
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json


def evaluate_judge(config: RunConfig, judge_name: str, form: Form, console: Console) -> Path:
    """Measure ``llm_judge`` (the untrained model) or a checkpoint directory on ``data.test``.

    Judgments (JSONL), traces (Parquet) and ``results.json`` go to the run directory; the same run id continues. Returns
    that directory. Raises ConfigError without test sets, ModelError for a directory that is no finished checkpoint, and
    JudgeFailure at the end if not one judgment is a verdict.
    """
    check_test_sets(config.data)
    judge = judge_of(config, judge_name, form)
    check_room(config.rollout, config.learner)
    encoder = JudgeEncoder.from_config(load_tokenizer(judge.path), config.judge, config.model.max_context)
    data = config.data.model_copy(update={"train": (), "gate": ()})
    forms: tuple[Form, ...] = (judge.form,) if judge.form else ("direct",)
    with RunDirectory(config) as run:
        splits = load_sources(
            data,
            config.run.seed,
            misfit=lambda pair: encoder.misfit(pair, forms),
            rejects_path=run.path / "rejects_evaluation.jsonl",
        )
        run.claim()
        console.print(f"run {run.path}: {splits.report.describe()}", highlight=False)
        with ray_session(), JudgeEngine(config, run, encoder, judge, console) as engine:
            measurement = Measurement(config, run, encoder, engine)
            rows = [
                summarise(
                    measurement.test_set(judge, name, pairs[: config.evaluation.pairs], decoding),
                    resamples=config.evaluation.bootstrap_resamples,
                    seed=config.run.seed,
                    scoring=config.evaluation.scoring,
                )
                for name, pairs in splits.test.items()
                for decoding in measurement.decodings(judge)
            ]
        write_results(run.path, judge, rows)
    console.print(result_table(rows))
    console.print(f"judgments and results: {run.path}", highlight=False)
    refuse_silence(judge.name, rows, run.path)
    return run.path


def refuse_silence(judge: str, rows: Sequence[ResultRow], directory: Path) -> None:
    """Raise JudgeFailure if not one judgment of any row is a verdict: 0 % would be read as a bad judge."""
    if not rows or any(row.non_verdict_rate < 1 for row in rows):
        return
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in rows[0].non_verdicts.items())
    raise JudgeFailure(
        f"{judge} gave no verdict at all ({kinds}), so these figures say nothing about it; read what it wrote in "
        f"{directory / 'evaluation'}, and choose another judge.template, a longer judge.max_rationale, or "
        "judge.force_verdict true"
    )


def judge_of(config: RunConfig, name: str, form: Form) -> Judge:
    """The judge that a name or a checkpoint directory stands for."""
    if name == "llm_judge":
        return Judge("llm_judge", "generative", resolve_model(config.model).path, "base", form)
    return judge_in(name, config.model, form, untrained="llm_judge")


def write_results(directory: Path, judge: Judge, rows: list[ResultRow]) -> None:
    """``results.json``: the judge and one row per test set and decoding (fields as in the report's results)."""
    write_json(
        directory / "results.json",
        {
            "judge": {
                "name": judge.name,
                "kind": judge.kind,
                "form": judge.form,
                "version": judge.version,
                "path": str(judge.path),
            },
            "results": [row.model_dump(mode="json") for row in rows],
        },
    )


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
