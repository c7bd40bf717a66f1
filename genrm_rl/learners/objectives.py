"""What each objective asks of a forward pass, and how it turns the outputs into its loss and metrics.

The tensor arithmetic is in :mod:`genrm_rl.algorithms.objectives`; here is the glue to examples: which positions are
needed, what the global totals are, which numbers are reported. Torch is imported where tensors are touched, so the
driver can import this module cheaply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from genrm_rl.errors import DataError
from genrm_rl.learners.examples import KINDS, Example, LabeledExample, PairExample, SequenceExample, VerdictExample
from genrm_rl.learners.packing import Segment

if TYPE_CHECKING:
    import torch

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


def _last(token_ids: Sequence[int]) -> Segment:
    return Segment(token_ids, np.array([len(token_ids) - 1]))
