"""A reward function for TRL's GRPO and RLOO trainers: ``GRPOTrainer(reward_funcs=GenRMReward("http://127.0.0.1:8000"))``.

TRL calls it once per process batch with ``prompts``, ``completions`` and the data set's columns as lists of one length,
and takes None for "no reward": such a completion enters neither the baseline nor an advantage (TRL 1.16).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.rewards.trainers.service import JudgeService
from genrm_rl.rewards.types import RewardRecord
from genrm_rl.rewards.wire import Group, Prompt

Completion = str | Sequence[Mapping[str, Any]]


class GenRMReward:
    """Rewards from the served judge; completions of equal prompts in a batch are judged against each other.

    Under ``log_odds`` and ``reference`` the data set's column ``reference_column`` holds the reference answers.
    ``thinking_opened`` says that the policy's chat template writes ``<think>`` at the end of the prompt. Raises
    JudgeFailure (so that training stops) if the service can't be used; masked rewards are None.
    """

    __name__ = "genrm"  # TRL logs rewards/genrm/mean

    def __init__(
        self,
        url: str,
        *,
        rule: Rule = "round_robin",
        votes: int = 1,
        greedy: bool = False,
        judge_version: str | None = None,
        reference_column: str = "reference",
        thinking_opened: bool = False,
        token: str | None = None,
        deadline: float = 120.0,
    ) -> None:
        self._service = JudgeService(url, token, deadline)
        self._ask = {"rule": rule, "votes": votes, "greedy": greedy, "judge_version": judge_version}
        self._opening = "<think>\n" if thinking_opened else ""
        self._reference = reference_column if rule in AGAINST_REFERENCE else None

    def __call__(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any
    ) -> list[float | None]:
        """One reward, or None, per completion."""
        if self._reference is not None and self._reference not in columns:
            raise ValueError(f"rule {self._ask['rule']} needs the data set's column {self._reference!r}")
        references = columns[self._reference] if self._reference else [None] * len(prompts)
        members: dict[tuple[str, str | None], list[int]] = {}
        for index, (prompt, reference) in enumerate(zip(prompts, references, strict=True)):
            members.setdefault((json.dumps(_plain(prompt)), reference), []).append(index)
        groups = [
            Group(
                _plain(prompts[indices[0]]), [self._opening + _text(completions[index]) for index in indices], reference
            )
            for (_, reference), indices in members.items()
        ]
        rewards: list[float | None] = [None] * len(prompts)
        records = self._service.rewards(groups, **self._ask)
        for indices, group in zip(members.values(), records, strict=True):
            for index, record in zip(indices, group, strict=True):
                rewards[index] = record.reward
        self._log(columns, [record for group in records for record in group])
        return rewards

    def _log(self, columns: Mapping[str, Any], records: Sequence[RewardRecord]) -> None:
        log = columns.get("log_metric")
        if log is not None and records:
            log("genrm/masked_share", sum(record.mask is not None for record in records) / len(records))


def _plain(prompt: Prompt) -> Prompt:
    """Turns without what the service does not know, e.g. tool calls."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn["role"], "content": _content(turn)} for turn in prompt]


def _text(completion: Completion) -> str:
    """A completion, or the assistant's words of a conversational one."""
    if isinstance(completion, str):
        return completion
    return "\n".join(_content(turn) for turn in completion if turn["role"] == "assistant")


def _content(turn: Mapping[str, Any]) -> str:
    content = turn.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
