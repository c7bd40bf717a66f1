"""Whether a cluster, or a Ray of our own, could ever place what a run asks for; asked before anything starts."""

from __future__ import annotations

import os

from rich.console import Console

from genrm_rl.config import LearnerConfig, RolloutConfig, RunConfig
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.session import logical_cpus
from placement.check import TINY, check
from placement.cluster_file import read_cluster
from placement.roles import PolicyConfig, engine_bundle, plan
from placement.sharing import JobT, gpus_of, on_one_gpu
from placement.turns import in_turns


def on_a_cluster() -> bool:
    """True if RAY_ADDRESS names a cluster, which may have, or get, more than this machine."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


def check_plan(config: RunConfig | PolicyConfig | LoopConfig) -> None:
    """Raise EnvironmentProblem if ``run.cluster`` is given and its node types can never hold the job."""
    if config.run.cluster is None:
        return
    problems = check(plan(config), read_cluster(config.run.cluster)).problems
    if problems:
        raise EnvironmentProblem(problems[0])


def on_this_machine(config: JobT, console: Console) -> JobT:
    """``config`` as it runs: with what `placement: shared` means for its sections, and in a Ray of our own on a machine
    with one GPU with a share of that for each role. Raises EnvironmentProblem if they need more GPUs than there are:
    the last one would wait for ever."""
    config = in_turns(config)
    if on_a_cluster():
        return config
    import torch

    here = torch.cuda.device_count()
    settled = on_one_gpu(config) if here == 1 else config
    if settled != config:
        console.print("one GPU: engines, judge and learner each take a share of it", highlight=False)
    for job in (settled.judge, settled.policy) if isinstance(settled, LoopConfig) else (settled,):
        wanted = sum(gpus_of(job))
        if here and wanted > here + TINY:
            raise EnvironmentProblem(
                f"engines, judge replicas and learners ask for {wanted:g} GPUs together, and this machine has {here}; "
                "lower rollout.engines, serving.max_replicas or learner.workers, give each a share "
                "(rollout.gpu_share, judge_rollout.gpu_share, learner.gpus_per_worker), or set RAY_ADDRESS to a cluster"
            )
    return settled


def check_room(rollout: RolloutConfig, learner: LearnerConfig, models: int = 1) -> None:
    """Raise EnvironmentProblem if this machine can't hold engines and learners together: one would wait for ever.

    The engines stay while a learner fits; on GPUs too, where each keeps what it has reserved. ``models`` that share a
    learner's place have CPUs each.
    """
    if on_a_cluster():
        return
    import torch

    here = torch.cuda.device_count()
    learners = learner.workers * learner.gpus_per_worker
    bundle = engine_bundle(rollout, "cuda" if here else "cpu")
    engines = rollout.engines * bundle.get("GPU", 0.0)
    if learners + engines > here + TINY:
        raise EnvironmentProblem(
            f"learner.workers x learner.gpus_per_worker asks for {learners:g} GPUs and rollout.engines for "
            f"{engines:g}, and this machine has {here}; lower them, or set RAY_ADDRESS to a cluster that has enough"
        )
    cpus = rollout.engines * bundle["CPU"] + learner.workers * learner.cpus_per_worker * models
    if cpus > logical_cpus():
        raise EnvironmentProblem(
            f"the run asks for {cpus:g} CPUs at once and Ray may hand out {logical_cpus()} here; lower "
            "rollout.engines, rollout.cpus_per_engine, learner.workers or learner.cpus_per_worker"
        )
