"""Optimizer steps that were skipped because a loss or a gradient was not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from genrm_rl.errors import TrainingError

if TYPE_CHECKING:
    from genrm_rl.learners.learner import StepMetrics


@dataclass
class Skips:
    """Counts them; ``limit`` of them in a row are one too many."""

    limit: int
    total: int = 0
    in_a_row: int = 0

    def see(self, done: StepMetrics, what: str) -> bool:
        """Note an optimizer step; returns whether it was applied. Raises TrainingError at the limit."""
        if done.applied:
            self.in_a_row = 0
            return True
        self.total += 1
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            raise TrainingError(
                f"{what} has loss {done.loss:g} and gradient norm {done.grad_norm:g}, and {self.in_a_row} optimizer "
                "steps in a row were skipped for that (learner.max_skipped); lower the learning rate, or set "
                "learner.precision to float32"
            )
        return False
