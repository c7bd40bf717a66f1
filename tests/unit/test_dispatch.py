"""Exactly once, least loaded, bounded, in order: the bookkeeping under any order of finishes and deaths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.rollout.dispatch import Dispatcher, Generation


def make_request(number: int) -> GenerationRequest:
    return GenerationRequest(f"r{number}", (1,), 1, 1.0, 1.0, number)


def make_result(identifier: str) -> GenerationResult:
    return GenerationResult(identifier, (2,), "x", "stop")


def generation(total: int) -> Generation:
    return Generation([make_request(number) for number in range(total)])


def dispatcher_of(total: int, *, engines: int, bound: int) -> Dispatcher:
    dispatcher = Dispatcher(engines, bound)
    dispatcher.add(generation(total))
    return dispatcher


@settings(max_examples=100)
@given(
    data=st.data(),
    totals=st.lists(st.integers(0, 8), min_size=1, max_size=3),
    engines=st.integers(1, 3),
    bound=st.integers(1, 5),
)
def test_every_request_finishes_once_whatever_dies(
    data: st.DataObject, totals: list[int], engines: int, bound: int
) -> None:
    """Generations are added while others go on, and may have the same request ids."""
    dispatcher = Dispatcher(engines, bound)
    to_come, begun = [generation(total) for total in totals], []
    running: list[list[tuple[int, str]]] = [[] for _ in range(engines)]
    delivered: list[tuple[int, str]] = []
    deaths = 0
    for _ in range(2000):
        if to_come and (not any(running) or data.draw(st.booleans())):
            begun.append(to_come.pop())
            dispatcher.add(begun[-1], data.draw(st.integers(0, 2)))
        for engine, batch in dispatcher.assign(range(engines)).items():
            running[engine] += [(ticket.number, ticket.request.request_id) for ticket in batch]
            assert dispatcher.in_flight(engine) <= bound
        if not any(running):
            if not to_come:
                break
            continue
        engine = data.draw(st.sampled_from([e for e in range(engines) if running[e]]))
        event = data.draw(st.sampled_from(["finish", "finish", "finish", "die", "repeat"]))
        if event == "die" and deaths < 8:
            deaths += 1
            assert dispatcher.lost(engine) == len(running[engine])
            running[engine] = []
        elif event == "repeat" and delivered:
            number, identifier = data.draw(st.sampled_from(delivered))
            assert dispatcher.finish(engine, [(number, make_result(identifier))]) == 0
        else:
            number, identifier = running[engine].pop(0)
            delivered.append((number, identifier))
            assert dispatcher.finish(engine, [(number, make_result(identifier))]) == 1
    assert len(delivered) == len({number for number, _ in delivered}) == sum(totals)
    for each in begun:
        assert each.unfinished == 0
        assert sorted(result.request_id for result in each.take()) == sorted(r.request_id for r in each.requests)
        assert each.take() == []


def test_load_is_spread_evenly() -> None:
    dispatcher = dispatcher_of(10, engines=3, bound=100)
    sizes = sorted(len(batch) for batch in dispatcher.assign(range(3)).values())
    assert sizes == [3, 3, 4]


def test_what_is_needed_first_goes_first_and_a_lost_request_back_to_its_place() -> None:
    dispatcher = Dispatcher(1, 2)
    later, sooner = generation(3), generation(3)
    dispatcher.add(later, priority=8)
    dispatcher.add(sooner, priority=7)
    first = dispatcher.assign([0])[0]
    assert [ticket.generation for ticket in first] == [sooner, sooner]
    dispatcher.finish(0, [(first[0].number, make_result("r0"))])
    assert dispatcher.lost(0) == 1
    again = dispatcher.assign([0])[0]
    assert [(ticket.generation, ticket.request.request_id) for ticket in again] == [(sooner, "r1"), (sooner, "r2")]


def test_an_abandoned_generation_leaves_the_others_alone() -> None:
    dispatcher = Dispatcher(2, 2)
    kept, abandoned = generation(2), generation(5)
    dispatcher.add(abandoned)
    dispatcher.add(kept, priority=-1)
    running = {ticket.number: engine for engine, batch in dispatcher.assign(range(2)).items() for ticket in batch}
    dropped = dispatcher.drop(abandoned)
    assert sum(map(len, dropped.values())) == 2
    late = [(number, make_result("late")) for numbers in dropped.values() for number in numbers]
    assert dispatcher.finish(0, late) == dispatcher.finish(1, late) == 0
    assert all(running[number] == engine for engine, numbers in dropped.items() for number in numbers)
    assert dispatcher.assign(range(2)) == {0: [], 1: []}
    assert dispatcher.in_flight(0) + dispatcher.in_flight(1) == 2 == kept.unfinished


def test_refused_weights_spoil_what_runs_and_nothing_that_waits() -> None:
    dispatcher = Dispatcher(1, 1)
    running, waiting = generation(1), generation(1)
    dispatcher.add(running)
    dispatcher.add(waiting)
    dispatcher.assign([0])
    dispatcher.spoil()
    assert (running.spoilt, waiting.spoilt) == (True, False)


def test_an_id_given_twice_is_named() -> None:
    with pytest.raises(ValueError, match="'r1' was given twice"):
        Generation([make_request(1), make_request(1)])
