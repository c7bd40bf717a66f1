"""What an objective is: which sequences run, what is read from them, and the loss of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from genrm_rl.learners.packing import Segment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Reading:
    """How log-probabilities are read: from logits divided by ``temperature``, with the ``entropy`` of each position or
    not, and with the ``top_k`` most likely tokens; ``exact``: from logits in float32, whatever the weights' format (two
    letters' bfloat16 logits near 20 differ in steps of 1/8)."""

    temperature: float = 1.0
    entropy: bool = False
    top_k: int = 0
    exact: bool = False


@dataclass(frozen=True)
class Outputs:
    """What a forward pass gives at the taken positions: ``values_N`` are log-probabilities or scores (float32).

    ``correct_N`` marks positions whose most likely token is the target (None for scores); ``entropy_N`` is there if the
    reading asks for it. ``support_NK`` are log-probabilities of the segments' support, or of the ``top_k`` most likely
    tokens ``likely_NK``.
    """

    values_N: torch.Tensor
    correct_N: torch.Tensor | None
    segment_N: torch.Tensor
    segments: int
    entropy_N: torch.Tensor | None = None
    support_NK: torch.Tensor | None = None
    likely_NK: torch.Tensor | None = None


class Objective(Protocol):
    """A training objective. ``segments`` of an example are laid out in order; ``loss`` sees them in that order."""

    @property
    def reading(self) -> Reading:
        """How the forward pass reads the logits."""
        ...

    def segments(self, example: Any) -> list[Segment]:
        """The sequences to run and the positions to take."""
        ...

    def totals(self, batch: Sequence[Any]) -> dict[str, float]:
        """Totals of the global batch; a metric named ``x`` is divided by ``totals[self.metrics[x]]``."""
        ...

    @property
    def metrics(self) -> dict[str, str]:
        """Metric name -> the total that it is a mean over."""
        ...

    def loss(
        self, outputs: Outputs, examples: Sequence[Any], totals: dict[str, float], dp_size: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """This microbatch's share of the loss (a scalar with gradient) and the sums of its metrics."""
        ...
