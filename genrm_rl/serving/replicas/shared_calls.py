"""Calls with the same question at the same time, of which one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class SharedCalls(Generic[ResultT]):
    """Answers by key, as long as they are on their way. Lives on one event loop."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Future[ResultT]] = {}

    async def ask(
        self, key: Hashable, call: Callable[[], Awaitable[ResultT]], usable: Callable[[ResultT], bool], patience: float
    ) -> tuple[ResultT, bool]:
        """The answer to ``key``, and whether it was somebody else's: one that is on its way if it is ``usable`` and
        comes within ``patience`` seconds, else that of a ``call`` of one's own."""
        running = self._running.get(key)
        if running is not None:
            await asyncio.wait([running], timeout=patience)
            if running.done() and not running.cancelled() and not running.exception() and usable(running.result()):
                return running.result(), True
        own = asyncio.ensure_future(call())
        self._running[key] = own
        try:
            return await own, False
        finally:
            if self._running.get(key) is own:
                del self._running[key]
