"""``POST /v1/best_of``: a prompt and n responses in, the best of them out."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from genrm_rl.choices import Rule
from genrm_rl.judging.judge import ORDER_FREE
from genrm_rl.rewards.best_of import best_of
from genrm_rl.serving.contracts import GroupIn, JudgmentOut, RewardOut, RewardsReply, RewardsRequest
from genrm_rl.serving.desk.open_desk import OpenDesk
from genrm_rl.serving.desk.replies import json_reply
from genrm_rl.serving.wire import Ask, Wire

routes = APIRouter()


class BestOfRequest(Ask, GroupIn):
    """``POST /v1/best_of``: one group, and how it is judged."""

    rule: Rule | None = Field(
        None, description="how judgments become rewards; by default points of a judge that gives them, else round_robin"
    )

    def group(self) -> dict[str, Any]:
        """The fields of the group."""
        return {name: getattr(self, name) for name in GroupIn.model_fields}

    def asked(self) -> dict[str, Any]:
        """The fields that say how."""
        return {name: getattr(self, name) for name in Ask.model_fields}


class BestOfReply(Wire):
    """The best response and what it rests on."""

    judge_version: str
    seconds: float
    rule: Rule
    best: int | None = Field(description="index of the best response; None if no response has a reward")
    margin: float | None = Field(
        description="its reward less that of the next different response; None if no other one has a reward"
    )
    tied: list[int] = Field(description="indices of all that share the first place, the best one among them")
    rewards: list[RewardOut] = Field(description="in the order of the responses; a mask says why there is none")
    judgments: list[JudgmentOut]


@routes.post("/v1/best_of", response_model=BestOfReply)
async def pick(body: BestOfRequest, desk: OpenDesk) -> Response:
    """Judge the responses, and name the best one."""
    began = time.time()
    kind = desk.judges.current.served.kind
    rule: Rule = body.rule or ("points" if kind in ORDER_FREE else "round_robin")
    group = GroupIn.model_construct(**body.group())  # its parts were checked with the body
    found = await desk.reward(RewardsRequest(groups=[group], rule=rule, **body.asked()))

    def reply(found: RewardsReply) -> Response:
        (rewards,) = found.groups
        best = best_of([each.reward for each in rewards], body.responses)
        return json_reply(
            BestOfReply(
                judge_version=found.judge_version,
                seconds=time.time() - began,
                rule=rule,
                best=best.index,
                margin=best.margin,
                tied=list(best.tied),
                rewards=rewards,
                judgments=found.judgments,
            )
        )

    return await desk.aside(reply, found)
