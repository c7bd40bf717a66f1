"""Engines that do not get on while they generate: a slow one is said, one that does not react is given up."""

from __future__ import annotations

import time
from collections.abc import Callable

QUIET_SECONDS = 60.0
LOOK_EVERY_SECONDS = 1.0


class EngineWatch:
    """What each engine last did while it had requests. ``stall_deadline`` says how many seconds are too many now.

    An engine answers every call within seconds, with results or without. No answer at all means that its process hangs,
    whatever Ray thinks of it.
    """

    def __init__(self, say: Callable[[str], None], stall_deadline: Callable[[], float]) -> None:
        self._say, self._deadline = say, stall_deadline
        self._called: dict[int, float] = {}
        self._finished: dict[int, float] = {}
        self._looked = 0.0

    def called(self, index: int) -> None:
        """A call went to the engine."""
        self._called[index] = now = time.monotonic()
        self._finished.setdefault(index, now)

    def answered(self, index: int, results: int, left: int) -> None:
        """The call came back with ``results``; ``left`` requests are still with the engine."""
        now = time.monotonic()
        self._called.pop(index, None)
        if not left:
            self._finished.pop(index, None)
        elif results:
            self._finished[index] = now
        elif now - self._finished[index] >= QUIET_SECONDS:
            self._finished[index] = now
            self._say(f"engine {index} has finished none of its {left} requests for {QUIET_SECONDS:.0f} s")

    def overdue(self) -> set[int]:
        """Engines whose call is older than ``stall_deadline`` seconds; looks once a second."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY_SECONDS:
            return set()
        self._looked = now
        return {index for index, since in self._called.items() if now - since >= self._deadline()}
