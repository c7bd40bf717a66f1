"""Roles of a job beside each other on a machine's only GPU, where its settings give each of them a whole one."""

from __future__ import annotations

from typing import TypeVar

from genrm_rl.config import RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.model import RolloutConfig
from placement.roles import PolicyConfig, engine_bundle, marks_steps

JobT = TypeVar("JobT", RunConfig, AlignConfig, AgentConfig, LoopConfig)
KEPT_FREE = 0.1  # of a role's share: CUDA contexts, and what one process frees while another measures


def on_one_gpu(config: JobT) -> JobT:
    """``config`` with a share of one GPU for every role, if they ask for more than one together and none has a share of
    its own yet; otherwise as it is. All of it are settings that decide no result."""
    if isinstance(config, LoopConfig):
        return config.model_copy(update={"judge": on_one_gpu(config.judge), "policy": on_one_gpu(config.policy)})
    wanted = gpus_of(config)
    if len(wanted) < 2 or any(share != 1 for share in wanted):
        return config
    share = int(100 / len(wanted)) / 100
    update = {
        name: _engine(getattr(config, name), share) for name in ("rollout", "judge_rollout") if hasattr(config, name)
    }
    if config.learner.gpus_per_worker:
        update["learner"] = config.learner.model_copy(update={"gpus_per_worker": share})
    return config.model_copy(update=update)


def gpus_of(config: RunConfig | PolicyConfig) -> list[float]:
    """GPUs of every engine, judge replica and learner that are alive together where there are GPUs."""
    found = _engines(config.rollout, config.rollout.engines)
    if isinstance(config, PolicyConfig) and config.serves_judge:
        found += _engines(config.judge_rollout, config.serving.max_replicas)
    if marks_steps(config):
        found += _engines(config.judge_rollout, config.judge_rollout.engines)
    return found + [config.learner.gpus_per_worker] * config.learner.workers * bool(config.learner.gpus_per_worker)


def _engines(rollout: RolloutConfig, count: int) -> list[float]:
    return [] if rollout.device == "cpu" else [engine_bundle(rollout, "cuda")["GPU"]] * count


def _engine(rollout: RolloutConfig, share: float) -> RolloutConfig:
    used = min(rollout.gpu_memory_utilization, round(share * (1 - KEPT_FREE), 3))
    return rollout.model_copy(update={"gpu_share": share, "gpu_memory_utilization": used})
