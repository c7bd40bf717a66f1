"""Known solutions of training tasks, played in their environments."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
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
        played = (play_episode(environment, slips.maker(), task, config.run.seed, turns) for task in tasks)
        found = [_demonstration(episode, share) for episode in watched(played, len(tasks), label) if _solved(episode)]
    if not found:
        raise DataError(f"{spec.name} knows no solution of {len(tasks)} training tasks, so there is nothing to clone")
    if share and not any(turn.slip for each in found for turn in each.turns):
        raise DataError(f"no action of another solution is known to be refused by {spec.name}: set clone.slips to 0")
    return found


class Slips:
    """Known solutions with mistakes: before a turn, with probability ``share``, the turn's verb with the names of
    another task's solution, where that is not admissible.

    Such an action changes nothing, so the solution still holds, and a policy that is cloned sees how to go on after a
    refusal, which no clean solution shows (noise for the learner's own errors: DART, arXiv 1703.09327).
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._others: dict[str, list[str]] = {}  # by verb, of the tasks before

    def maker(self) -> MakePolicy:
        """For `play_episode`, task after task."""

        def make(environment: Environment, task: Task, seed: int) -> Policy:
            known = environment.gold_actions(task, seed) or ()
            draw = random.Random(derive_seed(seed, "slips", task.task_id))
            policy = self._policy(known, draw) if self._share else gold(environment, task, seed)
            for action in known:
                self._others.setdefault(_verb(action), []).append(action)
            return policy

        return make

    def _policy(self, known: Sequence[str], draw: random.Random) -> Policy:
        others = {verb: list(dict.fromkeys(actions)) for verb, actions in self._others.items()}
        left = list(known)

        def act(observation: Observation) -> str | None:
            if left and draw.random() < self._share:
                wrong = [each for each in others.get(_verb(left[0]), ()) if _refused(observation, each)]
                if wrong:
                    return draw.choice(wrong)
            return left.pop(0) if left else None

        return act


def training_tasks(config: AgentConfig, spec: EnvironmentSpec) -> list[Task]:
    """The tasks that a policy is trained on."""
    return spec.tasks("train", config.tasks.train, config.tasks.level, config.tasks.first)


def _solved(episode: Episode) -> bool:
    return bool(episode.turns) and episode.outcome is not None and episode.outcome.success


def _demonstration(episode: Episode, share: float) -> Demonstration:
    turns = ((turn.observation, turn.action) for turn in episode.turns)
    return Demonstration(
        episode.task.task_id,
        tuple(ShownTurn(seen, action, slip=share > 0 and _refused(seen, action)) for seen, action in turns),
    )


def _verb(action: str) -> str:
    return re.split(r"\W", action, maxsplit=1)[0]


def _refused(observation: Observation, action: str) -> bool:
    return observation.admissible is not None and not observation.admissible.accepts(action)
