"""Training objectives as tensor functions on top of OpenRLHF's losses.

Every function returns this microbatch's *share* of the loss of the global batch: it divides by a total over the whole
batch (``total_*``), never by a local count, and multiplies by ``dp_size`` because DeepSpeed averages gradients over the
workers. Summed over microbatches and averaged over workers the gradients are those of one big batch, whatever the
number of workers or microbatches.

Axes: N taken tokens, B examples of the microbatch. Equations: Generative Reward Models, arXiv 2410.12832.
"""

from __future__ import annotations

import torch

from genrm_rl.algorithms.openrlhf_adapter import losses

ENTROPY_PIECE = 1 << 24  # logits, 64 MiB of float32


def token_logprobs(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Log-probability of each target token in float32, shape [N] (OpenRLHF ``log_probs_from_logits``)."""
    return losses().log_probs_from_logits(logits_NV.float(), targets_N)


def logprobs_at(logits_NV: torch.Tensor, tokens_NK: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of K tokens at each position in float32, [N, K]."""
    logits_NV = logits_NV.float()
    return logits_NV.gather(-1, tokens_NK) - logits_NV.logsumexp(-1, keepdim=True)


@torch.no_grad()
def token_entropy(logits_NV: torch.Tensor) -> torch.Tensor:
    """Entropy of the distribution at each position in nats, float32 [N]; a piece at a time, to save memory."""
    rows = max(1, ENTROPY_PIECE // logits_NV.shape[-1])
    logps = (piece.float().log_softmax(-1) for piece in logits_NV.split(rows))
    return torch.cat([-(logp.exp() * logp).sum(-1) for logp in logps])


def sum_by_segment(values_N: torch.Tensor, segment_N: torch.Tensor, segments: int) -> torch.Tensor:
    """Sum the taken positions of each sequence: [N] -> [segments]."""
    return values_N.new_zeros(segments).index_add_(0, segment_N, values_N)


def sft_loss(logp_N: torch.Tensor, *, total_tokens: float, dp_size: int) -> torch.Tensor:
    """Mean negative log-likelihood per target token of the global batch (OpenRLHF ``SFTLoss``).

    With rationale and verdict as targets this is Eq. 8 (both terms weigh 1); with the verdict token alone, Eq. 7. Every
    token weighs the same, so longer rationales weigh more, as in the paper's plain sum.
    """
    ones_1N = torch.ones_like(logp_N)[None]
    return losses().sft(token_level_loss=True)(logp_N[None], ones_1N, dp_size=dp_size, batch_num_tokens=total_tokens)


def verdict_loss(
    right_B2: torch.Tensor,
    wrong_B2: torch.Tensor,
    *,
    folded_margin: float,
    label_smoothing: float,
    total_pairs: float,
    dp_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A pair's verdict in both orders: ``1 - folded_margin`` parts of Eq. 7 and ``folded_margin`` parts of the folded
    margin's logistic loss, mean over the global batch's pairs.

    ``right_B2`` and ``wrong_B2`` are log-probabilities of the right and the wrong letter in the two orders. Eq. 7 is
    the mean of the orders' negative log-likelihoods. The folded margin is half the sum of both orders' log-odds for the
    right letter: what speaks for a letter whatever the answers are cancels in it. Label smoothing e mixes in the other
    letter with weight e. Returns the loss and the folded margin of each pair (nats), detached, shape [B].
    """
    margin_B = (right_B2 - wrong_B2).mean(1)
    likelihood = -((1 - label_smoothing) * right_B2 + label_smoothing * wrong_B2).mean()
    folded = bradley_terry_loss(
        margin_B,
        torch.zeros_like(margin_B),
        label_smoothing=label_smoothing,
        total_pairs=total_pairs,
        dp_size=dp_size,
    )
    likelihood = _share(likelihood, margin_B, total_pairs, dp_size)
    return (1 - folded_margin) * likelihood + folded_margin * folded, margin_B.detach()


def dpo_loss(
    chosen_B: torch.Tensor,
    rejected_B: torch.Tensor,
    reference_chosen_B: torch.Tensor,
    reference_rejected_B: torch.Tensor,
    *,
    beta: float,
    label_smoothing: float,
    total_pairs: float,
    dp_size: int,
    ipo: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """DPO (Eq. 9; OpenRLHF ``DPOLoss``) on summed sequence log-probabilities, mean over the global batch's pairs.

    Label smoothing is conservative DPO; ``ipo`` takes the squared loss of IPO (arXiv 2310.12036, Eq. 17). Returns the
    loss and the reward margin ``beta * (log-ratio chosen - rejected)`` of each pair, detached, shape [B].
    """
    objective = losses().dpo(beta, label_smoothing, ipo)
    mean, reward_chosen_B, reward_rejected_B = objective(chosen_B, rejected_B, reference_chosen_B, reference_rejected_B)
    return _share(mean, chosen_B, total_pairs, dp_size), reward_chosen_B - reward_rejected_B


def nll_anchor(chosen_logp_N: torch.Tensor, *, coefficient: float, total_tokens: float, dp_size: int) -> torch.Tensor:
    """``coefficient`` times the mean negative log-likelihood per chosen token of the global batch.

    Normalised per token, not per sequence, so that it has the scale of the SFT loss at any rationale length.
    """
    return coefficient * sft_loss(chosen_logp_N, total_tokens=total_tokens, dp_size=dp_size)


def bradley_terry_loss(
    chosen_B: torch.Tensor, rejected_B: torch.Tensor, *, label_smoothing: float, total_pairs: float, dp_size: int
) -> torch.Tensor:
    """``-log sigmoid(r(chosen) - r(rejected))`` (Eq. 1-2; OpenRLHF ``PairWiseLoss``), mean over the global pairs.

    Label smoothing e mixes in the opposite order with weight e.
    """
    pairwise = losses().pairwise()
    mean = pairwise(chosen_B, rejected_B)
    if label_smoothing:
        mean = (1 - label_smoothing) * mean + label_smoothing * pairwise(rejected_B, chosen_B)
    return _share(mean, chosen_B, total_pairs, dp_size)


def pair_classifier_loss(
    logit_B: torch.Tensor, label_B: torch.Tensor, *, label_smoothing: float, total_examples: float, dp_size: int
) -> torch.Tensor:
    """Binary cross-entropy of ``P(A wins) = sigmoid(logit)`` (PairRM style), mean over the global examples.

    Written as a Bradley-Terry loss of the signed logit against 0, which is the same number.
    """
    signed_B = logit_B * (2.0 * label_B - 1.0)
    zero_B = torch.zeros_like(signed_B)
    return bradley_terry_loss(
        signed_B, zero_B, label_smoothing=label_smoothing, total_pairs=total_examples, dp_size=dp_size
    )


def _share(mean: torch.Tensor, values_B: torch.Tensor, total: float, dp_size: int) -> torch.Tensor:
    """A local mean, turned into this microbatch's part of the global mean."""
    return mean * (values_B.shape[0] / total * dp_size)
