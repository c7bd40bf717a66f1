"""WebShop itself (arXiv 2207.01206), from a user's own copy of its data and engine.

WebShop is licensed for academic use only and needs an old Python; nothing of it is here. ``webshop.root`` names the
checkout and ``webshop.python`` the Python that runs it, in a process of its own (`webshop_bridge`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.java import die_with_parent
from genrm_rl.environments.protocol import Admissible, EnvironmentFailure, Observation, Outcome, SplitSizes, Task
from genrm_rl.environments.shop import SEARCH
from genrm_rl.errors import EnvironmentProblem

# Goals as the published baselines deal them: the first 500 test, the next 1000 validate, the others train.
FIRST_GOAL = {"test": 0, "validation": 500, "train": 1500}
LEVELS = {"all": SplitSizes(10_587, 1000, 500)}
BRIDGE = Path(__file__).with_name("webshop_bridge.py")


class WebShop:
    """One buyer at a time. Raises EnvironmentProblem if no copy is named, EnvironmentFailure if it does not start."""

    def __init__(self, config: EnvironmentConfig) -> None:
        settings = config.webshop
        if not (Path(settings.root) / "web_agent_site").is_dir():
            raise EnvironmentProblem(
                f"webshop.root {settings.root!r} holds no web_agent_site; name the folder of your own copy of WebShop, "
                "or play `shop`, which needs none"
            )
        self._complaints = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [settings.python, str(BRIDGE), str(settings.products)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=settings.root,
            text=True,
            preexec_fn=die_with_parent,
        )
        self._goals = self._read()["goals"]
        self._outcome = Outcome(False, 0.0)

    def reset(self, task: Task, seed: int) -> Observation:
        """Raises EnvironmentProblem if the copy has fewer goals than the task's number."""
        goal = FIRST_GOAL[task.split] + task.index
        if goal >= self._goals:
            raise EnvironmentProblem(
                f"{task.task_id} is goal {goal} and this copy of WebShop has {self._goals}; load more products "
                "(webshop.products 0: all)"
            )
        self._outcome = Outcome(False, 0.0)
        return self._ask({"reset": goal})[0]

    def step(self, action: str) -> tuple[Observation, bool]:
        """Over when something is bought."""
        return self._ask({"step": action})

    @property
    def outcome(self) -> Outcome:
        """WebShop's reward; success is a full one."""
        return self._outcome

    def gold_actions(self, task: Task, seed: int) -> None:
        """WebShop does not tell."""

    def process_ids(self) -> tuple[int, ...]:
        """The copy's process."""
        return (self._process.pid,)

    def close(self) -> None:
        """End the copy's process."""
        self._process.kill()
        self._process.wait()
        self._complaints.close()

    def _ask(self, request: dict[str, Any]) -> tuple[Observation, bool]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        told = self._read()
        self._outcome = Outcome(told["reward"] >= 1.0, min(1.0, max(0.0, told["reward"])))
        clicks = tuple(f"click[{what}]" for what in told["clickables"] if what != "search")
        admissible = Admissible(clicks, (SEARCH,) if told["search"] else ())
        return Observation(told["text"].strip(), told["goal"].strip(), admissible), told["done"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _died(self) -> EnvironmentFailure:
        self._complaints.seek(0)
        told = self._complaints.read().strip().splitlines()
        return EnvironmentFailure("died", f"the copy of WebShop ended: {told[-1] if told else 'without a word'}")
