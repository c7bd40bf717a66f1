"""What the engine pool costs over bare vLLM, and how long a publication takes: medians of alternating repeats."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.generation import GenerationRequest
from genrm_rl.rollout.bare_engine import BareEngine
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.types import SyncReceipt


@dataclass(frozen=True, slots=True)
class EngineRatio:
    """Generated tokens per second of the pool and of bare ``AsyncLLM``, same requests and engine settings.

    ``ratio`` is the median over repeats of pool / bare, each pair measured one after the other.
    """

    pool_tokens_per_second: tuple[float, ...]
    bare_tokens_per_second: tuple[float, ...]
    requests: int
    tokens: int

    @property
    def ratio(self) -> float:
        """Above 1: the pool is faster."""
        pairs = zip(self.pool_tokens_per_second, self.bare_tokens_per_second, strict=True)
        return statistics.median(pool / bare for pool, bare in pairs)


@dataclass(frozen=True, slots=True)
class PublicationTiming:
    """Receipts of repeated publications and the wall-clock seconds of each `EnginePool.publish` call."""

    receipts: tuple[SyncReceipt, ...]
    call_seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        """Median of `SyncReceipt.seconds`: pause to compared probe."""
        return statistics.median(receipt.seconds for receipt in self.receipts)

    @property
    def median_call_seconds(self) -> float:
        """Median of the whole call, with reading the checkpoint and the learner's side of the probe."""
        return statistics.median(self.call_seconds)


def benchmark_requests(
    vocabulary: int, count: int, *, prompt_tokens: int, max_tokens: int, seed: int
) -> list[GenerationRequest]:
    """Sampled requests with random prompts of ``prompt_tokens`` +- 50 % and two requested verdict log-probabilities."""
    source = random.Random(seed)
    requests = []
    for number in range(count):
        length = source.randint(prompt_tokens // 2, prompt_tokens * 3 // 2)
        prompt = tuple(source.randrange(vocabulary) for _ in range(length))
        requests.append(GenerationRequest(f"{seed}-{number}", prompt, max_tokens, 1.0, 0.95, number, (1, 2)))
    return requests


def engine_ratio(
    pool: EnginePool, *, vocabulary: int, count: int, prompt_tokens: int, max_tokens: int, repeats: int = 5
) -> EngineRatio:
    """Measure ``pool`` (one engine) against bare ``AsyncLLM`` with its settings; both get every list of requests.

    Both engines live side by side and only one works at a time; the order alternates, and a first round is not counted.
    """
    ours: list[float] = []
    bare: list[float] = []
    tokens = 0
    with BareEngine(pool.settings) as opponent:
        for repeat in range(repeats + 1):
            requests = benchmark_requests(
                vocabulary, count, prompt_tokens=prompt_tokens, max_tokens=max_tokens, seed=repeat
            )
            order = ("pool", "bare") if repeat % 2 else ("bare", "pool")
            rates: dict[str, float] = {}
            for which in order:
                tokens, seconds = _timed(pool, requests) if which == "pool" else opponent.generate(requests)
                rates[which] = tokens / seconds
            if repeat:
                ours.append(rates["pool"])
                bare.append(rates["bare"])
    return EngineRatio(tuple(ours), tuple(bare), count, tokens)


def publication_seconds(pool: EnginePool, checkpoint: str | Path, repeats: int = 5) -> PublicationTiming:
    """Publish ``checkpoint`` repeatedly; the first time is not counted."""
    receipts: list[SyncReceipt] = []
    seconds: list[float] = []
    for repeat in range(repeats + 1):
        begun = time.perf_counter()
        receipt = pool.publish(f"benchmark-{repeat}", checkpoint)
        if repeat:
            receipts.append(receipt)
            seconds.append(time.perf_counter() - begun)
    return PublicationTiming(tuple(receipts), tuple(seconds))


def _timed(pool: EnginePool, requests: Sequence[GenerationRequest]) -> tuple[int, float]:
    begun = time.perf_counter()
    tokens = sum(len(result.token_ids) for result in pool.generate(requests))
    return tokens, time.perf_counter() - begun
