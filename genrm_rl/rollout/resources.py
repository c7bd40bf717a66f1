"""Room for the engines: one placement group, created and waited for with a line that says what is missing."""

from __future__ import annotations

import time

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from rich.console import Console

from genrm_rl.config import RolloutConfig
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.rollout.settings import Device

SAY_EVERY_SECONDS = 10.0


def choose_device() -> Device:
    """``cuda`` if the cluster has a GPU, else ``cpu``."""
    return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"


def engine_bundle(rollout: RolloutConfig, device: Device) -> dict[str, float]:
    """What one engine occupies."""
    if device == "cuda":
        return {"GPU": float(rollout.tensor_parallel), "CPU": 1.0}
    return {"CPU": float(rollout.cpus_per_engine)}


def reserve(rollout: RolloutConfig, device: Device, console: Console) -> PlacementGroup:
    """Create a placement group with one bundle per engine and wait until it is ready.

    A pending group is what makes an autoscaling cluster add nodes, so nothing is refused at once; after
    ``startup_deadline`` seconds the group is removed and `EnvironmentProblem` says what was asked for and what is free.
    """
    bundle = engine_bundle(rollout, device)
    group = placement_group([dict(bundle) for _ in range(rollout.engines)], strategy="PACK")
    begun, said = time.monotonic(), 0.0
    while not group.wait(timeout_seconds=1):
        waited = time.monotonic() - begun
        if waited > rollout.startup_deadline:
            remove_placement_group(group)
            raise EnvironmentProblem(f"no room for the engines after {waited:.0f} s: {_shortage(rollout, bundle)}")
        if waited - said >= SAY_EVERY_SECONDS:
            said = waited
            console.print(
                f"waiting for room for {rollout.engines} engine(s), {waited:.0f} s: {_shortage(rollout, bundle)}"
            )
    return group


def _shortage(rollout: RolloutConfig, bundle: dict[str, float]) -> str:
    free, total = ray.available_resources(), ray.cluster_resources()
    parts = [
        f"{rollout.engines * amount:g} {name} needed, {free.get(name, 0):g} of {total.get(name, 0):g} free"
        for name, amount in bundle.items()
    ]
    return "; ".join(parts) + " (lower rollout.engines or rollout.cpus_per_engine, or give Ray more)"
