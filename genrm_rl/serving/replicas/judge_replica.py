"""One replica of the served judge: a vLLM engine in a Serve replica, asked about comparisons."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from genrm_rl.config import JudgeConfig
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import fold, no_answer, tie_of_equals
from genrm_rl.judging.judge import JudgeKind
from genrm_rl.judging.reading import forced_request, trace_from_forced, trace_from_result
from genrm_rl.judging.requests import JudgeRequest, judge_requests, orders_to_ask, requests_again
from genrm_rl.judging.scalar import scalar_misfit
from genrm_rl.judging.stopping import next_rounds, rounds_of
from genrm_rl.judging.thoughts import lacks_answer
from genrm_rl.judging.types import Form, Trace
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.types import Comparison, content_hash
from genrm_rl.rollout.settings import EngineSettings, engine_environment
from genrm_rl.rollout.types import EngineReport
from genrm_rl.runtime.imports import without_collections
from genrm_rl.serving.contracts import Cost, Judged
from genrm_rl.serving.replicas.replica_port import close_replica_port
from genrm_rl.serving.replicas.shared_calls import SharedCalls
from genrm_rl.serving.replicas.verdict_cache import VerdictCache, cache_key, weights_fingerprint

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class ServedJudge:
    """What a replica serves: weights (in ``engine``), version, prompt form (None for a judge without words) and judge
    format."""

    engine: EngineSettings
    version: str
    form: Form | None
    judge: JudgeConfig
    seed: int
    cache_entries: int
    cache_path: str | None = None
    kind: JudgeKind = "generative"

    def encoder(self) -> JudgeEncoder:
        """Prompts and readings of this judge."""
        return JudgeEncoder.from_config(
            load_tokenizer(Path(self.engine.model_path)), self.judge, self.engine.max_context
        )

    def misfit(self, comparison: Comparison, encoder: JudgeEncoder) -> str | None:
        """Why the judge can't read this comparison in full, or None if it can. Raises DataError or ModelError for turns
        that its template does not take."""
        if comparison.guide.known_answer is not None and not self.judge.show_reference:
            return "known_answer: this judge is shown none (judge.show_reference is false); leave it out"
        if comparison.guide and self.kind == "bradley_terry":
            return "a Bradley-Terry judge scores answers and reads no rubric and no known answer; leave them out"
        if self.form is not None:
            return encoder.response_misfit(comparison, self.form)
        return scalar_misfit(self.kind, comparison, encoder)

    def identity(self, encoder: JudgeEncoder) -> str:
        """Hash of all that an exact verdict depends on, but what is compared."""
        asked = (encoder.prompt_hashes[self.form], self.form, encoder.max_tokens(self.form), self.judge.force_verdict)
        engine = (weights_fingerprint(self.engine.model_path), self.engine.dtype, self.engine.device)
        return content_hash(self.version, *engine, *asked, self.judge.aggregate, self.judge.orders)


@dataclass(frozen=True, slots=True)
class Votes:
    """How one comparison is asked about: ``count`` judgments per order, sampled or one greedy. With ``stop_error``,
    fewer if they settle the verdict (:mod:`genrm_rl.judging.stopping`)."""

    count: int
    greedy: bool
    stop_error: float | None = None


class JudgeReplica:
    """Body of the Serve deployment. Both orders and all votes of a comparison go to the same engine, where they share
    the cached prefix."""

    def __init__(self, served: ServedJudge) -> None:
        close_replica_port()
        os.environ.update(engine_environment(served.engine))
        with without_collections():
            from genrm_rl.rollout.vllm_adapter import VllmEngine

        self._served = served
        self._encoder = served.encoder()
        self._engine = VllmEngine(served.engine, index=0)
        self._starting: asyncio.Task[object] | None = None
        self._asleep = False
        self._turning = asyncio.Lock()
        self._cache = VerdictCache(served.cache_entries, served.cache_path)
        self._identity = served.identity(self._encoder)
        self._calls = itertools.count()
        self._shared: SharedCalls[GenerationResult] = SharedCalls()
        self._asked = 0

    async def ready(self) -> str:
        """Start the engine if it is not running, and wake it if it sleeps; returns the judge version."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._engine.start())
        await asyncio.shield(self._starting)
        async with self._turning:
            if self._asleep:
                await self._engine.wake("weights", "kv_cache")
                self._asleep = False
        return self._served.version

    async def sleep(self) -> str:
        """Free the engine's GPU memory until the next call; its weights wait on the host, for nobody brings them again.
        Returns the replica's name. An engine that has not started sleeps already."""
        if self._starting is not None:
            await asyncio.shield(self._starting)
            async with self._turning:
                if not self._asleep:
                    await self._engine.sleep(1)
                    self._asleep = True
        return replica_name()

    async def served(self) -> ServedJudge:
        """What this replica was told to serve."""
        return self._served

    async def report(self) -> EngineReport:
        """Version and process ids, for operators and drills."""
        await self.ready()
        return await self._engine.report()

    async def requests(self) -> int:
        """Requests that the engine was given so far."""
        return self._asked

    async def check_health(self) -> None:
        """Serve's health check: a dead engine process makes the replica unhealthy, and Serve replaces it."""
        if self._starting is not None and self._starting.done():
            self._starting.result()
            _ = self._engine.llm

    async def judge(self, comparisons: Sequence[Comparison], votes: Votes, expires: float) -> list[Judged]:
        """Judgments in the order of ``comparisons``.

        ``expires`` is a time of the wall clock; votes that are late are TIMED_OUT. Engine failures are JUDGE_FAILED.
        Raises TimeoutError if the engine started too late: nothing was judged, and the call can be made again.
        """
        starts = self._starting is None or not self._starting.done()
        await self.ready()
        if starts and time.time() > expires:
            raise TimeoutError("the engine has started after the deadline of this call")
        return list(await asyncio.gather(*(self._judge(each, votes, expires) for each in comparisons)))

    async def generate(self, request: GenerationRequest, expires: float) -> GenerationResult:
        """What the model itself writes after these tokens, a conversation in its own template.

        ``expires`` is a time of the wall clock. The result may be a failure or a missed deadline.
        """
        await self.ready()
        result = await self._answer(self._renamed(request), expires)
        return replace(result, weight_version=self._served.version)

    async def _judge(self, comparison: Comparison, votes: Votes, expires: float) -> Judged:
        if lacks_answer(comparison):
            return Judged(no_answer(comparison.pair_id), False, Cost(), self._served.version)
        if self._encoder.indistinct(comparison, self._served.form):
            return Judged(tie_of_equals(comparison.pair_id), False, Cost(), self._served.version)
        exact = votes.greedy or self._served.form == "direct"
        key = cache_key(comparison, self._identity)
        known = await self._off_loop(self._cache.get, key) if exact else None
        if known is not None:
            return Judged(known, True, Cost(), self._served.version)
        planned = 1 if exact else votes.count
        traces, cost = await self._vote(self._requests(comparison, exact, planned), planned, votes.stop_error, expires)
        judgment = fold(traces, self._served.judge.aggregate, self._served.judge.orders)
        if exact:
            await self._off_loop(self._cache.put, key, judgment)
        return Judged(judgment, False, cost, self._served.version)

    async def _off_loop(self, call: Callable[..., ResultT], *arguments: object) -> ResultT:
        """A call of the cache; in a thread if it may wait for a disk."""
        return await asyncio.to_thread(call, *arguments) if self._cache.on_disk else call(*arguments)

    def _requests(self, comparison: Comparison, exact: bool, planned: int) -> list[JudgeRequest]:
        """All planned votes of both orders, or of the one that is drawn (``judge.orders``)."""
        judge = self._served.judge
        return list(
            judge_requests(
                orders_to_ask([comparison], judge.orders, self._served.seed),
                self._encoder,
                form=self._served.form,
                judge_version=self._served.version,
                purpose="serve",
                run_seed=self._served.seed,
                temperature=0.0 if exact else judge.temperature,
                top_p=1.0 if exact else judge.top_p,
                samples=planned,
            )
        )

    async def _vote(
        self, asked: Sequence[JudgeRequest], planned: int, error: float | None, expires: float
    ) -> tuple[list[Trace], Cost]:
        """Ask round by round, one vote per order each, until the verdict is settled or all were asked. An order without
        any verdict is asked once more, if there is time."""
        traces: list[Trace] = []
        cost = Cost()
        done = 0
        while more := next_rounds(rounds_of(traces), planned, error):
            batch = [each for each in asked if done <= each.sample_index < done + more]
            found, spent = await self._traces(batch, expires)
            traces, cost, done = traces + found, cost + spent, done + more
        cost += Cost(votes_saved=len(asked) - len(traces))
        if time.time() < expires:
            found, spent = await self._traces(requests_again(asked, traces), expires)
            traces, cost = traces + found, cost + spent
        return traces, cost

    async def _traces(self, batch: Sequence[JudgeRequest], expires: float) -> tuple[list[Trace], Cost]:
        """Judgments that are asked for at once, and what they cost together."""
        found = await asyncio.gather(*(self._trace(each, expires) for each in batch))
        return [trace for trace, _ in found], sum((cost for _, cost in found), Cost())

    async def _trace(self, asked: JudgeRequest, expires: float) -> tuple[Trace, Cost]:
        """One judgment and what it cost."""
        asked = replace(asked, request=self._renamed(asked.request))
        result, cost = await self._answer_once(asked, expires)
        cost += Cost(votes_asked=1)
        follow_up = forced_request(asked, result, self._encoder)
        if follow_up is None:
            return trace_from_result(asked, result, self._encoder), cost
        forced, more = await self._answer_once(follow_up, expires)
        return trace_from_forced(asked, result, forced, self._encoder), cost + more

    async def _answer_once(self, asked: JudgeRequest, expires: float) -> tuple[GenerationResult, Cost]:
        """The engine's answer, and what it cost. A greedy question that is being answered already is not asked again:
        answers of a group are often equal, and two comparisons that are each other's reverse have the same orders."""
        request = asked.request
        if request.temperature > 0:
            result = await self._answer(request, expires)
            return result, _cost(asked, result)
        result, shared = await self._shared.ask(
            replace(request, request_id="", seed=0),
            lambda: self._answer(request, expires),
            lambda result: result.finish_reason in ("stop", "length"),
            max(0.0, expires - time.time()),
        )
        return replace(result, request_id=request.request_id), Cost() if shared else _cost(asked, result)

    async def _answer(self, request: GenerationRequest, expires: float) -> GenerationResult:
        self._asked += 1
        return await self._engine.answer(request, max(0.001, expires - time.time()))

    def _renamed(self, request: GenerationRequest) -> GenerationRequest:
        """Under a unique id: the same request may be made twice at once."""
        return replace(request, request_id=f"{request.request_id}#{next(self._calls)}")


def replica_name() -> str:
    """Of this process, among the replicas of its judge."""
    from ray import serve

    return serve.get_replica_context().replica_id.unique_id


def _cost(asked: JudgeRequest, result: GenerationResult) -> Cost:
    """Tokens of one answer; nothing is known of what an answer that failed or was late took."""
    if result.finish_reason in ("failed", "deadline"):
        return Cost()
    return Cost(
        generated_tokens=len(result.token_ids),
        prompt_tokens=len(asked.request.prompt_token_ids),
        cached_prompt_tokens=result.cached_prompt_tokens,
    )
