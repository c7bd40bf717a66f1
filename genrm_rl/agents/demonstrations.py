"""Known solutions of training tasks, played in their environments."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import EnvironmentSpec
from genrm_rl.environments.episodes import Episode, gold, play_episode
from genrm_rl.environments.protocol import Observation, Task
from genrm_rl.errors import DataError
from genrm_rl.evaluation.play import watched


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """What was seen and what a solution does then."""

    observation: Observation
    action: str
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A solution that reached success."""

    task_id: str
    turns: tuple[ShownTurn, ...]

    def texts(self) -> Iterator[str]:
        """All that a tokenizer of these tasks should know."""
        yield self.turns[0].observation.goal
        for turn in self.turns:
            yield turn.observation.text
            yield f"Action: {turn.action}"


def demonstrate(config: AgentConfig, spec: EnvironmentSpec) -> list[Demonstration]:
    """Solutions of ``clone.demonstrations`` training tasks. Raises DataError if the environment knows none, ConfigError
    if it has not so many tasks."""
    tasks = spec.tasks("train", config.clone.demonstrations, config.tasks.level)
    turns = config.environments.max_turns or spec.max_turns
    label = f"known solutions of {spec.name}"
    with closing(spec.make(config.environments)) as environment:
        played = (play_episode(environment, gold, task, config.run.seed, turns) for task in tasks)
        found = [_demonstration(episode) for episode in watched(played, len(tasks), label) if _solved(episode)]
    if not found:
        raise DataError(f"{spec.name} knows no solution of {len(tasks)} training tasks, so there is nothing to clone")
    return found


def training_tasks(config: AgentConfig, spec: EnvironmentSpec) -> list[Task]:
    """The tasks that a policy is trained on."""
    return spec.tasks("train", config.tasks.train, config.tasks.level)


def _solved(episode: Episode) -> bool:
    return bool(episode.turns) and episode.outcome is not None and episode.outcome.success


def _demonstration(episode: Episode) -> Demonstration:
    return Demonstration(
        episode.task.task_id, tuple(ShownTurn(turn.observation, turn.action) for turn in episode.turns)
    )
