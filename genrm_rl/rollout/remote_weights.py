"""A checkpoint held on an engine's node, where the driver lives on another: a small head has no room for weights.

The driver only says what is held and when it is sent. The files are on a disk that all nodes reach or in the run's
store, so a holder that is lost with its node is made anew on another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.sync_client import RPC_SECONDS, root_cause

if TYPE_CHECKING:
    from genrm_rl.rollout.parity import ProbeReference


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class CheckpointActor:
    """The weights of one directory in the shared memory of its node."""

    def hold(self, directory: str, settings: EngineSettings, wanted: bool) -> tuple[int, ProbeReference | None]:
        """Read them; returns their bytes and, if ``wanted``, what they answer to the probe."""
        from genrm_rl.rollout.held_weights import HeldWeights
        from genrm_rl.rollout.parity import checkpoint_reference
        from genrm_rl.rollout.shared_weights import weight_source
        from genrm_rl.runtime.object_store import fetch

        fetch(directory)
        reference = checkpoint_reference(directory, settings) if wanted else None
        self._held = HeldWeights(weight_source(directory))
        return self._held.nbytes, reference

    def send(self, version: str, settings: EngineSettings, engines: list[ActorHandle]) -> None:
        """To every engine."""
        self._held.send(version, settings, engines)

    def close(self) -> None:
        """Let go of the memory."""
        self._held.close()


class RemoteWeights:
    """One checkpoint, held by an actor on the node of the first of ``engines``: a
    :class:`~genrm_rl.rollout.sync_client.Payload`. ``reference`` is what the weights answer to the probe, None if it is
    not ``wanted``. Raises what reading the directory there raises."""

    def __init__(
        self, directory: str | Path, settings: EngineSettings, engines: Sequence[ActorHandle], *, wanted: bool
    ) -> None:
        self._directory, self._settings = str(directory), settings
        self.nbytes, self.reference = self._hold(engines, wanted)

    def send(self, version: str, settings: EngineSettings, engines: Sequence[ActorHandle]) -> None:
        """See :meth:`~genrm_rl.rollout.sync_client.Payload.send`."""
        try:
            self._call(self._actor.send.remote, version, settings, list(engines))
        except RayActorError:  # the holder's own death; an engine's comes out of its call
            self._hold(engines, False)
            self._call(self._actor.send.remote, version, settings, list(engines))

    def close(self) -> None:
        """Let go of the memory; nobody waits for a holder that is gone."""
        self._actor.close.remote()

    def _hold(self, engines: Sequence[ActorHandle], wanted: bool) -> tuple[int, ProbeReference | None]:
        node = self._call(engines[0].node.remote)
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        self._actor = CheckpointActor.options(scheduling_strategy=where).remote()
        return self._call(self._actor.hold.remote, self._directory, self._settings, wanted)

    @staticmethod
    def _call(method: Callable[..., ray.ObjectRef], *arguments: Any) -> Any:
        try:
            return ray.get(method(*arguments), timeout=RPC_SECONDS)
        except RayTaskError as error:
            raise root_cause(error) from error


def away_from(engines: Sequence[ActorHandle]) -> bool:
    """True if no engine lives on this process's node."""
    nodes = ray.get([engine.node.remote() for engine in engines], timeout=RPC_SECONDS)
    return ray.get_runtime_context().get_node_id() not in nodes
