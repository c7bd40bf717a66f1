"""Several engines as one: dispatch, streaming, restarts, and weight publication."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import ray
from ray.actor import ActorHandle
from ray.util.placement_group import placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from rich.console import Console

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.rollout.dispatch import Dispatcher
from genrm_rl.rollout.engine_actor import EngineActor
from genrm_rl.rollout.errors import EngineLostError, PublicationError
from genrm_rl.rollout.progress import GenerationProgress
from genrm_rl.rollout.publication import WeightPublisher
from genrm_rl.rollout.resources import choose_device, engine_bundle, reserve, wait_for_lost_room
from genrm_rl.rollout.settings import Device, Distribution, engine_settings
from genrm_rl.rollout.sync_client import ENGINE_GONE, RPC_SECONDS, WeightHolder, last_line
from genrm_rl.rollout.types import EngineReport, GenerationRequest, GenerationResult, SyncReceipt
from genrm_rl.rollout.watch import EngineWatch
from genrm_rl.runtime.stalls import keep_stacks

if TYPE_CHECKING:
    import torch

    from genrm_rl.rollout.parity import ProbeReference

LONG_POLL_SECONDS = 5.0
BASE_VERSION = "base"


class EnginePool:
    """``RolloutConfig.engines`` engine actors in one placement group, all serving the same weights.

    Needs an initialised Ray session. Use it as a context manager, or call `shutdown`. Generation and publication take
    turns: `publish` refuses to run while a `generate` is being consumed, so every result has one known weight version.

    Args:
        model_path: directory of the base model (safetensors, tokenizer).
        rollout: engine settings. model: context length and dtype.
        device: ``cpu`` or ``cuda``; None takes what the Ray cluster has.
        logprobs_of: the distribution of generated tokens' log-probabilities (`EngineSettings`).
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
    ) -> None:
        self._console = console or Console(stderr=True)
        self._rollout = rollout
        self.settings = engine_settings(model_path, rollout, model, device or choose_device(rollout), logprobs_of)
        self._group = reserve(rollout, self.settings.device, self._console)
        self._actors: list[ActorHandle | None] = [None] * rollout.engines
        self._reports: list[EngineReport | None] = [None] * rollout.engines
        self._restarts = [0] * rollout.engines
        self._nodes: list[str | None] = [None] * rollout.engines
        self._generating = False
        self._asleep = False
        self._publisher = WeightPublisher(self.settings, rollout.parity_limit)
        self.version = BASE_VERSION
        try:
            self._start(range(rollout.engines))
        except BaseException:
            self.shutdown()
            raise

    def __enter__(self) -> EnginePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    # -- generation -------------------------------------------------------------------------------------------------

    def generate(
        self, requests: Iterable[GenerationRequest], progress: str | None = None
    ) -> Iterator[GenerationResult]:
        """Sample every request and yield results as they finish, in no particular order, each exactly once.

        ``progress`` labels a progress bar with tokens/s and time left; None shows nothing. A request that its engine
        refuses becomes a result with ``finish_reason`` 'failed', one that takes longer than ``RolloutConfig.deadline``
        seconds becomes 'deadline'. Requests of an engine that died are sampled again, with the same seeds.

        Raises:
            EngineLostError: an engine died more than ``RolloutConfig.max_restarts`` times without an answer in between.
            ValueError: two requests share an id.
        """
        if self._generating:
            raise RuntimeError("this pool is already generating; consume or close that iterator first")
        if self._asleep:
            raise RuntimeError("the engines sleep until new weights are published")
        dispatcher = Dispatcher(requests, len(self._actors), self._rollout.max_in_flight)
        return self._generate(dispatcher, progress)

    def _generate(self, dispatcher: Dispatcher, label: str | None) -> Iterator[GenerationResult]:
        self._generating = True
        session = uuid.uuid4().hex
        calls: dict[ray.ObjectRef, int] = {}
        self._watch = EngineWatch(self._say, self._rollout.stall_deadline)
        try:
            with GenerationProgress(label, dispatcher.total) as progress:
                while not dispatcher.done:
                    self._exchange(dispatcher, session, calls, self._idle(calls))
                    self._end_stalled(calls)
                    for call in _finished(list(calls)):
                        index = calls.pop(call)
                        results = self._collect(dispatcher, call, index)
                        self._watch.answered(index, len(results), dispatcher.in_flight(index))
                        progress.advance(len(results), sum(len(result.token_ids) for result in results))
                        # The engine gets its next requests before the consumer gets to work on these results.
                        self._exchange(dispatcher, session, calls, [index])
                        yield from results
        finally:
            self._generating = False
            if not dispatcher.done:
                self._abort(calls)

    def _idle(self, calls: dict[ray.ObjectRef, int]) -> list[int]:
        """Engines without a call outstanding."""
        busy = set(calls.values())
        return [index for index in range(len(self._actors)) if index not in busy]

    def _exchange(
        self, dispatcher: Dispatcher, session: str, calls: dict[ray.ObjectRef, int], idle: Iterable[int]
    ) -> None:
        """Hand waiting requests to ``idle`` engines and ask them for results."""
        for index, batch in dispatcher.assign(idle).items():
            if dispatcher.in_flight(index):
                actor = self._actors[index]
                call = actor.exchange.remote(session, batch, self._rollout.deadline, LONG_POLL_SECONDS)
                calls[call] = index
                self._watch.called(index)

    def _end_stalled(self, calls: dict[ray.ObjectRef, int]) -> None:
        """End engines that do not react; their calls then fail, and they are replaced like any that died. Not those
        whose answer only waits to be fetched: the consumer may have taken its time."""
        overdue = self._watch.overdue()
        silent = ray.wait(list(calls), num_returns=len(calls), timeout=0)[1] if overdue else []
        for index in overdue.intersection(calls[call] for call in silent):
            report = self._reports[index]
            kept = keep_stacks(f"engine {index}", [report.whereabouts] if report and report.whereabouts else [])
            self._say(f"engine {index} has not reacted for {self._rollout.stall_deadline:g} s; it is ended{kept}")
            ray.kill(self._actors[index], no_restart=True)
            self._watch.called(index)

    def _collect(self, dispatcher: Dispatcher, call: ray.ObjectRef, index: int) -> list[GenerationResult]:
        """Results of one finished call; an engine that died is replaced and its requests wait again."""
        try:
            results = dispatcher.finish(index, ray.get(call))
            if results:
                self._restarts[index] = 0
            return results
        except ENGINE_GONE as error:
            again = dispatcher.lost(index)
            self._say(f"engine {index} died ({last_line(error)}); {again} requests will be sampled again")
            self._restart(index)
            return []

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def _abort(self, calls: dict[ray.ObjectRef, int]) -> None:
        for index in set(calls.values()):
            actor = self._actors[index]
            if actor is not None:
                actor.abort_all.remote()

    # -- weights ----------------------------------------------------------------------------------------------------

    def publish(
        self,
        version: str,
        source: str | Path | Mapping[str, torch.Tensor] | WeightHolder,
        reference: ProbeReference | None = None,
    ) -> SyncReceipt:
        """Move every engine to new weights and prove it; afterwards results carry ``version``.

        Args:
            version: name of the weights, unique in the run.
            source: checkpoint directory (safetensors), tensors under checkpoint names, or a learner that holds them.
            reference: prompts and the learner's log-probabilities for them; None computes them from the directory with
                `parity.reference_logprobs`. Weights in memory need one.

        Raises:
            PublicationError: a phase failed or the probe was beyond the limit (also NaN). The engines serve the version
                that they had before, checked by the same probe.
            EngineLostError: an engine died too often meanwhile.
        """
        if self._generating:
            raise RuntimeError("publish between generations, not inside one: every result has one known weight version")
        self._asleep = False  # the first phase wakes them, and so does the way back
        while True:
            try:
                receipt = self._publisher.publish(self._actors, version, source, reference)
            except PublicationError as error:
                if error.phase != "prepare":
                    self._return_to_good()
                raise PublicationError(error.phase, f"{error}; the engines serve {self.version!r}") from error
            except ENGINE_GONE as error:
                self._say(f"an engine died during publication ({last_line(error)}); it is replaced")
                self._return_to_good()
                continue
            self.version = version
            return receipt

    def _return_to_good(self) -> None:
        """Every engine serves the last good version again; dead or obstinate ones are replaced."""
        for index, actor in enumerate(self._actors):
            try:
                self._publisher.roll_back([actor])
            except (*ENGINE_GONE, PublicationError) as error:
                self._say(f"engine {index} could not go back to {self.version!r} ({last_line(error)})")
                self._restart(index)

    # -- life of the engines ----------------------------------------------------------------------------------------

    def _start(self, indices: Iterable[int]) -> None:
        """Create actors and wait until each can generate; prints one line per engine."""
        begun = time.monotonic()
        starting: dict[ray.ObjectRef, int] = {}
        for index in indices:
            starting[self._begin(index)] = index
        while starting:
            left = self._rollout.startup_deadline - (time.monotonic() - begun)
            ready, _ = ray.wait(list(starting), num_returns=1, timeout=min(max(left, 0), LONG_POLL_SECONDS))
            if not ready:
                if self._wait_for_room():
                    begun = time.monotonic()  # what came before was no start, but a wait for a node
                elif left <= 0:
                    raise EngineLostError(
                        f"engine {min(starting.values())} did not start within {self._rollout.startup_deadline:g} s "
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
            self._say(f"engine {index} ready after {time.monotonic() - begun:.1f} s")

    def _begin(self, index: int) -> ray.ObjectRef:
        """A new actor's start."""
        self._nodes[index] = self._node_of(index)
        self._actors[index] = self._create(index)
        return self._actors[index].start.remote()

    def _create(self, index: int) -> ActorHandle:
        bundle = engine_bundle(self._rollout, self.settings.device)
        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
        return EngineActor.options(
            num_cpus=bundle["CPU"], num_gpus=bundle.get("GPU", 0), scheduling_strategy=strategy
        ).remote(self.settings, index)

    def _node_of(self, index: int) -> str | None:
        """Where Ray has the engine's bundle."""
        return placement_group_table(self._group)["bundles_to_node_id"].get(index)

    def _wait_for_room(self) -> bool:
        """See :func:`wait_for_lost_room`."""
        return wait_for_lost_room(self._group, self._rollout, self.settings.device, self._console)

    def _restart(self, index: int) -> None:
        """Replace a dead engine; it serves the last published weights before this returns."""
        self._restarts[index] += 1
        if self._restarts[index] > self._rollout.max_restarts:
            raise EngineLostError(
                f"engine {index} died {self._restarts[index]} times without an answer in between, more than "
                f"rollout.max_restarts = {self._rollout.max_restarts}; see the engine's log in Ray's session folder"
            )
        self._kill(index)
        self._start([index])
        if self._publisher.good is not None:
            try:
                self._publisher.send([self._actors[index]], self._publisher.good)
            except ENGINE_GONE as error:
                self._say(f"engine {index} died while it got the weights ({last_line(error)})")
                self._restart(index)

    def _kill(self, index: int) -> None:
        actor, self._actors[index] = self._actors[index], None
        if actor is not None:
            ray.kill(actor, no_restart=True)

    def reports(self) -> list[EngineReport]:
        """Current version and process ids of every engine."""
        return ray.get([actor.report.remote() for actor in self._actors])

    def pids(self) -> list[int]:
        """Process ids of the engine actors as they last started."""
        return [report.pid for report in self._reports if report is not None]

    def sleep(self) -> None:
        """With ``RolloutConfig.sleep``, free the engines' GPU memory for a learner on the same GPUs until the next
        `publish`; does nothing otherwise, or on CPU. An engine that is gone is found by the next call that needs it."""
        if self.settings.sleep:
            self._asleep = True
            for call in [actor.sleep.remote() for actor in self._actors]:
                with contextlib.suppress(*ENGINE_GONE):
                    ray.get(call, timeout=RPC_SECONDS)

    def shutdown(self) -> None:
        """End all engines and give their place back; safe to call twice."""
        stopping = [actor.shutdown.remote() for actor in self._actors if actor is not None]
        if stopping:
            ray.wait(stopping, num_returns=len(stopping), timeout=20)
        for index in range(len(self._actors)):
            self._kill(index)
        self._publisher.close()
        if self._group is not None:
            remove_placement_group(self._group)
            self._group = None


def _finished(calls: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
    """All calls that have come back, as soon as one has; with hundreds of engines one look must serve many results."""
    ready, _ = ray.wait(calls, num_returns=1, timeout=LONG_POLL_SECONDS)
    return ray.wait(calls, num_returns=len(calls), timeout=0)[0] if ready and len(calls) > 1 else ready
