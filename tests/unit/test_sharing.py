"""A machine with one GPU: roles that ask for a whole one each share it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime import room
from placement.check import check
from placement.cluster_file import read_cluster
from placement.roles import plan
from placement.sharing import gpus_of, on_one_gpu

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "jobs" / "configs"
ON_A_GPU = [
    "--judge.rollout.device",
    "cuda",
    "--policy.rollout.device",
    "cuda",
    "--policy.judge-rollout.device",
    "cuda",
]


@pytest.fixture
def small_gpu(tmp_path):
    """A machine with one GPU of 24 GB."""
    text = (ROOT / "placement/presets/clusters/one_gpu.yaml").read_text().replace("H100", "L4")
    path = tmp_path / "one_gpu.yaml"
    path.write_text(text)
    return read_cluster(path)


def test_the_quickstart_fits_one_gpu_of_24_gb(small_gpu):
    config = load_config(LoopConfig, CONFIGS / "quickstart.yaml", ON_A_GPU)
    assert check(plan(config), small_gpu).problems
    shared = on_one_gpu(config)
    assert check(plan(shared), small_gpu).problems == []
    assert (shared.policy.rollout.gpu_share, shared.policy.judge_rollout.gpu_share) == (0.5, 0.5)
    assert shared.judge.rollout == config.judge.rollout  # alone on the GPU while judges are made


def test_learners_take_their_share_and_what_is_set_stays():
    words = ["--learner.gpus-per-worker", "1"]
    config = on_one_gpu(load_config(AlignConfig, CONFIGS / "align_tiny.yaml", words))
    assert gpus_of(config) == [0.33, 0.33, 0.33] and sum(gpus_of(config)) <= 1
    assert config.rollout.gpu_memory_utilization < config.rollout.gpu_share
    chosen = load_config(AlignConfig, CONFIGS / "align_tiny.yaml", [*words, "--rollout.gpu-share", "0.9"])
    assert on_one_gpu(chosen) == chosen
    alone = load_config(RunConfig, CONFIGS / "bootstrap_tiny.yaml", [])
    assert on_one_gpu(alone) == alone


@pytest.mark.parametrize(("gpus", "shares"), [(0, 1.0), (1, 0.5), (2, 1.0)])
def test_only_a_machine_with_one_gpu_makes_its_roles_share(monkeypatch, gpus, shares):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = load_config(AlignConfig, CONFIGS / "align_tiny.yaml", [])
    assert room.on_this_machine(config, Console(quiet=True)).rollout.gpu_share == shares


def test_too_few_gpus_are_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = load_config(AlignConfig, CONFIGS / "align_tiny.yaml", ["--rollout.engines", "3"])
    with pytest.raises(EnvironmentProblem, match="ask for 4 GPUs together, and this machine has 2; lower rollout"):
        room.on_this_machine(config, Console(quiet=True))
