"""One replica of the served judge: a vLLM engine in a Serve replica, asked about comparisons."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genrm_rl.config import JudgeConfig
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.folding import fold
from genrm_rl.judging.requests import (
    JudgeRequest,
    both_orders,
    forced_request,
    judge_requests,
    trace_from_forced,
    trace_from_result,
)
from genrm_rl.judging.types import Form, Judgment, Trace
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.types import Comparison
from genrm_rl.rollout.settings import EngineSettings, engine_environment
from genrm_rl.rollout.types import EngineReport, GenerationRequest, GenerationResult


@dataclass(frozen=True, slots=True)
class ServedJudge:
    """What a replica serves: weights (in ``engine``), version, prompt form and judge format."""

    engine: EngineSettings
    version: str
    form: Form
    judge: JudgeConfig
    seed: int
    cache_entries: int

    def encoder(self) -> JudgeEncoder:
        """Prompts and readings of this judge."""
        return JudgeEncoder.from_config(
            load_tokenizer(Path(self.engine.model_path)), self.judge, self.engine.max_context
        )


@dataclass(frozen=True, slots=True)
class Votes:
    """How one comparison is asked about: ``count`` judgments per order, sampled or one greedy."""

    count: int
    greedy: bool


class JudgeReplica:
    """Body of the Serve deployment. Both orders and all votes of a comparison go to the same engine, where they share
    the cached prefix."""

    def __init__(self, served: ServedJudge) -> None:
        os.environ.update(engine_environment(served.engine))
        from genrm_rl.rollout.vllm_adapter import VllmEngine

        self._served = served
        self._encoder = served.encoder()
        self._engine = VllmEngine(served.engine, index=0)
        self._starting: asyncio.Task[object] | None = None
        self._cache: OrderedDict[tuple[str, bool], Judgment] = OrderedDict()
        self._calls = itertools.count()
        self._asked = 0

    async def ready(self) -> str:
        """Start the engine if it is not running; returns the judge version."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._engine.start())
        await asyncio.shield(self._starting)
        return self._served.version

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

    async def judge(
        self, comparisons: Sequence[Comparison], votes: Votes, expires: float
    ) -> list[tuple[Judgment, bool]]:
        """Judgments in the order of ``comparisons``, and whether each came from the cache.

        ``expires`` is a time of the wall clock; votes that are late are TIMED_OUT. Engine failures are JUDGE_FAILED.
        """
        await self.ready()
        return list(await asyncio.gather(*(self._judge(each, votes, expires) for each in comparisons)))

    async def generate(self, request: GenerationRequest, expires: float) -> GenerationResult:
        """What the model itself writes after these tokens, a conversation in its own template.

        ``expires`` is a time of the wall clock. The result may be a failure or a missed deadline.
        """
        await self.ready()
        return await self._answer(self._renamed(request), expires)

    async def _judge(self, comparison: Comparison, votes: Votes, expires: float) -> tuple[Judgment, bool]:
        exact = votes.greedy or self._served.form == "direct"
        key = (comparison.pair_id, comparison.swapped)
        if exact and key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key], True
        asked = judge_requests(
            both_orders([comparison]),
            self._encoder,
            form=self._served.form,
            judge_version=self._served.version,
            purpose="serve",
            run_seed=self._served.seed,
            temperature=0.0 if exact else self._served.judge.temperature,
            top_p=1.0 if exact else self._served.judge.top_p,
            samples=1 if exact else votes.count,
        )
        traces = await asyncio.gather(*(self._trace(each, expires) for each in asked))
        judgment = fold(traces, self._served.judge.aggregate)
        if exact and all(trace.verdict.is_verdict for trace in traces):
            self._cache[key] = judgment
            while len(self._cache) > self._served.cache_entries:
                self._cache.popitem(last=False)
        return judgment, False

    async def _trace(self, asked: JudgeRequest, expires: float) -> Trace:
        asked = replace(asked, request=self._renamed(asked.request))
        result = await self._answer(asked.request, expires)
        follow_up = forced_request(asked, result, self._encoder)
        if follow_up is None:
            return trace_from_result(asked, result, self._encoder)
        forced = await self._answer(follow_up.request, expires)
        return trace_from_forced(asked, result, forced, self._encoder)

    async def _answer(self, request: GenerationRequest, expires: float) -> GenerationResult:
        self._asked += 1
        return await self._engine.answer(request, max(0.001, expires - time.time()))

    def _renamed(self, request: GenerationRequest) -> GenerationRequest:
        """Under a unique id: the same request may be made twice at once."""
        return replace(request, request_id=f"{request.request_id}#{next(self._calls)}")
