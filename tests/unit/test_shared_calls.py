"""One call for a question that several ask at once; nobody gets an answer that was not usable, or waits too long."""

from __future__ import annotations

import asyncio

import pytest

from genrm_rl.serving.replicas.shared_calls import SharedCalls


class Oracle:
    """Answers one after the other, each when it is let go."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers, self.asked = list(answers), 0
        self.may_answer = asyncio.Event()

    async def answer(self) -> str:
        found = self._answers[self.asked]
        self.asked += 1
        await self.may_answer.wait()
        if isinstance(found, Exception):
            raise found
        return found


async def both(oracle: Oracle, *, keys: tuple[str, str] = ("k", "k"), patience: float = 60.0) -> list:
    """What two callers at the same time get."""
    shared: SharedCalls[str] = SharedCalls()
    calls = [
        asyncio.create_task(shared.ask(key, oracle.answer, lambda found: found != "failed", patience)) for key in keys
    ]
    await asyncio.sleep(0.01)
    oracle.may_answer.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert not shared._running, "nothing is remembered"
    return found


def test_the_second_caller_gets_the_answer_of_the_first():
    async def case() -> None:
        oracle = Oracle("yes")
        assert await both(oracle) == [("yes", False), ("yes", True)] and oracle.asked == 1

    asyncio.run(case())


def test_another_question_is_asked_for_itself():
    async def case() -> None:
        assert await both(Oracle("yes", "no"), keys=("k", "l")) == [("yes", False), ("no", False)]

    asyncio.run(case())


@pytest.mark.parametrize("first", ["failed", RuntimeError("engine died")])
def test_an_answer_that_is_none_is_not_shared(first):
    async def case() -> None:
        mine, other = await both(Oracle(first, "yes"))
        assert other == ("yes", False)
        assert mine is first or mine == (first, False)

    asyncio.run(case())


def test_who_has_no_time_left_asks_for_itself():
    async def case() -> None:
        oracle = Oracle("yes", "again")
        assert await both(oracle, patience=0.0) == [("yes", False), ("again", False)]

    asyncio.run(case())


def test_a_caller_that_goes_away_takes_nobodys_answer_with_it():
    async def case() -> None:
        oracle, shared = Oracle("lost", "yes"), SharedCalls()
        first, second = (asyncio.create_task(shared.ask("k", oracle.answer, bool, 60.0)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        oracle.may_answer.set()
        assert await second == ("yes", False)

    asyncio.run(case())
