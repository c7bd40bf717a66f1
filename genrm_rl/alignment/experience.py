"""From judged answers to training examples: what is masked is left out, the rest gets its advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrm_rl.algorithms.advantages import (
    WHITENED,
    generalized_advantages,
    returns,
    shape_group,
    token_rewards,
    whiten,
)
from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.learners.objectives import completion_tokens
from genrm_rl.learners.packing import Segment
from genrm_rl.learners.policy import PolicyExample

NOTHING = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class RewardedAnswer:
    """An answer that may be learned from, with its shaped reward (after the group's baseline)."""

    prompt: PolicyPrompt
    answer: Answer
    reward: float
    shaped: float

    def segment(self) -> Segment:
        """The sequence and the positions that predict its generated tokens."""
        return completion_tokens(self.prompt.token_ids, self.answer.token_ids)


def rewarded_answers(
    prompts: Sequence[PolicyPrompt], groups: Sequence[Sequence[JudgedAnswer]], config: PPOConfig
) -> list[RewardedAnswer]:
    """Answers with a reward and, for group estimators, at least one rewarded peer."""
    kept = []
    for prompt, group in zip(prompts, groups, strict=True):
        shaped = shape_group([judged.record.reward for judged in group], config.advantage)
        for judged, value in zip(group, shaped, strict=True):
            if value is not None and judged.record.reward is not None:
                kept.append(RewardedAnswer(prompt, judged.answer, judged.record.reward, value))
    return kept


def policy_examples(
    answers: Sequence[RewardedAnswer],
    old_logp: Sequence[np.ndarray],
    reference_logp: Sequence[np.ndarray],
    values: Sequence[np.ndarray] | None,
    config: PPOConfig,
    kl_coefficient: float,
) -> list[PolicyExample]:
    """Examples with advantages; ``values`` are the critic's (``gae`` only). All arrays have one row of [T] each.

    With ``kl_in`` reward each token pays ``kl_coefficient`` times the k1 KL to the reference; else the KL is a term of
    the loss and rewards are the judge's alone.
    """
    penalty = kl_coefficient if config.kl_in == "reward" else 0.0
    rewards = [
        token_rewards(answer.shaped, old_T - reference_T, penalty)
        for answer, old_T, reference_T in zip(answers, old_logp, reference_logp, strict=True)
    ]
    if values is not None:
        estimates = [
            generalized_advantages(values_T, rewards_T, config.gamma, config.gae_lambda)
            for values_T, rewards_T in zip(values, rewards, strict=True)
        ]
        advantages = [advantage_T for advantage_T, _ in estimates]
        targets = [return_T for _, return_T in estimates]
    else:
        advantages = [returns(rewards_T, config.gamma) for rewards_T in rewards]
        targets = [NOTHING] * len(answers)
    if config.advantage in WHITENED:
        advantages = whiten(advantages)
    return [
        PolicyExample(
            prompt_ids=answer.prompt.token_ids,
            completion_ids=answer.answer.token_ids,
            advantages_T=_float32(advantages[i]),
            old_logp_T=_float32(old_logp[i]),
            rollout_logp_T=_float32(np.asarray(answer.answer.logprobs_T)),
            reference_logp_T=_float32(reference_logp[i]),
            old_values_T=_float32(values[i]) if values is not None else NOTHING,
            returns_T=_float32(targets[i]),
        )
        for i, answer in enumerate(answers)
    ]


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
