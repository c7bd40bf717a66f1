"""What the engines ask Ray for."""

from __future__ import annotations

import ray
from ray.util.placement_group import PlacementGroup
from rich.console import Console

from genrm_rl.config import RolloutConfig
from genrm_rl.rollout.settings import Device
from placement.acquire import Request, acquire, wait_for
from placement.roles import engine_bundle
from placement.room import on_a_cluster


def choose_device(rollout: RolloutConfig) -> Device:
    """``rollout.device``; ``auto`` is ``cuda`` if the cluster has a GPU now, else ``cpu``."""
    if rollout.device != "auto":
        return rollout.device
    return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"


def request_of(rollout: RolloutConfig, device: Device) -> Request:
    """One bundle per engine."""
    return Request(
        "engines",
        rollout.engines,
        engine_bundle(rollout, device),
        rollout.pool,
        "rollout.engines or rollout." + ("tensor_parallel" if device == "cuda" else "cpus_per_engine"),
    )


def reserve(rollout: RolloutConfig, device: Device, console: Console) -> PlacementGroup:
    """A ready placement group for the engines. Raises EnvironmentProblem, see :func:`placement.acquire`."""
    return acquire(
        request_of(rollout, device),
        deadline=rollout.placement_deadline,
        grows=on_a_cluster(),
        say=lambda line: console.print(line, highlight=False),
    )


def wait_for_lost_room(group: PlacementGroup, rollout: RolloutConfig, device: Device, console: Console) -> bool:
    """If a node with engines is lost, wait until Ray has found other places for their bundles; False if none is.
    Raises EnvironmentProblem after ``rollout.placement_deadline``."""
    return wait_for(
        request_of(rollout, device),
        group,
        deadline=rollout.placement_deadline,
        say=lambda line: console.print(line, highlight=False),
    )
