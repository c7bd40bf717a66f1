"""Exactly once, least loaded, bounded: the bookkeeping under any order of finishes and deaths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_rl.rollout.dispatch import Dispatcher
from genrm_rl.rollout.types import GenerationRequest, GenerationResult


def make_request(number: int) -> GenerationRequest:
    return GenerationRequest(f"r{number}", (1,), 1, 1.0, 1.0, number)


def make_result(identifier: str) -> GenerationResult:
    return GenerationResult(identifier, (2,), "x", "stop")


@settings(max_examples=200)
@given(data=st.data(), total=st.integers(0, 30), engines=st.integers(1, 3), bound=st.integers(1, 5))
def test_every_request_finishes_once_whatever_dies(data: st.DataObject, total: int, engines: int, bound: int) -> None:
    dispatcher = Dispatcher([make_request(number) for number in range(total)], engines, bound)
    running: list[list[str]] = [[] for _ in range(engines)]
    delivered: list[str] = []
    stale: list[tuple[int, str]] = []
    for _ in range(2000):
        if dispatcher.done:
            break
        for engine, batch in dispatcher.assign(range(engines)).items():
            running[engine] += [request.request_id for request in batch]
            assert dispatcher.in_flight(engine) <= bound
        engine = data.draw(st.sampled_from([e for e in range(engines) if running[e]]))
        event = data.draw(st.sampled_from(["finish", "finish", "finish", "die", "repeat"]))
        if event == "die" and len(stale) < 60:
            stale += [(engine, identifier) for identifier in running[engine]]
            assert dispatcher.lost(engine) == len(running[engine])
            running[engine] = []
        elif event == "repeat" and delivered:
            again = [make_result(data.draw(st.sampled_from(delivered)))]
            assert dispatcher.finish(engine, again) == []
        else:
            identifier = running[engine].pop(0)
            delivered += [result.request_id for result in dispatcher.finish(engine, [make_result(identifier)])]
    assert sorted(delivered) == sorted(f"r{number}" for number in range(total))


def test_load_is_spread_evenly() -> None:
    dispatcher = Dispatcher([make_request(number) for number in range(10)], engines=3, max_in_flight=100)
    sizes = sorted(len(batch) for batch in dispatcher.assign(range(3)).values())
    assert sizes == [3, 3, 4]


def test_an_id_given_twice_is_named() -> None:
    with pytest.raises(ValueError, match="'r1' was given twice"):
        Dispatcher([make_request(1), make_request(1)], engines=1, max_in_flight=1)
