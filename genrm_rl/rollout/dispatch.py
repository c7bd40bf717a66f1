"""Which request is where: the bookkeeping of all generations of a pool, without Ray or vLLM."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from genrm_rl.generation import GenerationRequest, GenerationResult


class Generation:
    """Requests that were given together: results that nobody has taken yet, and how many are still to come.

    Raises ValueError if two requests share an id.
    """

    def __init__(self, requests: Iterable[GenerationRequest]) -> None:
        self.requests = list(requests)
        self.total = self.unfinished = len(self.requests)
        self.ready: list[GenerationResult] = []
        self.spoilt = False  # by weights that were refused while it went on
        identifiers = [request.request_id for request in self.requests]
        if len(set(identifiers)) != len(identifiers):
            seen: set[str] = set()
            twice = next(i for i in identifiers if i in seen or seen.add(i))
            raise ValueError(f"request id {twice!r} was given twice; ids must be unique within one generation")

    def take(self) -> list[GenerationResult]:
        """What has finished since the last time."""
        ready, self.ready = self.ready, []
        return ready


class Ticket(NamedTuple):
    """A request in the pool. Tickets are ordered by what goes first; ``number`` is unique in the pool's life."""

    priority: int
    number: int
    request: GenerationRequest
    generation: Generation


class Dispatcher:
    """Assigns requests to the least loaded engine and makes each finish exactly once.

    A request is in one of three places: waiting, in flight on one engine, or finished; only `finish` moves it there.
    """

    def __init__(self, engines: int, max_in_flight: int) -> None:
        self._waiting: list[Ticket] = []  # a heap
        self._in_flight: list[dict[int, Ticket]] = [{} for _ in range(engines)]
        self._max_in_flight = max_in_flight
        self._numbers = itertools.count()

    def add(self, generation: Generation, priority: int = 0) -> None:
        """Let the requests of a generation wait, in their order, behind those of the same or a lower priority."""
        for request in generation.requests:
            heapq.heappush(self._waiting, Ticket(priority, next(self._numbers), request, generation))

    def in_flight(self, engine: int) -> int:
        """Unfinished requests on this engine."""
        return len(self._in_flight[engine])

    def assign(self, engines: Iterable[int]) -> dict[int, list[Ticket]]:
        """Give waiting requests to ``engines``, always to the least loaded one, up to the bound of each."""
        free = list(engines)
        batches: dict[int, list[Ticket]] = {engine: [] for engine in free}
        while self._waiting and free:
            engine = min(free, key=lambda e: len(self._in_flight[e]))
            if len(self._in_flight[engine]) >= self._max_in_flight:
                break
            ticket = heapq.heappop(self._waiting)
            self._in_flight[engine][ticket.number] = ticket
            batches[engine].append(ticket)
        return batches

    def finish(self, engine: int, results: Sequence[tuple[int, GenerationResult]]) -> int:
        """Give results, by ticket number, to their generations; returns how many were awaited from this engine."""
        accepted = 0
        for number, result in results:
            ticket = self._in_flight[engine].pop(number, None)
            if ticket is not None:
                ticket.generation.ready.append(result)
                ticket.generation.unfinished -= 1
                accepted += 1
        return accepted

    def lost(self, engine: int) -> int:
        """The engine died: its unfinished requests wait again, in their old places. Returns how many."""
        tickets, self._in_flight[engine] = self._in_flight[engine], {}
        for ticket in tickets.values():
            heapq.heappush(self._waiting, ticket)
        return len(tickets)

    def spoil(self) -> None:
        """What runs on the engines has been sampled in part by weights that were refused."""
        for tickets in self._in_flight:
            for ticket in tickets.values():
                ticket.generation.spoilt = True

    def drop(self, generation: Generation) -> dict[int, list[int]]:
        """Forget the unfinished requests of a generation; returns the ticket numbers of those in flight, by engine."""
        if not generation.unfinished:
            return {}
        self._waiting = [ticket for ticket in self._waiting if ticket.generation is not generation]
        heapq.heapify(self._waiting)
        dropped: dict[int, list[int]] = {}
        for engine, tickets in enumerate(self._in_flight):
            numbers = [number for number, ticket in tickets.items() if ticket.generation is generation]
            for number in numbers:
                del tickets[number]
            if numbers:
                dropped[engine] = numbers
        return dropped
