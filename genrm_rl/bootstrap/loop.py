"""The bootstrap job, top to bottom: data, base judge, methods, measurements, report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.bootstrap.methods import train_judges
from genrm_rl.bootstrap.preflight import check_rounds, check_settings
from genrm_rl.bootstrap.run_data import load_run_data
from genrm_rl.bootstrap.summary import build_report
from genrm_rl.bootstrap.workshop import Workshop
from genrm_rl.config import RunConfig
from genrm_rl.evaluation.baselines import baseline_suites
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.evaluation.probe_gate import probe_gate
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.report import print_report, write_report
from genrm_rl.evaluation.scoring import check_scoring, whole_items
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.learners.probe_record import ProbeRecord, write_record
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.room import on_this_machine
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.tracking import open_sinks


def run_bootstrap(config: RunConfig, console: Console, *, must_exist: bool = False, brief: bool = False) -> Path:
    """Run or continue the job; returns the run directory. ``brief`` prints the result in sentences, without the table.
    Raises GenRMError before anything expensive if input is bad."""
    if must_exist:
        check_exists(config.run)
    config = on_this_machine(config, console)
    check_settings(config)
    model = resolve_model(config.model)
    encoder = JudgeEncoder.from_config(load_tokenizer(model.path), config.judge, config.model.max_context)
    with RunDirectory(config) as run:
        splits = load_run_data(run, misfit(config, encoder))
        check_rounds(config, splits)
        for name, pairs in splits.test.items():
            check_scoring(name, whole_items(pairs, config.evaluation.pairs), config.evaluation.scoring)
        run.claim()
        console.print(
            f"run {run.path}{' (continued)' if run.resumed else ''}: {splits.report.describe()}", highlight=False
        )
        base = Judge("llm_judge", "generative", model.path, "base")
        with (
            ray_session(),
            open_sinks(config.tracking, run.path, config.run.id, config.model_dump(mode="json")) as sink,
            JudgeEngine(config, run, encoder, base, console) as engine,
        ):
            measurement = Measurement(config, run, encoder, engine)
            workshop = Workshop(config, run, console, sink, splits, encoder, engine, measurement, base)
            judges, notes = train_judges(workshop)
            suites, probes = measure_all(judges, workshop)
        tests = {name: whole_items(pairs, config.evaluation.pairs) for name, pairs in splits.test.items()}
        baselines, missing = baseline_suites(run, splits.train, tests, seed=config.run.seed)
        report = build_report(judges, suites, baselines, probes, workshop, [*notes, *model.notes, *missing])
        write_report(run.path, report)
        shutil.rmtree(run.path / "work", ignore_errors=True)
    print_report(report, console, brief=brief)
    console.print(f"report: {run.path / 'report.html'}", highlight=False)
    return run.path


def measure_all(judges: list[Judge], workshop: Workshop) -> tuple[list[list[JudgmentRecord]], dict[str, ProbeRecord]]:
    """Every judge on every test set, with every decoding, the untrained judge first: one row list each. And the trained
    ones at the probe gate."""
    config = workshop.config.evaluation
    suites: list[list[JudgmentRecord]] = []
    probes: dict[str, ProbeRecord] = {}
    for judge in judges:
        for name, pairs in workshop.splits.test.items():
            for decoding in workshop.measurement.decodings(judge):
                suites.append(workshop.measurement.test_set(judge, name, whole_items(pairs, config.pairs), decoding))
            if config.majority_votes > 1 and judge.form == "cot":
                workshop.measurement.majority_set(judge, name, whole_items(pairs, config.majority_pairs))
        record = probe_gate(judge, workshop.splits.test, workshop.measurement) if judge.iteration else None
        if record is not None:
            write_record(judge.path, record)
            probes[judge.name] = record
    return suites, probes


def misfit(config: RunConfig, encoder: JudgeEncoder) -> Any:
    """The check that names rows which do not fit the model's context, for every prompt form that this run uses."""
    forms = ["cot", "direct"]
    told = [method for method in config.bootstrap.methods if "rationalizer" in method or method == "self_distilled"]
    if told or (config.bootstrap.selection.on_all_wrong == "rationalize"):
        forms.append("rationalize")
    return lambda pair: encoder.misfit(pair, tuple(forms))
