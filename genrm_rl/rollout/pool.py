"""Several engines as one: dispatch, streaming, restarts, and weight publication."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from genrm_rl.rollout.dispatch import Dispatcher
from genrm_rl.rollout.engine_group import EngineGroup
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.progress import GenerationProgress
from genrm_rl.rollout.publication import WeightPublisher
from genrm_rl.rollout.settings import SleepLevel
from genrm_rl.rollout.sync_client import ENGINE_GONE, RPC_SECONDS, WeightHolder, last_line
from genrm_rl.rollout.types import GenerationRequest, GenerationResult, SyncReceipt
from genrm_rl.rollout.watch import EngineWatch
from genrm_rl.runtime.stalls import keep_stacks

if TYPE_CHECKING:
    import torch

    from genrm_rl.rollout.parity import ProbeReference

LONG_POLL_SECONDS = 5.0
BASE_VERSION = "base"


class EnginePool(EngineGroup):
    """``RolloutConfig.engines`` engine actors in one placement group, all serving the same weights.

    Needs an initialised Ray session. Use it as a context manager, or call `shutdown`. Generation and publication take
    turns: `publish` refuses to run while a `generate` is being consumed, so every result has one known weight version.
    Arguments: `EngineGroup`.
    """

    version = BASE_VERSION
    _generating = False
    _asleep: SleepLevel | None = None

    @cached_property
    def _publisher(self) -> WeightPublisher:
        return WeightPublisher(self.settings, self.rollout.parity_limit)

    def shutdown(self) -> None:
        """End all engines, give their place back, and let go of the published weights; safe to call twice."""
        super().shutdown()
        self._publisher.close()

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
            raise RuntimeError("the engines sleep; wake them, or publish weights to them")
        self.wait_until_ready()
        dispatcher = Dispatcher(requests, len(self._actors), self.rollout.max_in_flight)
        return self._generate(dispatcher, progress)

    def _generate(self, dispatcher: Dispatcher, label: str | None) -> Iterator[GenerationResult]:
        self._generating = True
        session = uuid.uuid4().hex
        calls: dict[ray.ObjectRef, int] = {}
        self._watch = EngineWatch(self._say, self.rollout.stall_deadline)
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
                call = actor.exchange.remote(session, batch, self.rollout.deadline, LONG_POLL_SECONDS)
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
            self._say(f"engine {index} has not reacted for {self.rollout.stall_deadline:g} s; it is ended{kept}")
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
        self.wait_until_ready()
        self._asleep = None  # the first phase wakes them, and so does the way back
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

    def _restart(self, index: int) -> None:
        """Replace a dead engine; it serves the last published weights before this returns."""
        self._replace(index)
        if self._publisher.good is not None:
            try:
                self._publisher.send([self._actors[index]], self._publisher.good)
            except ENGINE_GONE as error:
                self._say(f"engine {index} died while it got the weights ({last_line(error)})")
                self._restart(index)

    def sleep(self, *, until_published: bool = True) -> None:
        """With ``RolloutConfig.sleep``, free the engines' GPU memory for a learner on the same GPUs; does nothing
        otherwise, or on CPU. The weights are dropped if the next call is `publish`; else they wait on the host for
        `wake`. An engine that is gone is found by the next call that needs it."""
        if self.settings.sleep and self._asleep is None:
            self._asleep = 2 if until_published else 1
            self._tell_all("sleep", self._asleep)

    def wake(self) -> None:
        """Engines that have kept their weights work again."""
        if self._asleep == 2:
            raise RuntimeError("the engines have dropped their weights; publish some to them")
        if self._asleep is not None:
            self._tell_all("wake", "weights", "kv_cache")
            self._asleep = None

    def _tell_all(self, method: str, *arguments: object) -> None:
        for call in [getattr(actor, method).remote(*arguments) for actor in self._actors]:
            with contextlib.suppress(*ENGINE_GONE):
                ray.get(call, timeout=RPC_SECONDS)


def _finished(calls: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
    """All calls that have come back, as soon as one has; with hundreds of engines one look must serve many results."""
    ready, _ = ray.wait(calls, num_returns=1, timeout=LONG_POLL_SECONDS)
    return ray.wait(calls, num_returns=len(calls), timeout=0)[0] if ready and len(calls) > 1 else ready
