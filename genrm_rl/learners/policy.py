"""Reinforcement-learning objectives: what a policy-gradient or critic step reads from a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from genrm_rl.algorithms.importance import Correction, Level, importance_weights
from genrm_rl.learners.objective import Outputs, Reading
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.packing import Segment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PolicyExample:
    """One answer, or episode of several ``turns``, with its advantages. Arrays are float32 of shape [T], T sampled
    tokens; what stands between the turns of an episode was observed and is not learned.

    ``old_logp_T`` is the learner's before the step, ``rollout_logp_T`` the engine's when it sampled, ``importance_T``
    the weight that corrects between them, ``reference_logp_T`` the frozen starting policy's; all of them at the
    temperature of the rollout. For the only update of a step, whose own forward pass is the learner's before it, the
    first and the third may be left empty (in all examples). ``old_values_T`` and ``returns_T`` are the critic's (else
    empty).
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    advantages_T: np.ndarray
    old_logp_T: np.ndarray
    rollout_logp_T: np.ndarray
    importance_T: np.ndarray
    reference_logp_T: np.ndarray
    old_values_T: np.ndarray
    returns_T: np.ndarray
    turns: tuple[tuple[int, int], ...] = ()

    @property
    def tokens(self) -> int:
        """Sampled tokens."""
        return len(self.rollout_logp_T)

    def segment(self) -> Segment:
        """The sequence and the positions that predict (or precede) its sampled tokens."""
        return completion_tokens(self.prompt_ids, self.completion_ids, self.turns)


@dataclass(frozen=True)
class PolicyGradient:
    """Clipped policy gradient on :class:`PolicyExample` (PPO, GRPO, GSPO, RLOO, REINFORCE++). ``correction`` are the
    kind, level and limits of importance weights that the examples do not have yet."""

    clip: tuple[float, float] = (0.2, 0.2)
    dual_clip: float | None = None
    ratio: Literal["token", "sequence"] = "token"
    kl_coefficient: float = 0.0
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_gradient: Literal["estimator", "unbiased"] = "estimator"
    aggregation: Literal["token", "sequence"] = "token"
    temperature: float = 1.0
    correction: tuple[Correction, Level, tuple[float, float]] = ("off", "token", (0.0, 0.0))

    @property
    def reading(self) -> Reading:
        return Reading(self.temperature, entropy=True)

    def segments(self, example: PolicyExample) -> list[Segment]:
        return [example.segment()]

    def totals(self, batch: Sequence[PolicyExample]) -> dict[str, float]:
        tokens = sum(example.tokens for example in batch)
        return {"weight": float(tokens if self.aggregation == "token" else len(batch))}

    @property
    def metrics(self) -> dict[str, str]:
        names = ("clip_share", "kl_step", "kl_reference", "kl_engine", "importance", "entropy")
        return dict.fromkeys(names, "weight")

    def loss(self, outputs: Outputs, examples: Sequence[PolicyExample], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.policy_objectives import PolicyTerms, policy_loss

        like = outputs.values_N
        alone = not len(examples[0].old_logp_T)
        importance = self._importance(like, examples) if alone else [example.importance_T for example in examples]
        terms = PolicyTerms(
            old_logp_N=like.detach() if alone else _joined(like, [example.old_logp_T for example in examples]),
            rollout_logp_N=_joined(like, [example.rollout_logp_T for example in examples]),
            reference_logp_N=_joined(like, [example.reference_logp_T for example in examples]),
            advantage_N=_joined(like, [example.advantages_T for example in examples]),
            importance_N=_joined(like, importance),
            weight_N=_joined(like, [self._weights(example.tokens) for example in examples]),
            segment_N=outputs.segment_N,
            segments=outputs.segments,
            total=totals["weight"],
        )
        loss, sums = policy_loss(
            like,
            terms,
            clip=self.clip,
            dual_clip=self.dual_clip,
            ratio=self.ratio,
            kl_coefficient=self.kl_coefficient,
            kl_estimator=self.kl_estimator,
            kl_gradient=self.kl_gradient,
            dp_size=dp_size,
        )
        return loss, sums | {"entropy": (outputs.entropy_N * terms.weight_N).sum()}

    def _importance(self, logp_N: torch.Tensor, examples: Sequence[PolicyExample]) -> list[np.ndarray]:
        """Weights between the engine and these log-probabilities, by example."""
        own = logp_N.detach().float().cpu().split([example.tokens for example in examples])
        return [
            importance_weights(own_T.numpy(), example.rollout_logp_T, *self.correction)
            for own_T, example in zip(own, examples, strict=True)
        ]

    def _weights(self, length: int) -> np.ndarray:
        return np.full(length, 1.0 if self.aggregation == "token" else 1.0 / length, dtype=np.float32)


@dataclass(frozen=True)
class ValueRegression:
    """The critic's step on :class:`PolicyExample`: its values towards the GAE returns."""

    clip: float | None = 0.5
    reading = Reading()

    def segments(self, example: PolicyExample) -> list[Segment]:
        return [example.segment()]

    def totals(self, batch: Sequence[PolicyExample]) -> dict[str, float]:
        return {"tokens": float(sum(example.tokens for example in batch))}

    @property
    def metrics(self) -> dict[str, str]:
        return {"value": "tokens", "return": "tokens"}

    def loss(self, outputs: Outputs, examples: Sequence[Any], totals: dict[str, float], dp_size: int):
        from genrm_rl.algorithms.policy_objectives import value_loss

        values_N = outputs.values_N
        returns_N = _joined(values_N, [example.returns_T for example in examples])
        loss = value_loss(
            values_N,
            _joined(values_N, [example.old_values_T for example in examples]),
            returns_N,
            clip=self.clip,
            total_tokens=totals["tokens"],
            dp_size=dp_size,
        )
        return loss, {"value": values_N.detach().sum(), "return": returns_N.sum()}


def _joined(like: torch.Tensor, parts: Sequence[np.ndarray]) -> torch.Tensor:
    """Arrays of the examples, in the order of the taken positions [N]."""
    return like.new_tensor(np.concatenate(parts))
