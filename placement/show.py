"""A plan for people: tables of roles and nodes, the modelled step, problems and warnings."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from genrm_rl.config.alignment import AlignConfig
from placement.check import Verdict, hosts_of
from placement.cluster_file import ClusterFile
from placement.roles import PlacementPlan
from placement.suggest import times_on
from placement.times import ASSUMPTIONS, StepTimes, comparisons_per_step, judge_gpu_hours_per_million

UNBALANCED = 2.0


def show_plan(plan: PlacementPlan, cluster: ClusterFile, verdict: Verdict, console: Console) -> None:
    """Roles with their bundles and memory, then the nodes that each phase needs."""
    for phase in plan.phases:
        roles = Table("role", "pool", "bundles", "of", "GiB per GPU", "may take", title=f"phase {phase.name}")
        for role in phase.roles:
            gpus = [node.gpu.memory for node in hosts_of(role, cluster) if node.gpu is not None]
            on_gpu = bool(role.bundle.get("GPU"))
            roles.add_row(
                role.name, role.pool or "any", str(role.count),
                " + ".join(f"{amount:g} {name}" for name, amount in role.bundle.items()),
                f"{role.memory.total:.1f}" if on_gpu else "-",
                f"{max(gpus) * role.gpu_share:.1f}" if on_gpu and gpus else "-",
            )  # fmt: skip
        console.print(roles)
        for role in phase.roles:
            where = "per GPU" if role.bundle.get("GPU") else "on the node"
            console.print(f"{role.name}: GiB {where}: {role.memory}", highlight=False, soft_wrap=True)
    if not verdict.problems:
        nodes = Table("phase", "node type", "nodes", "of at most", "spot", title=f"nodes of {cluster.path}")
        for name, counts in verdict.nodes.items():
            for node in cluster.node_types:
                if counts[node.name]:
                    spot = "yes" if node.spot else "no"
                    nodes.add_row(name, node.name, str(counts[node.name]), str(node.most), spot)
        console.print(nodes)
    for warning in verdict.warnings:
        console.print(f"[yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)


def show_times(config: AlignConfig, cluster: ClusterFile, console: Console) -> None:
    """The modelled step, and a warning where the judge and the policy's engines are out of balance."""
    times = times_on(config, cluster)
    if times is None or config.method != "ppo":
        return
    table = Table("part", "seconds", "share of the step", title="one step, modelled")
    for name in ("generate", "judge", "train", "publish"):
        seconds = getattr(times, name)
        table.add_row(name, f"{seconds:.1f}", f"{100 * seconds / times.step:.0f} %")
    how = "roles take turns" if times.colocated else "judging overlaps with generating"
    table.add_row(f"step ({how})", f"{times.step:.1f}", "")
    console.print(table)
    console.print(
        f"{comparisons_per_step(config):,} comparisons a step; a million of them: "
        f"{judge_gpu_hours_per_million(config, times):.0f} GPU-hours of the judge",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(ASSUMPTIONS, highlight=False, soft_wrap=True)
    if warning := imbalance(times):
        console.print(f"[yellow]warning:[/] {warning}", highlight=False, soft_wrap=True)


def imbalance(times: StepTimes) -> str | None:
    """A sentence if the judge or the policy's engines wait for the other most of the time."""
    slow, fast = max(times.judge, times.generate), min(times.judge, times.generate)
    if times.colocated or slow < UNBALANCED * fast or slow < 0.2 * times.step:
        return None
    judge_waits = times.generate > times.judge
    who, other = ("policy engines", "judge") if judge_waits else ("judge replicas", "policy engines")
    key = "rollout.engines" if judge_waits else "serving.max_replicas"
    ratio = slow / max(fast, 1e-9)
    return f"the {who} take {ratio:.1f} times as long as the {other}; raise {key} (--suggest any proposes sizes)"
