"""The requests of one generation inside an engine actor: started once, collected in batches, dropped together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine

from genrm_rl.rollout.types import GenerationResult

# Results that finish within this time travel together: a reply costs about as much as sampling a short answer. The
# engine does not wait meanwhile, because as many requests again as it decodes stand in its queue.
GATHER_SECONDS = 0.1


class RequestSession:
    """Running requests and finished results of one generation.

    Each generation has its own session, so a call that waits for an abandoned one can't take results of the next.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._results: list[GenerationResult] = []
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._closed = False

    def start(self, request_id: str, work: Coroutine[None, None, GenerationResult | None]) -> None:
        """Run ``work`` for a request; a request that is already running is not started twice."""
        if self._closed or request_id in self._tasks:
            work.close()
            return
        self._idle.clear()
        self._tasks[request_id] = asyncio.create_task(self._run(request_id, work))

    async def _run(self, request_id: str, work: Coroutine[None, None, GenerationResult | None]) -> None:
        try:
            result = await work
            if result is not None:
                self._results.append(result)
                self._news.set()
        finally:
            self._tasks.pop(request_id, None)
            if not self._tasks:
                self._idle.set()

    def wake(self) -> None:
        """Let waiting calls return now."""
        self._news.set()
        self._idle.set()

    async def collect(self, max_wait: float) -> list[GenerationResult]:
        """Finished results; waits up to ``max_wait`` seconds for the first, and a moment for its neighbours."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), max_wait)
            await asyncio.wait_for(self._idle.wait(), GATHER_SECONDS)
        if not self._closed:
            self._news.clear()
        results, self._results = self._results, []
        return results

    async def close(self) -> None:
        """Cancel what runs, forget what finished, and let waiting calls return empty-handed."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        self.wake()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._results.clear()
