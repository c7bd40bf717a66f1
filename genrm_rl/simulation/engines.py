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
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.types import EngineReport
from genrm_rl.simulation.workload import Workload

LETTERS = 1 << 16


class EngineClock:
    """Seconds in which an engine has decoded, and when on this clock it got which weights."""

    def __init__(self) -> None:
        self._began, self._stopped = time.monotonic(), 0.0
        self.running = asyncio.Event()
        self.running.set()
        self.version = "base"
        self.swaps: list[tuple[float, str]] = []

    def now(self) -> float:
        """Seconds of decoding so far."""
        return (time.monotonic() if self.running.is_set() else self._stopped) - self._began

    def pause(self) -> None:
        """Nothing is decoded until `resume`."""
        self._stopped = time.monotonic()
        self.running.clear()

    def resume(self, version: str) -> None:
        """Go on, with these weights."""
        self.swaps.append((self.now(), version))
        self._began += time.monotonic() - self._stopped
        self.version = version
        self.running.set()

    async def sleep(self, seconds: float) -> None:
        """Until so much has been decoded."""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            await self.running.wait()
            await asyncio.sleep(left)


@ray.remote(num_cpus=0)
class EngineHost:
    """``EngineActor`` for several engines; every call names the engine."""

    def __init__(self, workload: Workload, alphabet: Sequence[int]) -> None:
        self._workload = workload
        self._tokens = tuple(alphabet[i % len(alphabet)] for i in range(LETTERS))
        self._logprobs = tuple(-0.5 for _ in range(workload.max_tokens))
        self._finished: dict[int, asyncio.Queue[tuple[int, GenerationResult]]] = {}
        self._clocks: dict[int, EngineClock] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def start(self, index: int) -> EngineReport:
        self._finished[index] = asyncio.Queue()
        self._clocks[index] = EngineClock()
        return EngineReport(index, os.getpid(), (), "base", 0.0)

    async def exchange(
        self, index: int, requests: Sequence[tuple[int, GenerationRequest]], deadline: float, max_wait: float
    ) -> list[tuple[int, GenerationResult]]:
        """As `EngineActor.exchange`."""
        for number, request in requests:
            task = asyncio.create_task(self._answer(index, number, request))
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

    async def pause(self, index: int) -> None:
        self._clocks[index].pause()

    async def resume(self, index: int, version: str) -> None:
        self._clocks[index].resume(version)

    async def shutdown(self, index: int) -> None:
        return None

    async def _answer(self, index: int, number: int, request: GenerationRequest) -> None:
        length, token, clock = self._workload.length(request.seed), self._workload.token, self._clocks[index]
        begun, version = clock.now(), clock.version
        await clock.sleep(length * token)
        later = tuple(
            (int((when - begun) / token), published)
            for when, published in clock.swaps
            if begun < when < begun + length * token
        )
        start = request.seed % (LETTERS - self._workload.max_tokens)
        result = GenerationResult(
            request.request_id, self._tokens[start : start + length], "", "stop", weight_version=version,
            engine_index=index, sampled_logprobs_T=self._logprobs[:length], later_versions=later,
        )  # fmt: skip
        await self._finished[index].put((number, result))


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
    """The pool with engines that sleep; a publication stops them for the modelled seconds, amid their answers."""

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
        ray.get([actor.pause.remote() for actor in self._actors])
        time.sleep(self._workload.publish)
        ray.get([actor.resume.remote(version) for actor in self._actors])
        self.version = version
        return time.perf_counter() - began

    def shutdown(self) -> None:
        """End the hosts, which ends all engines."""
        super().shutdown()
        for host in self._hosts:
            ray.kill(host, no_restart=True)
