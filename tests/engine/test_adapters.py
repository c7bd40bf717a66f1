"""LoRA adapters that a learner trains are served by vLLM as adapters, over a base whose weights nobody sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from genrm_rl.config import RolloutConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.benchmark import random_examples
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.objectives import SupervisedTokens
from genrm_rl.models import ResolvedModel
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.pool import EnginePool
from tests.engine.engine_cases import MODEL, request, rollout_config, sample

LORA = LearnerConfig(precision="float32", cpus_per_worker=1, tokens_per_microbatch=600, lora_rank=4)


@pytest.fixture(scope="module")
def adapters(ray_for_engines: None, tiny_model: ResolvedModel) -> Iterator[tuple[EnginePool, LearnerGroup]]:
    """An engine of the shipped model that takes adapters, and a learner of one."""
    with (
        EnginePool(tiny_model.path, rollout_config(), MODEL, device="cpu", lora_rank=LORA.lora_rank) as pool,
        LearnerGroup("policy", tiny_model.path, LORA) as policy,
    ):
        yield pool, policy


def learn(policy: LearnerGroup, model: Path) -> None:
    policy.step(random_examples(model, [40] * 8, 0.5), SupervisedTokens(), learning_rate=3e-2)


def greedy(pool: EnginePool) -> tuple[set[str], list[tuple[int, ...]]]:
    results = sample(pool, [request(number, temperature=0.0) for number in range(8)])
    return {each.weight_version for each in results.values()}, [results[f"r{n}"].token_ids for n in range(8)]


def test_an_adapter_travels_alone_and_is_proved(
    adapters: tuple[EnginePool, LearnerGroup], tiny_model: ResolvedModel
) -> None:
    pool, policy = adapters
    model = tiny_model.path
    _, before = greedy(pool)
    for version in ("v1", "v2"):
        learn(policy, model)
        receipt = pool.publish(version, policy, policy.probe_reference())
        assert receipt.probe.passed and receipt.backend == "adapter"
        assert receipt.bytes < (model / "model.safetensors").stat().st_size / 4
    versions, after = greedy(pool)
    assert versions == {"v2"} and after != before
    with pytest.raises(PublicationError, match="serve LoRA adapters of their base"):
        pool.publish("whole", {}, policy.probe_reference())
    assert pool.publish("base", model).probe.passed
    assert greedy(pool) == ({"base"}, before)


@pytest.mark.drill
def test_an_adapter_outlives_its_engine(adapters: tuple[EnginePool, LearnerGroup], tiny_model: ResolvedModel) -> None:
    pool, policy = adapters
    learn(policy, tiny_model.path)
    pool.publish("kept", policy, policy.probe_reference())
    before = greedy(pool)
    ray.kill(pool._actors[0], no_restart=True)
    assert greedy(pool) == before, "the engine in its place serves the adapter too"


def test_an_adapter_that_is_not_what_the_learner_computes_is_refused(
    adapters: tuple[EnginePool, LearnerGroup], tiny_model: ResolvedModel
) -> None:
    pool, policy = adapters
    pool.publish("base", tiny_model.path)
    _, before = greedy(pool)
    stale = policy.probe_reference()
    learn(policy, tiny_model.path)
    with pytest.raises(PublicationError, match=r"were refused.*serve 'base'"):
        pool.publish("v3", policy, stale)
    assert greedy(pool) == ({"base"}, before)


def test_explicit_ways_of_weights_send_them_merged(tiny_model: ResolvedModel) -> None:
    from genrm_rl.rollout.settings import engine_settings

    auto, merged = (
        engine_settings(tiny_model.path, RolloutConfig(weight_backend=backend), MODEL, "cpu", lora_rank=4)
        for backend in ("auto", "shared_memory")
    )
    assert (auto.weight_backend, auto.lora_rank) == ("adapter", 4)
    assert (merged.weight_backend, merged.lora_rank) == ("shared_memory", 0)
