"""Groups whose answers know their place: retries, conflicts, deadlines and newer attempts, without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable

import pytest

from genrm_rl.serving.trainers.gym_cohorts import CohortConflict, GymCohorts, Place


class Recorder:
    """A judge whose reward is the answer's length; remembers what it was asked, and may wait or fail."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.release = asyncio.Event()
        self.release.set()
        self.problem: Exception | None = None

    async def __call__(self, question: Hashable, answers: list[str]) -> list[int]:
        self.asked.append(list(answers))
        await self.release.wait()
        if self.problem is not None:
            raise self.problem
        return [len(answer) for answer in answers]


def place(index: int, *, group: str = "g", attempt: int = 0, stable: bool = True) -> Place:
    return Place(group, attempt, index, stable)


def later(work: Awaitable[int]) -> asyncio.Task[int]:
    return asyncio.ensure_future(work)


def test_a_full_group_is_judged_at_once_in_the_order_of_its_places() -> None:
    async def run() -> None:
        judge = Recorder()
        cohorts = GymCohorts(3, 60.0, judge)
        found = await asyncio.gather(*(cohorts.join(place(index), "q", "x" * (index + 1)) for index in (2, 0, 1)))
        assert found == [3, 1, 2] and judge.asked == [["x", "xx", "xxx"]]
        assert await cohorts.join(place(1), "q", "xx") == 2, "an identical call is answered again"
        assert len(judge.asked) == 1

    asyncio.run(run())


def test_a_taken_place_keeps_its_first_answer() -> None:
    async def run() -> None:
        cohorts = GymCohorts(2, 60.0, Recorder())
        first = later(cohorts.join(place(0), "q", "a"))
        await asyncio.sleep(0)
        with pytest.raises(CohortConflict, match="different response for rollout 0"):
            await cohorts.join(place(0), "q", "b")
        with pytest.raises(CohortConflict, match="another prompt"):
            await cohorts.join(place(1), "other", "b")
        with pytest.raises(CohortConflict, match="does not exist"):
            await cohorts.join(place(2), "q", "b")
        again = later(cohorts.join(place(0), "q", "a"))
        assert await cohorts.join(place(1), "q", "bb") == 2
        assert (await first, await again) == (1, 1)

    asyncio.run(run())


def test_a_caller_that_hangs_up_leaves_its_answer() -> None:
    async def run() -> None:
        judge = Recorder()
        cohorts = GymCohorts(2, 60.0, judge)
        gone = later(cohorts.join(place(0), "q", "a"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await cohorts.join(place(1), "q", "bb") == 2
        assert judge.asked == [["a", "bb"]] and await cohorts.join(place(0), "q", "a") == 1

    asyncio.run(run())


def test_at_the_deadline_those_that_came_are_judged_and_later_ones_refused() -> None:
    async def run() -> None:
        judge = Recorder()
        cohorts = GymCohorts(3, 0.01, judge)
        found = await asyncio.gather(*(cohorts.join(place(index), "q", "x" * (index + 1)) for index in (0, 2)))
        assert found == [1, 3] and judge.asked == [["x", "xxx"]]
        with pytest.raises(CohortConflict, match="came too late"):
            await cohorts.join(place(1), "q", "xx")

    asyncio.run(run())


def test_a_newer_attempt_retires_the_older_one() -> None:
    async def run() -> None:
        judge = Recorder()
        judge.release.clear()
        cohorts = GymCohorts(1, 60.0, judge)
        old = later(cohorts.join(place(0), "q", "a"))
        await asyncio.sleep(0.01)
        new = later(cohorts.join(place(0, attempt=1), "q", "bb"))
        with pytest.raises(CohortConflict, match="was replaced"):
            await old
        judge.release.set()
        assert await new == 2
        with pytest.raises(CohortConflict, match="attempt 0 of group g was replaced by 1"):
            await cohorts.join(place(0), "q", "a")

    asyncio.run(run())


def test_a_failed_judging_reaches_everybody_and_is_forgotten() -> None:
    async def run() -> None:
        judge = Recorder()
        judge.problem = RuntimeError("busy")
        cohorts = GymCohorts(2, 60.0, judge)
        found = await asyncio.gather(
            *(cohorts.join(place(index), "q", "a") for index in range(2)), return_exceptions=True
        )
        assert [str(each) for each in found] == ["busy", "busy"]
        judge.problem = None
        assert await asyncio.gather(*(cohorts.join(place(index), "q", "a") for index in range(2))) == [1, 1]

    asyncio.run(run())


def test_groups_without_an_id_start_anew() -> None:
    async def run() -> None:
        judge = Recorder()
        cohorts = GymCohorts(1, 60.0, judge)
        assert await cohorts.join(place(0, stable=False), "q", "a") == 1
        assert await cohorts.join(place(0, stable=False), "q", "bb") == 2
        assert judge.asked == [["a"], ["bb"]]

    asyncio.run(run())
