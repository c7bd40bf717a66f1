"""What runs in an engine is collected once; what was abandoned delivers nothing."""

from __future__ import annotations

import asyncio

from genrm_rl.generation import GenerationResult
from genrm_rl.rollout.session import RequestSession


async def answer(number: int, after: float = 0.0) -> GenerationResult:
    await asyncio.sleep(after)
    return GenerationResult(f"r{number}", (1,), "x", "stop")


def numbers(results: list[tuple[int, GenerationResult]]) -> list[int]:
    assert all(result.request_id == f"r{number}" for number, result in results)
    return sorted(number for number, _ in results)


def test_every_result_is_collected_once() -> None:
    async def scene() -> None:
        session = RequestSession()
        for number in range(5):
            session.start(number, answer(number))
        session.start(0, answer(0))
        assert numbers(await session.collect(60)) == list(range(5))
        session.start(5, answer(5))
        assert numbers(await session.collect(60)) == [5]

    asyncio.run(scene())


def test_dropped_requests_deliver_nothing_and_leave_the_others_alone() -> None:
    async def scene() -> None:
        session = RequestSession()
        session.start(0, answer(0))
        session.start(1, answer(1, after=3600))
        session.start(2, answer(2, after=0.05))
        await asyncio.sleep(0.01)  # the first has finished, the second never will
        session.drop([0, 1, 7])
        assert numbers(await session.collect(60)) == [2]
        assert await session.collect(0.01) == []

    asyncio.run(scene())


def test_waiting_ends_without_results_when_time_is_up_the_engine_died_or_the_session_ends() -> None:
    async def scene() -> None:
        session = RequestSession()
        session.start(0, answer(0, after=3600))
        assert await session.collect(0.01) == []
        waiting = asyncio.create_task(session.collect(3600))
        await asyncio.sleep(0)
        session.wake()
        assert await waiting == []
        waiting = asyncio.create_task(session.collect(3600))
        await asyncio.sleep(0)
        await session.close()
        assert await waiting == []

    asyncio.run(scene())
