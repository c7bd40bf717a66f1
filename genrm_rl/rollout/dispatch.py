"""Which request is where: the bookkeeping of a generation, without Ray or vLLM."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from genrm_rl.rollout.types import GenerationRequest, GenerationResult


class Dispatcher:
    """Assigns requests to the least loaded engine and makes each finish exactly once.

    A request is in one of three places: waiting, in flight on one engine, or finished; only `finish` moves it there.
    """

    def __init__(self, requests: Iterable[GenerationRequest], engines: int, max_in_flight: int) -> None:
        self._waiting = deque(requests)
        self._in_flight: list[dict[str, GenerationRequest]] = [{} for _ in range(engines)]
        self._max_in_flight = max_in_flight
        self.total = len(self._waiting)
        self.finished = 0
        identifiers = [request.request_id for request in self._waiting]
        if len(set(identifiers)) != len(identifiers):
            seen: set[str] = set()
            twice = next(i for i in identifiers if i in seen or seen.add(i))
            raise ValueError(f"request id {twice!r} was given twice; ids must be unique within one generation")

    @property
    def done(self) -> bool:
        """True when every request has finished."""
        return self.finished == self.total

    def in_flight(self, engine: int) -> int:
        """Unfinished requests on this engine."""
        return len(self._in_flight[engine])

    def assign(self, engines: Iterable[int]) -> dict[int, list[GenerationRequest]]:
        """Give waiting requests to ``engines``, always to the least loaded one, up to the bound of each."""
        free = list(engines)
        batches: dict[int, list[GenerationRequest]] = {engine: [] for engine in free}
        while self._waiting and free:
            engine = min(free, key=lambda e: len(self._in_flight[e]))
            if len(self._in_flight[engine]) >= self._max_in_flight:
                break
            request = self._waiting.popleft()
            self._in_flight[engine][request.request_id] = request
            batches[engine].append(request)
        return batches

    def finish(self, engine: int, results: Iterable[GenerationResult]) -> list[GenerationResult]:
        """Mark results as finished and return those that were awaited from this engine, each once."""
        accepted = []
        for result in results:
            if self._in_flight[engine].pop(result.request_id, None) is not None:
                self.finished += 1
                accepted.append(result)
        return accepted

    def lost(self, engine: int) -> int:
        """The engine died: its unfinished requests wait again, in front. Returns how many."""
        requests = list(self._in_flight[engine].values())
        self._in_flight[engine].clear()
        self._waiting.extendleft(reversed(requests))
        return len(requests)
