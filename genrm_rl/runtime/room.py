"""Whether a Ray of our own could ever place what a run asks for; asked before Ray is started."""

from __future__ import annotations

import os

from genrm_rl.config import LearnerConfig, RolloutConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.session import logical_cpus


def on_a_cluster() -> bool:
    """True if RAY_ADDRESS names a cluster, which may have, or get, more than this machine."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


def check_room(rollout: RolloutConfig, learner: LearnerConfig) -> None:
    """Raise EnvironmentProblem if this machine can't hold the engines or the learners, which would wait for ever."""
    if on_a_cluster():
        return
    import torch

    gpus, here = learner.workers * learner.gpus_per_worker, torch.cuda.device_count()
    if gpus > here:
        raise EnvironmentProblem(
            f"learner.workers x learner.gpus_per_worker asks for {gpus:g} GPUs and this machine has {here}; "
            "lower it, or set RAY_ADDRESS to a cluster that has them"
        )
    per_engine = 1.0 if here else rollout.cpus_per_engine  # on a GPU an engine holds one CPU
    cpus = max(rollout.engines * per_engine, learner.workers * learner.cpus_per_worker)
    if cpus > logical_cpus():
        raise EnvironmentProblem(
            f"the run asks for {cpus:g} CPUs at once and Ray may hand out {logical_cpus()} here; lower "
            "rollout.engines, rollout.cpus_per_engine, learner.workers or learner.cpus_per_worker"
        )
