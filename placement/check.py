"""Whether a plan can ever run on the node types of a cluster file; each reason against it is one sentence."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from placement.cluster_file import ClusterFile, NodeType
from placement.roles import Phase, PlacementPlan, Role

TINY = 1e-6


@dataclass
class Verdict:
    """``problems`` forbid the start, ``warnings`` don't. ``nodes``: per phase, how many nodes of each type it needs."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    nodes: dict[str, Counter[str]] = field(default_factory=dict)


def check(plan: PlacementPlan, cluster: ClusterFile) -> Verdict:
    """Compare with what can exist, never with what is up: on an autoscaling pool, asking is what makes nodes come."""
    verdict = Verdict()
    for role in plan.roles:
        found = _role_problems(role, cluster)
        verdict.problems += [problem for problem in found if problem not in verdict.problems]
        verdict.warnings += [warning for warning in _role_warnings(role, cluster) if warning not in verdict.warnings]
    if not verdict.problems:
        for phase in plan.phases:
            verdict.problems += pack(phase, cluster, verdict)
    if not verdict.problems and any(sum(nodes.values()) > 1 for nodes in verdict.nodes.values()):
        verdict.warnings.append("the job spans several nodes; run.root must be a folder that all of them reach")
    return verdict


def hosts_of(role: Role, cluster: ClusterFile) -> list[NodeType]:
    """Node types of the role's pool on which one bundle fits, its memory included, smallest first."""
    fitting = [node for node in _with_resources(role, cluster) if not role.bundle.get("GPU") or _roomy(role, node)]
    return sorted(fitting, key=lambda node: (node.resources.get("GPU", 0), node.resources.get("CPU", 0), -node.most))


def pack(phase: Phase, cluster: ClusterFile, verdict: Verdict) -> list[str]:
    """First fit, largest bundles first. Fills ``verdict.nodes``; returns what can't be placed."""
    open_nodes: list[tuple[NodeType, dict[str, float]]] = []
    opened: Counter[str] = Counter()
    bundles = [(role, role.bundle) for role in phase.roles for _ in range(role.count)]
    bundles.sort(key=lambda item: (-item[1].get("GPU", 0), -item[1].get("CPU", 0)))
    for role, bundle in bundles:
        allowed = hosts_of(role, cluster)
        place = next((free for node, free in open_nodes if node in allowed and _fits(bundle, free)), None)
        if place is None:
            node = next((node for node in allowed if opened[node.name] < node.most), None)
            if node is None:
                return [_too_many(role, phase, allowed, opened)]
            opened[node.name] += 1
            place = dict(node.resources)
            open_nodes.append((node, place))
        for name, amount in bundle.items():
            place[name] -= amount
    verdict.nodes[phase.name] = opened
    workers = sum(count for name, count in opened.items() if name != cluster.head)
    if cluster.max_workers is not None and workers > cluster.max_workers:
        return [
            f"the phase {phase.name} needs {workers} workers and max_workers of {cluster.path} is "
            f"{cluster.max_workers}; raise it"
        ]
    return []


def _role_problems(role: Role, cluster: ClusterFile) -> list[str]:
    if role.pool is not None and not _of_pool(role, cluster):
        pools = sorted({node.pool for node in cluster.node_types if node.pool})
        near = difflib.get_close_matches(role.pool, pools, n=1)
        meant = f"did you mean {near[0]}?" if near else f"its pools: {', '.join(pools) or 'none'}"
        return [f"{role.section}.pool is {role.pool!r}, and no node type of {cluster.path} has that label; {meant}"]
    if 0 < role.bundle.get("GPU", 0) <= 0.5 and role.learns and role.count > 1 and not role.in_turns:
        return [
            f"{role.section}.gpus_per_worker {role.bundle['GPU']:g} lets two workers land on one GPU, which NCCL "
            f"refuses; set it above 0.5 or {role.section}.workers to 1"
        ]
    if role.learns and role.bundle.get("GPU", 0) > 1:
        return [
            f"{role.section}.gpus_per_worker {role.bundle['GPU']:g}: a worker drives one GPU; raise workers instead"
        ]
    if not _with_resources(role, cluster):
        return [_too_large(role, cluster)]
    return [] if hosts_of(role, cluster) else [_too_little_memory(role, cluster)]


def _too_large(role: Role, cluster: ClusterFile) -> str:
    """Names the resource of one bundle that no node type has enough of."""
    candidates = _of_pool(role, cluster)
    where = f"with label pool={role.pool}" if role.pool else f"of {cluster.path}"
    for name, amount in sorted(role.bundle.items(), key=lambda item: item[0] != "GPU"):
        largest = max(candidates, key=lambda node: node.resources.get(name, 0))
        most = largest.resources.get(name, 0)
        if amount > most + TINY:
            return (
                f"the {role.name} need {amount:g} {name} on one node and the largest node type {where}, "
                f"`{largest.name}`, has {most:g}; lower {_key(role, name)} or use larger nodes"
            )
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in role.bundle.items())
    return (
        f"no node type {where} has {wanted} together, which each of the {role.name} needs; "
        f"lower {_key(role, 'CPU')} or add such a node type"
    )


def _too_little_memory(role: Role, cluster: ClusterFile) -> str:
    roomiest = max(_with_resources(role, cluster), key=lambda node: node.gpu.memory if node.gpu else 0.0)
    budget = roomiest.gpu.memory * role.gpu_share if roomiest.gpu else 0.0
    sharded = "placement fixed with " * role.in_turns + f"{role.section}.zero_stage 3 and more workers"
    cure = (
        f"{sharded}, {role.section}.offload, gradient_checkpointing, a lower tokens_per_microbatch, or "
        f"{role.section}.lora_rank"
        if role.learns
        else f"a larger {role.section}.tensor_parallel or gpu_memory_utilization, or a shorter max_context"
    )
    return (
        f"the {role.name} need {role.memory.total:.0f} GiB per GPU ({role.memory}) and `{roomiest.name}` gives them "
        f"{budget:.0f}; try {cure}, or larger GPUs"
    )


def _too_many(role: Role, phase: Phase, allowed: Sequence[NodeType], opened: Counter[str]) -> str:
    limits = ", ".join(f"{opened[node.name]} of `{node.name}` (max_workers {node.most})" for node in allowed)
    wanted = " and ".join(f"{other.count} x {_amounts(other.bundle)} ({other.name})" for other in phase.roles)
    return (
        f"the phase {phase.name} wants {wanted}, and {limits} do not hold all {role.name}; "
        f"lower {_count_key(role)} or raise max_workers"
    )


def _role_warnings(role: Role, cluster: ClusterFile) -> list[str]:
    hosts = hosts_of(role, cluster)
    if not hosts:
        return []
    found = []
    if role.learns and all(node.spot for node in hosts):
        found.append(
            f"the {role.name} run on spot nodes (`{hosts[0].name}`): losing one sends it back to the last checkpoint"
        )
    if role.bundle.get("GPU") and all(node.gpu is None for node in hosts):
        found.append(f"`{hosts[0].name}` has no label ray.io/accelerator-type that is known, so memory was not checked")
    if not role.bundle.get("GPU") and not role.learns and any(n.resources.get("GPU") for n in cluster.node_types):
        found.append(
            f"{role.section}.device is not `cuda`: the {role.name} are planned on CPUs, and take a GPU only if one is "
            "up when the job starts"
        )
    return found


def _of_pool(role: Role, cluster: ClusterFile) -> list[NodeType]:
    return [node for node in cluster.node_types if role.pool is None or node.pool == role.pool]


def _with_resources(role: Role, cluster: ClusterFile) -> list[NodeType]:
    return [node for node in _of_pool(role, cluster) if _fits(role.bundle, node.resources)]


def _roomy(role: Role, node: NodeType) -> bool:
    """True if the role's memory fits, or if it is not known how much the node's GPUs have."""
    return node.gpu is None or role.memory.total <= node.gpu.memory * role.gpu_share


def _fits(bundle: Mapping[str, float], free: Mapping[str, float]) -> bool:
    return all(free.get(name, 0.0) + TINY >= amount for name, amount in bundle.items())


def _amounts(bundle: dict[str, float]) -> str:
    return " + ".join(f"{amount:g} {name}" for name, amount in bundle.items())


def _count_key(role: Role) -> str:
    if role.learns:
        return f"{role.section}.workers"
    if role.name == "judge":
        return f"{role.section.removesuffix('judge_rollout').removesuffix('rollout')}serving.max_replicas"
    return f"{role.section}.engines"


def _key(role: Role, resource: str) -> str:
    if role.learns:
        return f"{role.section}.{'gpus' if resource == 'GPU' else 'cpus'}_per_worker"
    return f"{role.section}.{'tensor_parallel' if resource == 'GPU' else 'cpus_per_engine'}"
