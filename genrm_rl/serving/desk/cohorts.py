"""Answers to one prompt that arrive one by one, gathered so that they can be compared with each other.

Trainers that ask for one reward per call (OpenRLHF, slime) send no group id: answers with the same key belong together.
A cohort is judged when it is full, or when ``wait`` seconds have passed since its first answer, with those that came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")
Judge = Callable[[Hashable, list[str]], Awaitable[list[ResultT]]]


@dataclass
class _Cohort(Generic[ResultT]):
    answers: list[str] = field(default_factory=list)
    waiting: list[asyncio.Future[ResultT]] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)


class Cohorts(Generic[ResultT]):
    """Open cohorts by key. ``judge(key, answers)`` gives one result per answer, in their order."""

    def __init__(self, size: int, wait: float, judge: Judge) -> None:
        self._size = size
        self._wait = wait
        self._judge = judge
        self._open: dict[Hashable, _Cohort[ResultT]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: Hashable, answer: str) -> ResultT:
        """Add an answer and wait for its result. An error of the judge reaches every answer of the cohort."""
        cohort = self._open.get(key)
        if cohort is None:
            cohort = self._open[key] = _Cohort()
            task = asyncio.create_task(self._run(key, cohort))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        cohort.answers.append(answer)
        cohort.waiting.append(future)
        if len(cohort.answers) == self._size:
            self._close(key, cohort)
        return await future

    def _close(self, key: Hashable, cohort: _Cohort[ResultT]) -> None:
        """Later answers open a new cohort."""
        if self._open.get(key) is cohort:
            del self._open[key]
        cohort.full.set()

    async def _run(self, key: Hashable, cohort: _Cohort[ResultT]) -> None:
        try:
            await asyncio.wait_for(cohort.full.wait(), self._wait)
        except TimeoutError:
            self._close(key, cohort)
        try:
            results = await self._judge(key, cohort.answers)
        except Exception as problem:  # handed to every caller that waits; each raises it
            for future in cohort.waiting:
                if not future.done():
                    future.set_exception(problem)
            return
        for future, result in zip(cohort.waiting, results, strict=True):
            if not future.done():  # a caller that hung up has cancelled its own
                future.set_result(result)
