"""The life of several engines: their place, their starts, what replaces one that died, their end."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from rich.console import Console

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.rollout.engine_actor import EngineActor
from genrm_rl.rollout.errors import EngineLostError
from genrm_rl.rollout.resources import choose_device, engine_bundle, reserve, wait_for_lost_room
from genrm_rl.rollout.settings import Device, Distribution, engine_settings
from genrm_rl.rollout.sync_client import ENGINE_GONE, last_line
from genrm_rl.rollout.types import EngineReport
from genrm_rl.runtime.console import people_console

LOOK_SECONDS = 5.0


class EngineGroup:
    """``RolloutConfig.engines`` engine actors in one placement group.

    They begin to start when it is made and, on CPU, are waited for when it is entered or first needed, so other roles
    can start at the same time. `EnginePool` generates with them.

    Args:
        model_path: directory of the base model (safetensors, tokenizer).
        rollout: engine settings. model: context length and dtype.
        device: ``cpu`` or ``cuda``; None takes what the Ray cluster has.
        logprobs_of: the distribution of generated tokens' log-probabilities (`EngineSettings`).
        lora_rank: the rank of the adapters that will be published; 0 for whole weights.
        role: what the engines are for, in the line that says that one is ready.
    """

    def __init__(
        self,
        model_path: str | Path,
        rollout: RolloutConfig,
        model: ModelConfig,
        *,
        device: Device | None = None,
        console: Console | None = None,
        logprobs_of: Distribution = "model",
        lora_rank: int = 0,
        role: str = "",
    ) -> None:
        self._role = f" ({role})" if role else ""
        self._console = console or people_console(stderr=True)
        self.rollout = rollout
        on = device or choose_device(rollout)
        self.settings = engine_settings(model_path, rollout, model, on, logprobs_of, lora_rank)
        self._group = reserve(rollout, self.settings.device, self._console)
        self._actors: list[ActorHandle | None] = [None] * rollout.engines
        self._reports: list[EngineReport | None] = [None] * rollout.engines
        self._restarts = [0] * rollout.engines
        self._nodes: list[str | None] = [None] * rollout.engines
        self._begun = time.monotonic()
        self._starting: dict[ray.ObjectRef, int] = {}
        try:
            self._starting = {self._begin(index): index for index in range(rollout.engines)}
            if self.settings.device == "cuda":  # vLLM measures a GPU's free memory, so nothing else may begin on it
                self.wait_until_ready()
        except BaseException:
            self.shutdown()
            raise

    def __enter__(self) -> Self:
        self.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def wait_until_ready(self) -> None:
        """Wait for engines that still start; prints one line for each. Raises EngineLostError, and ends all, if one
        does not start."""
        starting, self._starting = self._starting, {}
        try:
            self._wait(starting, self._begun)
        except BaseException:
            self.shutdown()
            raise

    def reports(self) -> list[EngineReport]:
        """Current version and process ids of every engine."""
        self.wait_until_ready()
        return ray.get([actor.report.remote() for actor in self._actors])

    def pids(self) -> list[int]:
        """Process ids of the engine actors as they last started."""
        self.wait_until_ready()
        return [report.pid for report in self._reports if report is not None]

    def shutdown(self) -> None:
        """End all engines, also those that still start, and give their place back; safe to call twice."""
        self._starting = {}
        stopping = [actor.shutdown.remote() for actor in self._actors if actor is not None]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=20)
        for index in range(len(self._actors)):
            self._kill(index)
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None

    def _replace(self, index: int) -> None:
        """A new engine in the place of a dead one; it serves the base model when this returns."""
        self._restarts[index] += 1
        if self._restarts[index] > self.rollout.max_restarts:
            raise EngineLostError(
                f"engine {index} died {self._restarts[index]} times without an answer in between, more than "
                f"rollout.max_restarts = {self.rollout.max_restarts}; see the engine's log in Ray's session folder"
            )
        self._kill(index)
        self._wait({self._begin(index): index}, time.monotonic())

    def _wait(self, starting: dict[ray.ObjectRef, int], begun: float) -> None:
        """Until each of the engines that start since ``begun`` can generate."""
        while starting:
            left = self.rollout.startup_deadline - (time.monotonic() - begun)
            ready, _ = ray.wait(list(starting), num_returns=1, timeout=min(max(left, 0), LOOK_SECONDS))
            if not ready:
                if self._wait_for_room():
                    begun = time.monotonic()  # what came before was no start, but a wait for a node
                elif left <= 0:
                    raise EngineLostError(
                        f"engine {min(starting.values())} did not start within {self.rollout.startup_deadline:g} s "
                        "(rollout.startup_deadline)"
                    )
                continue
            index = starting.pop(ready[0])
            try:
                report = ray.get(ready[0])
            except ENGINE_GONE as error:
                self._wait_for_room()
                if self._node_of(index) == self._nodes[index]:
                    raise EngineLostError(f"engine {index} died while it started: {last_line(error)}") from error
                starting[self._begin(index)] = index  # it had been put on a node whose loss Ray did not know yet
                begun = time.monotonic()
                continue
            self._reports[index] = report
            self._say(f"engine {index} ready{self._role} after {time.monotonic() - begun:.1f} s")

    def _begin(self, index: int) -> ray.ObjectRef:
        """A new actor's start."""
        self._nodes[index] = self._node_of(index)
        self._actors[index] = self._create(index)
        return self._actors[index].start.remote()

    def _create(self, index: int) -> ActorHandle:
        bundle = engine_bundle(self.rollout, self.settings.device)
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        return EngineActor.options(
            num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), scheduling_strategy=strategy
        ).remote(self.settings, index)

    def _node_of(self, index: int) -> str | None:
        """Where Ray has the engine's bundle."""
        return placement_group_table(self._group)["bundles_to_node_id"].get(index)

    def _wait_for_room(self) -> bool:
        """See :func:`wait_for_lost_room`."""
        return wait_for_lost_room(self._group, self.rollout, self.settings.device, self._console)

    def _kill(self, index: int) -> None:
        actor, self._actors[index] = self._actors[index], None
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False)
