"""One episode: a policy in an environment, turn by turn, and the policies that need no model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from genrm_rl.environments.protocol import (
    Environment,
    EnvironmentFailure,
    Observation,
    Outcome,
    Task,
    clean_action,
)
from genrm_rl.judging.requests import derive_seed

End = Literal["done", "turn_limit", "policy_stopped", "environment_failed"]
Policy = Callable[[Observation], str | None]  # None: it has no further action
MakePolicy = Callable[[Environment, Task, int], Policy]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the agent saw, and what it did."""

    observation: Observation
    action: str


@dataclass(frozen=True, slots=True)
class Episode:
    """Everything of one episode. ``last`` is what the last action led to.

    ``outcome`` is None exactly if the environment failed: such an episode is masked, and ``failure`` says why.
    ``seconds`` is the time that the environment took, without the policy's.
    """

    task: Task
    seed: int
    turns: tuple[Turn, ...]
    last: Observation | None
    end: End
    outcome: Outcome | None
    seconds: float
    failure: str = ""


def play_episode(environment: Environment, make_policy: MakePolicy, task: Task, seed: int, max_turns: int) -> Episode:
    """Play ``task`` to its end, for at most ``max_turns`` turns.

    An environment that fails ends the episode without an outcome; errors of the policy are raised.
    """
    turns: list[Turn] = []
    observation: Observation | None = None
    seconds = 0.0
    end: End = "turn_limit"
    try:
        policy = make_policy(environment, task, seed)
        begun = time.monotonic()
        observation = environment.reset(task, seed)
        seconds += time.monotonic() - begun
        while len(turns) < max_turns:
            action = policy(observation)
            if action is None:
                end = "policy_stopped"
                break
            begun = time.monotonic()
            following, done = environment.step(clean_action(action))
            seconds += time.monotonic() - begun
            turns.append(Turn(observation, action))
            observation = following
            if done:
                end = "done"
                break
        outcome = environment.outcome
    except EnvironmentFailure as failure:
        return Episode(task, seed, tuple(turns), observation, "environment_failed", None, seconds, str(failure))
    return Episode(task, seed, tuple(turns), observation, end, outcome, seconds)


def gold(environment: Environment, task: Task, seed: int) -> Policy:
    """The environment's own solution, one action a turn; nothing if it knows none."""
    actions = iter(environment.gold_actions(task, seed) or ())
    return lambda observation: next(actions, None)


def uniform(environment: Environment, task: Task, seed: int) -> Policy:
    """An admissible action at random, each frame counting as one action; free text is one word of the goal."""
    draw = random.Random(derive_seed(seed, "random policy", task.task_id))

    def act(observation: Observation) -> str | None:
        if observation.admissible is None:
            return None
        words = [word for word in observation.goal.split() if word.isalpha()] or ["a"]
        framed = [before + draw.choice(words) + behind for before, behind in observation.admissible.frames]
        choices = [*observation.admissible.actions, *framed]
        return draw.choice(choices) if choices else None

    return act
