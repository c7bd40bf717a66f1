"""A machine with one GPU: roles that ask for a whole one each share it."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import ConfigError, EnvironmentProblem
from placement import room
from placement.check import check
from placement.cluster_file import read_cluster
from placement.roles import plan
from placement.sharing import gpus_of, on_one_gpu
from placement.turns import in_turns

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


SHARED = [
    "--placement", "shared", "--learner.workers", "8", "--learner.gpus-per-worker", "1", "--learner.zero-stage", "2",
    "--rollout.engines", "8", "--serving.max-replicas", "8",
]  # fmt: skip


def in_shares(gpus: int, *roles: tuple[int, float]) -> list[list[float]]:
    """What lies on each GPU after Ray has placed ``count`` processes of each share: the fullest that has room."""
    found: list[list[float]] = [[] for _ in range(gpus)]
    for count, share in roles:
        for _ in range(count):
            room = [gpu for gpu in found if sum(gpu) + share <= 1 + 1e-6]
            max(room, key=sum).append(share)
    return found


def test_roles_in_turn_are_one_of_each_on_every_gpu_whatever_ray_fills_first():
    config = in_turns(load_config(AlignConfig, CONFIGS / "align_tiny.yaml", SHARED))
    shares = [config.learner.gpus_per_worker, config.rollout.gpu_share, config.judge_rollout.gpu_share]
    assert in_shares(8, *((8, share) for share in shares)) == [shares] * 8
    alone = in_turns(load_config(AlignConfig, CONFIGS / "align_tiny.yaml", [*SHARED, "--reward.source", "verifier"]))
    shares = [alone.learner.gpus_per_worker, alone.rollout.gpu_share]
    assert in_shares(8, *((8, share) for share in shares)) == [shares] * 8
    words = [word for word in SHARED[:10] if word]
    judge = in_turns(load_config(RunConfig, CONFIGS / "bootstrap_tiny.yaml", words))
    shares = [judge.rollout.gpu_share, judge.learner.gpus_per_worker]  # engines come first there
    assert in_shares(8, *((8, share) for share in shares)) == [shares] * 8


def test_engines_in_turn_sleep_and_share_the_memory_between_them():
    raw = load_config(AlignConfig, CONFIGS / "align_tiny.yaml", SHARED)
    config = in_turns(raw)
    assert config.rollout.sleep and config.judge_rollout.sleep
    used = config.rollout.gpu_memory_utilization + config.judge_rollout.gpu_memory_utilization
    assert used == pytest.approx(raw.rollout.gpu_memory_utilization, abs=0.002)
    assert in_turns(config) == config, "a job inside a loop settles what the loop has settled"
    fixed = load_config(AlignConfig, CONFIGS / "align_tiny.yaml", [])
    assert in_turns(fixed) == fixed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--learner.zero-stage 3", "DeepSpeed can at ZeRO stages 1 and 2; learner.zero_stage is 3, set it to 2"),
        ("--learner.zero-stage 0 --learner.precision float32", "learner.zero_stage is 0, set it to 2"),
        ("--rollout.tensor-parallel 2", "rollout.tensor_parallel is 2; set it to 1"),
        ("--rollout.engines 4", r"there are 4 and 8 \(learner.workers\); make them equal"),
        ("--serving.max-replicas 3", "of judge_rollout and a worker .* there are 3 and 8"),
        ("--rollout.weight-backend nccl", "NCCL can't send; set rollout.weight_backend to auto or ipc"),
        ("--judge-rollout.pool judge", "set judge_rollout.pool and learner.pool to the same"),
        ("--ppo.staleness 1", "placement shared needs engines that rest during an update; set ppo.staleness to 0"),
    ],
)
def test_what_can_not_take_turns_is_refused_with_one_sentence(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config(AlignConfig, CONFIGS / "align_tiny.yaml", [*SHARED, *words.split()])


def test_a_fit_that_ends_before_engines_work_may_be_sharded():
    words = ["--placement", "shared", "--learner.gpus-per-worker", "1", "--learner.zero-stage", "3"]
    load_config(RunConfig, CONFIGS / "bootstrap_tiny.yaml", words)
    with pytest.raises(ConfigError, match="learner.zero_stage is 3, set it to 2"):
        load_config(
            RunConfig,
            CONFIGS / "bootstrap_tiny.yaml",
            [*words, "--bootstrap.methods", "[llm_judge, star_sft, verdict_rl]"],
        )


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
