"""Does not call a service that is down from everywhere at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class CircuitBreaker:
    """Open after ``failures`` lost connections in a row: then calls pass one at a time until one succeeds."""

    def __init__(self, failures: int) -> None:
        self._limit = failures
        self._failures = 0
        self._one = asyncio.Lock()
        self._said = 0.0

    @property
    def open(self) -> bool:
        """Whether the service counts as down."""
        return self._failures >= self._limit

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        """Context of one call: free while closed, one at a time while open."""
        if self.open:
            async with self._one:
                if self.open:  # else it closed while this call stood in the queue
                    yield
                    return
        yield

    def failed(self) -> None:
        """A connection was lost."""
        self._failures += 1

    def succeeded(self) -> None:
        """An answer came, whatever its status."""
        self._failures = 0

    def may_say(self, every: float) -> bool:
        """True at most every ``every`` seconds."""
        if self._said and time.monotonic() - self._said < every:
            return False
        self._said = time.monotonic()
        return True
