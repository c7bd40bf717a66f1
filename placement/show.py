"""A plan for people: tables of roles and nodes, the modelled step, problems and warnings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from genrm_rl.config.alignment import AlignConfig
from placement.check import Verdict, hosts_of
from placement.cluster_file import ClusterFile
from placement.roles import PlacementPlan, plan
from placement.suggest import NO_SIZES, Suggestion, recommended, times_on
from placement.times import ASSUMPTIONS, StepTimes, comparisons_per_step, judge_gpu_hours_per_million

UNBALANCED = 2.0
PARTS = ("generate", "judge", "train", "publish", "turns")
COSTS = {
    "split": "GPUs of learners wait while others generate and judge, and the other way round",
    "colocated": "a role has a part of a GPU's memory at all times, which bounds the sequences that decode together",
    "shared": "what roles bring to the host and back takes more than it saves",
}
GAINS = {
    "split": "the fewest GPU-seconds a step: no role waits long enough for another to pay for moving out of its way",
    "colocated": "the fewest GPU-seconds a step: all roles fit beside each other, so nothing is moved",
    "shared": "the fewest GPU-seconds a step: every GPU generates, judges and learns in turn, with all its memory",
}


def show_plan(planned: PlacementPlan, cluster: ClusterFile, verdict: Verdict, console: Console) -> None:
    """Roles with their bundles and memory, then the nodes that each phase needs."""
    for phase in planned.phases:
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
            host = f"; on the host meanwhile {role.memory.host:.1f}" if role.in_turns and role.memory.host else ""
            console.print(f"{role.name}: GiB {where}: {role.memory}{host}", highlight=False, soft_wrap=True)
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
    for name in PARTS:
        if seconds := getattr(times, name):
            table.add_row(name, f"{seconds:.1f}", f"{100 * seconds / times.step:.0f} %")
    how = "judging overlaps with generating" if times.layout == "split" else "roles take turns"
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


def show_layouts(found: Sequence[Suggestion], console: Console) -> None:
    """What each way of laying out a job comes to at best, and which one is recommended, with the reasons."""
    table = Table("", *(each.layout for each in found), title="the best sizes of each layout, one step modelled")
    columns = [_figures(each) for each in found]
    for name in next(filter(None, columns), {}):
        table.add_row(name, *(column.get(name, "does not fit") for column in columns))
    console.print(table)
    for sentence in reasons(found):
        console.print(sentence, highlight=False, soft_wrap=True)


def _figures(found: Suggestion) -> dict[str, str]:
    """Cells of a layout's column; none if it does not fit."""
    config, times = found.config, found.times
    if config is None or times is None:
        return {}
    learner = next(role for role in plan(config).roles if role.learns)
    return {
        "GPUs": str(found.gpus),
        "learner workers": str(config.learner.workers),
        "policy engines": str(config.rollout.engines),
        "judge replicas": str(config.serving.max_replicas),
        "GiB of a learner's GPU": f"{learner.memory.total:.1f}",
        **{f"{name}, s": f"{getattr(times, name):.1f}" for name in PARTS},
        "step, s": f"{times.step:.1f}",
        "GPU-seconds": f"{found.gpu_seconds:,.0f}",
    }


def reasons(found: Sequence[Suggestion]) -> list[str]:
    """Which layout is recommended and why, and why the others are not."""
    best = recommended(found)
    sentences = []
    for each in found:
        if each.times is None:
            sentences.append(f"{each.layout}: {each.reason or NO_SIZES}")
        elif best is not None and each is not best and best.times is not None:
            longer, dearer = each.times.step / best.times.step, each.gpu_seconds / best.gpu_seconds
            sentences.append(
                f"{each.layout}: a step takes {longer:.2f} times as long and {dearer:.2f} times the GPU-seconds of "
                f"{best.layout}: {COSTS[each.layout]}"
            )
    if best is None:
        return sentences
    return [f"recommended: {best.layout}, {GAINS[best.layout]}", *sentences]


def imbalance(times: StepTimes) -> str | None:
    """A sentence if the judge or the policy's engines wait for the other most of the time."""
    slow, fast = max(times.judge, times.generate), min(times.judge, times.generate)
    if times.layout != "split" or slow < UNBALANCED * fast or slow < 0.2 * times.step:
        return None
    judge_waits = times.generate > times.judge
    who, other = ("policy engines", "judge") if judge_waits else ("judge replicas", "policy engines")
    key = "rollout.engines" if judge_waits else "serving.max_replicas"
    ratio = slow / max(fast, 1e-9)
    return f"the {who} take {ratio:.1f} times as long as the {other}; raise {key} (--suggest any proposes sizes)"
