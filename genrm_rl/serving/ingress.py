"""The HTTP face of the judge: checks, admission, deadlines, and the native endpoints.

A call's number of comparisons is counted before anything of it is built, and what takes longer than a moment (hashing,
tokenising, folding, encoding) runs in a thread, so that one call never holds up the others.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray import serve

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.config.serving import ServeConfig
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.judge import ORDER_FREE
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.types import Comparison
from genrm_rl.rewards.rules import next_matches, outcome_of
from genrm_rl.serving.contracts import (
    GroupIn,
    Judged,
    JudgmentOut,
    JudgmentsReply,
    JudgmentsRequest,
    RewardOut,
    RewardsReply,
    RewardsRequest,
    compare,
)
from genrm_rl.serving.desk.admission import Admission
from genrm_rl.serving.desk.body import BodyLimits, WholeBody
from genrm_rl.serving.desk.cohorts import Cohorts
from genrm_rl.serving.desk.door import Door, Doorkeeper
from genrm_rl.serving.desk.groups import first_rounds, places_of
from genrm_rl.serving.desk.limits import check_characters, check_votes, comparisons_needed
from genrm_rl.serving.desk.open_desk import Question, Rewarded, as_prompt
from genrm_rl.serving.desk.replies import earned, json_reply, with_unfinished
from genrm_rl.serving.operations import docs_page, routes
from genrm_rl.serving.operations.calls import Observed
from genrm_rl.serving.operations.ledger import Ledger
from genrm_rl.serving.refusals import later
from genrm_rl.serving.replicas.judge_replica import Votes
from genrm_rl.serving.replicas.judges import DRAIN_POLL_SECONDS, Judges, RunningJudge
from genrm_rl.serving.replicas.replica_port import close_replica_port
from genrm_rl.serving.trainers import (
    best_of_contract,
    gym_contract,
    openai_contract,
    openrlhf_contract,
    slime_contract,
)
from genrm_rl.serving.trainers.gym_cohorts import GymCohorts
from genrm_rl.serving.trainers.policy_format import PolicyFormat
from genrm_rl.serving.wire import Ask, one_sentence

STOPPING = "the service is stopping and finishes what it has accepted; ask again when another one runs"
# Half a dozen threads of Serve's take turns in this process, and each call changes between them some ten times: with
# Python's own 5 ms a turn, `/healthz` waits for seconds under load.
SWITCH_SECONDS = 0.0005
ResultT = TypeVar("ResultT")

api = FastAPI(
    title="genrm_rl judge",
    description="Pairwise judgments and rewards from a generative reward model.",
    docs_url=None,
    redoc_url=None,
)
for contract in (best_of_contract, openrlhf_contract, slime_contract, gym_contract, openai_contract, routes):
    api.include_router(contract.routes)
api.include_router(routes.open_routes)
api.include_router(docs_page.pages)
docs_page.with_token(api, lambda: _replica().judges.words)
api.add_middleware(WholeBody, limits=lambda: _replica().body_limits)
api.add_middleware(Door, keeper=lambda: _replica().door)
api.add_middleware(Observed, report=lambda call: _replica().ledger.finished(call))


def _replica() -> RewardService:
    """The ingress that this process runs; the middlewares are made before it."""
    return serve.get_replica_context().servable_object


@api.exception_handler(RequestValidationError)
async def refuse_malformed(_: Request, problem: RequestValidationError) -> JSONResponse:
    """422 with the first thing that is wrong."""
    return JSONResponse({"detail": one_sentence(problem)}, status_code=422)


@serve.ingress(api)
class RewardService:
    """Body of the ingress deployment. It alone admits work, so what it accepted is never refused further in."""

    async def __init__(self, config: ServeConfig, token: str) -> None:
        close_replica_port()
        sys.setswitchinterval(SWITCH_SECONDS)
        self.settings = settings = config.serving
        self.body_limits = BodyLimits.of(settings)
        self.judges = Judges(serve.get_replica_context().app_name, config)
        self._seed = config.seed
        # One thread: a tokenizer serves one at a time, and two would only take turns at Python's lock.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="genrm-aside")
        self.ledger = Ledger(settings, lambda: self.door.calls)
        self.admission = Admission(settings, self.ledger.pending)
        self.door = Doorkeeper(settings, token, self.admission.busy)
        policy = settings.policy_tokenizer
        self.policy = PolicyFormat(load_tokenizer(Path(policy)) if policy else None)
        self._cohorts: Cohorts[Rewarded] = Cohorts(settings.cohort_size, settings.cohort_wait, self._judge_cohort)
        self.gym_cohorts: GymCohorts[Rewarded] = GymCohorts(
            settings.cohort_size, settings.cohort_wait, self._judge_cohort
        )
        self.judges.watch()

    # -- for whoever started the service -----------------------------------------------------------------------------

    async def opened(self) -> None:
        """Returns when the first judge answers."""
        await self.judges.opened.wait()

    async def drain(self) -> int:
        """Take no more calls, and return when those that came in are answered; how many these were."""
        self.door.closed = STOPPING
        found = self.door.calls
        while self.door.calls:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        return found

    # -- the native contract -----------------------------------------------------------------------------------------

    @api.get("/healthz")
    async def healthz(self) -> dict[str, Any]:
        """Which judge answers, which one is starting, which ones finish their last calls, and how much is pending. 503
        while the first judge starts and when the service stops."""
        judges = self.judges
        if self.door.closed:
            raise HTTPException(503, self.door.closed, headers=later(self.settings.retry_after))
        return {
            "judge_version": judges.current.version,
            "probe_gate": judges.current.probe_gate,
            "probe_gate_passed": judges.current.probe_gate_passed,
            "starting": judges.starting,
            "finishing": [judge.version for judge in judges.finishing],
            "pending_comparisons": self.admission.pending,
        }

    @api.post("/v1/judgments", response_model=JudgmentsReply)
    async def judgments(self, body: JudgmentsRequest) -> Response:
        """Judge every comparison in both orders."""
        began = time.time()
        check_votes(body, self.settings)
        self.admission.check(len(body.comparisons))
        with self.judges.use(body.judge_version) as judge:
            async with self.admission.room(len(body.comparisons)):
                shown = await self.aside(body.shown)
                await self._check_sizes(judge, shown)
                found = await self._ask(judge, shown, body, began + self._deadline(body))

        def reply() -> Response:
            judged = [JudgmentOut.of(each, rationales=body.rationales) for each in found]
            return json_reply(
                JudgmentsReply(judge_version=judge.version, seconds=time.time() - began, judgments=judged)
            )

        return await self.aside(reply)

    @api.post("/v1/rewards", response_model=RewardsReply)
    async def rewards(self, body: RewardsRequest) -> Response:
        """Judge the responses of every group against each other, or a reference, and fold that into rewards."""
        return await self.aside(json_reply, await self.reward(body))

    async def reward(self, body: RewardsRequest) -> RewardsReply:
        """Rewards of the groups of one call. HTTPException for what can't be judged."""
        began = time.time()
        check_votes(body, self.settings)
        expires = began + self._deadline(body)
        for number, group in enumerate(body.groups):
            if body.rule in AGAINST_REFERENCE and group.reference is None:
                raise HTTPException(422, f"groups.{number}.reference: rule {body.rule} compares with a reference")
        return await self._rewards(body, began, expires)

    # -- what the contracts of other trainers use (serving/desk/open_desk.py) ----------------------------------------

    async def check_answer(
        self, question: Question, answer: str, reference: str | None, guide: Guide = NO_GUIDE
    ) -> None:
        """413 or 422 for an answer that does not fit, with a second one of its length: those to come are unknown."""
        other = answer if reference is None else reference
        await self._check_sizes(self.judges.current, [compare(as_prompt(question), answer, other, guide)])

    async def aside(self, work: Callable[..., ResultT], *arguments: object) -> ResultT:
        """``work`` in a thread: what takes longer than a moment must not hold up other calls."""
        run = copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._aside, run, work, *arguments)

    async def reward_in_cohort(self, question: Question, answer: str, reference: str | None) -> RewardOut:
        """Reward of one answer among those to the same question that arrive with it."""
        await self.check_answer(question, answer, reference)
        return (await self._cohorts.join((question, reference, NO_GUIDE), answer)).out

    async def reward_group(self, group: GroupIn, rule: Rule) -> RewardsReply:
        """Rewards of one whole group, and the judgments behind them."""
        began = time.time()
        return await self._rewards(RewardsRequest(groups=[group], rule=rule), began, began + self.settings.deadline)

    async def generate(self, judge: RunningJudge, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """What the judge's model writes, in the order of ``requests``."""
        async with self.admission.room(len(requests)):
            return await judge.generate(requests, time.time() + self.settings.deadline)

    async def _judge_cohort(self, key: tuple[Any, ...], answers: list[str]) -> list[Rewarded]:
        """``key`` is the question, the reference answer and the guide."""
        question, reference, guide = key
        group = GroupIn(prompt=as_prompt(question), responses=answers, reference=reference, **guide.plain())
        reply = await self.reward_group(group, self.settings.cohort_rule)
        return [Rewarded(each, reply.judge_version) for each in reply.groups[0]]

    # -- judging -----------------------------------------------------------------------------------------------------

    async def _rewards(self, body: RewardsRequest, began: float, expires: float) -> RewardsReply:
        """All groups of a call, by one judge."""
        judged: dict[str, JudgmentOut] = {}
        needed = comparisons_needed(body, self.settings, self.admission)
        with self.judges.use(body.judge_version) as judge:
            if body.rule == "points" and judge.served.kind not in ORDER_FREE:
                raise HTTPException(422, f"rule: judge {judge.version} compares answers and gives no points")
            async with self.admission.room(needed):
                await self._check_sizes(judge, await self.aside(first_rounds, body, self._seed))
                rewarding = (self._reward(judge, group, body, expires, judged) for group in body.groups)
                groups = await asyncio.gather(*rewarding)
        seconds, judgments = time.time() - began, list(judged.values())
        reply = partial(RewardsReply, judge_version=judge.version, seconds=seconds, groups=groups, judgments=judgments)
        return await self.aside(reply)

    async def _reward(
        self,
        judge: RunningJudge,
        group: GroupIn,
        body: RewardsRequest,
        expires: float,
        judged: dict[str, JudgmentOut],
    ) -> list[RewardOut]:
        places, texts = await self.aside(places_of, group, self._seed)
        if not places:
            return await self._rewarded(with_unfinished(group, []))
        outcomes: dict[tuple[int, int], float | None] = {}
        behind: dict[int, list[str]] = {place: [] for place in texts}
        while matches := next_matches(body.rule, len(places), outcomes):
            shown = [compare(group.prompt, texts[first], texts[second], group.guide) for first, second in matches]
            if outcomes:  # later rounds of a knockout; whoever calls has checked the first round of all groups
                await self._check_sizes(judge, shown)
            found = await self._ask(judge, shown, body, expires)
            for match, each in zip(matches, found, strict=True):
                judgment = each.judgment
                outcomes[match] = outcome_of(body.rule, judgment)
                judged[judgment.pair_id] = JudgmentOut.of(each, rationales=body.rationales)
                for place in dict.fromkeys(match):
                    behind[place].append(judgment.pair_id)
        rewards = await self.aside(earned, body.rule, places, outcomes, behind, judged)
        return await self._rewarded(with_unfinished(group, rewards))

    async def _rewarded(self, rewards: list[RewardOut]) -> list[RewardOut]:
        """A group's rewards, on their way out."""
        await self.aside(self.ledger.rewarded, rewards)
        return rewards

    async def _ask(self, judge: RunningJudge, shown: Sequence[Comparison], ask: Ask, expires: float) -> list[Judged]:
        found = await judge.ask(shown, Votes(ask.votes, ask.greedy, ask.stop_error), expires)
        await self.aside(self.ledger.judged, shown, found)
        return found

    async def _check_sizes(self, judge: RunningJudge, shown: Sequence[Comparison]) -> None:
        """What does not fit the judge is refused before it costs anything; nothing is cut."""
        check_characters(shown, self.settings.max_characters)
        for number, comparison in enumerate(shown):  # one by one, so that calls take turns
            reason = await self.aside(judge.misfit, comparison)
            if reason is not None:
                raise HTTPException(422, f"comparison {number}: {reason}")

    def _deadline(self, ask: Ask) -> float:
        return min(ask.deadline_seconds or self.settings.deadline, self.settings.deadline)
