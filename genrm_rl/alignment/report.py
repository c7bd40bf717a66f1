"""What an alignment run came to: ``report.json``, and one self-contained page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from genrm_rl.alignment.figures import gold_figure, step_figure
from genrm_rl.alignment.lost import finished_rollouts
from genrm_rl.alignment.measure import ANSWERS_FILE
from genrm_rl.alignment.rollouts import ANSWERS_FILE as ROLLOUT_ANSWERS
from genrm_rl.alignment.rollouts import read_rollout
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.evaluation import view
from genrm_rl.evaluation.intervals import paired_difference
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.runtime.console import number, people_table
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest, write_atomic, write_json

SCHEMA_VERSION = 1
SHOWN_GROUPS = 12


def write_align_report(run: RunDirectory, config: AlignConfig, console: Console) -> Path:
    """Write both files and print the table; returns the page's path."""
    report = build_align_report(run, config)
    write_json(run.path / "report.json", report)
    page = write_atomic(run.path / "report.html", render(report))
    console.print(table(report))
    return page


def build_align_report(run: RunDirectory, config: AlignConfig) -> dict[str, Any]:
    """Everything that the page shows: measurements, differences to the start, steps, time, probes, examples."""
    steps = [read_json(path) for path in sorted((run.path / "steps").glob("*/metrics.json"))]
    measured = [read_manifest(path.parent) for path in sorted((run.path / "evaluation").glob("*/*/*/_COMPLETE.json"))]
    probes = [read_manifest(path.parent) for path in sorted((run.path / "evaluation").glob("*/probes/_COMPLETE.json"))]
    last = max((row["step"] for row in measured), default=0)
    provenance = read_json(run.path / "provenance.json")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "alignment",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "method": config.method if config.method == "dpo" else config.ppo.advantage,
        "reward": "verifier" if config.reward.source == "verifier" else config.serving.checkpoint,
        "prompts": read_json(path) if (path := run.path / "prompts.json").is_file() else None,
        "steps": steps,
        "evaluation": [_plain(row) for row in measured],
        "differences": differences(run, config, measured, last),
        "probes": [_plain(row) for row in probes],
        "time": time_shares(steps),
        "missing_rewards": missing_rewards(run),
        "learning": learning(steps),
        "examples": examples(run, steps),
        "reward_client": read_json(path) if (path := run.path / "reward_client.json").is_file() else None,
        "config": config.model_dump(mode="json"),
    }


def differences(
    run: RunDirectory, config: AlignConfig, measured: Sequence[dict[str, Any]], last: int
) -> list[dict[str, Any]]:
    """Gold accuracy of the final policy minus that of the start, on the same questions, with 95 % intervals."""
    rows = []
    for row in measured:
        if row["step"] != last or last == 0 or row["gold_accuracy"] is None:
            continue
        after, before = (_right(run, step, row["set"], row["decoding"]) for step in (last, 0))
        ones = [1.0] * len(after)
        difference, interval = paired_difference(
            after, ones, before, ones, resamples=config.evaluation.bootstrap_resamples, seed=config.run.seed
        )
        start = next(r for r in measured if (r["step"], r["set"], r["decoding"]) == (0, row["set"], row["decoding"]))
        rows.append(
            {
                "set": row["set"],
                "decoding": row["decoding"],
                "n": len(after),
                "before": start["gold_accuracy"],
                "after": row["gold_accuracy"],
                "difference": difference,
                "ci95": list(interval),
                "by_family": {family: value - start["by_family"][family] for family, value in row["by_family"].items()},
                "cue_before": start["cue_share"],
                "cue_after": row["cue_share"],
            }
        )
    return rows


def missing_rewards(run: RunDirectory) -> dict[str, Any]:
    """Answers of all steps, how many of them have no reward by reason, and the step that lost most."""
    facts = [(int(folder.parent.name), read_manifest(folder)) for folder in finished_rollouts(run)]
    reasons: Counter[str] = Counter()
    for _, row in facts:
        reasons.update(row["masked"])
    worst = max(facts, key=lambda fact: sum(fact[1]["masked"].values()) / max(1, fact[1]["answers"]), default=None)
    return {
        "answers": sum(row["answers"] for _, row in facts),
        "by_reason": dict(reasons.most_common()),
        "worst_step": None if worst is None else worst[0] + 1,
        "worst_share": None if worst is None else sum(worst[1]["masked"].values()) / max(1, worst[1]["answers"]),
    }


def learning(steps: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many optimizer updates were skipped because they were not finite, and how many steps learned nothing."""
    return {
        "skipped_updates": int(sum(step.get("train/skipped_updates") or 0 for step in steps)),
        "empty_steps": int(sum(step.get("train/empty") or 0 for step in steps)),
    }


def time_shares(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of all step seconds by what they were spent on."""
    names = ("generate", "judge", "train", "publish", "other")
    sums = {name: sum(step.get(f"seconds/{name}", 0.0) or 0.0 for step in steps) for name in names}
    total = sum(step.get("seconds/step", 0.0) for step in steps)
    return {name: value / total for name, value in sums.items() if total}


def examples(run: RunDirectory, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of the last step: answers, rewards, and the judgments behind them."""
    found = sorted((run.path / "steps").glob(f"*/rollout/{ROLLOUT_ANSWERS}"))
    if not found or not is_complete(found[-1].parent):
        return []
    rollout = read_rollout(found[-1].parent, read_manifest(found[-1].parent))
    judgments = {judgment["id"]: judgment for judgment in rollout.judgments}
    shown = []
    for group in rollout.groups[:SHOWN_GROUPS]:
        ids = dict.fromkeys(identifier for judged in group for identifier in judged.record.judgments)
        shown.append(
            {
                "answers": [
                    {"text": judged.answer.text, "reward": judged.record.reward, "mask": judged.record.mask}
                    for judged in group
                ],
                "judgments": [judgments[identifier] for identifier in ids if identifier in judgments],
            }
        )
    return shown


def render(report: dict[str, Any]) -> str:
    """The page; every text of a model or a data set is escaped."""
    figures = [
        figure
        for figure in (
            gold_figure(report),
            step_figure(report, "reward/length_correlation", "reward and length, correlation"),
            step_figure(report, "train/kl_reference", "KL to the start, nats per token (k3)"),
            step_figure(report, "train/entropy", "entropy of the policy, nats per token"),
            step_figure(report, "rollout/tokens_mean", "tokens per answer"),
            step_figure(report, "rollout/truncated_share", "share of the answers that were cut off")
            if any(row.get("rollout/truncated_share") for row in report["steps"])
            else None,
            step_figure(report, "reward/spread_share", "share of the groups with different rewards"),
            step_figure(report, "reward/masked_share", "share of the answers without a reward")
            if report["missing_rewards"]["by_reason"]
            else None,
            step_figure(report, "rollout/staleness_steps", "updates that the tokens' weights were behind, mean")
            if report["config"]["ppo"]["staleness"]
            else None,
        )
        if figure
    ]
    return (
        page_environment("genrm_rl.alignment")
        .get_template("align.html.j2")
        .render(
            report=report,
            figures=[Markup(figure) for figure in figures],
            config_text=json.dumps(report["config"], indent=2, ensure_ascii=False),
        )
    )


def table(report: dict[str, Any]) -> Table:
    """Before and after on every set, for the terminal."""
    numbers = [number(name) for name in ("before", "after", "difference [95 %]", "KL nats")]
    grid = people_table("gold accuracy, %", *numbers)
    kl = {(row["set"], row["decoding"]): row["kl_nats"] for row in report["evaluation"]}
    for row in report["differences"]:
        grid.add_row(
            f"{row['set']}, {row['decoding']}",
            view.percent(row["before"]),
            view.percent(row["after"]),
            view.difference(row["difference"], row["ci95"]),
            view.decimals(kl[row["set"], row["decoding"]]),
        )
    return grid


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A stage's facts without its bookkeeping."""
    return {key: value for key, value in row.items() if key not in ("stage", "config_hash", "seed", "seconds")}


def _right(run: RunDirectory, step: int, name: str, decoding: str) -> list[float]:
    path = run.path / f"evaluation/{step:05d}/{name}/{decoding}/{ANSWERS_FILE}"
    return [float(json.loads(line)["right"]) for line in path.read_text(encoding="utf-8").splitlines()]
