"""What each objective asks of a forward pass, and how it turns the outputs into its loss and metrics.

The tensor arithmetic is in :mod:`genrm_rl.algorithms.objectives`; here is the glue to examples: which positions are
needed, what the global totals are, which numbers are reported. Torch is imported where tensors are touched, so the
driver can import this module cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genrm_rl.errors import DataError
from genrm_rl.learners.examples import KINDS, Example, SequenceExample, VerdictExample
from genrm_rl.learners.objective import Objective, Outputs, Reading
from genrm_rl.learners.packing import Segment
from genrm_rl.learners.pair_objectives import BradleyTerry, DirectPreference, PairClassifier

if TYPE_CHECKING:
    pass

ObjectiveKind = Literal["sft", "direct", "dpo", "bradley_terry", "pairrm", "points"]
EXAMPLE_KIND: dict[str, str] = {
    "sft": "sequence",
    "direct": "verdict",
    "dpo": "pair",
    "bradley_terry": "pair",
    "pairrm": "labeled",
    "points": "pair",
}
HEAD_KIND: dict[str, str] = {
    "sft": "language",
    "direct": "language",
    "dpo": "language",
    "bradley_terry": "score",
    "pairrm": "score",
    "points": "points",
}


@dataclass(frozen=True)
class SupervisedTokens:
    """``sft``: cross-entropy on the masked-in tokens."""

    reading = Reading()

    def segments(self, example: SequenceExample) -> list[Segment]:
        return [Segment(example.input_ids, np.flatnonzero(example.loss_mask) - 1)]

    def totals(self, batch: Sequence[SequenceExample]) -> dict[str, float]:
        return {"examples": len(batch), "target_tokens": sum(sum(example.loss_mask) for example in batch)}

    @property
    def metrics(self) -> dict[str, str]:
        return {"token_accuracy": "target_tokens"}

    def loss(self, outputs: Outputs, examples: Sequence[Any], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.objectives import sft_loss

        loss = sft_loss(outputs.values_N, total_tokens=totals["target_tokens"], dp_size=dp_size)
        return loss, {"token_accuracy": outputs.correct_N.float().sum()}


@dataclass(frozen=True)
class Verdicts:
    """``direct``: both letters at the place of the verdict, in both orders of a pair."""

    folded_margin: float = 0.0
    label_smoothing: float = 0.0

    reading = Reading(exact=True)

    def segments(self, example: VerdictExample) -> list[Segment]:
        a, b = example.letter_ids
        orders = ((example.ab_ids, (a, b)), (example.ba_ids, (b, a)))  # the right letter first
        return [Segment(ids, np.array([len(ids) - 1]), np.array([letters])) for ids, letters in orders]

    def totals(self, batch: Sequence[VerdictExample]) -> dict[str, float]:
        return {"examples": len(batch), "orders": 2 * len(batch)}

    @property
    def metrics(self) -> dict[str, str]:
        return {"accuracy": "examples", "margin": "examples", "right_in_both": "examples", "right_by_order": "orders"}

    def loss(self, outputs: Outputs, examples: Sequence[VerdictExample], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.objectives import verdict_loss

        right_B2, wrong_B2 = outputs.support_NK.view(-1, 2, 2).unbind(-1)
        loss, margin_B = verdict_loss(
            right_B2,
            wrong_B2,
            folded_margin=self.folded_margin,
            label_smoothing=self.label_smoothing,
            total_pairs=totals["examples"],
            dp_size=dp_size,
        )
        right = right_B2 > wrong_B2
        return loss, {
            "accuracy": (margin_B > 0).float().sum(),
            "margin": margin_B.sum(),
            "right_in_both": right.all(1).float().sum(),
            "right_by_order": right.float().sum(),
        }


def completion_tokens(
    prompt: Sequence[int], completion: Sequence[int], turns: Sequence[tuple[int, int]] = ()
) -> Segment:
    """A sequence of which the positions that predict the completion are taken (log-probabilities), or only those that
    predict its ``turns``, (first, after the last) of the completion each."""
    places = [np.arange(first, end) for first, end in turns or ((0, len(completion)),)]
    return Segment((*prompt, *completion), len(prompt) - 1 + np.concatenate(places))


def build_objective(
    kind: ObjectiveKind, *, beta: float, label_smoothing: float, nll_coefficient: float, folded_margin: float = 0.0
) -> Objective:
    """The objective of a supervised fit."""
    if kind == "sft":
        return SupervisedTokens()
    if kind == "direct":
        return Verdicts(folded_margin, label_smoothing)
    if kind == "dpo":
        return DirectPreference(beta, label_smoothing, nll_coefficient)
    if kind in ("bradley_terry", "points"):
        return BradleyTerry(label_smoothing)
    if kind == "pairrm":
        return PairClassifier(label_smoothing)
    raise ValueError(f"unknown objective {kind!r}; known: {', '.join(EXAMPLE_KIND)}")


def check_objective_fits(kind: ObjectiveKind, examples: Sequence[Example], where: str) -> None:
    """Raise DataError unless every example is of the kind that the objective reads."""
    expected = KINDS[EXAMPLE_KIND[kind]]
    if not isinstance(examples[0], expected):
        found = type(examples[0]).__name__
        raise DataError(f"{where} holds {found} rows, but objective {kind} reads {expected.__name__} rows")
