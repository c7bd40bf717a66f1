"""What an agents' run came to: ``report.json``, and one self-contained page with episodes to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from genrm_rl.agents.episodes import AgentEpisode, read_episodes
from genrm_rl.agents.judging import judged_rows
from genrm_rl.agents.playing import EPISODES_FILE
from genrm_rl.agents.step_marks import marked_steps
from genrm_rl.config.agents import AgentConfig
from genrm_rl.evaluation import view
from genrm_rl.evaluation.intervals import paired_difference
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.play import share
from genrm_rl.evaluation.plots import line_figure
from genrm_rl.runtime.console import people_table
from genrm_rl.runtime.storage import is_complete, read_json, write_atomic, write_json

SCHEMA_VERSION = 1
SHOWN_EPISODES = 12
CURVES = {
    "reward/mean": "reward, mean over episodes",
    "rollout/format": "share of the turns that follow the grammar",
    "rollout/turns": "turns per episode",
    "rollout/tokens": "sampled tokens per episode",
    "reward/groups_with_spread": "share of the tasks whose episodes have different rewards",
    "reward/masked": "episodes without a reward",
    "train/kl_reference": "KL to the start, nats per token (k3)",
    "train/entropy": "entropy of the policy, nats per token",
}
PARTS = {"reward/outcome": "outcome", "reward/judge": "trajectory judge", "reward/steps": "steps, mean mark"}


def write_agent_report(folder: Path, config: AgentConfig, console: Console) -> Path:
    """Write both files and print the table; returns the page's path."""
    report = build_agent_report(folder, config)
    write_json(folder / "report.json", report)
    page = write_atomic(folder / "report.html", render(report))
    console.print(table(report))
    return page


def build_agent_report(folder: Path, config: AgentConfig) -> dict[str, Any]:
    """Everything that the page shows."""
    steps = [read_json(path) for path in sorted((folder / "steps").glob("*/metrics.json"))]
    provenance = read_json(folder / "provenance.json")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "agent",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "environment": config.tasks.environment,
        "steps": steps,
        "measured": [row for split in ("validation", "test") for row in _measured(folder, split)],
        "differences": differences(folder, config),
        "time": _time(steps),
        "step_judge": read_json(path) if (path := folder / "step_judge.json").is_file() else None,
        "episodes": _last_episodes(folder),
        "config": config.model_dump(mode="json"),
    }


def differences(folder: Path, config: AgentConfig) -> list[dict[str, Any]]:
    """Success of the last policy minus that of the first on the same tasks, with paired 95 % intervals. Tasks whose
    episode is masked in one of them are left out."""
    rows = []
    for split in ("validation", "test"):
        found = [path for path in sorted((folder / f"evaluation/{split}").glob("[0-9]*")) if is_complete(path)]
        if len(found) < 2:
            continue
        first, last = (
            {each.task_id: each for each in read_episodes(path / EPISODES_FILE)} for path in (found[0], found[-1])
        )
        both = [(first[task], last[task]) for task in first if not (first[task].masked or last[task].masked)]
        if not both:
            continue
        before, after = ([float(bool(pair[place].success)) for pair in both] for place in (0, 1))
        ones = [1.0] * len(both)
        difference, interval = paired_difference(
            after, ones, before, ones, resamples=config.evaluation.bootstrap_resamples, seed=config.run.seed
        )
        means = sum(before) / len(both), sum(after) / len(both)
        rows.append(
            {
                "split": split,
                "n": len(both),
                "before": means[0],
                "after": means[1],
                "difference": difference,
                "ci95": list(interval),
            }
        )
    return rows


def render(report: dict[str, Any]) -> str:
    """The page; every text of a model or an environment is escaped."""
    drawn = [_success_figure(report), _parts_figure(report)]
    drawn += [_curve(report, key, label) for key, label in CURVES.items()]
    return (
        page_environment("genrm_rl.agents")
        .get_template("agents.html.j2")
        .render(
            report=report,
            figures=[Markup(figure) for figure in drawn if figure],
            config_text=json.dumps(report["config"], indent=2, ensure_ascii=False),
        )
    )


def table(report: dict[str, Any]) -> Table:
    """Every measurement, for the terminal."""
    grid = people_table("split", "step", "success", "score", "format", "turns", title=f"{report['environment']}")
    for row in report["measured"]:
        grid.add_row(
            row["split"],
            str(row["step"]),
            share(row["success"], row["success_interval"]),
            share(row["score"], row["score_interval"]),
            "-" if row["format_rate"] is None else f"{100 * row['format_rate']:.1f} %",
            "-" if row["turns"] is None else f"{row['turns']:.1f}",
        )
    for row in report["differences"]:
        grid.add_row(
            row["split"], "gain", f"{view.points(row['difference'])} {view.points_interval(row['ci95'])}", "", "", ""
        )
    return grid


def _measured(folder: Path, split: str) -> list[dict[str, Any]]:
    files = sorted((folder / f"evaluation/{split}").glob("[0-9]*.json"))
    return [{"split": split, "step": int(file.stem), **read_json(file)} for file in files]


def _time(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = ("play", "judge", "train", "publish")
    sums = {name: sum(step.get(f"seconds/{name}") or 0.0 for step in steps) for name in names}
    total = sum(sums.values())
    return {name: value / total for name, value in sums.items()} if total else {}


def _last_episodes(folder: Path) -> list[dict[str, Any]]:
    """Episodes of the last step to read: of each task in turn, with the judge's reward and the step judge's marks."""
    found = sorted((folder / "steps").glob(f"*/episodes/{EPISODES_FILE}"))
    if not found or not is_complete(found[-1].parent):
        return []
    step = found[-1].parents[1]
    rewards, marks = judged_rows(step / "judged"), marked_steps(step / "marks")
    episodes = read_episodes(found[-1])
    first = {episode.task_id: number for number, episode in reversed(list(enumerate(episodes)))}
    order = sorted(range(len(episodes)), key=lambda n: (n - first[episodes[n].task_id] >= 2, n))
    return [_shown(episodes[n], rewards, marks) for n in order[:SHOWN_EPISODES]]


def _shown(episode: AgentEpisode, rewards: dict[Any, Any], marks: dict[Any, Any]) -> dict[str, Any]:
    key = (episode.task_id, episode.seed)
    marked = marks.get(key, [])
    return {
        "task_id": episode.task_id,
        "goal": episode.goal,
        "end": episode.end,
        "success": episode.success,
        "score": episode.score,
        "failure": episode.failure,
        "reward": rewards.get(key, {}).get("reward"),
        "mask": rewards.get(key, {}).get("mask"),
        "judgments": rewards.get(key, {}).get("shown", []),
        "last": episode.last,
        "turns": [
            {
                "observation": turn.observation,
                "text": turn.text,
                "action": turn.action,
                "follows": turn.follows,
                "mark": marked[number]["mark"] if number < len(marked) else None,
                "reason": marked[number]["reason"] if number < len(marked) else "",
            }
            for number, turn in enumerate(episode.turns)
        ],
    }


def _success_figure(report: dict[str, Any]) -> str | None:
    lines = {}
    rollout = [
        (row["step"] + 1, 100 * row["rollout/success"])
        for row in report["steps"]
        if row.get("rollout/success") is not None
    ]
    if rollout:
        lines["training tasks, sampled"] = rollout
    for split in ("validation", "test"):
        points = [
            (row["step"], 100 * row["success"])
            for row in report["measured"]
            if row["split"] == split and row["success"] is not None
        ]
        if points:
            lines[f"{split}, {report['config']['evaluation']['decoding']}"] = points
    return line_figure("success", "steps", "successful episodes, %", lines) if lines else None


def _parts_figure(report: dict[str, Any]) -> str | None:
    lines = {
        label: [(row["step"] + 1, row[key]) for row in report["steps"] if row.get(key) is not None]
        for key, label in PARTS.items()
    }
    lines = {label: points for label, points in lines.items() if len(points) > 1}
    return line_figure("parts", "steps", "parts of the reward, mean", lines) if lines else None


def _curve(report: dict[str, Any], key: str, label: str) -> str | None:
    points = [(row["step"] + 1, row[key]) for row in report["steps"] if row.get(key) is not None]
    return line_figure(key, "steps", label, {"": points}) if len(points) > 1 else None
