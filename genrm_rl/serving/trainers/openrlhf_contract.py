"""OpenRLHF's remote reward model (``--reward.remote_url``), as its stock client speaks it.

One sample per call: ``{"query": [prompt + answer, special tokens included], "prompts": [...], "labels": [...]}`` to
``{"rewards": r, "scores": s, "extra_logs": {...}}``. The client raises for every status but 200, asks five times, and
then leaves the sample without a reward: so a masked reward is answered with 424 and its reason, never with a number.
"""

from __future__ import annotations

import math

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from genrm_rl.errors import DataError
from genrm_rl.rewards.types import NO_SHARES
from genrm_rl.serving.desk.open_desk import OpenDesk, reference_for, reward_or_424
from genrm_rl.serving.wire import Text

routes = APIRouter(tags=["OpenRLHF"])


class RemoteRewardRequest(BaseModel):
    """What OpenRLHF posts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: list[Text] = Field(min_length=1, max_length=1, description="prompt and answer, with special tokens")
    prompts: list[Text] = Field(min_length=1, max_length=1)
    labels: list[Text | None] = Field(min_length=1, max_length=1, description="reference answer under log_odds")


class RemoteRewardReply(BaseModel):
    """What OpenRLHF reads: scalars, because one call is one sample."""

    rewards: float
    scores: float = Field(description="0 to 1, for dynamic filtering")
    extra_logs: dict[str, float]


@routes.post("/get_reward")
async def get_reward(body: RemoteRewardRequest, desk: OpenDesk) -> RemoteRewardReply:
    """OpenRLHF's ``--reward.remote_url``: samples of one prompt are gathered and judged against each other."""
    rule = desk.settings.cohort_rule
    reference = reference_for(rule, body.labels[0], "labels")
    try:
        question, answer = desk.policy.split(body.query[0], body.prompts[0])
    except DataError as problem:
        raise HTTPException(422, str(problem)) from None
    found = await desk.reward_in_cohort(question, answer, reference)
    reward = reward_or_424(found)
    share = 1 / (1 + math.exp(-reward)) if rule in NO_SHARES else reward
    return RemoteRewardReply(rewards=reward, scores=share, extra_logs={"judgments": float(len(found.judgments))})
