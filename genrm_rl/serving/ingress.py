"""The HTTP face of the judge: checks, admission, deadlines, and the native endpoints."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray import serve

from genrm_rl.config.serving import ServeConfig
from genrm_rl.errors import DataError
from genrm_rl.judging.types import Verdict
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.types import Comparison
from genrm_rl.rewards.rules import canonical_order, comparisons, next_matches, score, spread
from genrm_rl.rewards.types import AGAINST_REFERENCE, REFERENCE, Mask, Rule
from genrm_rl.rollout.types import GenerationRequest, GenerationResult
from genrm_rl.serving import gym_contract, openai_contract, openrlhf_contract, operations, slime_contract
from genrm_rl.serving.admission import Admission
from genrm_rl.serving.body_limit import MIB, BodyLimit
from genrm_rl.serving.calls import Observed
from genrm_rl.serving.cohorts import Cohorts
from genrm_rl.serving.contracts import (
    Ask,
    GroupIn,
    Judged,
    JudgmentOut,
    JudgmentsReply,
    JudgmentsRequest,
    RewardOut,
    RewardsReply,
    RewardsRequest,
    compare,
    one_sentence,
)
from genrm_rl.serving.desk import Question, Rewarded, as_prompt
from genrm_rl.serving.gym_cohorts import GymCohorts
from genrm_rl.serving.judge_replica import Votes
from genrm_rl.serving.judges import Judges, RunningJudge
from genrm_rl.serving.ledger import Ledger
from genrm_rl.serving.policy_format import PolicyFormat

api = FastAPI(title="genrm_rl judge", description="Pairwise judgments and rewards from a generative reward model.")
for contract in (openrlhf_contract, slime_contract, gym_contract, openai_contract, operations):
    api.include_router(contract.routes)
api.include_router(operations.open_routes)
api.add_middleware(BodyLimit, limit=lambda: _replica().body_limit)
api.add_middleware(Observed, report=lambda call: _replica().ledger.finished(call))


def _replica() -> RewardService:
    """The ingress that this process runs; the middlewares are made before it."""
    return serve.get_replica_context().servable_object


def _mask(mask: Mask, behind: Sequence[str], judged: Mapping[str, JudgmentOut]) -> Mask:
    """Why there is no reward; more closely where all judgments that are missing are missing for one reason."""
    missing = {judged[name].verdict for name in behind if judged[name].p_a is None}
    return Mask.ONE_ORDER if mask is Mask.NOT_JUDGED and missing == {Verdict.ONE_ORDER} else mask


@api.exception_handler(RequestValidationError)
async def refuse_malformed(_: Request, problem: RequestValidationError) -> JSONResponse:
    """422 with the first thing that is wrong."""
    return JSONResponse({"detail": one_sentence(problem)}, status_code=422)


@serve.ingress(api)
class RewardService:
    """Body of the ingress deployment. It alone admits work, so what it accepted is never refused further in."""

    async def __init__(self, config: ServeConfig, token: str) -> None:
        self.settings = settings = config.serving
        self.judges = await Judges.find(serve.get_replica_context().app_name, config)
        self._seed = config.seed
        self._token = token
        self.body_limit = int(settings.max_body_mib * MIB)
        self.ledger = Ledger(settings)
        self.admission = Admission(settings, self.ledger.pending)
        policy = settings.policy_tokenizer
        self.policy = PolicyFormat(load_tokenizer(Path(policy)) if policy else None)
        self._cohorts: Cohorts[Rewarded] = Cohorts(settings.cohort_size, settings.cohort_wait, self._judge_cohort)
        self.gym_cohorts: GymCohorts[Rewarded] = GymCohorts(
            settings.cohort_size, settings.cohort_wait, self._judge_cohort
        )

    @api.get("/healthz")
    async def healthz(self) -> dict[str, Any]:
        """Which judge answers, which one is starting, which ones finish their last calls, and how much is pending."""
        judges = self.judges
        return {
            "judge_version": judges.current.version,
            "starting": judges.starting,
            "finishing": [judge.version for judge in judges.finishing],
            "pending_comparisons": self.admission.pending,
        }

    @api.post("/v1/judgments")
    async def judgments(self, body: JudgmentsRequest, request: Request) -> JudgmentsReply:
        """Judge every comparison in both orders."""
        began = time.time()
        self._check(body, request)
        shown = [entry.comparison() for entry in body.comparisons]
        with self.judges.use(body.judge_version) as judge:
            self._check_sizes(judge, shown)
            async with self.admission.room(len(shown)):
                found = await self._ask(judge, shown, body, began + self._deadline(body))
        return JudgmentsReply(
            judge_version=judge.version,
            seconds=time.time() - began,
            judgments=[JudgmentOut.of(each, rationales=body.rationales) for each in found],
        )

    @api.post("/v1/rewards")
    async def rewards(self, body: RewardsRequest, request: Request) -> RewardsReply:
        """Judge the responses of every group against each other, or a reference, and fold that into rewards."""
        began = time.time()
        self._check(body, request)
        expires = began + self._deadline(body)
        for number, group in enumerate(body.groups):
            if body.rule in AGAINST_REFERENCE and group.reference is None:
                raise HTTPException(422, f"groups.{number}.reference: rule {body.rule} compares with a reference")
        return await self._rewards(body, began, expires)

    # -- what the contracts of other trainers use (serving/desk.py) --------------------------------------------------

    def authorise(self, request: Request) -> None:
        """401 without the token."""
        self._check(Ask(), request)

    def check_answer(self, question: Question, answer: str, reference: str | None) -> None:
        """413 or 422 for an answer that does not fit, with a second one of its length: those to come are unknown."""
        other = answer if reference is None else reference
        self._check_sizes(self.judges.current, [compare(as_prompt(question), answer, other)])

    async def reward_in_cohort(self, question: Question, answer: str, reference: str | None) -> RewardOut:
        """Reward of one answer among those to the same question that arrive with it."""
        self.check_answer(question, answer, reference)
        return (await self._cohorts.join((question, reference), answer)).out

    async def reward_group(self, group: GroupIn, rule: Rule) -> RewardsReply:
        """Rewards of one whole group, and the judgments behind them."""
        began = time.time()
        return await self._rewards(RewardsRequest(groups=[group], rule=rule), began, began + self.settings.deadline)

    async def generate(self, judge: RunningJudge, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """What the judge's model writes, in the order of ``requests``."""
        async with self.admission.room(len(requests)):
            return await judge.generate(requests, time.time() + self.settings.deadline)

    async def _judge_cohort(self, key: tuple[Any, ...], answers: list[str]) -> list[Rewarded]:
        """``key`` begins with the question and the reference answer."""
        group = GroupIn(prompt=as_prompt(key[0]), responses=answers, reference=key[1])
        reply = await self.reward_group(group, self.settings.cohort_rule)
        return [Rewarded(each, reply.judge_version) for each in reply.groups[0]]

    # -- judging -----------------------------------------------------------------------------------------------------

    def _places(self, group: GroupIn) -> tuple[list[list[int]], dict[int, str]]:
        """Canonical places of a group, and the text at each, the reference answer included."""
        places = canonical_order(group.responses, self._seed)
        texts = {place: group.responses[indices[0]] for place, indices in enumerate(places)}
        return places, texts | {REFERENCE: group.reference or ""}

    def _first_round(self, group: GroupIn, rule: Rule) -> list[Comparison]:
        """What is judged first; all there is under every rule but knockout."""
        places, texts = self._places(group)
        return [compare(group.prompt, texts[a], texts[b]) for a, b in next_matches(rule, len(places), {})]

    async def _rewards(self, body: RewardsRequest, began: float, expires: float) -> RewardsReply:
        """All groups of a call, by one judge."""
        judged: dict[str, JudgmentOut] = {}
        needed = sum(comparisons(body.rule, len(set(group.responses))) for group in body.groups)
        with self.judges.use(body.judge_version) as judge:
            async with self.admission.room(needed):
                self._check_sizes(
                    judge, [each for group in body.groups for each in self._first_round(group, body.rule)]
                )
                rewarding = (self._reward(judge, group, body, expires, judged) for group in body.groups)
                groups = await asyncio.gather(*rewarding)
        return RewardsReply(
            judge_version=judge.version, seconds=time.time() - began, groups=groups, judgments=list(judged.values())
        )

    async def _reward(
        self,
        judge: RunningJudge,
        group: GroupIn,
        body: RewardsRequest,
        expires: float,
        judged: dict[str, JudgmentOut],
    ) -> list[RewardOut]:
        places, texts = self._places(group)
        outcomes: dict[tuple[int, int], float | None] = {}
        behind: dict[int, list[str]] = {place: [] for place in texts}
        while matches := next_matches(body.rule, len(places), outcomes):
            shown = [compare(group.prompt, texts[first], texts[second]) for first, second in matches]
            if outcomes:  # later rounds of a knockout; whoever calls has checked the first round of all groups
                self._check_sizes(judge, shown)
            found = await self._ask(judge, shown, body, expires)
            for match, each in zip(matches, found, strict=True):
                judgment = each.judgment
                outcomes[match] = judgment.p_a
                judged[judgment.pair_id] = JudgmentOut.of(each, rationales=body.rationales)
                for place in match:
                    behind[place].append(judgment.pair_id)
        scores = spread(places, score(body.rule, len(places), outcomes))
        place_of = {index: place for place, indices in enumerate(places) for index in indices}
        earned = [
            RewardOut(
                reward=None if isinstance(value, Mask) else value,
                mask=_mask(value, behind[place_of[index]], judged) if isinstance(value, Mask) else None,
                judgments=behind[place_of[index]],
            )
            for index, value in enumerate(scores)
        ]
        self.ledger.rewarded(earned)
        return earned

    async def _ask(self, judge: RunningJudge, shown: Sequence[Comparison], ask: Ask, expires: float) -> list[Judged]:
        found = await judge.ask(shown, Votes(ask.votes, ask.greedy, ask.stop_error), expires)
        self.ledger.judged(shown, found)
        return found

    def _check(self, ask: Ask, request: Request) -> None:
        """Token and votes."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(401, "a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})
        if ask.votes > self.settings.max_votes:
            raise HTTPException(422, f"votes: at most {self.settings.max_votes} votes per order may be asked for")

    def _check_sizes(self, judge: RunningJudge, shown: Sequence[Comparison]) -> None:
        """What does not fit the judge is refused before it costs anything; nothing is cut."""
        limit = self.settings.max_characters
        for number, comparison in enumerate(shown):
            texts = [turn.content for turn in comparison.prompt]
            for text in (*texts, comparison.response_a, comparison.response_b):
                if len(text) > limit:
                    raise HTTPException(413, f"comparison {number} has a text of {len(text)} characters, limit {limit}")
            try:
                reason = judge.served.misfit(comparison, judge.encoder)
            except DataError as problem:
                reason = str(problem)
            if reason is not None:
                raise HTTPException(422, f"comparison {number}: {reason}")

    def _deadline(self, ask: Ask) -> float:
        return min(ask.deadline_seconds or self.settings.deadline, self.settings.deadline)
