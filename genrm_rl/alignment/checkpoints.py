"""Checkpoints of an alignment run: weights and optimizers of policy and critic, and what the loop remembers."""

from __future__ import annotations

from typing import Any

from genrm_rl.alignment.hosts import Hosts


def keep_state(hosts: Hosts, step: int, memory: dict[str, Any]) -> None:
    """Everything that the run needs to go on after ``step`` steps; it may be on its way for a while, see
    :class:`~genrm_rl.learners.run_state.Checkpoints`."""
    with hosts.turns.learning():
        hosts.checkpoints.save(step, memory)


def restore_state(hosts: Hosts) -> dict[str, Any] | None:
    """Restore the learners from the newest checkpoint, whose weights are published next; returns what the loop
    remembered, with ``step``, or None if there is none. Raises ConfigError if the workers of now can't take the state
    up."""
    found = hosts.checkpoints.latest()
    if found is None:
        return None
    hosts.turns.learn()
    return hosts.checkpoints.load(found)
