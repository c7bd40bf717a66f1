"""Engines that sleep wake in the order weights, update, keys and values; the order needs no GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import ray

from genrm_rl.rollout.parity import ProbeReference
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.publication import WeightPublisher
from tests.engine.engine_cases import TinyModels, request, sample

pytestmark = pytest.mark.engine


def recorder() -> Any:
    """An actor that only writes down which of an engine's methods the publisher calls."""

    @ray.remote(num_cpus=0)
    class Recorder:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def wake(self, what: str) -> None:
            self.calls.append(f"wake {what}")

        def pause(self) -> None:
            self.calls.append("pause")

        def resume(self) -> None:
            self.calls.append("resume")

        def init_weight_transfer_engine(self, info: dict) -> None:
            self.calls.append("init")

        def start_weight_update(self) -> None:
            self.calls.append("start")

        def update_weights(self, info: dict) -> None:
            self.calls.append("update")

        def finish_weight_update(self, version: str) -> None:
            self.calls.append("finish")

        def prompt_logprobs(self, prompts: Any) -> list[list[float]]:
            self.calls.append("probe")
            return [[-1.0] * (len(prompt) - 1) for prompt in prompts]

        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

        def log(self) -> list[str]:
            return self.calls

    return Recorder.remote()


@pytest.mark.parametrize("sleep", [False, True])
def test_the_weights_wake_before_the_update_and_keys_and_values_after_it(
    pool: EnginePool, tiny_models: TinyModels, sleep: bool
) -> None:
    engine = recorder()
    publisher = WeightPublisher(replace(pool.settings, sleep=sleep), None)
    reference = ProbeReference(((1, 2, 3),), ((-1.0, -1.0),))
    with publisher.prepared("v1", tiny_models.other, reference, [engine]) as weights:
        publisher.publish([engine], weights)
    publisher.close()
    phases = ["init", "start", "update", "finish"]
    woken = ["pause", "wake weights", *phases, "wake kv_cache", "resume", "probe"]
    assert ray.get(engine.log.remote()) == (woken if sleep else ["pause", *phases, "resume", "probe"])
    ray.kill(engine)


def test_on_a_cpu_nothing_sleeps(pool: EnginePool) -> None:
    pool.sleep()
    assert len(sample(pool, [request(0)])) == 1
