"""Engines that sleep: many of them in each Ray actor, behind the pool's own dispatch and calls."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.types import EngineReport, GenerationRequest, GenerationResult
from genrm_rl.simulation.workload import Workload

LETTERS = 1 << 16


@ray.remote(num_cpus=0)
class EngineHost:
    """``EngineActor`` for several engines; every call names the engine."""

    def __init__(self, workload: Workload, alphabet: Sequence[int]) -> None:
        self._workload = workload
        self._tokens = tuple(alphabet[i % len(alphabet)] for i in range(LETTERS))
        self._logprobs = tuple(-0.5 for _ in range(workload.max_tokens))
        self._finished: dict[int, asyncio.Queue[GenerationResult]] = {}
        self._version: dict[int, str] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, index: int) -> EngineReport:
        self._finished[index] = asyncio.Queue()
        self._version[index] = "base"
        return EngineReport(index, os.getpid(), (), "base", 0.0)

    async def exchange(
        self, index: int, session: str, requests: Sequence[GenerationRequest], deadline: float, max_wait: float
    ) -> list[GenerationResult]:
        """As `EngineActor.exchange`."""
        for request in requests:
            task = asyncio.create_task(self._answer(index, request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        finished = self._finished[index]
        try:
            results = [await asyncio.wait_for(finished.get(), max_wait)]
        except TimeoutError:
            return []
        while not finished.empty():
            results.append(finished.get_nowait())
        return results

    async def publish(self, index: int, version: str) -> None:
        self._version[index] = version

    async def shutdown(self, index: int) -> None:
        return None

    async def _answer(self, index: int, request: GenerationRequest) -> None:
        length = self._workload.length(request.seed)
        await asyncio.sleep(length * self._workload.token)
        start = request.seed % (LETTERS - self._workload.max_tokens)
        result = GenerationResult(
            request.request_id, self._tokens[start : start + length], "", "stop",
            weight_version=self._version[index], engine_index=index, sampled_logprobs_T=self._logprobs[:length],
        )  # fmt: skip
        await self._finished[index].put(result)


class EngineHandle:
    """One engine of a host, as the pool sees an actor."""

    def __init__(self, host: Any, index: int) -> None:
        self._host, self._index = host, index

    def __getattr__(self, name: str) -> Any:
        return _Call(getattr(self._host, name), self._index)


class _Call:
    def __init__(self, method: Any, index: int) -> None:
        self._method, self._index = method, index

    def remote(self, *arguments: Any) -> ray.ObjectRef:
        """As of an actor's method."""
        return self._method.remote(self._index, *arguments)


class SimulatedPool(EnginePool):
    """The pool with engines that sleep; a publication is one call to each engine and the modelled seconds."""

    def __init__(
        self, model_path: Path, rollout: RolloutConfig, workload: Workload, alphabet: Sequence[int], hosts: int
    ) -> None:
        self._workload = workload
        self._hosts = [EngineHost.options(max_concurrency=100_000).remote(workload, alphabet) for _ in range(hosts)]
        super().__init__(model_path, rollout, ModelConfig(name="tiny"), device="cpu", console=Console(quiet=True))

    def _create(self, index: int) -> Any:
        return EngineHandle(self._hosts[index % len(self._hosts)], index)

    def _kill(self, index: int) -> None:
        self._actors[index] = None

    def publish(self, version: str, *_: Any) -> Any:
        """Move every engine to a new version."""
        began = time.perf_counter()
        ray.get([actor.publish.remote(version) for actor in self._actors])
        time.sleep(self._workload.publish)
        self.version = version
        return time.perf_counter() - began

    def shutdown(self) -> None:
        """End the hosts, which ends all engines."""
        super().shutdown()
        for host in self._hosts:
            ray.kill(host, no_restart=True)
