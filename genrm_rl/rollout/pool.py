"""Several engines as one: dispatch, streaming, restarts, and weight publication."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import ray
from ray.actor import ActorHandle

from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.rollout.dispatch import Dispatcher, Generation
from genrm_rl.rollout.engine_group import EngineGroup
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.progress import GenerationProgress
from genrm_rl.rollout.publication import PublishedWeights, WeightPublisher
from genrm_rl.rollout.settings import SleepLevel
from genrm_rl.rollout.sync_client import ENGINE_GONE, RPC_SECONDS, WeightHolder, last_line
from genrm_rl.rollout.types import SyncReceipt
from genrm_rl.rollout.watch import EngineWatch
from genrm_rl.runtime.stalls import keep_stacks

if TYPE_CHECKING:
    import torch

    from genrm_rl.rollout.parity import ProbeReference

LONG_POLL_SECONDS = 5.0
BASE_VERSION = "base"


class Asked(NamedTuple):
    """Whom a call went to; the engine at this index may be another one by the time that it comes back."""

    index: int
    actor: ActorHandle


class EnginePool(EngineGroup):
    """``RolloutConfig.engines`` engine actors in one placement group, all serving the same weights.

    Needs an initialised Ray session. Use it as a context manager, or call `shutdown`. Several threads may `generate` at
    once and another one `publish` meanwhile: the engines stop, take the weights and go on with what they had begun;
    each result says which of its tokens came from which version. Arguments: `EngineGroup`.
    """

    version = BASE_VERSION
    _asleep: SleepLevel | None = None
    _fetching = False

    @cached_property
    def _publisher(self) -> WeightPublisher:
        return WeightPublisher(self.settings, self.rollout.parity_limit)

    @cached_property
    def _news(self) -> threading.Condition:
        """Held whenever engines or the dispatcher are touched, but not while they are waited for."""
        return threading.Condition()

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(self.rollout.engines, self.rollout.max_in_flight)

    @cached_property
    def _watch(self) -> EngineWatch:
        return EngineWatch(self._say, lambda: self.rollout.stall_deadline)

    @cached_property
    def _calls(self) -> dict[ray.ObjectRef, Asked]:
        """Calls for results that have not come back."""
        return {}

    def shutdown(self) -> None:
        """End all engines, give their place back, and let go of the published weights; safe to call twice."""
        super().shutdown()
        self._publisher.close()

    # -- generation -------------------------------------------------------------------------------------------------

    def generate(
        self, requests: Iterable[GenerationRequest], progress: str | None = None, *, priority: int = 0
    ) -> Iterator[GenerationResult]:
        """Sample every request and yield results as they finish, in no particular order, each exactly once.

        ``progress`` labels a progress bar with tokens/s and time left; None shows nothing. Of several generations that
        go on at once the one with the lowest ``priority`` gets the next free place; whoever of their consumers waits
        first fetches results for all, so engines come to rest when all consumers are busy. A request that its engine
        refuses becomes a result with ``finish_reason`` 'failed', one that takes longer than ``RolloutConfig.deadline``
        seconds becomes 'deadline'. Requests of an engine that died are sampled again, with the same seeds.

        Raises:
            EngineLostError: an engine died more than ``RolloutConfig.max_restarts`` times without an answer in between.
            PublicationError: meanwhile weights were published and refused, so some tokens are of nobody knows what.
            ValueError: two requests share an id.
        """
        if self._asleep:
            raise RuntimeError("the engines sleep; wake them, or publish weights to them")
        with self._news:
            self.wait_until_ready()
        return self._generate(Generation(requests), priority, progress)

    def _generate(self, generation: Generation, priority: int, label: str | None) -> Iterator[GenerationResult]:
        with self._news:
            self._dispatcher.add(generation, priority)
        try:
            with GenerationProgress(label, generation.total) as progress:
                while results := self._next(generation):
                    progress.advance(len(results), sum(len(result.token_ids) for result in results))
                    yield from results
        finally:
            with self._news:
                for index, numbers in self._dispatcher.drop(generation).items():
                    if (actor := self._actors[index]) is not None:
                        actor.drop.remote(numbers)

    def _next(self, generation: Generation) -> list[GenerationResult]:
        """Results of a generation that nobody has taken; waits for the first. Empty when all have been taken."""
        while True:
            with self._news:
                if generation.spoilt:
                    raise PublicationError("probe", "weights were refused while answers were sampled with them")
                if generation.ready or not generation.unfinished:
                    return generation.take()
                if self._fetching:
                    self._news.wait()
                    continue
                self._fetching = True
            try:
                self._fetch()
            finally:
                with self._news:
                    self._fetching = False
                    self._news.notify_all()

    def _fetch(self) -> None:
        """One round with the engines, for all generations."""
        with self._news:
            busy = {asked.index for asked in self._calls.values()}
            self._exchange(index for index in range(len(self._actors)) if index not in busy)
            self._end_stalled()
            calls = list(self._calls)
        finished = _finished(calls)
        with self._news:
            for call in finished:
                asked = self._calls.pop(call)
                accepted = self._collect(call, asked)
                self._watch.answered(asked.index, accepted, self._dispatcher.in_flight(asked.index))
                # The engine gets its next requests before a consumer gets to work on these results.
                self._exchange([asked.index])

    def _exchange(self, idle: Iterable[int]) -> None:
        """Hand waiting requests to ``idle`` engines and ask them for results."""
        for index, batch in self._dispatcher.assign(idle).items():
            if self._dispatcher.in_flight(index):
                actor = self._actors[index]
                requests = [(ticket.number, ticket.request) for ticket in batch]
                call = actor.exchange.remote(requests, self.rollout.deadline, LONG_POLL_SECONDS)
                self._calls[call] = Asked(index, actor)
                self._watch.called(index)

    def _end_stalled(self) -> None:
        """End engines that do not react; their calls then fail, and they are replaced like any that died. Not those
        whose answer only waits to be fetched: the consumer may have taken its time."""
        overdue = self._watch.overdue()
        silent = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)[1] if overdue else []
        for index in overdue.intersection(self._calls[call].index for call in silent):
            report = self._reports[index]
            kept = keep_stacks(f"engine {index}", [report.whereabouts] if report and report.whereabouts else [])
            self._say(f"engine {index} has not reacted for {self.rollout.stall_deadline:g} s; it is ended{kept}")
            ray.kill(self._actors[index], no_restart=True)
            self._watch.called(index)

    def _collect(self, call: ray.ObjectRef, asked: Asked) -> int:
        """Results of one finished call go to their generations; returns how many. Requests of an engine that died wait
        again, and unless a publication has done so already, it is replaced."""
        index, accepted = asked.index, 0
        replaced = asked.actor is not self._actors[index]
        try:
            accepted = self._dispatcher.finish(index, ray.get(call))
            if accepted and not replaced:
                self._restarts[index] = 0
            if replaced:
                self._dispatcher.lost(index)
        except ENGINE_GONE as error:
            again = self._dispatcher.lost(index)
            self._say(f"engine {index} died ({last_line(error)}); {again} requests will be sampled again")
            if not replaced:
                self._restart(index)
        return accepted

    # -- weights ----------------------------------------------------------------------------------------------------

    def publish(
        self,
        version: str,
        source: str | Path | Mapping[str, torch.Tensor] | WeightHolder,
        reference: ProbeReference | None = None,
    ) -> SyncReceipt:
        """Move every engine to new weights and prove it; what is sampled from then on carries ``version``.

        Running requests keep their place and their keys and values, and go on with the new weights, also while those
        are still probed. If they are refused, the generations that these requests belong to raise the same error.

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
        with self._news:
            self.wait_until_ready()
        while True:
            try:
                with self._publisher.prepared(version, source, reference, self._actors) as weights, self._news:
                    return self._move_to(weights)
            except PublicationError as error:
                raise PublicationError(error.phase, f"{error}; the engines serve {self.version!r}") from error
            except ENGINE_GONE as error:
                self._say(f"an engine died during publication ({last_line(error)}); it is replaced")
                with self._news:
                    self._return_to_good()

    def _move_to(self, weights: PublishedWeights) -> SyncReceipt:
        self._asleep = None  # the first phase wakes them, and so does the way back
        try:
            receipt = self._publisher.publish(self._actors, weights)
        except PublicationError:
            self._dispatcher.spoil()
            self._return_to_good()
            raise
        self.version = weights.version
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
            # An adapter is published over the base, which therefore stays.
            self._asleep = 2 if until_published and not self.settings.lora_rank else 1
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
