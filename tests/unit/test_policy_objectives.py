"""The policy's loss against hand-written formulas, and gradients of its KL against the exact one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genrm_rl.algorithms.objectives import token_entropy
from genrm_rl.algorithms.openrlhf_adapter import losses
from genrm_rl.algorithms.policy_objectives import PolicyTerms, policy_loss

SETTINGS = {
    "clip": (0.2, 0.3),
    "dual_clip": None,
    "ratio": "token",
    "kl_coefficient": 0.0,
    "kl_estimator": "k3",
    "kl_gradient": "estimator",
    "dp_size": 1,
}


def drawn(lengths: tuple[int, ...] = (3, 5, 2), seed: int = 0) -> tuple[torch.Tensor, PolicyTerms]:
    """Log-probabilities of three answers whose engine, learner and new policy all differ."""
    torch.manual_seed(seed)
    count = sum(lengths)
    old_N = -torch.rand(count) - 0.5
    segment_N = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    terms = PolicyTerms(
        old_logp_N=old_N,
        rollout_logp_N=old_N + 0.8 * torch.randn(count),
        reference_logp_N=old_N + 0.2 * torch.randn(count),
        advantage_N=torch.randn(len(lengths))[segment_N],
        importance_N=torch.ones(count),
        weight_N=torch.ones(count),
        segment_N=segment_N,
        segments=len(lengths),
        total=float(count),
    )
    return (old_N + 0.4 * torch.randn(count)).requires_grad_(), terms


@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_importance_weights_are_those_of_openrlhf(dual_clip):
    """Truncation as OpenRLHF applies it to the loss, with a lower end of 0."""
    logp_N, terms = drawn()
    weights_N = (terms.old_logp_N - terms.rollout_logp_N).exp().clamp(max=2.0)
    found, sums = policy_loss(logp_N, replace(terms, importance_N=weights_N), **SETTINGS | {"dual_clip": dual_clip})
    theirs = losses().policy(
        0.2, 0.3, dual_clip, is_correction_level="token", is_correction_mode="clip", is_correction_threshold=[0.0, 2.0]
    )
    expected, *_ = theirs(
        logp_N[None],
        terms.old_logp_N[None],
        terms.advantage_N[None],
        terms.weight_N[None],
        rollout_log_probs=terms.rollout_logp_N[None],
        batch_num_tokens=terms.total,
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert sums["importance"].item() == pytest.approx(weights_N.sum().item())


def test_a_sequence_ratio_is_gspo():
    logp_N, terms = drawn()
    loss, _ = policy_loss(logp_N, terms, **SETTINGS | {"ratio": "sequence", "clip": (0.05, 0.05)})
    expected = 0.0
    for number in range(terms.segments):
        mine = terms.segment_N == number
        ratio = (logp_N - terms.old_logp_N)[mine].mean().exp()
        advantage = terms.advantage_N[mine][0]
        expected -= mine.sum() * torch.minimum(ratio * advantage, ratio.clamp(0.95, 1.05) * advantage)
    assert loss.item() == pytest.approx((expected / terms.total).item(), rel=1e-5)
    loss.backward()
    assert logp_N.grad.isfinite().all()


@pytest.mark.parametrize(("gradient", "direction"), [("unbiased", "policy"), ("estimator", "reference")])
def test_the_unbiased_gradient_is_that_of_the_kl(gradient, direction):
    """Expected over every token that the policy can write: k3's own formula has the gradient of KL(reference | policy),
    the unbiased one that of KL(policy | reference), which is what is to be kept small."""
    torch.manual_seed(1)
    scores_V, reference_V = torch.randn(6, requires_grad=True), torch.randn(6).log_softmax(-1)
    logp_V = scores_V.log_softmax(-1)
    probability_V = logp_V.detach().exp()
    terms = PolicyTerms(
        old_logp_N=logp_V.detach(),
        rollout_logp_N=logp_V.detach(),
        reference_logp_N=reference_V,
        advantage_N=torch.zeros(6),
        importance_N=torch.ones(6),
        weight_N=probability_V,
        segment_N=torch.arange(6),
        segments=6,
        total=1.0,
    )
    loss, _ = policy_loss(logp_V, terms, **SETTINGS | {"kl_coefficient": 1.0, "kl_gradient": gradient})
    found = torch.autograd.grad(loss, scores_V, retain_graph=True)[0]
    kl = {
        "policy": (logp_V.exp() * (logp_V - reference_V)).sum(),
        "reference": (reference_V.exp() * (reference_V - logp_V)).sum(),
    }
    expected = torch.autograd.grad(kl[direction], scores_V)[0]
    assert torch.allclose(found, expected, atol=1e-6)
    assert loss.item() == pytest.approx(kl["policy"].item(), abs=1e-5), "the value is the KL either way"


def test_the_entropy_of_every_position(monkeypatch):
    monkeypatch.setattr("genrm_rl.algorithms.objectives.ENTROPY_PIECE", 22)
    logits_NV = 3 * torch.randn(7, 11)
    expected = torch.distributions.Categorical(logits=logits_NV).entropy()
    assert torch.allclose(token_entropy(logits_NV), expected, atol=1e-5)
