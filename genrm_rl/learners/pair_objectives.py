"""Objectives that learn from pairs: DPO, Bradley-Terry, and the pair classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genrm_rl.learners.examples import LabeledExample, PairExample
from genrm_rl.learners.objective import Outputs, Reading
from genrm_rl.learners.packing import Segment

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ReferencedPair:
    """A pair with the reference model's summed log-probabilities of its two completions."""

    pair: PairExample
    reference_chosen: float
    reference_rejected: float


@dataclass(frozen=True, eq=False)
class ReferencedPairs(Sequence[ReferencedPair]):
    """Pairs, wherever they are kept, with the reference's sums [B, 2] of chosen and rejected."""

    pairs: Sequence[PairExample]
    reference_B2: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> ReferencedPair:  # type: ignore[override]
        chosen, rejected = self.reference_B2[index].tolist()
        return ReferencedPair(self.pairs[index], chosen, rejected)


@dataclass(frozen=True)
class PairLogprobs:
    """The two completions of a pair, for the reference pass and as the base of DPO."""

    def segments(self, example: PairExample) -> list[Segment]:
        return [
            Segment(example.chosen_ids, np.arange(example.chosen_prompt_length - 1, len(example.chosen_ids) - 1)),
            Segment(example.rejected_ids, np.arange(example.rejected_prompt_length - 1, len(example.rejected_ids) - 1)),
        ]


@dataclass(frozen=True)
class DirectPreference:
    """``dpo`` on :class:`ReferencedPair`, with the optional NLL anchor on the chosen completion."""

    beta: float
    label_smoothing: float = 0.0
    nll_coefficient: float = 0.0
    ipo: bool = False

    reading = Reading()

    def segments(self, example: ReferencedPair) -> list[Segment]:
        return PairLogprobs().segments(example.pair)

    def totals(self, batch: Sequence[ReferencedPair]) -> dict[str, float]:
        chosen = sum(len(item.pair.chosen_ids) - item.pair.chosen_prompt_length for item in batch)
        return {"examples": len(batch), "chosen_tokens": chosen}

    @property
    def metrics(self) -> dict[str, str]:
        return {"accuracy": "examples", "margin": "examples", "chosen_logp": "chosen_tokens"}

    def loss(self, outputs: Outputs, examples: Sequence[ReferencedPair], totals: dict[str, float], dp_size: int):
        import torch

        from genrm_rl.algorithms.objectives import dpo_loss, nll_anchor, sum_by_segment

        logp_S = sum_by_segment(outputs.values_N, outputs.segment_N, outputs.segments)
        reference_B2 = logp_S.new_tensor([[item.reference_chosen, item.reference_rejected] for item in examples])
        loss, margin_B = dpo_loss(
            logp_S[0::2],
            logp_S[1::2],
            reference_B2[:, 0],
            reference_B2[:, 1],
            beta=self.beta,
            label_smoothing=self.label_smoothing,
            total_pairs=totals["examples"],
            dp_size=dp_size,
            ipo=self.ipo,
        )
        chosen_N = outputs.values_N[outputs.segment_N % 2 == 0]
        if self.nll_coefficient:
            loss = loss + nll_anchor(
                chosen_N, coefficient=self.nll_coefficient, total_tokens=totals["chosen_tokens"], dp_size=dp_size
            )
        with torch.no_grad():
            sums = {"accuracy": (margin_B > 0).float().sum(), "margin": margin_B.sum(), "chosen_logp": chosen_N.sum()}
        return loss, sums


@dataclass(frozen=True)
class BradleyTerry:
    """``bradley_terry``: a scalar on the last token of each answer; ``points``: the expected number after a prompt that
    asks for one, so that a difference of one point is one nat."""

    label_smoothing: float = 0.0

    reading = Reading()

    def segments(self, example: PairExample) -> list[Segment]:
        return [_last(example.chosen_ids), _last(example.rejected_ids)]

    def totals(self, batch: Sequence[PairExample]) -> dict[str, float]:
        return {"examples": len(batch)}

    @property
    def metrics(self) -> dict[str, str]:
        return {"accuracy": "examples", "margin": "examples"}

    def loss(self, outputs: Outputs, examples: Sequence[Any], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.objectives import bradley_terry_loss

        chosen_B, rejected_B = outputs.values_N[0::2], outputs.values_N[1::2]
        loss = bradley_terry_loss(
            chosen_B,
            rejected_B,
            label_smoothing=self.label_smoothing,
            total_pairs=totals["examples"],
            dp_size=dp_size,
        )
        margin_B = (chosen_B - rejected_B).detach()
        return loss, {"accuracy": (margin_B > 0).float().sum(), "margin": margin_B.sum()}


@dataclass(frozen=True)
class PairClassifier:
    """``pairrm``: one logit for "A wins" on the last token of a prompt that holds both answers."""

    label_smoothing: float = 0.0

    reading = Reading()

    def segments(self, example: LabeledExample) -> list[Segment]:
        return [_last(example.input_ids)]

    def totals(self, batch: Sequence[LabeledExample]) -> dict[str, float]:
        return {"examples": len(batch)}

    @property
    def metrics(self) -> dict[str, str]:
        return {"accuracy": "examples", "margin": "examples"}

    def loss(self, outputs: Outputs, examples: Sequence[LabeledExample], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.objectives import pair_classifier_loss

        logit_B = outputs.values_N
        label_B = logit_B.new_tensor([float(example.label) for example in examples])
        loss = pair_classifier_loss(
            logit_B,
            label_B,
            label_smoothing=self.label_smoothing,
            total_examples=totals["examples"],
            dp_size=dp_size,
        )
        margin_B = (logit_B * (2 * label_B - 1)).detach()
        return loss, {"accuracy": (margin_B > 0).float().sum(), "margin": margin_B.sum()}


def last_token(token_ids: Sequence[int]) -> Segment:
    """A sequence of which only the last position is taken (scores)."""
    return _last(token_ids)


def _last(token_ids: Sequence[int]) -> Segment:
    return Segment(token_ids, np.array([len(token_ids) - 1]))
