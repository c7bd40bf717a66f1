"""Room on a real cluster: a placement group, created and waited for with lines that say what is missing.

On an autoscaling pool the pending group is what makes nodes come, so nothing is refused because it is not there yet.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ray
from ray.exceptions import RayError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from genrm_rl.errors import EnvironmentProblem

SAY_EVERY_SECONDS = 10.0
STATUS_SECONDS = 5


@dataclass(frozen=True)
class Request:
    """What one role asks for: ``count`` equal bundles on nodes with label ``pool``.

    ``keys`` names the settings that would make it smaller.
    """

    role: str
    count: int
    bundle: Mapping[str, float]
    pool: str | None
    keys: str

    def __str__(self) -> str:
        amounts = " + ".join(f"{amount:g} {name}" for name, amount in self.bundle.items())
        where = f" on nodes with label pool={self.pool}" if self.pool else ""
        return f"{self.count} x ({amounts}){where} for the {self.role}"


def acquire(request: Request, *, deadline: float, grows: bool, say: Callable[[str], None]) -> PlacementGroup:
    """Create the group and wait until it is ready; the caller removes it.

    ``deadline`` in seconds. ``grows`` False means that no node will ever join, so what is more than all nodes have is
    refused at once. Raises EnvironmentProblem, and leaves no pending group behind.
    """
    if not grows and (reason := _never(request)):
        raise EnvironmentProblem(f"there is no room for {request}: {reason}; lower {request.keys}, or use a cluster")
    group = placement_group(
        [dict(request.bundle) for _ in range(request.count)],
        strategy="PACK",
        bundle_label_selector=[{"pool": request.pool}] * request.count if request.pool else None,
    )
    try:
        wait_for(request, group, deadline=deadline, say=say)
    except BaseException:  # an interrupt too: a pending group would go on asking for nodes
        remove_placement_group(group)
        raise
    return group


def wait_for(request: Request, group: PlacementGroup, *, deadline: float, say: Callable[[str], None]) -> bool:
    """Wait until every bundle of the group has its place, at first or again after the loss of a node; True if there was
    anything to wait for. Raises EnvironmentProblem after ``deadline`` seconds."""
    begun, said, waited = time.monotonic(), 0.0, 0.0
    while not group.wait(timeout_seconds=1):
        waited = time.monotonic() - begun
        if waited > deadline:
            raise EnvironmentProblem(
                f"no room after {waited:.0f} s for {request}: {explain(request, group)}; lower {request.keys}, "
                "give the cluster such nodes, or wait longer (placement_deadline)"
            )
        if waited - said >= SAY_EVERY_SECONDS:
            said = waited
            say(f"waiting for {request}, {waited:.0f} s: {explain(request, group)}")
    return waited > 0


def explain(request: Request, group: PlacementGroup) -> str:
    """Which nodes are up, what they have, and what is on its way."""
    nodes = _matching(request)
    totals: Counter[str] = Counter()
    for node in nodes:
        totals.update({name: node["Resources"].get(name, 0.0) for name in request.bundle})
    up = f"{len(nodes)} such node{'' if len(nodes) == 1 else 's'} up"
    if nodes:
        up += " with " + " + ".join(f"{amount:g} {name}" for name, amount in totals.items()) + " in all"
    state = placement_group_table(group).get("stats", {}).get("scheduling_state", "")
    why = ["no node that is up can hold a bundle"] if state == "INFEASIBLE" and nodes else []
    return ", ".join([up, *why, *coming()])


def coming() -> list[str]:
    """What the autoscaler has ordered, and what it could not get; empty where there is none."""
    from ray.autoscaler.v2.sdk import get_cluster_status

    try:
        status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=STATUS_SECONDS)
    except (RayError, RuntimeError, ValueError, AttributeError, TimeoutError):  # no autoscaler has reported
        return []
    ordered: Counter[str] = Counter()
    for launch in status.pending_launches:
        ordered[launch.ray_node_type_name] += launch.count
    for node in status.pending_nodes:
        ordered[node.ray_node_type_name] += 1
    found = [f"{count} x {name} coming" for name, count in ordered.items()]
    return found + [
        f"{launch.count} x {launch.ray_node_type_name} refused by the cloud ({launch.details or 'no reason given'})"
        for launch in status.failed_launches
    ]


def _matching(request: Request) -> list[dict]:
    return [
        node
        for node in ray.nodes()
        if node["Alive"] and (request.pool is None or node.get("Labels", {}).get("pool") == request.pool)
    ]


def _never(request: Request) -> str | None:
    """Why nodes that are all there will ever be can't hold the request, if they can't."""
    nodes = _matching(request)
    if not nodes:
        return f"no node has the label pool={request.pool}"
    for name, amount in request.bundle.items():
        has = [node["Resources"].get(name, 0.0) for node in nodes]
        if max(has) < amount:
            return f"{amount:g} {name} are needed on one node and the largest has {max(has):g}"
        if sum(has) < amount * request.count:
            return f"{amount * request.count:g} {name} are needed and there are {sum(has):g}"
    return None
