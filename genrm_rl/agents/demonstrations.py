"""Known solutions of training tasks, played in their environments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import EnvironmentSpec
from genrm_rl.environments.episodes import Episode, MakePolicy, Policy, gold, play_episode
from genrm_rl.environments.protocol import Environment, Observation, Task
from genrm_rl.errors import DataError
from genrm_rl.evaluation.play import watched
from genrm_rl.judging.requests import derive_seed


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """What was seen and what a solution does then; or a slip, which is seen and not learnt."""

    observation: Observation
    action: str
    thought: str = ""
    slip: bool = False


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
    share = config.clone.slips
    turns = (config.environments.max_turns or spec.max_turns) * (2 if share else 1)  # slips take turns of their own
    label = f"known solutions of {spec.name}"
    with closing(spec.make(config.environments)) as environment:
        played = (play_episode(environment, slipping(share), task, config.run.seed, turns) for task in tasks)
        found = [_demonstration(episode) for episode in watched(played, len(tasks), label) if _solved(episode)]
    if share and not any(turn.slip for each in found for turn in each.turns):
        raise DataError(
            f"{spec.name} does not list its actions, so nothing is known to be a slip; set clone.slips to 0"
        )
    if not found:
        raise DataError(f"{spec.name} knows no solution of {len(tasks)} training tasks, so there is nothing to clone")
    return found


def slipping(share: float) -> MakePolicy:
    """The known solution; before a turn, with probability ``share``, an action of it that is not admissible then.

    Such an action changes nothing, so the solution still holds, and a policy that is cloned sees what to do after a
    mistake of its own, which no clean solution shows (after DART, arXiv 1703.09327).
    """

    def make(environment: Environment, task: Task, seed: int) -> Policy:
        known, follow = environment.gold_actions(task, seed) or (), gold(environment, task, seed)
        draw = random.Random(derive_seed(seed, "slips", task.task_id))

        def act(observation: Observation) -> str | None:
            wrong = [action for action in known if _is_slip(observation, action)]
            return draw.choice(wrong) if wrong and draw.random() < share else follow(observation)

        return act

    return make


def training_tasks(config: AgentConfig, spec: EnvironmentSpec) -> list[Task]:
    """The tasks that a policy is trained on."""
    return spec.tasks("train", config.tasks.train, config.tasks.level)


def _solved(episode: Episode) -> bool:
    return bool(episode.turns) and episode.outcome is not None and episode.outcome.success


def _demonstration(episode: Episode) -> Demonstration:
    return Demonstration(
        episode.task.task_id,
        tuple(
            ShownTurn(turn.observation, turn.action, slip=_is_slip(turn.observation, turn.action))
            for turn in episode.turns
        ),
    )


def _is_slip(observation: Observation, action: str) -> bool:
    return observation.admissible is not None and not observation.admissible.accepts(action)
