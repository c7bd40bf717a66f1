"""Sizes for an alignment job on a given cluster: the best of each way in which roles can be laid out on its GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.errors import EnvironmentProblem
from placement.check import check, hosts_of
from placement.cluster_file import ClusterFile
from placement.hardware import Gpu
from placement.roles import plan
from placement.times import Layout, StepTimes, layout_of, step_times

POOLS = ("learner", "rollout", "judge")
SIZES = (1, 2, 4, 8, 16, 32)
SHARES = ((0.52, 0.24), (0.6, 0.2), (0.7, 0.15), (0.8, 0.1))  # above 0.5: no two workers on one GPU
PARALLEL = (1, 2, 4, 8)
UTILIZATION = 0.85
SLOWER = 1.5
NO_SIZES = "the cluster has too few GPUs of a known type for it, or a pool for each role"
ANY = "any"  # the one that is recommended
LAYOUTS: tuple[Layout, ...] = ("split", "colocated", "shared")


@dataclass(frozen=True)
class Suggestion:
    """The best sizes of one layout, or the ``reason`` why those that were tried don't fit, empty if none could be."""

    layout: Layout
    config: AlignConfig | None = None
    times: StepTimes | None = None
    reason: str = ""

    @property
    def gpus(self) -> int:
        """GPUs that the roles occupy; those in turn are counted once."""
        assert self.config is not None
        return round(sum(role.gpus for role in plan(self.config).roles))

    @property
    def gpu_seconds(self) -> float:
        """Of one modelled step."""
        assert self.times is not None
        return self.gpus * self.times.step


def suggest(config: AlignConfig, cluster: ClusterFile, layout: str = ANY) -> tuple[AlignConfig, StepTimes]:
    """The sizes with the fewest GPU-seconds per modelled step, among those that fit and are at most half as slow again
    as the fastest. Raises EnvironmentProblem if none fits."""
    found = compare(config, cluster) if layout == ANY else [best_of(config, cluster, _layout(layout))]
    chosen = recommended(found)
    if chosen is None:
        reason = next((each.reason for each in found if each.reason), NO_SIZES)
        raise EnvironmentProblem(f"no split of {cluster.path} holds this job; the last one tried: {reason}")
    assert chosen.config is not None and chosen.times is not None
    return chosen.config, chosen.times


def compare(config: AlignConfig, cluster: ClusterFile) -> list[Suggestion]:
    """The best sizes of every layout."""
    return [best_of(config, cluster, layout) for layout in LAYOUTS]


def recommended(found: Sequence[Suggestion]) -> Suggestion | None:
    """Of those that fit: the fewest GPU-seconds among the steps that are at most half as slow again as the shortest."""
    return _cheapest([each for each in found if each.times is not None])


def best_of(config: AlignConfig, cluster: ClusterFile, layout: Layout) -> Suggestion:
    """The best sizes of one layout, by the same rule."""
    found: list[Suggestion] = []
    reason = ""
    for candidate in candidates(config, cluster):
        if layout_of(candidate) != layout:
            continue
        verdict = check(plan(candidate), cluster)
        if verdict.problems:
            reason = verdict.problems[0]
        elif (times := times_on(candidate, cluster)) is not None:
            found.append(Suggestion(layout, candidate, times))
    return _cheapest(found) or Suggestion(layout, reason=reason)


def _cheapest(found: Sequence[Suggestion]) -> Suggestion | None:
    if not found:
        return None
    limit = SLOWER * min(each.times.step for each in found if each.times is not None)
    near = [each for each in found if each.times is not None and each.times.step <= limit]
    return min(near, key=lambda each: each.gpu_seconds)


def _layout(name: str) -> Layout:
    return next(layout for layout in LAYOUTS if layout == name)


def times_on(config: AlignConfig, cluster: ClusterFile) -> StepTimes | None:
    """The modelled step, or None if a role has no GPU of a known type."""
    by_section: dict[str, Gpu] = {}
    for role in plan(config).roles:
        hosts = [node.gpu for node in hosts_of(role, cluster) if node.gpu is not None]
        if not role.bundle.get("GPU") or not hosts:
            return None
        by_section[role.section] = hosts[0]
    policy = by_section["rollout"]
    return step_times(config, policy, by_section.get("judge_rollout", policy), by_section["learner"])


def candidates(config: AlignConfig, cluster: ClusterFile) -> Iterator[AlignConfig]:
    """Splits of the pools ``learner``, ``rollout`` and ``judge`` where the cluster has them, else of all GPUs; and all
    roles beside each other on every GPU, where each takes a share, or has it in turn. ZeRO-2 comes before ZeRO-3, which
    gathers the weights of every layer in every pass."""
    for sized in _sizes(config, cluster):
        stages = (2, 3) if sized.learner.workers > 1 and sized.placement == "fixed" else (2,)
        for stage in stages:
            yield sized.model_copy(update={"learner": sized.learner.model_copy(update={"zero_stage": stage})})


def _sizes(config: AlignConfig, cluster: ClusterFile) -> Iterator[AlignConfig]:
    config = config.model_copy(update={"placement": "fixed"})
    pooled = {pool: _gpus(cluster, pool) for pool in POOLS}
    if all(pooled.values()):
        config = _in_pools(config)
        for workers, parallel, judge_parallel in product(SIZES, PARALLEL, PARALLEL):
            for engines, judges in product(SIZES, SIZES):
                if _within(pooled, workers, engines * parallel, judges * judge_parallel):
                    yield _with(config, workers, 1.0, engines, parallel, 1.0, judges, judge_parallel, 1.0)
        return
    gpus = _gpus(cluster, None)
    for learner, engine in SHARES:
        yield _with(config, gpus, learner, gpus, 1, engine, gpus, 1, engine)
    yield _with(config, gpus, 1.0, gpus, 1, 1.0, gpus, 1, 1.0).model_copy(update={"placement": "shared"})
    for workers, parallel, judge_parallel in product(SIZES, PARALLEL, PARALLEL):
        left = gpus - workers
        for judges in range(1, max(0, left - parallel) // judge_parallel + 1):
            engines = (left - judges * judge_parallel) // parallel
            yield _with(config, workers, 1.0, engines, parallel, 1.0, judges, judge_parallel, 1.0)


def _gpus(cluster: ClusterFile, pool: str | None) -> int:
    """GPUs that there can be, in one pool or in all."""
    nodes = [node for node in cluster.node_types if pool is None or node.pool == pool]
    return int(sum(node.resources.get("GPU", 0) * node.most for node in nodes))


def _within(pooled: dict[str, int], learner: int, rollout: int, judge: int) -> bool:
    return learner <= pooled["learner"] and rollout <= pooled["rollout"] and judge <= pooled["judge"]


def _in_pools(config: AlignConfig) -> AlignConfig:
    update = {
        section: getattr(config, section).model_copy(update={"pool": pool})
        for section, pool in zip(("learner", "rollout", "judge_rollout"), POOLS, strict=True)
    }
    return config.model_copy(update=update)


def overlay(config: AlignConfig) -> dict[str, Any]:
    """The settings that :func:`suggest` chose, as a configuration file to be laid over the job's own."""
    learner = ("workers", "gpus_per_worker", "zero_stage", "gradient_checkpointing")
    rollout = ("device", "engines", "tensor_parallel", "gpu_share", "gpu_memory_utilization")
    chosen: dict[str, Any] = {"placement": "shared"} if config.placement == "shared" else {}
    chosen |= {
        "learner": {name: getattr(config.learner, name) for name in learner},
        "rollout": {name: getattr(config.rollout, name) for name in rollout},
        "judge_rollout": {name: getattr(config.judge_rollout, name) for name in rollout if name != "engines"},
        "serving": {"min_replicas": config.serving.min_replicas, "max_replicas": config.serving.max_replicas},
    }
    for section in ("learner", "rollout", "judge_rollout"):
        if pool := getattr(config, section).pool:
            chosen[section]["pool"] = pool
    return chosen


def _with(
    config: AlignConfig,
    workers: int,
    learner_share: float,
    engines: int,
    parallel: int,
    engine_share: float,
    judges: int,
    judge_parallel: int,
    judge_share: float,
) -> AlignConfig:
    def engine(section: Any, count: int, tensor_parallel: int, share: float) -> Any:
        return section.model_copy(
            update={
                "device": "cuda", "engines": count, "tensor_parallel": tensor_parallel, "gpu_share": share,
                "gpu_memory_utilization": round(min(UTILIZATION, share * 0.95), 3),
            }
        )  # fmt: skip

    learner = config.learner.model_copy(
        update={
            "workers": workers, "gpus_per_worker": learner_share, "gradient_checkpointing": True,
        }
    )  # fmt: skip
    return config.model_copy(
        update={
            "learner": learner,
            "rollout": engine(config.rollout, engines, parallel, engine_share),
            "judge_rollout": engine(config.judge_rollout, 1, judge_parallel, judge_share),
            "serving": config.serving.model_copy(update={"min_replicas": judges, "max_replicas": judges}),
        }
    )
