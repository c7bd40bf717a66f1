"""vLLM's weight phases on several engines at once, and what can be sent through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from genrm_rl.rollout.errors import EngineProcessDied, PublicationError
from genrm_rl.rollout.settings import EngineSettings, WeightBackend

RPC_SECONDS = 300.0
ENGINE_GONE = (RayActorError, EngineProcessDied, ObjectLostError)  # a large answer is lost with its node


class Payload(Protocol):
    """One version of the weights, wherever it is held; it can be sent as often as needed until it is closed."""

    nbytes: int

    def send(self, version: str, settings: EngineSettings, engines: Sequence[ActorHandle]) -> None:
        """vLLM's four phases on every engine.

        Raises PublicationError naming the phase; an engine's death (``ENGINE_GONE``) passes through as it is.
        """

    def close(self) -> None:
        """Let go of the memory."""


class WeightHolder(Protocol):
    """Who can hold weights for publication without bringing them to the driver: a learner."""

    def hold(self, backend: WeightBackend) -> Payload:
        """A copy of the present weights."""


class EngineSyncClient:
    """vLLM's control-plane client (four methods) over all engines at once; remembers the phase for error messages.
    ``tensor_parallel`` is the number of GPUs, hence of NCCL ranks, of each engine."""

    def __init__(self, actors: Sequence[ActorHandle], version: str, tensor_parallel: int = 1) -> None:
        self._actors, self._version, self._tensor_parallel = list(actors), version, tensor_parallel
        self.phase = "pause"

    def call(self, phase: str, method: str, *arguments: Any) -> list[Any]:
        """Run one method on every engine and wait for all."""
        return self.call_each(phase, method, [arguments] * len(self._actors))

    def call_each(self, phase: str, method: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """The same with arguments of its own for every engine."""
        self.phase = phase
        calls = zip(self._actors, arguments, strict=True)
        return ray.get([getattr(actor, method).remote(*each) for actor, each in calls], timeout=RPC_SECONDS)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Phase 1. vLLM's trainer knows of one engine; here each gets NCCL ranks of its own."""
        infos = rank_offsets(init_info, len(self._actors), self._tensor_parallel)
        self.call_each("init", "init_weight_transfer_engine", [(info,) for info in infos])

    def start_weight_update(self) -> None:
        """Phase 2."""
        self.call("start", "start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Phase 3. Handles of GPU memory travel as plain data."""
        from genrm_rl.rollout.gpu_handles import plain_update

        self.call("update", "update_weights", plain_update(update_info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Phase 4."""
        self.call("finish", "finish_weight_update", weight_version or self._version)


def rank_offsets(init_info: dict[str, Any], engines: int, tensor_parallel: int) -> list[dict[str, Any]]:
    """``init_info`` for every engine. Where it names ranks (``rank_offset``; the trainer is rank 0), engine i gets
    those from 1 + i * ``tensor_parallel`` on: two workers of one rank would wait for each other for ever."""
    if "rank_offset" not in init_info:
        return [init_info] * engines
    return [init_info | {"rank_offset": 1 + index * tensor_parallel} for index in range(engines)]


def in_phases(
    version: str, engines: Sequence[ActorHandle], work: Callable[[EngineSyncClient], None], tensor_parallel: int = 1
) -> None:
    """Run ``work``; what goes wrong in it becomes a PublicationError with the phase, but for an engine's death."""
    client = EngineSyncClient(engines, version, tensor_parallel)
    try:
        work(client)
    except ENGINE_GONE:
        raise
    except Exception as error:
        raise PublicationError(
            client.phase, f"weights {version} failed in phase {client.phase!r}: {last_line(error)}"
        ) from error


def root_cause(error: BaseException) -> BaseException:
    """What was raised in the worker, without Ray's wrappers: an engine's death must look like one."""
    while isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    return error


def last_line(error: BaseException) -> str:
    """The last line of an error's text: Ray and vLLM put the cause there, under their tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
