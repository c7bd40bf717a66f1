"""What a loop came to: ``loop.json``, and one self-contained page with links to the reports of its jobs."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genrm_rl.alignment.pooled import read_report
from genrm_rl.closed_loop.figures import judge_charts, loop_charts, policy_charts
from genrm_rl.closed_loop.judges import UNTRAINED, LoopJudge
from genrm_rl.closed_loop.labels import LABELS_FILE
from genrm_rl.closed_loop.people import DESK, LABEL_FILE, TASKS
from genrm_rl.config import RunConfig
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.watching import AlarmConfig
from genrm_rl.evaluation import view
from genrm_rl.evaluation.alarms import step_alarms
from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.report import load_report
from genrm_rl.learners.probe_record import read_record
from genrm_rl.runtime.console import number, people_table, say_whole
from genrm_rl.runtime.run_directory import FinishedStages, RunDirectory
from genrm_rl.runtime.storage import read_json, write_atomic, write_json

SCHEMA_VERSION = 1
REPORT_JSON, REPORT_HTML = "loop.json", "report.html"
STAGES = ("bootstrap", "align", "comparisons", "labels", "judge", "gate")
SHOWN_COMPARISONS = 12


def write_loop_report(run: RunDirectory, console: Console) -> Path:
    """Write both files and print the table; returns the page's path."""
    report = build_loop_report(run, run.config)
    write_json(run.path / REPORT_JSON, report)
    page = write_atomic(run.path / REPORT_HTML, render(report, first_comparison(run)))
    console.print(table(report))
    if report["served"]:
        say_whole(console, f"serve the judge: {report['served']['command']}")
        style = "red" if report["served"]["probe_gate_passed"] is False else None
        console.print(report["served"]["probe_gate"], style=style, highlight=False, markup=False)
    return page


def build_loop_report(run: FinishedStages, config: LoopConfig) -> dict[str, Any]:
    """Everything that the stages recorded, turn by turn, and which judge is served now."""
    turns = [turn_report(run, config, turn) for turn in range(1, config.turns + 1) if _begun(run, turn)]
    provenance = read_json(run.path / "provenance.json")
    done = bool(turns) and len(turns) == config.turns and "gate" in turns[-1]["stages"]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "loop",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "status": "finished" if done else "waiting for labels" if turns and turns[-1]["waiting_for"] else "unfinished",
        "served": served(run.path, config, turns),
        "turns": turns,
        "config": config.model_dump(mode="json"),
    }


def turn_report(run: FinishedStages, config: LoopConfig, turn: int) -> dict[str, Any]:
    """The stages of a turn with their facts, and what changed: the judge on test sets, the policy on questions."""
    stages = {name: facts for name in STAGES if (facts := _facts(run, turn, name)) is not None}
    people = config.labels.source == "people"
    waiting = run.path / f"turn{turn}" / (f"preferences/{DESK}/{TASKS}" if people else LABEL_FILE)
    return {
        "turn": turn,
        "stages": stages,
        "waiting_for": str(waiting) if waiting.is_file() and "labels" not in stages else None,
        "judge": judge_changes(run.path, config.judge, stages["gate"]) if "gate" in stages else [],
        **policy_facts(run.path / f"turn{turn}/align", done="align" in stages),
        "examples": examples(run.path, turn) if "labels" in stages else [],
    }


def policy_facts(run: Path, *, done: bool) -> dict[str, Any]:
    """What an alignment measured, step by step; while it goes on, the steps so far."""
    if done:
        report = read_report(run)
        return {
            "policy": report["differences"],
            "steps": report["steps"],
            "masked": report["missing_rewards"].get("by_step", {}),
        }
    steps = [read_json(path) for path in sorted((run / "steps").glob("*/metrics.json"))]
    return {"policy": [], "steps": steps, "masked": {}}


def judge_changes(root: Path, judge: RunConfig, gate: dict[str, Any]) -> list[dict[str, Any]]:
    """Current and new judge on every test set that both were measured on, with the paired difference."""
    current, candidate = gate["parents"]["current"], gate["parents"]["candidate"]
    if not candidate:
        return []
    config, rows = judge.evaluation, []
    judges = [LoopJudge(**facts) for facts in (current, candidate)]
    for source in judge.data.test:
        for decoding in config.decoding:
            before, after = (each.test_records(root, source.label, decoding) for each in judges)
            if before is None or after is None:
                continue
            difference = compare(after, before, resamples=config.bootstrap_resamples, seed=judge.run.seed)
            old, new = (
                summarise(records, resamples=config.bootstrap_resamples, seed=judge.run.seed, by_category=False)
                for records in (before, after)
            )
            rows.append(
                {
                    "set": source.label,
                    "decoding": decoding,
                    "n": new.n,
                    "before": old.accuracy_strict,
                    "after": new.accuracy_strict,
                    "intervals": [list(old.ci95), list(new.ci95)],
                    "ties": [old.tie_rate, new.tie_rate],
                    "difference": difference and difference.difference,
                    "ci95": difference and list(difference.ci95),
                }
            )
    return rows


def examples(root: Path, turn: int) -> list[dict[str, Any]]:
    """Some comparisons with their labels."""
    lines = (root / f"turn{turn}/preferences/labels" / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:SHOWN_COMPARISONS]]


def served(root: Path, config: LoopConfig, turns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The judge that is served now, and the command that serves it; None before the first bootstrap is done."""
    for turn in reversed(turns):
        stages = turn["stages"]
        facts = stages["gate"]["served"] if "gate" in stages else stages.get("bootstrap", {}).get("judge")
        if facts is not None:
            judge = LoopJudge(**facts)
            passed, words = judge.probe_words(root)
            record = None if judge.checkpoint is None else read_record(root / judge.checkpoint)
            return {
                **facts,
                "probes": None if record is None else asdict(record),
                "calibration": calibration(root, judge),
                "command": serve_command(root, config, judge),
                "probe_gate_passed": passed,
                "probe_gate": words,
            }
    return None


def calibration(root: Path, judge: LoopJudge) -> dict[str, list[tuple[float, float]]]:
    """(stated P(A), share of A) in bins by test set and decoding, as the run that made the judge measured it."""
    if not (root / judge.run / "report.json").is_file():
        return {}
    return {
        f"{row.test_set}, {row.decoding}": [
            (each.mean_p, each.share_a)
            for each in row.calibration
            if each.mean_p is not None and each.share_a is not None
        ]
        for row in load_report(root / judge.run).results
        if row.judge == judge.name and row.calibration
    }


def serve_command(root: Path, config: LoopConfig, judge: LoopJudge) -> str:
    """The command line that serves a judge of the loop."""
    model, form = config.judge.model, config.judge.judge
    settings = {
        "serving.checkpoint": UNTRAINED if judge.checkpoint is None else root / judge.checkpoint,
        "model.name": model.name,
        "model.max-context": model.max_context,
        "judge.template": form.template,
        "judge.max-rationale": form.max_rationale,
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return shlex.join(["genrm-rl", "serve", *words])


def first_comparison(run: FinishedStages) -> Any:
    """The first bootstrap's comparison of judges, if it is done."""
    if not run.done("turn1/stages/bootstrap"):
        return None
    return load_report(run.path / "turn1/bootstrap")


def render(report: dict[str, Any], bootstrap: Any, limits: AlarmConfig | None = None) -> str:
    """The page; every text of a model or a data set is escaped. ``limits``: from where on something is an alarm."""
    return (
        page_environment("genrm_rl.closed_loop")
        .get_template("loop.html.j2")
        .render(
            report=report,
            bootstrap=bootstrap,
            blocks=view.comparison_blocks(bootstrap) if bootstrap else (),
            sentences=[sentence(turn, report) for turn in reversed(report["turns"])],
            alarms=alarms(report, limits or AlarmConfig()),
            judge_charts=judge_charts(report, bootstrap),
            policy_charts=policy_charts(report),
            loop_charts=loop_charts(report),
        )
    )


def sentence(turn: dict[str, Any], report: dict[str, Any]) -> str:
    """What happened in a turn, and whether policy and judge are better than before."""
    parts = []
    if turn["policy"]:
        rows = [f"{row['set']}, {row['decoding']}: {view.change_of(row)}" for row in turn["policy"]]
        ways = view.verdict([row["ci95"] for row in turn["policy"]])
        parts.append(f"the policy is {ways} (right answers on {'; '.join(rows)})")
    gate = turn["stages"].get("gate")
    if gate is not None and gate.get("difference") is not None:
        served = "is served" if gate["promoted"] else "is not served"
        parts.append(
            f"the new judge is {view.verdict([gate['difference_ci95']])} and {served} (right judgments on "
            f"{gate['pairs']} gate pairs: "
            f"{view.change(*gate['accuracy'], gate['difference'], gate['difference_ci95'])})"
        )
    elif gate is not None:
        parts.append(f"the judge stays as it is: {gate['reason']}")
    if not parts:
        last = next(reversed(turn["stages"]), "nothing")
        parts.append(f"{last.replace('_', ' ')} is finished, and nothing was compared yet")
    return f"Turn {turn['turn']} of {report['config']['turns']}: {'; '.join(parts)}."


def alarms(report: dict[str, Any], config: AlarmConfig) -> list[str]:
    """What is wrong: the served judge's probe gate, and the steps of the last alignment."""
    found = (
        [report["served"]["probe_gate"]] if report["served"] and report["served"]["probe_gate_passed"] is False else []
    )
    turns = [turn for turn in report["turns"] if turn["steps"]]
    return [*found, *(step_alarms(turns[-1]["steps"], config) if turns else [])]


def table(report: dict[str, Any]) -> Table:
    """What changed in each turn, for the terminal."""
    numbers = [number(name) for name in ("before", "after", "difference [95 %]", "ties")]
    grid = people_table("", *numbers, title="The loop, right answers in %")
    for turn in report["turns"]:
        for what in ("policy", "judge"):
            if turn[what]:
                grid.add_row(f"turn {turn['turn']}, {what}")
            for row in turn[what]:
                grid.add_row(
                    f"  {row['set']}, {row['decoding']}",
                    view.percent(row["before"]),
                    view.percent(row["after"]),
                    view.difference(row["difference"], row["ci95"]),
                    " to ".join(view.percent(value) for value in row.get("ties", ())),
                )
    return grid


def _begun(run: FinishedStages, turn: int) -> bool:
    return (run.path / f"turn{turn}").is_dir()


def _facts(run: FinishedStages, turn: int, name: str) -> dict[str, Any] | None:
    """The facts of a finished stage."""
    folder = "preferences" if name in ("comparisons", "labels") else "stages"
    stage = f"turn{turn}/{folder}/{name}"
    return run.manifest(stage) if run.done(stage) else None
