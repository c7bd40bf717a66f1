"""Where things compute follows from the settings, never from what happens to be visible."""

from __future__ import annotations

import pytest
import torch

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.config.model import LearnerConfig
from genrm_rl.errors import EnvironmentProblem, ModelError
from genrm_rl.learners.deepspeed_adapter import engine_config
from genrm_rl.learners.device import device_of
from genrm_rl.rollout.settings import cache_bytes, engine_environment, engine_settings
from placement.memory import GIB, RUNTIME_GIB
from placement.shapes import TINY, shape_of


def test_a_learner_without_gpus_is_on_the_cpu_and_one_with_a_gpu_never():
    assert device_of(LearnerConfig()).type == "cpu"
    wanted = LearnerConfig(gpus_per_worker=1)
    if torch.cuda.is_available():
        assert device_of(wanted).type == "cuda"
    else:
        with pytest.raises(EnvironmentProblem, match="gpus_per_worker is 1, and torch sees no GPU"):
            device_of(wanted)


@pytest.mark.parametrize(
    ("device", "dtype", "exact"), [("cuda", "float32", True), ("cuda", "bfloat16", False), ("cpu", "float32", False)]
)
def test_float32_on_a_gpu_is_float32(device, dtype, exact):
    settings = engine_settings(TINY, RolloutConfig(), ModelConfig(dtype=dtype), device)
    assert (engine_environment(settings).get("TRITON_F32_DEFAULT") == "ieee") is exact


@pytest.mark.parametrize(
    ("changes", "beside"),
    [({}, False), ({"gpu_share": 0.5, "gpu_memory_utilization": 0.4}, True), ({"sleep": True}, True)],
)
def test_an_engine_that_shares_its_gpu_is_told_its_cache_and_does_not_measure_what_others_take(changes, beside):
    settings = engine_settings(TINY, RolloutConfig(**changes), ModelConfig(), "cuda")
    assert settings.beside_others is beside
    assert not engine_settings(TINY, RolloutConfig(**changes), ModelConfig(), "cpu").beside_others


def test_the_cache_of_an_engine_is_its_share_of_the_gpu_without_weights_and_runtime():
    rollout = RolloutConfig(gpu_share=0.5, gpu_memory_utilization=0.4)
    settings = engine_settings(TINY, rollout, ModelConfig(dtype="float32"), "cuda")
    weights = 4 * shape_of(ModelConfig(name="tiny")).parameters
    room = 0.4 * 80 * GIB - RUNTIME_GIB * GIB - weights
    assert cache_bytes(settings, 80 * GIB) == pytest.approx(room, rel=1e-3)
    with pytest.raises(ModelError, match=r"may take 0.4 of a GPU of 2 GiB.*raise gpu_memory_utilization"):
        cache_bytes(settings, 2 * GIB)


@pytest.mark.parametrize(("gpus", "stage", "overlaps"), [(0, 2, False), (1, 1, False), (1, 2, True), (1, 3, True)])
def test_zero_overlaps_communication_where_there_is_a_gpu_to_overlap_with(gpus, stage, overlaps):
    config = LearnerConfig(gpus_per_worker=gpus, zero_stage=stage)
    assert engine_config(config, 1000, 2)["zero_optimization"]["overlap_comm"] is overlaps
