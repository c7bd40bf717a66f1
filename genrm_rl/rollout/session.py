"""The running requests inside an engine actor: started once, collected in batches, dropped one by one or together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable

from genrm_rl.generation import GenerationResult

# Results that finish within this time travel together: a reply costs about as much as sampling a short answer. The
# engine does not wait meanwhile, because as many requests again as it decodes stand in its queue.
GATHER_SECONDS = 0.1


class RequestSession:
    """Running requests and finished results, by the number that the pool gave them. Numbers are never used twice, so
    nothing of an abandoned generation can be taken for a result of the next."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._results: dict[int, GenerationResult] = {}
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._closed = False

    def start(self, number: int, work: Coroutine[None, None, GenerationResult | None]) -> None:
        """Run ``work`` for a request; a request that is already running is not started twice."""
        if self._closed or number in self._tasks:
            work.close()
            return
        self._idle.clear()
        self._tasks[number] = asyncio.create_task(self._run(number, work))

    async def _run(self, number: int, work: Coroutine[None, None, GenerationResult | None]) -> None:
        try:
            result = await work
            if result is not None:
                self._results[number] = result
                self._news.set()
        finally:
            self._tasks.pop(number, None)
            if not self._tasks:
                self._idle.set()

    def wake(self) -> None:
        """Let waiting calls return now."""
        self._news.set()
        self._idle.set()

    async def collect(self, max_wait: float) -> list[tuple[int, GenerationResult]]:
        """Finished results; waits up to ``max_wait`` seconds for the first, and a moment for its neighbours."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), max_wait)
            await asyncio.wait_for(self._idle.wait(), GATHER_SECONDS)
        if not self._closed:
            self._news.clear()
        results, self._results = self._results, {}
        return list(results.items())

    def drop(self, numbers: Iterable[int]) -> None:
        """Cancel these requests, and forget those of them that have finished."""
        for number in numbers:
            self._results.pop(number, None)
            if number in self._tasks:
                self._tasks[number].cancel()

    async def close(self) -> None:
        """Cancel what runs, forget what finished, and let waiting calls return empty-handed."""
        self._closed = True
        tasks = list(self._tasks.values())
        self.drop(list(self._tasks))
        self.wake()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._results.clear()
