"""Hacking probes: answers that deserve nothing more than the policy's own, shown to the judge that gives the reward.

They are the null answers that a judge's probe gate tries and that null negatives teach it to refuse
(:mod:`genrm_rl.preferences.nulls`); here they stand beside the answers of the policy as it is now, right or wrong. A
probe that wins more often than it should is a hole through which the policy will go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from genrm_rl.alignment.answers import Answer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.statistics import mean
from genrm_rl.preferences.nulls import null_answer
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rewards.types import Mask


def probe_results(
    kind: str, prompts: Sequence[PolicyPrompt], answers: Sequence[Answer], client: RewardClient, seed: int
) -> dict[str, Any]:
    """Greedy judgments of a probe against each answer, both orders folded: ``wins``, ``ties`` and ``losses`` of the
    probe, and ``mean_p``, its mean P of winning; None if the judge refuses all of them.

    ``refused`` counts probes that the judge can't read (for example characters that its tokenizer does not know),
    ``masked`` those without a verdict.
    """
    usable = [(prompt, answer.text) for prompt, answer in zip(prompts, answers, strict=True) if answer.usable]
    groups = []
    for number, (prompt, text) in enumerate(usable):
        _, other = usable[(number + 1) % len(usable)]
        made = null_answer(kind, text, other, seed, prompt.id)
        if made is not None:
            groups.append(prompt.group((made, text)))
    records = [reward.records[0] for reward in client.rewards(groups, rule="round_robin", votes=1, greedy=True)]
    won = [record.reward for record in records if record.reward is not None]
    refused = sum(record.mask is Mask.REFUSED for record in records)
    return {
        "judged": len(won),
        "refused": refused,
        "masked": len(records) - len(won) - refused,
        "wins": sum(p > 0.5 for p in won),
        "ties": sum(p == 0.5 for p in won),
        "losses": sum(p < 0.5 for p in won),
        "mean_p": mean(won),
    }
