"""Answers that arrive one by one and know their place: group id, attempt and index (NVIDIA NeMo Gym).

The rules are those of Gym's ``genrm_compare``: the first answer of a place stands; the same answer again waits for, or
gets, the same result; another answer for a taken place is refused; a newer attempt retires the older one. Unlike
there, a group that is not full ``wait`` seconds after its first answer is judged with those that came.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from genrm_rl.preferences.types import content_hash

ResultT = TypeVar("ResultT")
KEPT_SECONDS = 3600.0  # results of a judged group are repeated that long, as Gym's cohort_result_ttl_s
KEPT_GROUPS = 4096  # and for no more groups than this, as Gym's max_terminal_cohorts


class CohortConflict(Exception):
    """An answer contradicts what its group already has; one sentence."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which answer of which group. Without ``stable`` the group is known by its question alone, so that its results are
    not kept: the next answers to that question are a new group."""

    group: str
    attempt: int
    index: int
    stable: bool


@dataclass
class _Member(Generic[ResultT]):
    answer: str
    digest: str
    result: asyncio.Future[ResultT]


@dataclass
class _Group(Generic[ResultT]):
    question: Hashable
    attempt: int
    members: dict[int, _Member[ResultT]] = field(default_factory=dict)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    ended: float | None = None
    task: asyncio.Task[None] | None = None


class GymCohorts(Generic[ResultT]):
    """Open and judged groups. ``judge(question, answers)`` gives one result per answer, in the order of their index."""

    def __init__(
        self, size: int, wait: float, judge: Callable[[Hashable, list[str]], Awaitable[list[ResultT]]]
    ) -> None:
        self._size = size
        self._wait = wait
        self._judge = judge
        self._groups: OrderedDict[str, _Group[ResultT]] = OrderedDict()

    async def join(self, place: Place, question: Hashable, answer: str) -> ResultT:
        """Take a place and wait for its result. A caller that hangs up leaves its answer in the group.

        Raises CohortConflict, or what the judge raised; a group whose judging failed is forgotten.
        """
        if place.index >= self._size:
            raise CohortConflict(f"rollout {place.index} does not exist in a group of {self._size}")
        group = self._group(place, question)
        member = group.members.get(place.index)
        digest = content_hash(answer)
        if member is None:
            if group.closed:
                raise CohortConflict(
                    f"group {place.group} was judged without rollout {place.index}, which came too late"
                )
            future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
            member = group.members[place.index] = _Member(answer, digest, future)
            if len(group.members) == self._size:
                group.full.set()
        elif member.digest != digest:
            raise CohortConflict(f"group {place.group} already has a different response for rollout {place.index}")
        return await asyncio.shield(member.result)

    def _group(self, place: Place, question: Hashable) -> _Group[ResultT]:
        """The group of this place; opens it, and retires an older attempt."""
        self._forget_old()
        group = self._groups.get(place.group)
        if group is not None and group.question != question:
            raise CohortConflict(f"group {place.group} has another prompt or principle")
        if group is not None and place.attempt < group.attempt:
            raise CohortConflict(f"attempt {place.attempt} of group {place.group} was replaced by {group.attempt}")
        if group is None or place.attempt > group.attempt:
            if group is not None and group.task is not None and group.ended is None:
                group.task.cancel()
                self._fail(group, CohortConflict(f"attempt {group.attempt} of group {place.group} was replaced"))
            group = self._groups[place.group] = _Group(question, place.attempt)
            group.task = asyncio.create_task(self._run(place, group))
        return group

    async def _run(self, place: Place, group: _Group[ResultT]) -> None:
        with contextlib.suppress(TimeoutError):  # then it is judged with those that came
            await asyncio.wait_for(group.full.wait(), self._wait)
        group.closed = True
        members = [group.members[index] for index in sorted(group.members)]
        try:
            results = await self._judge(group.question, [member.answer for member in members])
        except Exception as problem:  # handed to every caller that waits; each raises it
            self._drop(place, group)
            self._fail(group, problem)
            return
        group.ended = time.monotonic()
        for member, result in zip(members, results, strict=True):
            member.answer = ""  # the digest is enough to know it again
            member.result.set_result(result)
        if not place.stable:
            self._drop(place, group)

    def _fail(self, group: _Group[ResultT], problem: Exception) -> None:
        for member in group.members.values():
            if not member.result.done():
                member.result.set_exception(problem)
                member.result.exception()  # seen, even if every caller has hung up

    def _drop(self, place: Place, group: _Group[ResultT]) -> None:
        if self._groups.get(place.group) is group:
            del self._groups[place.group]

    def _forget_old(self) -> None:
        horizon = time.monotonic() - KEPT_SECONDS
        judged = [name for name, group in self._groups.items() if group.ended is not None]
        spare = max(0, len(judged) - KEPT_GROUPS)
        for rank, name in enumerate(judged):
            if rank < spare or (self._groups[name].ended or 0.0) < horizon:
                del self._groups[name]
