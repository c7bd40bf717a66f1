"""`placement: shared`: engines and learners that have the same GPUs in turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from genrm_rl.config.base import setting
from genrm_rl.config.model import LearnerConfig, RolloutConfig

Placement = Literal["fixed", "shared"]


def placement_setting() -> Any:
    """The setting of a job in which engines and learners live at the same time."""
    return setting(
        "fixed",
        "`fixed`: each role has the GPUs, or the shares of their memory, that its section says; `shared`: engines (and "
        "those of a judge that the job serves) and learners have the same GPUs in turn, and nearly all their memory",
        free=True,
    )


def sharing_problem(learner: LearnerConfig, engines: Mapping[str, RolloutConfig], *, moves: bool) -> str | None:
    """Why learners can't take turns with ``engines`` (section -> number, settings) on their GPUs, or None if they can.

    ``moves``: the learner lives on while engines work. DeepSpeed 0.19 can move the states of ZeRO 1 and 2, at stage 3
    those of its own FusedAdam alone (`offload_states` in ``runtime/zero/stage3.py``), and none without ZeRO.
    """
    if not learner.gpus_per_worker:
        return None
    without_zero = learner.zero_stage == 0 and learner.compute_format == "float32"
    if moves and (learner.zero_stage == 3 or without_zero):
        return (
            "placement shared moves the states of a learner off its GPU, which DeepSpeed can at ZeRO stages 1 and 2; "
            f"learner.zero_stage is {learner.zero_stage}, set it to 2"
        )
    for name, (count, rollout) in engines.items():
        if count != learner.workers:
            return (
                f"placement shared puts an engine of {name} and a worker of the learner on each GPU, and there are "
                f"{count} and {learner.workers} (learner.workers); make them equal"
            )
        if rollout.tensor_parallel > 1:
            return (
                f"placement shared puts an engine on each GPU, and {name}.tensor_parallel is "
                f"{rollout.tensor_parallel}; set it to 1, or placement to fixed"
            )
        if rollout.weight_backend == "nccl":
            return (
                f"placement shared puts engines on the learner's GPUs, to which NCCL can't send; set "
                f"{name}.weight_backend to auto or ipc"
            )
        if rollout.pool != learner.pool:
            return (
                f"placement shared needs engines and learners on the same nodes; set {name}.pool and learner.pool to "
                "the same"
            )
    return None
