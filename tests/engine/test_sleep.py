"""Engines that sleep wake in the order weights, update, keys and values; the order needs no GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import ray

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.rollout.parity import ProbeReference
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.rollout.publication import WeightPublisher
from genrm_rl.rollout.settings import engine_settings
from placement.shapes import TINY
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


def test_vllm_is_told_to_sleep_and_how_large_the_cache_is_where_others_have_memory_of_the_gpu() -> None:
    from genrm_rl.rollout.vllm_adapter_arguments import engine_arguments

    rollout = RolloutConfig(sleep=True, gpu_share=0.26, gpu_memory_utilization=0.425, enforce_eager=True)
    beside = engine_arguments(engine_settings(TINY, rollout, ModelConfig(), "cuda"))
    alone = engine_arguments(engine_settings(TINY, RolloutConfig(enforce_eager=True), ModelConfig(), "cuda"))
    assert beside.enable_sleep_mode and beside.kv_cache_memory_bytes > 0
    assert not alone.enable_sleep_mode and alone.kv_cache_memory_bytes is None


def test_engines_that_dropped_their_weights_are_not_woken_without_new_ones(
    pool: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr(pool, "settings", replace(pool.settings, sleep=True))
    monkeypatch.setattr(pool, "_tell_all", lambda *call: told.append(call))
    pool.sleep(until_published=False)
    pool.wake()
    pool.sleep()
    with pytest.raises(RuntimeError, match="dropped their weights"):
        pool.wake()
    with pytest.raises(RuntimeError, match="the engines sleep"):
        pool.generate([request(0)])
    pool._asleep = None  # as after a publication
    assert told == [("sleep", 1), ("wake", "weights", "kv_cache"), ("sleep", 2)]


def test_on_a_cpu_nothing_sleeps(pool: EnginePool) -> None:
    pool.sleep()
    assert len(sample(pool, [request(0)])) == 1
