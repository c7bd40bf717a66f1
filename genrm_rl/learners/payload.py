"""Weights that a learner's own workers hold for publication; the driver only says when they are sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import RayTaskError

from genrm_rl.rollout.settings import EngineSettings, WeightBackend
from genrm_rl.rollout.sync_client import root_cause

Call = Callable[..., list[Any]]


class LearnerPayload:
    """One version, under a number, in the host memory of worker 0; with ``ipc`` of every worker, because each sends to
    the engines on its own GPU. A :class:`~genrm_rl.rollout.sync_client.Payload`.

    ``call(method, workers, *arguments)`` calls a method of the first ``workers`` (all if None) and waits for them.
    """

    def __init__(self, number: int, backend: WeightBackend, call: Call, actors: Sequence[ActorHandle]) -> None:
        self._number, self._call, self._actors = number, call, actors
        self._workers = None if backend == "ipc" else 1
        self.nbytes: int = self._tell(None, "hold_weights", number, backend)[0]

    def send(self, version: str, settings: EngineSettings, engines: Sequence[ActorHandle]) -> None:
        """See :meth:`~genrm_rl.rollout.sync_client.Payload.send`. Raises LearnerLostError if the learner dies."""
        self._tell(self._workers, "send_weights", self._number, version, settings, list(engines))

    def close(self) -> None:
        """Let go of the copy; a worker does so before its next call, and nobody waits for one that is gone."""
        for actor in self._actors:
            actor.drop_weights.remote(self._number)

    def _tell(self, workers: int | None, method: str, *arguments: Any) -> list[Any]:
        try:
            return self._call(method, workers, *arguments)
        except RayTaskError as error:
            raise root_cause(error) from error
