# countdown.py
"""Reach zero exactly: subtract 1, 2 or 3 a turn, in few turns."""

import random

from genrm_rl.environments.catalogue import EnvironmentSpec
from genrm_rl.environments.protocol import Admissible, Observation, Outcome, SplitSizes
from genrm_rl.judging.requests import derive_seed

ACTIONS = Admissible(("subtract 1", "subtract 2", "subtract 3"))


class Countdown:
    def __init__(self, config):
        self.left, self.start = 0, 1

    def reset(self, task, seed):
        # Everything follows from the task. The split is part of the seed: other draws, from the same sixteen games.
        draw = random.Random(derive_seed("countdown", task.split, task.index))
        self.left = self.start = draw.randint(5, 20)
        return self.show(f"You have {self.left}.")

    def step(self, action):
        if not ACTIONS.accepts(action):  # any text may come; say so and change nothing
            return self.show("That is no action."), False
        self.left -= int(action.split()[1])
        return self.show(f"You have {self.left}."), self.left <= 0

    @property
    def outcome(self):
        return Outcome(self.left == 0, max(0.0, 1 - abs(self.left) / self.start))

    def gold_actions(self, task, seed):
        self.reset(task, seed)
        threes, rest = divmod(self.left, 3)
        return (*["subtract 3"] * threes, *([f"subtract {rest}"] if rest else []))

    def show(self, text):
        return Observation(text, "Reach 0 exactly.", ACTIONS)

    def process_ids(self):
        return ()

    def close(self):
        pass


SPEC = EnvironmentSpec("countdown", "subtract to zero", Countdown, {"all": SplitSizes(100, 20, 20)}, max_turns=10)
