"""TextWorldExpress (arXiv 2208.01174): cooking and seven other text games, thousands of steps a second, in a Java jar.

A level is a game, with parameters of its generator behind a colon where it is not to be as published:
``cookingworld:numLocations=2,numIngredients=2``. Tasks are the seeds of the jar's own folds.
"""

from __future__ import annotations

import json
from typing import Any

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.java import JavaGame
from genrm_rl.environments.protocol import Admissible, EnvironmentFailure, Observation, Outcome, SplitSizes, Task
from genrm_rl.errors import ConfigError

FOLDS = {"train": "train", "validation": "dev", "test": "test"}
FIRST_SEED = {"train": 0, "validation": 10_000, "test": 20_000}  # as the jar numbers its folds of 1000 seeds
SIZES = SplitSizes(1000, 1000, 1000)
GAMES = ("cookingworld", "twc", "coin", "mapreader", "arithmetic", "sorting", "simonsays", "peckingorder")
LEVELS = dict.fromkeys(GAMES, SIZES)


class TextWorldExpress(JavaGame):
    """One game of the jar at a time. Draws nothing besides its tasks."""

    def __init__(self, config: EnvironmentConfig) -> None:
        super().__init__("textworld_express", "textworld-express.jar", config)
        self._server = self._java.jvm.textworldexpress.runtime.PythonInterface()
        self._level, self._goal, self._outcome = "", "", Outcome(False, 0.0)

    def reset(self, task: Task, seed: int) -> Observation:
        """Raises ConfigError for parameters that the game does not have."""
        told = self._begin(task, with_gold=False)
        self._goal = self._server.getTaskDescription()
        return self._told(told)

    def step(self, action: str) -> tuple[Observation, bool]:
        """Over when the game says success or failure."""
        told = json.loads(self._server.stepJSON(action))
        observation = self._told(told)
        return observation, told["tasksuccess"] or told["taskfailure"]

    @property
    def outcome(self) -> Outcome:
        """The game's score is in [0, 1] already, but for negative ones of a lost game."""
        return self._outcome

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...]:
        """The path that the game's generator knows."""
        self._begin(task, with_gold=True)
        return tuple(self._server.getGoldActionSequence())

    def _begin(self, task: Task, *, with_gold: bool) -> dict[str, Any]:
        if task.level != self._level:
            game, _, parameters = task.level.partition(":")
            if problem := self._server.load(game, parameters):
                raise ConfigError(f"{task.level} is no game of TextWorldExpress: {problem}")
            self._level = task.level
        seed = FIRST_SEED[task.split] + task.index
        told = json.loads(self._server.generateNewGameJSON(seed, FOLDS[task.split], with_gold))
        if "observation" not in told:
            raise EnvironmentFailure("broke", f"{task.task_id} was not made: {told}")
        return told

    def _told(self, told: dict[str, Any]) -> Observation:
        self._outcome = Outcome(told["tasksuccess"], min(1.0, max(0.0, float(told["score"]))))
        return Observation(told["observation"].strip(), self._goal, Admissible(tuple(sorted(told["validActions"]))))
