"""Policy-gradient objectives as tensor functions on top of OpenRLHF's losses.

As in :mod:`genrm_rl.algorithms.objectives`, every function returns this microbatch's share of the loss of the global
batch. Axes: N generated tokens of the microbatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from genrm_rl.algorithms.objectives import sum_by_segment
from genrm_rl.algorithms.openrlhf_adapter import losses


@dataclass(frozen=True)
class PolicyTerms:
    """What a policy step needs besides the current log-probabilities; each [N], float32.

    ``weight_N`` is 1 for a mean over tokens, or 1 / length of the answer for a mean over answers; its sum over the
    global batch is ``total``. ``importance_N`` are the weights between engine and learner, not negative.
    """

    old_logp_N: torch.Tensor
    rollout_logp_N: torch.Tensor
    reference_logp_N: torch.Tensor
    advantage_N: torch.Tensor
    importance_N: torch.Tensor
    weight_N: torch.Tensor
    segment_N: torch.Tensor
    segments: int
    total: float


def policy_loss(
    logp_N: torch.Tensor,
    terms: PolicyTerms,
    *,
    clip: tuple[float, float],
    dual_clip: float | None,
    ratio: str,
    kl_coefficient: float,
    kl_estimator: str,
    kl_gradient: str,
    dp_size: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Clipped surrogate (OpenRLHF ``PolicyLoss``, PPO) plus ``kl_coefficient`` times the KL to the reference.

    ``ratio`` sequence puts the geometric mean over the answer in the place of each token's ratio (GSPO, arXiv
    2507.18071). ``kl_gradient`` unbiased is OpenRLHF's: the value is the estimator's, the gradient that of the KL
    itself, E[w k1 grad log pi], while k3's own formula has the gradient of the KL in the other direction. Returns the
    loss and weighted sums of ``clip_share``, ``kl_step`` (old to new policy, k1), ``kl_reference`` (k3, which is never
    negative), ``kl_engine`` (engine to learner, k1) and ``importance``.
    """
    surrogate = losses().policy(clip_eps_low=clip[0], clip_eps_high=clip[1], dual_clip=dual_clip)
    weight_1N = terms.weight_N[None]
    loss, clip_share, kl_step, _, _ = surrogate(
        (logp_N if ratio == "token" else _sequence_logp(logp_N, terms))[None],
        terms.old_logp_N[None],
        # The surrogate is linear in its advantages up to a factor that is not negative.
        (terms.advantage_N * terms.importance_N)[None],
        weight_1N,
        dp_size=dp_size,
        batch_num_tokens=terms.total,
    )
    if kl_coefficient:
        kl_N = losses().approximate_kl(
            logp_N,
            terms.reference_logp_N,
            terms.old_logp_N,
            kl_estimator=kl_estimator,
            unbiased_gradient=kl_gradient == "unbiased",
        )
        loss = loss + kl_coefficient * (kl_N * terms.weight_N).sum() / terms.total * dp_size
    with torch.no_grad():
        mass = terms.weight_N.sum()
        kl_3N = losses().approximate_kl(logp_N.detach(), terms.reference_logp_N, kl_estimator="k3")
        sums = {
            "clip_share": clip_share * mass,
            "kl_step": kl_step * mass,
            "kl_reference": (kl_3N * terms.weight_N).sum(),
            "kl_engine": ((terms.rollout_logp_N - terms.old_logp_N) * terms.weight_N).sum(),
            "importance": (terms.importance_N * terms.weight_N).sum(),
        }
    return loss, sums


def _sequence_logp(logp_N: torch.Tensor, terms: PolicyTerms) -> torch.Tensor:
    """Log-probabilities whose ratio to the old ones is, at every token, the geometric mean over its answer."""
    counts_S = sum_by_segment(torch.ones_like(logp_N), terms.segment_N, terms.segments)
    sums_S = sum_by_segment(logp_N - terms.old_logp_N, terms.segment_N, terms.segments)
    return terms.old_logp_N + (sums_S / counts_S)[terms.segment_N]


def value_loss(
    values_N: torch.Tensor,
    old_values_N: torch.Tensor,
    returns_N: torch.Tensor,
    *,
    clip: float | None,
    total_tokens: float,
    dp_size: int,
) -> torch.Tensor:
    """Half the (clipped) squared error of the critic per token of the global batch (OpenRLHF ``ValueLoss``)."""
    ones_1N = torch.ones_like(values_N)[None]
    return losses().value(clip_eps=clip)(
        values_N[None],
        old_values_N[None],
        returns_N[None],
        ones_1N,
        dp_size=dp_size,
        batch_num_tokens=total_tokens,
    )


def kl_controller(coefficient: float, target: float | None, horizon: int) -> Any:
    """OpenRLHF's controller: ``value`` is the coefficient, ``update(kl, answers)`` adapts it if there is a target."""
    if target is None:
        return losses().fixed_kl(coefficient)
    return losses().adaptive_kl(coefficient, target, horizon)
