"""The trajectory judge's rewards: groups of episodes of one task go to the reward service, as a stage of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.rewards import EarnedEpisode
from genrm_rl.agents.training import Judge, plain
from genrm_rl.agents.trajectories import by_task, task_text, trajectory_text
from genrm_rl.config.agents import AgentConfig
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rewards.wire import Group
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, read_json_lines, write_json_lines

REWARDS_FILE, JUDGMENTS_FILE = "rewards.jsonl", "judgments.jsonl"


def judged_by(client: RewardClient, run: RunDirectory, config: AgentConfig) -> Judge:
    """Rewards of the service beside what needs none. An episode that the environment lost is not judged, and what the
    service masks stays masked with its reason."""

    def earn(step: int, episodes: Sequence[AgentEpisode]) -> list[EarnedEpisode]:
        path = run.stage(f"steps/{step:05d}/judged", lambda directory: _ask(directory, client, episodes))
        rows = judged_rows(path)
        return [_earned(episode, rows.get((episode.task_id, episode.seed)), config) for episode in episodes]

    return earn


def judged_rows(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What the judge said of each episode of a stage, with its judgments under ``shown``; empty without one."""
    if not is_complete(folder):
        return {}
    rows, judgments = (read_json_lines(folder / name) for name in (REWARDS_FILE, JUDGMENTS_FILE))
    by_id = {judgment["id"]: judgment for judgment in judgments}
    return {
        (row["task_id"], row["seed"]): row | {"shown": [by_id[each] for each in row["judgments"] if each in by_id]}
        for row in rows
    }


def _ask(directory: Path, client: RewardClient, episodes: Sequence[AgentEpisode]) -> dict[str, Any]:
    version = client.judge_version()
    groups = [
        [episode for episode in group if not episode.masked and episode.turns] for group in by_task(episodes).values()
    ]
    groups = [group for group in groups if group]
    asked = [client.submit(Group(task_text(group[0]), tuple(map(trajectory_text, group))), version) for group in groups]
    rows, judgments = [], {}
    for group, future in zip(groups, asked, strict=True):
        found = future.result()
        judgments |= {judgment["id"]: judgment for judgment in found.judgments}
        for episode, record in zip(group, found.records, strict=True):
            rows.append(
                {
                    "task_id": episode.task_id,
                    "seed": episode.seed,
                    "reward": record.reward,
                    "mask": None if record.mask is None else str(record.mask),
                    "judgments": list(record.judgments),
                }
            )
    write_json_lines(directory / REWARDS_FILE, rows)
    write_json_lines(directory / JUDGMENTS_FILE, judgments.values())
    masked = sum(row["reward"] is None for row in rows)
    return {"judge_version": version, "episodes": len(rows), "masked": masked, "judgments": len(judgments)}


def _earned(episode: AgentEpisode, row: dict[str, Any] | None, config: AgentConfig) -> EarnedEpisode:
    earned = plain(episode, config)
    return earned if row is None else replace(earned, judge=row["reward"])
