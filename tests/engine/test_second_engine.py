"""An untied model in bfloat16, an engine without restarts, and one that can't start: each needs its own engine."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from genrm_rl.errors import ModelError, WeightSyncError
from genrm_rl.rollout.errors import EngineLostError
from genrm_rl.rollout.parity import probe_prompts, reference_logprobs
from genrm_rl.rollout.pool import EnginePool
from tests.engine.engine_cases import MODEL, TinyModels, request, rollout_config

pytestmark = [pytest.mark.engine, pytest.mark.drill]


@pytest.fixture(scope="module")
def second_pool(ray_for_engines: None, tiny_models: TinyModels) -> Iterator[EnginePool]:
    model = MODEL.model_copy(update={"dtype": "bfloat16"})
    with EnginePool(tiny_models.untied, rollout_config(max_restarts=0), model, device="cpu") as pool:
        yield pool


def test_untied_bfloat16_weights_arrive(second_pool: EnginePool, tiny_models: TinyModels) -> None:
    assert second_pool.publish("v1", tiny_models.other_untied).probe.passed
    wrong = reference_logprobs(tiny_models.untied, probe_prompts(tiny_models.untied), "bfloat16")
    with pytest.raises(WeightSyncError, match="refused"):
        second_pool.publish("v2", tiny_models.other_untied, wrong)
    assert second_pool.version == "v1"


def test_an_engine_that_dies_too_often_ends_the_run(second_pool: EnginePool) -> None:
    """Last in this module: the engine is gone afterwards."""
    requests = [request(number, max_tokens=64) for number in range(60)]
    with pytest.raises(EngineLostError, match="max_restarts = 0"):
        for count, _ in enumerate(second_pool.generate(requests)):
            if count == 3:
                os.kill(second_pool.pids()[0], signal.SIGKILL)


def test_weights_that_are_no_numbers_end_the_start_in_one_sentence(
    ray_for_engines: None, tiny_models: TinyModels, tmp_path: Path
) -> None:
    """Headers don't show a NaN; without this every answer of the engine would be a non-verdict."""
    broken = tmp_path / "nan"
    shutil.copytree(tiny_models.base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as refused:
        EnginePool(broken, rollout_config(), MODEL, device="cpu").wait_until_ready()
    sentence = str(refused.value.cause)
    assert str(broken) in sentence and "not finite numbers in float32" in sentence and "copy them again" in sentence


def test_an_engine_that_can_not_start_says_why(ray_for_engines: None, tiny_models: TinyModels) -> None:
    """vLLM's own process knows the cause, and only says to look above."""
    with pytest.raises(EngineLostError) as refused:
        EnginePool(tiny_models.base, rollout_config(kv_cache_gib=1e-6), MODEL, device="cpu").wait_until_ready()
    sentence = str(refused.value.cause)
    assert sentence.startswith("engine 0 did not start: ValueError") and "KV cache" in sentence
    kept = Path(sentence.rpartition(" ")[2])
    assert "Traceback" in kept.read_text(encoding="utf-8")
    kept.unlink()
