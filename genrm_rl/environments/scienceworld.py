"""ScienceWorld (arXiv 2203.07540): 30 kinds of elementary-science tasks in a simulated house, in a Java jar.

A level is a kind of task; its variations are split as the jar splits them. The score is the share of the task's steps
that are done, 0 after a mistake that ends it.
"""

from __future__ import annotations

import json

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.java import JavaGame
from genrm_rl.environments.protocol import Admissible, Observation, Outcome, SplitSizes, Task

LEVELS = {
    "boil": SplitSizes(14, 7, 9),
    "change-the-state-of-matter-of": SplitSizes(14, 7, 9),
    "chemistry-mix": SplitSizes(16, 8, 8),
    "chemistry-mix-paint-secondary-color": SplitSizes(18, 9, 9),
    "chemistry-mix-paint-tertiary-color": SplitSizes(18, 9, 9),
    "find-animal": SplitSizes(150, 75, 75),
    "find-living-thing": SplitSizes(150, 75, 75),
    "find-non-living-thing": SplitSizes(150, 75, 75),
    "find-plant": SplitSizes(150, 75, 75),
    "freeze": SplitSizes(14, 7, 9),
    "grow-fruit": SplitSizes(62, 31, 33),
    "grow-plant": SplitSizes(62, 31, 33),
    "identify-life-stages-1": SplitSizes(6, 3, 5),
    "identify-life-stages-2": SplitSizes(4, 2, 4),
    "inclined-plane-determine-angle": SplitSizes(84, 42, 42),
    "inclined-plane-friction-named-surfaces": SplitSizes(692, 346, 348),
    "inclined-plane-friction-unnamed-surfaces": SplitSizes(80, 40, 42),
    "lifespan-longest-lived": SplitSizes(62, 31, 32),
    "lifespan-longest-lived-then-shortest-lived": SplitSizes(62, 31, 32),
    "lifespan-shortest-lived": SplitSizes(62, 31, 32),
    "measure-melting-point-known-substance": SplitSizes(218, 109, 109),
    "measure-melting-point-unknown-substance": SplitSizes(150, 75, 75),
    "melt": SplitSizes(14, 7, 9),
    "mendelian-genetics-known-plant": SplitSizes(60, 30, 30),
    "mendelian-genetics-unknown-plant": SplitSizes(240, 120, 120),
    "power-component": SplitSizes(10, 5, 5),
    "power-component-renewable-vs-nonrenewable-energy": SplitSizes(10, 5, 5),
    "test-conductivity": SplitSizes(450, 225, 225),
    "test-conductivity-of-unknown-substances": SplitSizes(300, 150, 150),
    "use-thermometer": SplitSizes(270, 135, 135),
}


class ScienceWorld(JavaGame):
    """One task of the jar at a time. Draws nothing besides its tasks."""

    def __init__(self, config: EnvironmentConfig) -> None:
        self._simplifications = config.simplifications
        super().__init__("scienceworld", "scienceworld.jar", config)
        self._server = self._java.jvm.scienceworld.runtime.pythonapi.PythonInterface()

    def reset(self, task: Task, seed: int) -> Observation:
        """The first observation is what `look around` tells, which costs a move as in the published interface."""
        self._begin(task, with_gold=False)
        self._goal = self._server.getTaskDescription().strip()
        return self._told(self._server.step("look around"))

    def step(self, action: str) -> tuple[Observation, bool]:
        """Over when the task is completed, or lost by a mistake (a negative score in the simulator)."""
        told = self._server.step(action)
        return self._told(told), self._server.getCompleted() or self._server.getScore() < 0

    @property
    def outcome(self) -> Outcome:
        """Success is a full score."""
        score = float(self._server.getScore())
        return Outcome(score >= 1.0, min(1.0, max(0.0, score)))

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...]:
        """The path that the simulator's agent of this task finds; for two kinds of tasks that takes a minute."""
        self._begin(task, with_gold=True)
        return tuple(self._server.getGoldActionSequence())

    def sizes(self, level: str) -> SplitSizes:
        """How many variations the jar has in each of its folds."""
        self._server.load(level, 0, self._simplifications, False)
        return SplitSizes(*(len(self._variations(split)) for split in ("train", "validation", "test")))

    def _variations(self, split: str) -> list[int]:
        name = {"train": "getVariationsTrain", "validation": "getVariationsDev", "test": "getVariationsTest"}[split]
        return list(getattr(self._server, name)())

    def _begin(self, task: Task, *, with_gold: bool) -> None:
        self._server.load(task.level, 0, self._simplifications, False)  # its folds are known once it is loaded
        self._server.load(task.level, self._variations(task.split)[task.index], self._simplifications, with_gold)
        self._server.reset()

    def _told(self, text: str) -> Observation:
        # As JSON, because every item of a Java list would be a call of its own.
        valid = json.loads(self._server.getValidActionObjectCombinationsJSON())["validActions"]
        return Observation(text.strip(), self._goal, Admissible(tuple(sorted({each["action"] for each in valid}))))
