"""`placement: shared`: the settings with which engines, judge and learners have the same GPUs in turn.

Ray knows shares of a GPU and fills one before it begins the next. So the role that comes first takes more than half,
which no two of its processes find on one GPU, the second more than half of what is left, and the third the rest: one
process of each role on every GPU. The shares say nothing about memory: whoever works has nearly all of it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section
from genrm_rl.config.loop import LoopConfig

JobT = TypeVar("JobT", bound=Section)
FIRST, SECOND, THIRD = 0.52, 0.26, 0.22


def in_turns(config: JobT) -> JobT:
    """``config`` with what `placement: shared` means for its sections, or as it is without. A section that has a share
    of its own keeps it, so nothing changes the second time. All of it are settings that decide no result."""
    if isinstance(config, LoopConfig):
        return config.model_copy(update={"judge": in_turns(config.judge), "policy": in_turns(config.policy)})
    if not isinstance(config, RunConfig | AlignConfig) or config.placement != "shared":
        return config
    shares = _shares(config)
    update: dict[str, Any] = {}
    for name in shares.keys() - {"learner"}:
        rollout = getattr(config, name)
        settled: dict[str, Any] = {"sleep": True}
        if rollout.gpu_share == 1:
            memory = rollout.gpu_memory_utilization / (len(shares) - 1)  # engines of policy and judge work together
            settled |= {"gpu_share": shares[name], "gpu_memory_utilization": round(memory, 3)}
        update[name] = rollout.model_copy(update=settled)
    if config.learner.gpus_per_worker == 1:
        update["learner"] = config.learner.model_copy(update={"gpus_per_worker": shares["learner"]})
    return config.model_copy(update=update)


def _shares(config: RunConfig | AlignConfig) -> dict[str, float]:
    """Of each section, in the order in which a job starts its roles."""
    if isinstance(config, RunConfig):
        return {"rollout": FIRST, "learner": 1 - FIRST}
    if config.serves_judge:
        return {"learner": FIRST, "rollout": SECOND, "judge_rollout": THIRD}
    return {"learner": FIRST, "rollout": 1 - FIRST}
