"""Distillation of one distribution into another at given tokens. Axes: N positions, K tokens of the support."""

from __future__ import annotations

import torch

LARGEST_MASS = -1e-6  # log of the support's mass; keeps the rest's logarithm finite


def support_kl(student_logp_NK: torch.Tensor, teacher_logp_NK: torch.Tensor) -> torch.Tensor:
    """Reverse KL(student || teacher) per position [N] over the support's tokens and one more that holds the rest.

    Both are log-probabilities of the full distributions at the same K tokens (the teacher's most likely ones). With all
    tokens in the support it is the KL itself; else it is no larger (a coarser partition). The direction is that of
    on-policy distillation (arXiv 2306.13649): the student leaves what the teacher would not say.
    """
    student, teacher = _with_rest(student_logp_NK), _with_rest(teacher_logp_NK)
    return (student.exp() * (student - teacher)).sum(-1)


def _with_rest(logp_NK: torch.Tensor) -> torch.Tensor:
    """[N, K] -> [N, K + 1]."""
    mass_N1 = logp_NK.logsumexp(-1, keepdim=True).clamp(max=LARGEST_MASS)
    return torch.cat([logp_NK, torch.log(-torch.expm1(mass_N1))], dim=-1)
