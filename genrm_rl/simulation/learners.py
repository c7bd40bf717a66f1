"""A learner that sleeps: real batches go to its process and arrays of the right shapes come back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from genrm_rl.learners.packing import Segment
from genrm_rl.simulation.workload import Workload

# Floating-point operations per token and parameter: update with recomputation, and each pass that only reads.
UPDATE, PASS = 8, 2
PASSES = 1  # the reference's log-probabilities; the policy's own come out of its only update


@ray.remote(num_cpus=0)
class SleepingLearner:
    """One model's process."""

    def logprobs(self, segments: Sequence[Segment], seconds: float) -> list[np.ndarray]:
        time.sleep(seconds)
        return [np.full(len(segment.take), -0.5, dtype=np.float32) for segment in segments]

    def step(self, batch: Sequence[Any], seconds: float) -> int:
        time.sleep(seconds)
        return sum(len(example.completion_ids) for example in batch)


class SimulatedLearners:
    """What the loop asks of a `LearnerGroup`; the seconds of a step are split as the time model splits them."""

    def __init__(self, workload: Workload) -> None:
        part = workload.train / (UPDATE + PASSES * PASS)
        self._pass, self._update = PASS * part, UPDATE * part
        self._actor = SleepingLearner.remote()

    def logprobs(self, segments: Sequence[Segment], *, temperature: float = 1.0) -> list[np.ndarray]:
        """See `LearnerGroup.logprobs`."""
        return ray.get(self._actor.logprobs.remote(ray.put(list(segments)), self._pass))

    def step(self, batch: Sequence[Any], objective: Any, *, learning_rate: float) -> Any:
        """See `LearnerGroup.step`."""
        from genrm_rl.learners.learner import StepMetrics

        tokens = ray.get(self._actor.step.remote(ray.put(list(batch)), self._update))
        return StepMetrics(0.0, 1.0, learning_rate, tokens, self._update, {"kl_reference": 0.0})

    def save_state(self, directory: Path, tag: str) -> None:
        """Nothing is learned, so nothing is kept but the fact."""
        (directory / f"{tag}.txt").write_text("simulated\n", encoding="utf-8")

    def uploaded(self, *, wait: bool) -> bool:
        """See `LearnerGroup.uploaded`."""
        return True

    def close(self) -> None:
        """End the process."""
        ray.kill(self._actor, no_restart=True)
