"""NVIDIA NeMo Gym's ``genrm_compare`` resources server, as its stock clients speak to it.

``GenRMStrategy`` posts whole groups to ``/compare``; the simple agent posts ``/seed_session`` and then one answer at a
time to ``/verify``. Both raise for every error status, so a masked reward is 424, never Gym's placeholder of 0 or its
neutral 3.0. What differs from Gym's own server is in docs/trainers/nemo_gym.md.
"""

from __future__ import annotations

import statistics
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictInt

from genrm_rl.errors import DataError
from genrm_rl.preferences.types import content_hash
from genrm_rl.serving.contracts import GroupIn
from genrm_rl.serving.desk.open_desk import OpenDesk, no_reward, reference_for, reward_or_424
from genrm_rl.serving.trainers.gym_cohorts import CohortConflict, Place
from genrm_rl.serving.trainers.gym_messages import answer_text, comparison_results, conversation, guide_of, gym_reward
from genrm_rl.serving.wire import Text, Turn, encodable_json

routes = APIRouter(tags=["NeMo Gym"])
Wired = Annotated[dict[str, JsonValue], AfterValidator(encodable_json)]


class CompareRequest(BaseModel):
    """What ``GenRMStrategy`` posts: answers to one conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    conversation_history: list[Wired] = Field(min_length=1)
    response_objs: list[Wired] = Field(description="OpenAI Responses objects")
    principle: Text | None = Field(None, description="a criterion that the judge is shown, as with Gym's use_principle")


class CompareReply(BaseModel):
    """What ``GenRMStrategy`` reads."""

    rewards: list[float]
    comparison_results: list[dict[str, Any]] | None = None
    metrics: dict[str, float] | None = None


class VerifyRequest(BaseModel):
    """What Gym's agents post: one answer, and its place in its group."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    responses_create_params: Wired = Field(
        description="with `input`, and for reference rules metadata.baseline_response"
    )
    response: Wired = Field(description="OpenAI Responses object")
    rollout_index: StrictInt = Field(ge=0, alias="_ng_rollout_index")
    group_id: Text | None = Field(None, alias="_ng_group_id")
    group_attempt: StrictInt = Field(0, ge=0, alias="_ng_group_attempt")
    task_index: StrictInt | None = Field(None, alias="_ng_task_index")
    prompt_id: Text | None = None
    principle: Text | None = Field(None, description="as in /compare")

    def place(self, question: tuple[Turn, ...]) -> Place:
        """By group id; without one by task, prompt id, prompt and principle."""
        if self.group_id is not None:
            return Place(self.group_id, self.group_attempt, self.rollout_index, stable=True)
        turns = [[turn.role, turn.content] for turn in question]
        name = content_hash(self.task_index, self.prompt_id, turns, self.principle)
        return Place(f"of prompt {name}", self.group_attempt, self.rollout_index, stable=False)


class VerifyReply(BaseModel):
    """What Gym's agents read: what they sent, with its reward."""

    model_config = ConfigDict(populate_by_name=True)

    responses_create_params: dict[str, Any]
    response: dict[str, Any]
    reward: float
    mask_sample: bool = False
    failure_kind: str | None = None
    failure_reason: str | None = None
    group_id: str | None = Field(None, alias="_ng_group_id")
    group_attempt: int = Field(0, alias="_ng_group_attempt")
    rollout_index: int = Field(alias="_ng_rollout_index")
    judge_version: str
    judgments: list[str]


@routes.post("/seed_session")
async def seed_session(_: OpenDesk) -> dict[str, str]:
    """Gym's agents open a session before an episode; judging needs none."""
    return {}


@routes.post("/compare")
async def compare_group(body: CompareRequest, desk: OpenDesk) -> CompareReply:
    """Rewards of one group, in the order of its answers; 424 if any of them has none."""
    if not body.response_objs:
        return CompareReply(rewards=[])
    rule = desk.settings.cohort_rule
    reference_for(rule, None, "serving.cohort_rule")
    try:
        prompt = conversation(body.conversation_history, "conversation_history")
        answers = [answer_text(each, f"response_objs.{number}") for number, each in enumerate(body.response_objs)]
    except DataError as problem:
        raise HTTPException(422, str(problem)) from None
    guide = guide_of(body.principle)
    reply = await desk.reward_group(GroupIn(prompt=list(prompt), responses=answers, **guide.plain()), rule)
    (found,) = reply.groups
    masked = {index: each.mask for index, each in enumerate(found) if each.mask is not None}
    if masked:
        raise no_reward(", ".join(f"response {index} is {mask}" for index, mask in masked.items()))
    results = await desk.aside(comparison_results, prompt, answers, guide, reply.judgments)
    scores = [each[name] for each in results for name in ("score_1", "score_2") if each[name] is not None]
    return CompareReply(
        rewards=[gym_reward(rule, reward_or_424(each)) for each in found],
        comparison_results=results,
        metrics={
            "mean_individual_score": statistics.fmean(scores),
            "std_individual_score": statistics.pstdev(scores),
            "tiebreak_usage_rate": 0.0,
        },
    )


@routes.post("/verify", response_model_by_alias=True)
async def verify(body: VerifyRequest, desk: OpenDesk) -> VerifyReply:
    """Reward of one answer among the answers of its group; 409 for an answer that contradicts its group."""
    rule = desk.settings.cohort_rule
    try:
        question = conversation(body.responses_create_params.get("input"), "responses_create_params.input")
        answer = answer_text(body.response, "response")
    except DataError as problem:
        raise HTTPException(422, str(problem)) from None
    reference = reference_for(rule, _baseline(body), "responses_create_params.metadata.baseline_response")
    if body.rollout_index >= desk.settings.cohort_size:
        raise HTTPException(422, f"_ng_rollout_index: it must be below serving.cohort_size {desk.settings.cohort_size}")
    guide = guide_of(body.principle)
    await desk.check_answer(question, answer, reference, guide)
    try:
        found = await desk.gym_cohorts.join(body.place(question), (question, reference, guide), answer)
    except CohortConflict as problem:
        raise HTTPException(409, str(problem)) from None
    return VerifyReply(
        responses_create_params=body.responses_create_params,
        response=body.response,
        reward=gym_reward(rule, reward_or_424(found.out)),
        group_id=body.group_id,
        group_attempt=body.group_attempt,
        rollout_index=body.rollout_index,
        judge_version=found.judge_version,
        judgments=found.out.judgments,
    )


def _baseline(body: VerifyRequest) -> str | None:
    metadata = body.responses_create_params.get("metadata")
    baseline = metadata.get("baseline_response") if isinstance(metadata, dict) else None
    return baseline if isinstance(baseline, str) else None
