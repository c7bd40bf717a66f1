"""Known solutions of training tasks, played in their environments."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count

from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import EnvironmentSpec
from genrm_rl.environments.episodes import Episode, Policy, play_episode
from genrm_rl.environments.protocol import Environment, Observation, Task
from genrm_rl.errors import DataError
from genrm_rl.evaluation.play import watched
from genrm_rl.judging.requests import derive_seed


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """What was seen and what a solution does then; or a slip, which is seen and not learned."""

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
    """Solutions of ``clone.demonstrations`` training tasks. Raises DataError if the environment knows none, or refuses
    nothing that ``clone.slips`` could show, ConfigError if it has not so many tasks."""
    tasks = spec.tasks("train", config.clone.demonstrations, config.tasks.level)
    share = config.clone.slips
    turns = (config.environments.max_turns or spec.max_turns) * (2 if share else 1)  # slips take turns of their own
    label = f"known solutions of {spec.name}"
    slips = Slips(share)
    with closing(spec.make(config.environments)) as environment:
        played = (play_episode(environment, slips, task, config.run.seed, turns) for task in tasks)
        solved = [episode for episode in watched(played, len(tasks), label) if _solved(episode)]
    if not solved:
        raise DataError(f"{spec.name} knows no solution of {len(tasks)} training tasks, so there is nothing to clone")
    if share and not any(slips.made[episode.task.task_id] for episode in solved):
        raise DataError(f"no action of another solution is known to be refused by {spec.name}: set clone.slips to 0")
    return [_demonstration(episode, slips.made[episode.task.task_id]) for episode in solved]


class Slips:
    """Policies of known solutions with mistakes, task after task: before a turn, with probability ``share``, the turn's
    verb with the names of another task's solution, where that is not admissible. ``made`` are the turns of each task
    that are one.

    Such an action changes nothing, so the solution still holds, and a policy that is cloned sees how to go on after a
    refusal, which no clean solution shows (noise for the learner's own errors: DART, arXiv 1703.09327).
    """

    def __init__(self, share: float) -> None:
        self.made: dict[str, set[int]] = {}
        self._share = share
        self._before: dict[str, dict[str, None]] = {}  # actions of the tasks before, by verb
        self._last: tuple[str, ...] = ()

    def __call__(self, environment: Environment, task: Task, seed: int) -> Policy:
        """For `play_episode`."""
        for action in self._last:
            self._before.setdefault(_verb(action), {})[action] = None
        self._last = environment.gold_actions(task, seed) or ()
        left, made, turns = list(self._last), self.made.setdefault(task.task_id, set()), count()
        draw = random.Random(derive_seed(seed, "slips", task.task_id))

        def act(observation: Observation) -> str | None:
            turn = next(turns)
            if left and draw.random() < self._share:
                wrong = [each for each in self._before.get(_verb(left[0]), ()) if _refused(observation, each)]
                if wrong:
                    made.add(turn)
                    return draw.choice(wrong)
            return left.pop(0) if left else None

        return act


def training_tasks(config: AgentConfig, spec: EnvironmentSpec) -> list[Task]:
    """The tasks that a policy is trained on."""
    return spec.tasks("train", config.tasks.train, config.tasks.level, config.tasks.first)


def _solved(episode: Episode) -> bool:
    return bool(episode.turns) and episode.outcome is not None and episode.outcome.success


def _demonstration(episode: Episode, slips: set[int]) -> Demonstration:
    turns = (
        ShownTurn(turn.observation, turn.action, slip=number in slips) for number, turn in enumerate(episode.turns)
    )
    return Demonstration(episode.task.task_id, tuple(turns))


def _verb(action: str) -> str:
    return re.split(r"\W", action, maxsplit=1)[0]


def _refused(observation: Observation, action: str) -> bool:
    return observation.admissible is not None and not observation.admissible.accepts(action)
