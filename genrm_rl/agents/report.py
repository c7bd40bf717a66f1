"""What an agents' run came to: ``report.json``, and one self-contained page with episodes to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genrm_rl.agents.episodes import AgentEpisode, read_episodes
from genrm_rl.agents.judging import judged_rows
from genrm_rl.agents.playing import EPISODES_FILE
from genrm_rl.agents.step_marks import marked_steps
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.watching import AlarmConfig
from genrm_rl.evaluation import view
from genrm_rl.evaluation.alarms import step_alarms
from genrm_rl.evaluation.charts import Chart, line_chart, present
from genrm_rl.evaluation.intervals import paired_difference
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.play import share
from genrm_rl.evaluation.step_charts import step_charts
from genrm_rl.runtime.console import people_table
from genrm_rl.runtime.storage import is_complete, read_json, write_atomic, write_json

SCHEMA_VERSION = 1
SHOWN_EPISODES = 12


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


def render(report: dict[str, Any], limits: AlarmConfig | None = None) -> str:
    """The page; every text of a model or an environment is escaped. ``limits``: from where on something is an alarm."""
    return (
        page_environment("genrm_rl.agents")
        .get_template("agents.html.j2")
        .render(
            report=report,
            sentence=sentence(report),
            alarms=alarms(report, limits or AlarmConfig()),
            charts=present(success_chart(report), *step_charts(report["steps"])),
        )
    )


def alarms(report: dict[str, Any], config: AlarmConfig) -> list[str]:
    """What is wrong with the run so far."""
    return step_alarms(report["steps"], config)


def sentence(report: dict[str, Any]) -> str:
    """What happened, and whether the policy is better than before."""
    done, rows = len(report["steps"]), report["differences"]
    what = f"{done} step{'' if done == 1 else 's'} in {report['environment']}"
    if not rows:
        return f"{what}; the policy was not measured against its start yet."
    changes = "; ".join(f"{row['n']} {row['split']} tasks: {view.change_of(row)}" for row in rows)
    return (
        f"After {what}, the policy is {view.verdict([row['ci95'] for row in rows])}: successful episodes on {changes}."
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


def success_chart(report: dict[str, Any]) -> Chart | None:
    """Success on held-out tasks by step, with intervals."""
    lines, intervals = {}, {}
    for split in ("validation", "test"):
        rows = [row for row in report["measured"] if row["split"] == split and row["success"] is not None]
        label = f"{split}, {report['config']['evaluation']['decoding']}"
        lines[label] = [(row["step"], 100 * row["success"]) for row in rows]
        intervals[label] = [
            (row["step"], *(100 * end for end in row["success_interval"])) for row in rows if row["success_interval"]
        ]
    note = (
        "Episodes of tasks that no policy of this run was trained on, by whether they reach their goal, with 95 % "
        "intervals over episodes. If a judge's part of the reward goes on rising while this does not, the policy is "
        "exploiting the judge."
    )
    return line_chart(
        "success-held-out", "Successful episodes, held out", note, ("step", "successful, %"), lines, intervals=intervals
    )
