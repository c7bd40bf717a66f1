"""OpenRLHF's remote reward model (``--reward.remote_url``), as its stock client speaks it.

One sample per call: ``{"query": [prompt + answer, special tokens included], "prompts": [...], "labels": [...]}`` to
``{"rewards": r, "scores": s, "extra_logs": {...}}``. The client raises for every status but 200, asks five times, and
then leaves the sample without a reward: so a masked reward is answered with 424 and its reason, never with a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from genrm_rl.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTINEL = "\u241fthe question\u241f"


class RemoteRewardRequest(BaseModel):
    """What OpenRLHF posts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: list[str] = Field(min_length=1, max_length=1, description="prompt and answer, with special tokens")
    prompts: list[str] = Field(min_length=1, max_length=1)
    labels: list[str | None] = Field(min_length=1, max_length=1, description="reference answer under log_odds")


class RemoteRewardReply(BaseModel):
    """What OpenRLHF reads: scalars, because one call is one sample."""

    rewards: float
    scores: float = Field(description="0 to 1, for dynamic filtering")
    extra_logs: dict[str, float]


class PolicyFormat:
    """Takes the policy's chat template off again: question and answer as a judge should see them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self._before = self._after = ""
        self._special: tuple[str, ...] = ()
        if tokenizer is None:
            return
        self._special = tuple(tokenizer.all_special_tokens)
        if tokenizer.chat_template:
            turns = [{"role": "user", "content": SENTINEL}]
            rendered = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            self._before, self._after = rendered.split(SENTINEL)

    def split(self, query: str, prompt: str) -> tuple[str, str]:
        """Question and answer. Raises DataError if ``query`` does not begin with ``prompt``."""
        if not query.startswith(prompt):
            raise DataError(
                "query does not begin with its prompt; was the prompt cut to the policy's context, or are "
                "serving.policy_tokenizer and the policy different?"
            )
        question, answer = prompt, query[len(prompt) :]
        if question.startswith(self._before) and question.endswith(self._after):
            question = question[len(self._before) : len(question) - len(self._after)]
        return question, self._without_ending(answer)

    def _without_ending(self, answer: str) -> str:
        answer = answer.rstrip()
        while ending := next((token for token in self._special if answer.endswith(token)), None):
            answer = answer.removesuffix(ending).rstrip()
        return answer
