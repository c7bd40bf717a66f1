"""What a loop came to: ``loop.json``, and one self-contained page with links to the reports of its jobs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from rich.table import Table

from genrm_rl.alignment.pooled import read_report
from genrm_rl.closed_loop.judges import UNTRAINED, LoopJudge
from genrm_rl.closed_loop.people import DESK, LABEL_FILE, TASKS
from genrm_rl.closed_loop.preferences import LABELS
from genrm_rl.closed_loop.workbench import Workbench
from genrm_rl.evaluation import view
from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.report import load_report
from genrm_rl.runtime.console import number, people_table
from genrm_rl.runtime.storage import read_json, write_atomic, write_json

SCHEMA_VERSION = 1
REPORT_JSON, REPORT_HTML = "loop.json", "report.html"
STAGES = ("bootstrap", "align", "comparisons", "labels", "judge", "gate")
SHOWN_COMPARISONS = 12


def write_loop_report(bench: Workbench) -> Path:
    """Write both files and print the table; returns the page's path."""
    report = build_loop_report(bench)
    write_json(bench.root / REPORT_JSON, report)
    page = write_atomic(bench.root / REPORT_HTML, render(report, first_comparison(bench)))
    bench.console.print(table(report))
    if report["served"]:
        bench.say(f"serve the judge: {report['served']['command']}")
        style = "red" if report["served"]["probe_gate_passed"] is False else None
        bench.console.print(report["served"]["probe_gate"], style=style, highlight=False, markup=False)
    return page


def build_loop_report(bench: Workbench) -> dict[str, Any]:
    """Everything that the stages recorded, turn by turn, and which judge is served now."""
    turns = [turn_report(bench, turn) for turn in range(1, bench.config.turns + 1) if _begun(bench, turn)]
    provenance = read_json(bench.root / "provenance.json")
    done = bool(turns) and len(turns) == bench.config.turns and "gate" in turns[-1]["stages"]
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "loop",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "status": "finished" if done else "waiting for labels" if turns and turns[-1]["waiting_for"] else "unfinished",
        "served": served(bench, turns),
        "turns": turns,
        "config": bench.config.model_dump(mode="json"),
    }


def turn_report(bench: Workbench, turn: int) -> dict[str, Any]:
    """The stages of a turn with their facts, and what changed: the judge on test sets, the policy on questions."""
    stages = {name: facts for name in STAGES if (facts := _facts(bench, turn, name)) is not None}
    people = bench.config.labels.source == "people"
    waiting = bench.root / f"turn{turn}" / (f"preferences/{DESK}/{TASKS}" if people else LABEL_FILE)
    return {
        "turn": turn,
        "stages": stages,
        "waiting_for": str(waiting) if waiting.is_file() and "labels" not in stages else None,
        "judge": judge_changes(bench, stages["gate"]) if "gate" in stages else [],
        "policy": read_report(bench.root / f"turn{turn}/align")["differences"] if "align" in stages else [],
        "examples": examples(bench, turn) if "labels" in stages else [],
    }


def judge_changes(bench: Workbench, gate: dict[str, Any]) -> list[dict[str, Any]]:
    """Current and new judge on every test set that both were measured on, with the paired difference."""
    current, candidate = gate["parents"]["current"], gate["parents"]["candidate"]
    if not candidate:
        return []
    config, seed, rows = bench.config.judge.evaluation, bench.config.run.seed, []
    judges = [LoopJudge(**facts) for facts in (current, candidate)]
    for source in bench.config.judge.data.test:
        for decoding in config.decoding:
            before, after = (judge.test_records(bench.root, source.label, decoding) for judge in judges)
            if before is None or after is None:
                continue
            difference = compare(after, before, resamples=config.bootstrap_resamples, seed=seed)
            old, new = (
                summarise(records, resamples=config.bootstrap_resamples, seed=seed, by_category=False)
                for records in (before, after)
            )
            rows.append(
                {
                    "set": source.label,
                    "decoding": decoding,
                    "n": new.n,
                    "before": old.accuracy_strict,
                    "after": new.accuracy_strict,
                    "ties": [old.tie_rate, new.tie_rate],
                    "difference": difference and difference.difference,
                    "ci95": difference and list(difference.ci95),
                }
            )
    return rows


def examples(bench: Workbench, turn: int) -> list[dict[str, Any]]:
    """Some comparisons with their labels."""
    lines = (bench.root / f"turn{turn}/preferences/labels" / LABELS).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:SHOWN_COMPARISONS]]


def served(bench: Workbench, turns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The judge that is served now, and the command that serves it; None before the first bootstrap is done."""
    for turn in reversed(turns):
        stages = turn["stages"]
        facts = stages["gate"]["served"] if "gate" in stages else stages.get("bootstrap", {}).get("judge")
        if facts is not None:
            judge = LoopJudge(**facts)
            passed, words = judge.probe_words(bench.root)
            return {
                **facts,
                "command": serve_command(bench, judge),
                "probe_gate_passed": passed,
                "probe_gate": words,
            }
    return None


def serve_command(bench: Workbench, judge: LoopJudge) -> str:
    """The command line that serves a judge of the loop."""
    model, form = bench.config.judge.model, bench.config.judge.judge
    settings = {
        "serving.checkpoint": UNTRAINED if judge.checkpoint is None else bench.root / judge.checkpoint,
        "model.name": model.name,
        "model.max-context": model.max_context,
        "judge.template": form.template,
        "judge.max-rationale": form.max_rationale,
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return shlex.join(["genrm-rl", "serve", *words])


def first_comparison(bench: Workbench) -> Any:
    """The first bootstrap's comparison of judges, if it is done."""
    if not bench.run.done("turn1/stages/bootstrap"):
        return None
    return load_report(bench.root / "turn1/bootstrap")


def render(report: dict[str, Any], bootstrap: Any) -> str:
    """The page; every text of a model or a data set is escaped."""
    return (
        page_environment("genrm_rl.closed_loop")
        .get_template("loop.html.j2")
        .render(
            report=report,
            bootstrap=bootstrap,
            blocks=view.comparison_blocks(bootstrap) if bootstrap else (),
            config_text=json.dumps(report["config"], indent=2, ensure_ascii=False),
        )
    )


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


def _begun(bench: Workbench, turn: int) -> bool:
    return any(_facts(bench, turn, name) is not None for name in STAGES)


def _facts(bench: Workbench, turn: int, name: str) -> dict[str, Any] | None:
    """The facts of a finished stage."""
    folder = "preferences" if name in ("comparisons", "labels") else "stages"
    stage = f"turn{turn}/{folder}/{name}"
    return bench.run.manifest(stage) if bench.run.done(stage) else None
