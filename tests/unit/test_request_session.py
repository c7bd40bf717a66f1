"""Sessions keep generations apart: an abandoned wait takes nothing, an abandoned request delivers nothing."""

from __future__ import annotations

import asyncio

from genrm_rl.rollout.session import RequestSession
from genrm_rl.rollout.types import GenerationResult


async def answer(identifier: str, after: float = 0.0) -> GenerationResult:
    await asyncio.sleep(after)
    return GenerationResult(identifier, (1,), "x", "stop")


def names(results: list[GenerationResult]) -> list[str]:
    return sorted(result.request_id for result in results)


def test_every_result_is_collected_once() -> None:
    async def scene() -> None:
        session = RequestSession("a")
        for number in range(5):
            session.start(f"r{number}", answer(f"r{number}"))
        session.start("r0", answer("r0"))
        assert names(await session.collect(60)) == [f"r{number}" for number in range(5)]
        session.start("late", answer("late"))
        assert names(await session.collect(60)) == ["late"]

    asyncio.run(scene())


def test_a_call_that_waits_for_an_abandoned_session_returns_empty_and_steals_nothing() -> None:
    """Once, such a call took the next generation's results with it, and that generation never ended."""

    async def scene() -> None:
        old, new = RequestSession("old"), RequestSession("new")
        old.start("r0", answer("r0", after=3600))
        waiting = asyncio.create_task(old.collect(3600))
        await asyncio.sleep(0)
        await old.close()
        new.start("r0", answer("r0"))
        assert await waiting == []
        assert names(await new.collect(60)) == ["r0"]

    asyncio.run(scene())


def test_waiting_ends_without_results_when_time_is_up_or_the_engine_died() -> None:
    async def scene() -> None:
        session = RequestSession("a")
        session.start("r0", answer("r0", after=3600))
        assert await session.collect(0.01) == []
        waiting = asyncio.create_task(session.collect(3600))
        await asyncio.sleep(0)
        session.wake()
        assert await waiting == []
        await session.close()

    asyncio.run(scene())
