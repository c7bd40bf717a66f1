"""slime's remote reward model (``--rm-type remote_rm --rm-url ...``), as its stock client speaks it.

One sample per call: ``{"prompt", "response", "label"}``; the JSON that comes back *is* the reward (a number, because
``--reward-key`` is unset by default). The client (``slime/rollout/rm_hub/__init__.py``) gives up on a call after 120 s,
raises for every error status, and asks ten times with a growing pause before it ends the rollout.
"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from genrm_rl.serving.desk.open_desk import OpenDesk, Question, reference_for, reward_or_424
from genrm_rl.serving.wire import Text, Turn

routes = APIRouter(tags=["slime"])


class SlimeSample(BaseModel):
    """What slime posts. Forks send more of the sample along; it is not needed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    prompt: Text | list[Turn] = Field(description="with the policy's chat template, or the turns")
    response: Text = Field(description="special tokens at its end are taken off")
    label: JsonValue = Field(None, description="reference answer under the rules that need one; else not read")


@routes.post("/remote_rm")
async def remote_rm(body: SlimeSample, desk: OpenDesk) -> float:
    """slime's ``--rm-url``: samples of one prompt are gathered and judged against each other."""
    label = body.label if isinstance(body.label, str) else None
    reference = reference_for(desk.settings.cohort_rule, label, "label")
    written = body.prompt if isinstance(body.prompt, str) else None
    question: Question = desk.policy.question(written) if written is not None else tuple(body.prompt)
    answer = desk.policy.answer(body.response, written)
    return reward_or_424(await desk.reward_in_cohort(question, answer, reference))
