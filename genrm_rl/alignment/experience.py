"""From judged answers to training examples: what is masked is left out, the rest gets its advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genrm_rl.algorithms.advantages import (
    GROUPED,
    WHITENED,
    generalized_advantages,
    returns,
    shape_group,
    token_rewards,
    whiten,
)
from genrm_rl.algorithms.importance import importance_weights
from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.config.alignment import PPOConfig, SamplingConfig
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
    unfinished: bool = False  # cut off, and not to be taken as ended

    def segment(self) -> Segment:
        """The sequence and the positions that predict its generated tokens."""
        return completion_tokens(self.prompt.token_ids, self.answer.token_ids)

    def states(self) -> Segment:
        """The same with the position after the last token: T + 1 positions for a critic."""
        ids = (*self.prompt.token_ids, *self.answer.token_ids)
        return Segment(ids, np.arange(len(self.prompt.token_ids) - 1, len(ids)))


def rewarded_answers(
    prompts: Sequence[PolicyPrompt],
    groups: Sequence[Sequence[JudgedAnswer]],
    config: PPOConfig,
    sampling: SamplingConfig,
) -> list[RewardedAnswer]:
    """Answers that something is learned from: with a reward and, for group estimators, in a group with spread. At most
    ``prompts_per_step`` groups, the first ones."""
    kept, used = [], 0
    for prompt, group in zip(prompts, groups, strict=True):
        if used == config.prompts_per_step:
            break
        rewards = [judged.earned(sampling) for judged in group]
        found = [
            RewardedAnswer(prompt, judged.answer, reward, value, judged.answer.truncated and _goes_on(config, sampling))
            for judged, reward, value in zip(group, rewards, shape_group(rewards, config.advantage), strict=True)
            if reward is not None and value is not None
        ]
        used += bool(found)
        kept += found
    return kept


def _goes_on(config: PPOConfig, sampling: SamplingConfig) -> bool:
    """Whether a truncated answer is taken as one that goes on: only a critic can say what would have come."""
    return config.advantage == "gae" and sampling.truncated == "keep"


def nothing_learned(groups: Sequence[Sequence[JudgedAnswer]], config: PPOConfig, sampling: SamplingConfig) -> str:
    """Why :func:`rewarded_answers` of a step is empty, and the way out."""
    answers = [judged for group in groups for judged in group]
    cut = sum(judged.answer.truncated for judged in answers)
    if sampling.truncated == "mask" and cut == len(answers):
        return (
            f"all {cut} answers were cut off at sampling.max_tokens {sampling.max_tokens} and sampling.truncated is "
            "mask; raise sampling.max_tokens, or set sampling.truncated to penalise"
        )
    rewarded = sum(judged.earned(sampling) is not None for judged in answers)
    if config.advantage in GROUPED and rewarded:
        return (
            f"no group has two rewarded answers with different rewards ({rewarded} of {len(answers)} answers have one, "
            f"{cut} were cut off)"
        )
    return f"none of {len(answers)} answers has a reward ({cut} were cut off); see masked in the step's manifest"


def policy_examples(
    answers: Sequence[RewardedAnswer],
    old_logp: Sequence[np.ndarray],
    reference_logp: Sequence[np.ndarray],
    values: Sequence[np.ndarray] | None,
    config: PPOConfig,
    kl_coefficient: float,
) -> list[PolicyExample]:
    """Examples with advantages. Log-probabilities have one row of [T] per answer; ``values`` are the critic's of
    :meth:`RewardedAnswer.states`, [T + 1] (``gae`` only).

    With ``kl_in`` reward each token pays ``kl_coefficient`` times the k1 KL to the reference; else the KL is a term of
    the loss and rewards are the judge's alone. An answer of which the correction leaves nothing is left out.
    """
    penalty = kl_coefficient if config.kl_in == "reward" else 0.0
    made = []
    for i, answer in enumerate(answers):
        engine_T = np.asarray(answer.answer.logprobs_T)
        weights_T = importance_weights(
            old_logp[i], engine_T, config.correction, config.correction_level, config.correction_range
        )
        if not weights_T.any():
            continue
        advantages_T, returns_T = _advantages(
            answer, old_logp[i] - reference_logp[i], None if values is None else values[i], config, penalty
        )
        example = PolicyExample(
            prompt_ids=answer.prompt.token_ids,
            completion_ids=answer.answer.token_ids,
            advantages_T=advantages_T,
            old_logp_T=_float32(old_logp[i]),
            rollout_logp_T=_float32(engine_T),
            importance_T=_float32(weights_T),
            reference_logp_T=_float32(reference_logp[i]),
            old_values_T=NOTHING if values is None else _float32(values[i][:-1]),
            returns_T=_float32(returns_T),
        )
        made.append(example)
    advantages = [example.advantages_T for example in made]
    if config.advantage in WHITENED:
        advantages = whiten(advantages)
    return [
        replace(example, advantages_T=_float32(advantages_T))
        for example, advantages_T in zip(made, advantages, strict=True)
    ]


def _advantages(
    answer: RewardedAnswer, kl_T: np.ndarray, values: np.ndarray | None, config: PPOConfig, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages and, with a critic, its targets, [T] each.

    After an unfinished answer comes what the critic expects, in place of the judge's reward of the text so far: both
    together would count the outcome twice.
    """
    if values is None:
        return returns(token_rewards(answer.shaped, kl_T, penalty), config.gamma), NOTHING
    reward, after = (0.0, float(values[-1])) if answer.unfinished else (answer.shaped, 0.0)
    rewards_T = token_rewards(reward, kl_T, penalty)
    return generalized_advantages(values[:-1], rewards_T, config.gamma, config.gae_lambda, after=after)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
