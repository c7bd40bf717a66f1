"""Bootstrap a generative reward model: sample judgments, select them by the labels, learn, gate, repeat; then measure.

``genrm-rl bootstrap`` and ``jobs/bootstrap_genrm.py``. Every step is a stage of the run, computed once, so a run that
was cut off goes on where it was. One level down: ``genrm_rl/bootstrap/``.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from genrm_rl.bootstrap.learning import LearningStages, opened_stages
from genrm_rl.bootstrap.measuring import measure_all
from genrm_rl.bootstrap.methods import train_other
from genrm_rl.bootstrap.parts import cut_parts
from genrm_rl.bootstrap.preflight import check_settings
from genrm_rl.bootstrap.promotion import Gate
from genrm_rl.bootstrap.run_data import checked_data
from genrm_rl.bootstrap.star import NothingToLearn, learn_from, objective_of, sample_round, warm_started
from genrm_rl.bootstrap.summary import build_report
from genrm_rl.config import ITERATED, Method, RunConfig
from genrm_rl.evaluation.baselines import baseline_suites
from genrm_rl.evaluation.report import print_report, write_report
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge, untrained_judge
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.sources import DataSplits
from genrm_rl.runtime.console import say
from genrm_rl.runtime.run_directory import RunDirectory, check_exists
from placement.room import on_this_machine


def run_bootstrap(config: RunConfig, console: Console, *, must_exist: bool = False, brief: bool = False) -> Path:
    """Run or continue the job; returns its directory. ``brief`` prints the result in sentences, without the table.
    Raises GenRMError before anything expensive if input is bad."""
    if must_exist:
        check_exists(config.run)
    config = on_this_machine(config, console)  # allocate
    check_settings(config)
    model = resolve_model(config.model)
    encoder = JudgeEncoder.from_config(load_tokenizer(model.path), config.judge, config.model.max_context)
    with RunDirectory(config) as run:
        splits, tests = checked_data(run, encoder)
        run.claim()
        say(console, f"run {run.path}{' (continued)' if run.resumed else ''}: {splits.report.describe()}")
        with opened_stages(config, run, encoder, untrained_judge(model.path, "cot"), console) as stages:  # start
            gate = Gate.of(stages, splits.gate)
            judges, notes = train_judges(splits, stages, gate)
            measured = measure_all(judges, splits.test, gate.measurement)  # measure
        baselines, missing = baseline_suites(run, splits.train, tests, seed=config.run.seed)
        report = build_report(measured, baselines, splits, gate.measurement, [*notes, *model.notes, *missing])
        write_report(run.path, report)
        shutil.rmtree(run.path / "work", ignore_errors=True)
    print_report(report, console, brief=brief)
    say(console, f"report: {run.path / 'report.html'}")
    return run.path


def train_judges(splits: DataSplits, stages: LearningStages, gate: Gate) -> tuple[list[Judge], list[str]]:
    """The judges of all methods, and a note for each method that had nothing to learn from: it has no judge and no
    number, the others go on. Raises NothingToLearn if no judge is left."""
    judges, notes = list[Judge](), list[str]()
    for method in stages.config.bootstrap.methods:
        try:
            if method in ITERATED:
                judges.append(run_star(method, splits, stages, gate))
            else:
                judges += train_other(method, splits, stages, gate, judges)
        except NothingToLearn as problem:
            notes.append(str(problem))
            say(stages.engine.console, f"{problem}; the run goes on without it")
    if not judges:
        raise NothingToLearn("; ".join(notes))
    return judges, notes


def run_star(method: Method, splits: DataSplits, stages: LearningStages, gate: Gate) -> Judge:
    """All rounds of one method: the last promoted judge, or the last candidate (marked so) if none was promoted. A
    later round without examples leaves the judge as it is, the first raises NothingToLearn."""
    config, pairs, engine = stages.config.bootstrap, [*splits.train, *splits.tied], stages.engine
    current = candidate = base = warm_started(splits.train, stages) if config.warm_start else engine.base
    for number, part in enumerate(cut_parts(pairs, config.iterations, stages.config.run.seed), start=1):
        folder = f"methods/{method}/round{number}"
        try:
            traces = sample_round(method, number, part, current, engine)  # sample: judgments of the current judge
            examples = learn_from(method, folder, traces, pairs, stages)  # judge: what the labels bear out
        except NothingToLearn as problem:
            if candidate is base:
                raise
            say(engine.console, f"{problem}; the judge of the round before stays")
            continue
        start = current if config.start_from == "latest" else base
        weights = stages.fit_round(folder, method, objective_of(method), examples, start)  # learn
        learned = Judge(method, "generative", weights, f"{method}-{number}", "cot", number)
        candidate = gate.passed(folder, current, learned)  # publish to the engines, measure
        current = candidate if candidate.promoted else current
    return replace(current if current.iteration else candidate, name=method)
