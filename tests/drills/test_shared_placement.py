"""Whose turn it is on the GPUs decides no result: an alignment with `placement: shared` is the one without.

On a CPU engines have no memory to give back. Everything else goes its real way: ZeRO-2 learners leave and return
(DeepSpeed's own offload), the served judge refuses calls while it sleeps, and the loop says whose turn it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.config.alignment import AlignConfig
from genrm_rl.runtime.storage import read_json
from genrm_rl.stories.align_policy import run_alignment

STEPS = 2
ENGINE = {"device": "cpu", "kv_cache_gib": 0.25, "max_in_flight": 64, "startup_deadline": 900.0}


def aligned(root: Path, placement: str) -> tuple[list[dict[str, Any]], Path]:
    """Rows of the steps, without their clocks, and the run."""
    config = AlignConfig.model_validate(
        {
            "run": {"id": placement, "root": str(root)},
            "placement": placement,
            "model": {"name": "tiny", "max_context": 128, "dtype": "float32"},
            "sampling": {"max_tokens": 24},
            "rollout": ENGINE,
            "learner": {"zero_stage": 2, "cpus_per_worker": 2, "weight_decay": 0.0, "precision": "float32"},
            "reward": {"greedy": True, "deadline": 600},
            "judge_model": {"name": "tiny", "max_context": 320, "dtype": "float32"},
            "judge": {"max_rationale": 48},
            "judge_rollout": ENGINE,
            "ppo": {"steps": STEPS, "prompts_per_step": 8, "samples_per_prompt": 4},
            "evaluation": {"prompts": 8, "probes": 2, "decoding": ["greedy"]},
            "checkpoint_every": 1,
        }
    )
    run = run_alignment(config, Console(stderr=True))
    rows = [read_json(run / f"steps/{step:05d}/metrics.json") for step in range(STEPS)]
    return [{name: value for name, value in row.items() if not name.startswith("seconds/")} for row in rows], run


def test_turns_on_the_gpus_decide_no_result(tmp_path: Path) -> None:
    fixed, stayed = aligned(tmp_path, "fixed")
    shared, left = aligned(tmp_path, "shared")
    assert shared == fixed
    names = [path.relative_to(stayed / "policy") for path in (stayed / "policy").glob("*.safetensors")]
    assert names and all(
        (stayed / "policy" / name).read_bytes() == (left / "policy" / name).read_bytes() for name in names
    )
    assert len(list((left / "sync").glob("*.json"))) == STEPS
