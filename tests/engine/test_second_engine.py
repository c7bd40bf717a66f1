"""An untied model in bfloat16, and an engine without restarts: both need an engine of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from genrm_rl.errors import WeightSyncError
from genrm_rl.rollout.errors import EngineLostError
from genrm_rl.rollout.parity import probe_prompts, reference_logprobs
from genrm_rl.rollout.pool import EnginePool
from tests.engine.engine_cases import MODEL, TinyModels, request, rollout_config

pytestmark = pytest.mark.engine


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
