"""An engine that is killed comes back with the right weights, and no request is lost or sampled twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from genrm_rl.rollout.pool import EnginePool
from tests.engine.engine_cases import TinyModels, request, sample

pytestmark = pytest.mark.engine


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", [pytest.param("actor", marks=pytest.mark.drill), "engine"])
def test_a_kill_amid_generation_loses_nothing(
    pool: EnginePool, tiny_models: TinyModels, wait_until: Callable[[Callable[[], bool]], None], victim: str
) -> None:
    pool.publish("v1", tiny_models.other)
    requests = [request(number, max_tokens=64) for number in range(80)]
    undisturbed = sample(pool, requests)
    before = pool.reports()[0]

    results: dict[str, object] = {}
    for count, result in enumerate(pool.generate(requests)):
        assert result.request_id not in results
        results[result.request_id] = result
        if count == 5:
            for pid in (before.pid,) if victim == "actor" else before.engine_pids:
                kill(pid)

    assert {name: result.token_ids for name, result in results.items()} == {
        name: result.token_ids for name, result in undisturbed.items()
    }
    assert {result.weight_version for result in results.values()} == {"v1"}
    after = pool.reports()[0]
    assert after.pid != before.pid
    assert after.weight_version == "v1"
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in (before.pid, *before.engine_pids)))


@pytest.mark.drill
def test_a_dead_engine_is_replaced_by_publication(pool: EnginePool, tiny_models: TinyModels) -> None:
    before = pool.reports()[0]
    kill(before.pid)
    assert pool.publish("v1", tiny_models.other).probe.passed
    after = pool.reports()[0]
    assert after.pid != before.pid
    assert after.weight_version == "v1"
    assert {result.weight_version for result in sample(pool, [request(1)]).values()} == {"v1"}


@pytest.mark.drill
def test_an_engine_whose_process_hangs_is_replaced(
    pool: EnginePool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """It lives, and Ray sees nothing wrong with it; only its silence tells."""
    requests = [request(number, max_tokens=64) for number in range(80)]
    undisturbed = sample(pool, requests)
    hanging = pool.reports()[0].pid
    monkeypatch.setattr(pool, "rollout", pool.rollout.model_copy(update={"stall_deadline": 5.0}))
    results: dict[str, tuple[int, ...]] = {}
    for count, result in enumerate(pool.generate(requests)):
        results[result.request_id] = result.token_ids
        if count == 5:
            os.kill(hanging, signal.SIGSTOP)
    assert results == {name: result.token_ids for name, result in undisturbed.items()}
    assert pool.reports()[0].pid != hanging
    assert "engine 0 has not reacted for 5 s; it is ended, their stacks are in" in capfd.readouterr().err
