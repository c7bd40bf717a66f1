"""Numbers about a step's answers: rewards, masks, lengths, diversity, and gold accuracy where there is a verifier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genrm_rl.algorithms.advantages import has_spread
from genrm_rl.alignment.answers import PARTS
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.rollouts import Rollout
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.preferences.world.style import style_of


def rollout_metrics(
    prompts: Sequence[PolicyPrompt], rollout: Rollout, sampling: SamplingConfig
) -> dict[str, float | None]:
    """Metrics of one rollout; None for what does not exist (no verifier, no reward, no spread)."""
    answers = [judged for group in rollout.groups for judged in group]
    usable = [judged for judged in answers if judged.answer.usable]
    rewarded = [judged for judged in usable if judged.record.reward is not None]
    rewards = [judged.record.reward for judged in rewarded]
    lengths = [len(judged.answer.token_ids) for judged in rewarded]
    spreads = [
        float(np.std([j.record.reward for j in group if j.record.reward is not None]))
        for group in rollout.groups
        if sum(j.record.reward is not None for j in group) > 1
    ]
    in_world = any(prompt.world for prompt in prompts)
    gold = gold_accuracy(prompts, [[j.answer.text for j in group if j.answer.usable] for group in rollout.groups])
    return {
        "reward/mean": mean(rewards),
        **{
            f"reward/{part}_mean": mean([j.record.parts[part] for j in rewarded if part in j.record.parts])
            for part in PARTS
        },
        "reward/group_std": mean(spreads),
        "reward/spread_share": mean([has_spread([j.earned(sampling) for j in group]) for group in rollout.groups]),
        "reward/masked_share": 1 - len(rewarded) / len(answers),
        "reward/length_correlation": correlation(rewards, lengths),
        "rollout/answers": float(len(answers)),
        "rollout/tokens_mean": mean([len(judged.answer.token_ids) for judged in usable]) or 0.0,
        "rollout/truncated_share": mean([judged.answer.truncated for judged in usable]),
        "rollout/unfinished_thinking_share": mean([never_answers(judged.answer.text) for judged in usable]),
        "rollout/distinct_share": mean([len({j.answer.text for j in group}) / len(group) for group in rollout.groups]),
        "rollout/gold_accuracy": gold,
        "rollout/cue_share": mean([style_of(j.answer.text).suffix for j in usable]) if in_world else None,
        "rollout/inconsistent_share": mean(
            [not judgment["consistent"] for judgment in rollout.judgments if judgment["consistent"] is not None]
        ),
    }


def gold_accuracy(prompts: Sequence[PolicyPrompt], texts: Sequence[Sequence[str]]) -> float | None:
    """Share of right answers to questions that a verifier can check; None if there are none."""
    return mean(
        [
            prompt.right(text)
            for prompt, group in zip(prompts, texts, strict=True)
            if prompt.verifiable
            for text in group
        ]
    )


def mean(values: Sequence[float | bool]) -> float | None:
    """Mean, or None of nothing."""
    return math.fsum(values) / len(values) if values else None


def correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Pearson's; None where one of them does not vary."""
    if len(x) < 3 or np.std(x) == 0 or np.std(y) == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])
