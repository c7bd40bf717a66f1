"""Bootstrap a generative reward model: sample judgments, select them by the labels, learn, gate, repeat; then measure.

``genrm-rl bootstrap`` and ``jobs/bootstrap_genrm.py``. Every step is a stage of the run, computed once, so a run that
was cut off goes on where it was. One level down: ``genrm_rl/bootstrap/``.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from genrm_rl.bootstrap.measuring import measure_all
from genrm_rl.bootstrap.methods import train_other
from genrm_rl.bootstrap.parts import cut_parts
from genrm_rl.bootstrap.preflight import check_settings
from genrm_rl.bootstrap.run_data import checked_data
from genrm_rl.bootstrap.star import NothingToLearn, learn_from, objective_of, pass_gate, sample_round, warm_started
from genrm_rl.bootstrap.summary import build_report
from genrm_rl.bootstrap.workshop import Workshop, opened_workshop
from genrm_rl.config import ITERATED, Method, RunConfig
from genrm_rl.evaluation.baselines import baseline_suites
from genrm_rl.evaluation.report import print_report, write_report
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.models import load_tokenizer, resolve_model
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
        where = f"run {run.path}{' (continued)' if run.resumed else ''}"
        console.print(f"{where}: {splits.report.describe()}", highlight=False)
        base = Judge("llm_judge", "generative", model.path, "base")
        with opened_workshop(config, run, console, splits, encoder, base) as workshop:  # start
            judges, notes = train_judges(workshop)
            suites, probes = measure_all(judges, workshop)  # measure
        baselines, missing = baseline_suites(run, splits.train, tests, seed=config.run.seed)
        report = build_report(judges, suites, baselines, probes, workshop, [*notes, *model.notes, *missing])
        write_report(run.path, report)
        shutil.rmtree(run.path / "work", ignore_errors=True)
    print_report(report, console, brief=brief)
    console.print(f"report: {run.path / 'report.html'}", highlight=False)
    return run.path


def train_judges(workshop: Workshop) -> tuple[list[Judge], list[str]]:
    """The judges of all methods, and a note for each method that had nothing to learn from: it has no judge and no
    number, the others go on. Raises NothingToLearn if no judge is left."""
    judges, notes = list[Judge](), list[str]()
    for method in workshop.config.bootstrap.methods:
        try:
            if method in ITERATED:
                judges.append(run_star(method, workshop))
            else:
                judges += train_other(method, workshop, judges)
        except NothingToLearn as problem:
            notes.append(str(problem))
            workshop.say(f"{problem}; the run goes on without it")
    if not judges:
        raise NothingToLearn("; ".join(notes))
    return judges, notes


def run_star(method: Method, workshop: Workshop) -> Judge:
    """All rounds of one method: the last promoted judge, or the last candidate (marked so) if none was promoted. A
    later round without examples leaves the judge as it is, the first raises NothingToLearn."""
    config = workshop.config.bootstrap
    current = candidate = base = warm_started(workshop) if config.warm_start else workshop.base
    pairs = [*workshop.splits.train, *workshop.splits.tied]
    for number, part in enumerate(cut_parts(pairs, config.iterations, workshop.seed), start=1):
        folder = f"methods/{method}/round{number}"
        try:
            traces = sample_round(method, number, part, current, workshop)  # sample: judgments of the current judge
            examples = learn_from(method, folder, traces, workshop)  # judge: what the labels bear out
        except NothingToLearn as problem:
            if candidate is base:
                raise
            workshop.say(f"{problem}; the judge of the round before stays")
            continue
        start, objective = current if config.start_from == "latest" else base, objective_of(method)
        checkpoint = workshop.fit_stage(f"{folder}/checkpoint", method, objective, examples, start)  # learn
        candidate = Judge(method, "generative", checkpoint, f"{method}-{number}", "cot", number)
        candidate = pass_gate(folder, current, candidate, workshop)  # publish to the engines, measure
        if candidate.promoted:
            current = candidate
    return replace(current if current.iteration else candidate, name=method)
