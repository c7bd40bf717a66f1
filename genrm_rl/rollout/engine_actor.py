"""The Ray actor that owns one vLLM engine. vLLM is imported only inside the actor's process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING, Literal

import ray

from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.rollout.segments import new_segment, remove_segment
from genrm_rl.rollout.settings import EngineSettings, SleepLevel, engine_environment
from genrm_rl.rollout.types import EngineReport
from genrm_rl.runtime.imports import without_collections
from genrm_rl.runtime.stalls import stand_by_for_stacks

if TYPE_CHECKING:
    import numpy as np


@ray.remote(max_restarts=0, max_task_retries=0, num_cpus=0)
class EngineActor:
    """One engine: generation in batches, weight update phases, and the log-probabilities of fixed prompts.

    The pool, not Ray, replaces a dead actor, because a new one must first receive the last published weights.
    """

    def __init__(self, settings: EngineSettings, index: int) -> None:
        os.environ.update(engine_environment(settings))
        with without_collections():
            from genrm_rl.rollout.vllm_adapter import VllmEngine

        self._engine = VllmEngine(settings, index)
        self._segment: SharedMemory | None = None

    async def start(self) -> EngineReport:
        """Load the model; returns when the engine can generate."""
        return replace(await self._engine.start(), whereabouts=stand_by_for_stacks())

    async def exchange(
        self, requests: Sequence[tuple[int, GenerationRequest]], deadline: float, max_wait: float
    ) -> list[tuple[int, GenerationResult]]:
        """Accept requests and wait up to ``max_wait`` seconds for results; returns those that have finished.

        Both have the number that the pool gave the request. ``deadline`` is in seconds from now, per request.
        """
        return await self._engine.exchange(requests, deadline, max_wait)

    async def drop(self, numbers: Sequence[int]) -> None:
        """Stop these requests and forget their results."""
        self._engine.drop(numbers)

    async def sleep(self, level: SleepLevel) -> None:
        """Give the GPU's memory back (only with ``EngineSettings.sleep``)."""
        await self._engine.sleep(level)

    async def wake(self, *what: Literal["weights", "kv_cache"]) -> None:
        """Take memory for the weights, or for keys and values."""
        await self._engine.wake(*what)

    async def pause(self) -> None:
        """Freeze scheduling; running requests are kept."""
        await self._engine.pause()

    async def resume(self) -> None:
        """Undo `pause`."""
        await self._engine.resume()

    async def init_weight_transfer_engine(self, init_info: dict) -> None:
        """Phase 1 of a weight update (vLLM's native API, as are the next three)."""
        await self._engine.init_weight_transfer_engine(init_info)

    async def start_weight_update(self) -> None:
        """Phase 2."""
        await self._engine.start_weight_update()

    async def update_weights(self, update_info: dict) -> None:
        """Phase 3, repeatable."""
        await self._engine.update_weights(update_info)

    async def finish_weight_update(self, version: str) -> None:
        """Phase 4; afterwards no new request finds keys and values of the old weights in the prefix cache."""
        await self._engine.finish_weight_update(version)

    async def cancel_weight_update(self) -> None:
        """Close a half-done update, so that another can start."""
        await self._engine.cancel_weight_update()

    async def serve_adapter(self, version: str, files: Mapping[str, bytes]) -> None:
        """Answer with a LoRA adapter (names and contents of its files), with the base alone if there are none."""
        await self._engine.serve_adapter(version, files)

    async def node(self) -> str:
        """Id of the Ray node that it lives on."""
        return ray.get_runtime_context().get_node_id()

    async def open_segment(self, size: int) -> str:
        """Make room in this node's shared memory for ``size`` bytes of weights; returns the segment's name."""
        await self.close_segment()
        self._segment = new_segment(size)
        return self._segment.name

    async def fill_segment(self, start: int, piece: np.ndarray) -> None:
        """Copy a piece (bytes) of the weights to ``start``."""
        assert self._segment is not None
        self._segment.buf[start : start + len(piece)] = memoryview(piece)

    async def close_segment(self) -> None:
        """Give the room back."""
        if self._segment is not None:
            remove_segment(self._segment)
            self._segment = None

    async def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability (nats) of each prompt token after the first, as the engine computes it now."""
        return await self._engine.prompt_logprobs(prompts)

    async def report(self) -> EngineReport:
        """Version and process ids."""
        return await self._engine.report()

    async def shutdown(self) -> None:
        """End vLLM's processes."""
        await self._engine.shutdown()
