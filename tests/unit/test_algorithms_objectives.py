"""Objectives against hand-written formulas, and that a split batch sums to the whole one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from genrm_rl.algorithms import objectives


def test_sft_is_the_mean_over_the_tokens_of_the_global_batch():
    logp_N = torch.tensor([-1.0, -2.0, -3.0])
    whole = objectives.sft_loss(logp_N, total_tokens=3, dp_size=1)
    parts = [objectives.sft_loss(part, total_tokens=3, dp_size=1) for part in (logp_N[:1], logp_N[1:])]
    assert whole.item() == pytest.approx(2.0)
    assert sum(parts).item() == pytest.approx(2.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_dpo_is_the_papers_equation_9(smoothing):
    chosen, rejected = torch.tensor([-3.0, -5.0]), torch.tensor([-4.0, -2.0])
    reference_chosen, reference_rejected = torch.tensor([-3.5, -4.0]), torch.tensor([-3.0, -2.5])
    beta = 0.7
    logit = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    expected = (-(1 - smoothing) * F.logsigmoid(logit) - smoothing * F.logsigmoid(-logit)).mean()
    loss, margin = objectives.dpo_loss(
        chosen,
        rejected,
        reference_chosen,
        reference_rejected,
        beta=beta,
        label_smoothing=smoothing,
        total_pairs=2,
        dp_size=1,
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(margin, logit)


def test_a_microbatch_gives_its_share_and_workers_average_to_the_whole():
    chosen, rejected = torch.randn(6), torch.randn(6)
    whole = objectives.bradley_terry_loss(chosen, rejected, label_smoothing=0.1, total_pairs=6, dp_size=1)
    shares = [
        objectives.bradley_terry_loss(chosen[cut], rejected[cut], label_smoothing=0.1, total_pairs=6, dp_size=2)
        for cut in (slice(0, 1), slice(1, 6))
    ]
    assert (sum(shares) / 2).item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_pair_classifier_is_binary_cross_entropy(smoothing):
    logit, label = torch.randn(5), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    target = label * (1 - smoothing) + (1 - label) * smoothing
    expected = F.binary_cross_entropy_with_logits(logit, target)
    found = objectives.pair_classifier_loss(logit, label, label_smoothing=smoothing, total_examples=5, dp_size=1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("share", "smoothing"), [(0.0, 0.0), (0.0, 0.1), (1.0, 0.0), (0.8, 0.1)])
def test_the_verdict_loss_is_equation_7_and_the_folded_margin(share, smoothing):
    logits_B2V = torch.randn(5, 2, 7)
    right, wrong = logits_B2V.log_softmax(-1)[..., 3], logits_B2V.log_softmax(-1)[..., 4]
    likelihood = -((1 - smoothing) * right + smoothing * wrong).mean()
    folded = (logits_B2V[..., 3] - logits_B2V[..., 4]).sum(1) / 2
    logistic = ((1 - smoothing) * F.softplus(-folded) + smoothing * F.softplus(folded)).mean()
    expected = (1 - share) * likelihood + share * logistic
    options = {"folded_margin": share, "label_smoothing": smoothing, "total_pairs": 5}
    loss, margin = objectives.verdict_loss(right, wrong, dp_size=1, **options)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(margin, folded, atol=1e-6)
    parts = [objectives.verdict_loss(right[cut], wrong[cut], dp_size=2, **options)[0] for cut in ([0], [1, 2, 3, 4])]
    assert (sum(parts) / 2).item() == pytest.approx(loss.item(), rel=1e-5)


def test_what_speaks_for_a_letter_whatever_the_answers_are_cancels_in_the_folded_margin():
    right_B2, wrong_B2 = torch.randn(4, 2), torch.randn(4, 2)
    bias = torch.tensor([3.0, -3.0])  # for A: in the other order B is the right letter
    options = {"label_smoothing": 0.0, "total_pairs": 4, "dp_size": 1}
    plain, biased = (
        [objectives.verdict_loss(right, wrong_B2, folded_margin=share, **options)[0].item() for share in (1.0, 0.0)]
        for right in (right_B2, right_B2 + bias)
    )
    assert biased[0] == pytest.approx(plain[0], rel=1e-5)
    right_B2 = right_B2.requires_grad_()
    objectives.verdict_loss(right_B2 + bias, wrong_B2, folded_margin=1.0, **options)[0].backward()
    assert torch.allclose(right_B2.grad[:, 0], right_B2.grad[:, 1]), "no push to one letter"


def test_token_log_probabilities_are_exact_in_bfloat16_input():
    logits, targets = torch.randn(7, 11).bfloat16(), torch.randint(0, 11, (7,))
    expected = F.log_softmax(logits.float(), -1)[torch.arange(7), targets]
    assert torch.allclose(objectives.token_logprobs(logits, targets), expected, atol=1e-6)


def test_sum_by_segment_keeps_sequences_apart():
    values, owners = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 2, 2, 0])
    assert objectives.sum_by_segment(values, owners, 3).tolist() == [9.0, 0.0, 6.0]


def test_importing_the_objectives_pulls_in_neither_openrlhf_nor_deepspeed():
    code = (
        "import sys, genrm_rl.algorithms.objectives, genrm_rl.learners.objectives;"
        "sys.exit(any(name in sys.modules for name in ('openrlhf', 'deepspeed', 'ray', 'vllm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_openrlhf_adapter_leaves_no_bare_packages_behind():
    code = (
        "import sys; from genrm_rl.algorithms.openrlhf_adapter import losses; losses(); "
        "sys.exit(any(name.partition('.')[0] == 'openrlhf' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
