"""Policy-gradient objectives as tensor functions on top of OpenRLHF's losses.

As in :mod:`genrm_rl.algorithms.objectives`, every function returns this microbatch's share of the loss of the global
batch. Axes: N generated tokens of the microbatch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from genrm_rl.algorithms.openrlhf_adapter import losses


@dataclass(frozen=True)
class PolicyTerms:
    """What a policy step needs besides the current log-probabilities; each [N], float32.

    ``weight_N`` is 1 for a mean over tokens, or 1 / length of the answer for a mean over answers; its sum over the
    global batch is ``total``.
    """

    old_logp_N: torch.Tensor
    rollout_logp_N: torch.Tensor
    reference_logp_N: torch.Tensor
    advantage_N: torch.Tensor
    weight_N: torch.Tensor
    total: float


def policy_loss(
    logp_N: torch.Tensor,
    terms: PolicyTerms,
    *,
    clip: tuple[float, float],
    dual_clip: float | None,
    correction: str,
    correction_range: tuple[float, float],
    kl_coefficient: float,
    kl_estimator: str,
    dp_size: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Clipped surrogate (OpenRLHF ``PolicyLoss``, PPO) plus ``kl_coefficient`` times the KL to the reference.

    ``correction`` (off, clip, mask) weighs tokens by pi_learner / pi_engine at the start of the step, within
    ``correction_range``. Returns the loss and weighted sums of ``clip_share``, ``kl_step`` (old to new policy, k1),
    ``kl_reference`` (k3, which is never negative) and ``kl_engine`` (engine to learner, k1).
    """
    surrogate = losses().policy(
        clip_eps_low=clip[0],
        clip_eps_high=clip[1],
        dual_clip=dual_clip,
        is_correction_level="off" if correction == "off" else "token",
        is_correction_mode="mask" if correction == "off" else correction,
        is_correction_threshold=list(correction_range),
    )
    weight_1N = terms.weight_N[None]
    loss, clip_share, kl_step, _, _ = surrogate(
        logp_N[None],
        terms.old_logp_N[None],
        terms.advantage_N[None],
        weight_1N,
        rollout_log_probs=terms.rollout_logp_N[None],
        dp_size=dp_size,
        batch_num_tokens=terms.total,
    )
    if kl_coefficient:
        kl_N = losses().approximate_kl(logp_N, terms.reference_logp_N, kl_estimator=kl_estimator)
        loss = loss + kl_coefficient * (kl_N * terms.weight_N).sum() / terms.total * dp_size
    with torch.no_grad():
        mass = terms.weight_N.sum()
        kl_3N = losses().approximate_kl(logp_N.detach(), terms.reference_logp_N, kl_estimator="k3")
        sums = {
            "clip_share": clip_share * mass,
            "kl_step": kl_step * mass,
            "kl_reference": (kl_3N * terms.weight_N).sum(),
            "kl_engine": ((terms.rollout_logp_N - terms.old_logp_N) * terms.weight_N).sum(),
        }
    return loss, sums


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
