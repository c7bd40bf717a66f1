"""How much work the service takes on at once; what is above that is refused before it costs anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import HTTPException

from genrm_rl.config.serving import ServingConfig
from genrm_rl.serving.refusals import later


class Admission:
    """Counts comparisons that are accepted and not yet answered; ``watch`` is told of every change."""

    def __init__(self, settings: ServingConfig, watch: Callable[[int], None]) -> None:
        self._settings = settings
        self._watch = watch
        self.pending = 0

    def check(self, count: int) -> None:
        """HTTPException 413 for more comparisons than one call may need."""
        if count > self._settings.max_comparisons:
            raise HTTPException(
                413, f"the call needs {count} comparisons and the service takes {self._settings.max_comparisons}"
            )

    def busy(self) -> str:
        """Why not even one comparison would be taken now, empty if one would."""
        return "" if self.pending < self._settings.max_pending else self._sentence()

    def _sentence(self) -> str:
        return f"the judge is busy with {self.pending} comparisons; ask again"

    @asynccontextmanager
    async def room(self, count: int) -> AsyncIterator[None]:
        """Room for ``count`` comparisons. Raises HTTPException 413, or 503 with ``Retry-After``."""
        self.check(count)
        if self.pending + count > self._settings.max_pending:
            raise HTTPException(
                503,
                self._sentence(),
                headers=later(self._settings.retry_after),
            )
        self._expect(count)
        try:
            yield
        finally:
            self._expect(-count)

    def _expect(self, more: int) -> None:
        self.pending += more
        self._watch(self.pending)
