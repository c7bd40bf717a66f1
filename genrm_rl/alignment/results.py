"""What an alignment leaves behind beside its steps: the policy, and what the calls to its judge came to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.rewards.client import RewardClient
from genrm_rl.runtime.storage import write_json


def keep_policy(weights: PolicyWeights, config: AlignConfig, parent: Path, steps: int) -> None:
    """The aligned policy as a checkpoint in HF layout, under ``policy/``; ``parent`` is what it started from."""

    def compute(directory: Path) -> dict[str, Any]:
        with weights.turns.learning():
            weights.policy.save(directory)
        return {
            "objective": config.method,
            "version": f"{config.run.id}-{steps}",
            "parent": str(parent),
            "steps": steps,
        }

    weights.run.stage("policy", compute)


def write_statistics(run: Path, client: RewardClient) -> None:
    """What the calls to the judge came to in this process."""
    found = asdict(client.statistics)
    seconds = found.pop("judge_seconds")
    found["judge_seconds_median"] = sorted(seconds)[len(seconds) // 2] if seconds else None
    write_json(run / "reward_client.json", found)
