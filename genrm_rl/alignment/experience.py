"""From judged answers to what is learned from: what is masked is left out, the rest is compared within its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.algorithms.advantages import shape_group
from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.choices import GROUPED
from genrm_rl.config.alignment import PPOConfig, SamplingConfig
from genrm_rl.learners.experience import SampledAnswer
from genrm_rl.rewards.types import Mask


@dataclass(frozen=True, slots=True)
class RewardedAnswer:
    """An answer that may be learned from, with its shaped reward (after the group's baseline)."""

    prompt: PolicyPrompt
    answer: Answer
    reward: float
    shaped: float
    unfinished: bool = False  # cut off, and not to be taken as ended

    def sampled(self) -> SampledAnswer:
        """What a learner needs of it."""
        ids, answer = self.prompt.token_ids, self.answer
        return SampledAnswer(ids, answer.token_ids, answer.logprobs_T, self.shaped, self.unfinished)


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
    if all(judged.record.mask is Mask.UNFINISHED_THINKING for judged in answers):
        return (
            f"all {len(answers)} answers ended before their thinking did; raise sampling.max_tokens "
            f"({sampling.max_tokens}), or set enable_thinking to false in sampling.chat_template_kwargs"
        )
    rewarded = sum(judged.earned(sampling) is not None for judged in answers)
    if config.advantage in GROUPED and rewarded:
        return (
            f"no group has two rewarded answers with different rewards ({rewarded} of {len(answers)} answers have one, "
            f"{cut} were cut off)"
        )
    return f"none of {len(answers)} answers has a reward ({cut} were cut off); see masked in the step's manifest"
