"""The weights of an alignment and where they go: to the policy's engines, and to checkpoints and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genrm_rl.alignment.turns import Turns
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.group import Frozen, LearnerGroup
from genrm_rl.learners.run_state import Checkpoints
from genrm_rl.runtime.run_directory import RunDirectory

if TYPE_CHECKING:
    from genrm_rl.rollout.pool import EnginePool


@dataclass
class PolicyWeights:
    """The living models of a run by role (policy, reference, and critic with GAE), and the engines of the policy."""

    run: RunDirectory
    config: LearnerConfig
    models: Mapping[str, Any]
    pool: EnginePool
    turns: Turns

    def __post_init__(self) -> None:
        learning = {role: self.models[role] for role in ("policy", "critic") if role in self.models}
        self.checkpoints = Checkpoints(self.run, "checkpoints", learning, self.config)

    @property
    def policy(self) -> LearnerGroup:
        """What is learned."""
        return self.models["policy"]

    @property
    def reference(self) -> Frozen:
        """The starting policy."""
        return self.models["reference"]

    def publish(self, version: str) -> float:
        """The policy's weights to its engines, proved by the parity probe. Returns seconds."""
        from genrm_rl.rollout.publication import keep_receipt

        self.turns.learn()
        reference = self.policy.probe_reference()
        self.turns.hand_over()
        receipt = self.pool.publish(version, self.policy, reference)
        self.turns.generate()
        keep_receipt(self.run.path, receipt)
        return receipt.seconds

    def keep(self, step: int, memory: Mapping[str, Any]) -> None:
        """A checkpoint of weights, optimizers and ``memory``: all that the run needs to go on after ``step`` steps. It
        may be on its way for a while, see :class:`~genrm_rl.learners.run_state.Checkpoints`."""
        with self.turns.learning():
            self.checkpoints.save(step, memory)

    def restore(self) -> dict[str, Any] | None:
        """Restore the learners from the newest checkpoint, whose weights are published next; returns what the loop
        remembered, with ``step``, or None if there is none. Raises ConfigError if the workers of now can't take the
        state up."""
        found = self.checkpoints.latest()
        if found is None:
            return None
        self.turns.learn()
        return self.checkpoints.load(found)
