"""What the engines ask Ray for."""

from __future__ import annotations

import ray
from ray.util.placement_group import PlacementGroup
from rich.console import Console

from genrm_rl.config import RolloutConfig
from genrm_rl.rollout.settings import Device
from genrm_rl.runtime.room import on_a_cluster
from placement.acquire import Request, acquire
from placement.roles import engine_bundle


def choose_device(rollout: RolloutConfig) -> Device:
    """``rollout.device``; ``auto`` is ``cuda`` if the cluster has a GPU now, else ``cpu``."""
    if rollout.device != "auto":
        return rollout.device
    return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"


def reserve(rollout: RolloutConfig, device: Device, console: Console) -> PlacementGroup:
    """A ready placement group with one bundle per engine. Raises EnvironmentProblem, see :func:`placement.acquire`."""
    request = Request(
        "engines",
        rollout.engines,
        engine_bundle(rollout, device),
        rollout.pool,
        "rollout.engines or rollout." + ("tensor_parallel" if device == "cuda" else "cpus_per_engine"),
    )
    return acquire(
        request,
        deadline=rollout.placement_deadline,
        grows=on_a_cluster(),
        say=lambda line: console.print(line, highlight=False),
    )
