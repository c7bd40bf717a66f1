"""Reward functions for verl: ``custom_reward_function.path=pkg://genrm_rl.rewards.trainers.verl``.

verl (0.9) scores one sample per call (``compute_score``) and passes neither the prompt nor a group id: the data set's
``extra_info`` must hold the prompt. Samples of one prompt meet in a cohort of the service. The batch manager, where it
is still used, passes whole batches (``compute_scores``). verl has no "no reward": both raise MaskedReward instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.rewards.trainers.service import JudgeService, MaskedReward
from genrm_rl.rewards.wire import Group, Prompt

URL = "http://127.0.0.1:8000"


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    url: str = URL,
    prompt_key: str = "prompt",
    token: str | None = None,
    deadline: float = 120.0,
    **_: Any,
) -> dict[str, float]:
    """``{"score": reward}`` of one sample, judged among those to the same prompt by ``serving.cohort_rule``.

    ``url``, ``prompt_key``, ``token`` and ``deadline`` (seconds) come from ``custom_reward_function.reward_kwargs``. A
    coroutine, because a thread pool would be full of samples that wait for the rest of their cohort. Raises
    MaskedReward if the judge gave no reward, JudgeFailure if it can't be asked.
    """
    label = ground_truth if isinstance(ground_truth, str) else None
    prompt = _prompt(extra_info, prompt_key)
    return {"score": await JudgeService(url, token, deadline).reward_in_cohort(prompt, solution_str, label)}


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Mapping[str, Any] | None],
    *,
    url: str = URL,
    rule: Rule = "round_robin",
    votes: int = 1,
    greedy: bool = False,
    prompt_key: str = "prompt",
    token: str | None = None,
    deadline: float = 120.0,
    **_: Any,
) -> list[dict[str, float]]:
    """``{"score": reward}`` per sample of a batch; those to equal prompts are judged against each other.

    Raises MaskedReward if any sample has no reward, JudgeFailure if the judge can't be asked.
    """
    members: dict[tuple[str, str | None], list[int]] = {}
    for index, (truth, extra) in enumerate(zip(ground_truths, extra_infos, strict=True)):
        reference = str(truth) if rule in AGAINST_REFERENCE else None
        members.setdefault((repr(_prompt(extra, prompt_key)), reference), []).append(index)
    groups = [
        Group(_prompt(extra_infos[indices[0]], prompt_key), [solution_strs[index] for index in indices], reference)
        for (_, reference), indices in members.items()
    ]
    records = JudgeService(url, token, deadline).rewards(groups, rule=rule, votes=votes, greedy=greedy)
    scores: list[dict[str, float]] = [{}] * len(solution_strs)
    for indices, group in zip(members.values(), records, strict=True):
        for index, record in zip(indices, group, strict=True):
            if record.reward is None:
                raise MaskedReward(f"sample {index} of the batch has no reward: {record.mask}")
            scores[index] = {"score": record.reward}
    return scores


def _prompt(extra_info: Mapping[str, Any] | None, key: str) -> Prompt:
    """The prompt that the data set put into ``extra_info``. Raises ValueError if it is not there."""
    prompt = (extra_info or {}).get(key)
    if prompt is None or len(prompt) == 0:
        raise ValueError(
            f"extra_info has no {key!r}; verl gives reward functions no prompt, so the data set must put it there"
        )
    return prompt if isinstance(prompt, str) else [{"role": t["role"], "content": t["content"]} for t in prompt]
