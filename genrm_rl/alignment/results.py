"""What an alignment leaves behind beside its steps: the policy, and what the calls to its judge came to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from genrm_rl.alignment.hosts import Hosts
from genrm_rl.runtime.storage import write_json


def keep_policy(hosts: Hosts, steps: int) -> None:
    """The aligned policy as a checkpoint in HF layout, under ``policy/``."""

    def compute(directory: Path) -> dict[str, Any]:
        with hosts.turns.learning():
            hosts.policy.save(directory)
        return {
            "objective": hosts.config.method,
            "version": f"{hosts.config.run.id}-{steps}",
            "parent": str(hosts.model_path),
            "steps": steps,
        }

    hosts.run.stage("policy", compute)


def write_statistics(hosts: Hosts) -> None:
    """What the calls to the judge came to in this process."""
    client = hosts.client
    assert client is not None
    found = asdict(client.statistics)
    seconds = found.pop("judge_seconds")
    found["judge_seconds_median"] = sorted(seconds)[len(seconds) // 2] if seconds else None
    write_json(hosts.run.path / "reward_client.json", found)
