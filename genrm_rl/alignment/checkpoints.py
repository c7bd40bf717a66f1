"""Checkpoints of an alignment run: weights and optimizers of policy and critic, and what the loop remembers."""

from __future__ import annotations

from typing import Any

from genrm_rl.alignment.hosts import Hosts
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.run_state import latest_checkpoint, load_checkpoint, save_checkpoint

FOLDER = "checkpoints"


def keep_state(hosts: Hosts, step: int, memory: dict[str, Any]) -> None:
    """Everything that the run needs to go on after ``step`` steps."""
    with hosts.turns.learning():
        save_checkpoint(hosts.run, FOLDER, step, learning(hosts), hosts.config.learner, memory)


def restore_state(hosts: Hosts) -> dict[str, Any] | None:
    """Restore the learners from the newest checkpoint, whose weights are published next; returns what the loop
    remembered, with ``step``, or None if there is none. Raises ConfigError if the workers of now can't take the state
    up."""
    found = latest_checkpoint(hosts.run, FOLDER)
    if found is None:
        return None
    hosts.turns.learn()
    return load_checkpoint(found, learning(hosts), hosts.config.learner)


def learning(hosts: Hosts) -> dict[str, LearnerGroup]:
    """The learners that change."""
    critic = {"critic": hosts.critic} if hosts.critic is not None else {}
    return {"policy": hosts.policy, **critic}
