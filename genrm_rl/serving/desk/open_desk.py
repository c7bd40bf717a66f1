"""What the contracts of other trainers ask of the ingress, and how their routes reach it.

Each contract is a module with its wire models and an ``APIRouter`` that the ingress includes. A route takes the ingress
as ``desk: OpenDesk``: the running replica. Who calls was checked at the door (``serving/desk/door.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar

from fastapi import Depends, HTTPException
from ray import serve

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.config.serving import ServingConfig
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.serving.contracts import GroupIn, RewardOut, RewardsReply, RewardsRequest
from genrm_rl.serving.desk.admission import Admission
from genrm_rl.serving.operations.ledger import Ledger
from genrm_rl.serving.replicas.judges import Judges, RunningJudge
from genrm_rl.serving.trainers.gym_cohorts import GymCohorts
from genrm_rl.serving.trainers.policy_format import PolicyFormat
from genrm_rl.serving.wire import Turn

Question = str | tuple[Turn, ...]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A reward, and the judge that gave it to the whole cohort."""

    out: RewardOut
    judge_version: str


class Desk(Protocol):
    """The ingress, as far as other trainers' contracts need it. Everything raises HTTPException."""

    settings: ServingConfig
    judges: Judges
    policy: PolicyFormat
    gym_cohorts: GymCohorts[Rewarded]
    ledger: Ledger
    admission: Admission

    async def check_answer(
        self, question: Question, answer: str, reference: str | None, guide: Guide = NO_GUIDE
    ) -> None:
        """413 or 422 for an answer that is too long, whatever it may be compared with."""

    async def reward_in_cohort(self, question: Question, answer: str, reference: str | None) -> RewardOut:
        """Reward of one answer among those to the same question that arrive with it."""

    async def reward(self, body: RewardsRequest) -> RewardsReply:
        """Rewards of the groups of one call."""

    async def reward_group(self, group: GroupIn, rule: Rule) -> RewardsReply:
        """Rewards of one whole group, and the judgments behind them."""

    async def aside(self, work: Callable[..., ResultT], *arguments: object) -> ResultT:
        """``work`` in a thread: what takes longer than a moment must not hold up other calls."""

    async def generate(self, judge: RunningJudge, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """What the judge's model writes, in the order of ``requests``."""


async def open_desk() -> Desk:
    """The ingress of this replica."""
    return serve.get_replica_context().servable_object


OpenDesk = Annotated[Desk, Depends(open_desk)]


def as_prompt(question: Question) -> str | list[Turn]:
    """As the native contract takes it."""
    return question if isinstance(question, str) else list(question)


def no_reward(reason: str) -> HTTPException:
    """The answer to a trainer whose contract knows only numbers: 424, never a made-up reward."""
    return HTTPException(424, f"no reward: {reason}")


def reward_or_424(found: RewardOut) -> float:
    """The reward. Raises HTTPException 424 for a masked one."""
    if found.reward is None:
        raise no_reward(str(found.mask))
    return found.reward


def reference_for(rule: Rule, label: str | None, field: str) -> str | None:
    """The reference answer that ``rule`` needs, None for a rule that needs none. Raises HTTPException 422."""
    if rule not in AGAINST_REFERENCE:
        return None
    if label is None:
        raise HTTPException(422, f"{field}: rule {rule} compares with a reference answer")
    return label
