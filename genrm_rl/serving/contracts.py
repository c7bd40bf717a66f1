"""The native wire contract: what ``/v1/judgments`` and ``/v1/rewards`` take and give (also the OpenAPI schema)."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from genrm_rl.choices import Rule
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.types import Comparison, as_messages, content_hash, guide_parts
from genrm_rl.rewards.types import Mask
from genrm_rl.serving.wire import Ask, Guided, Prompt, Text, Turn, Wire


class ComparisonIn(Guided):
    """Two answers to one prompt."""

    prompt: Prompt
    response_a: Text
    response_b: Text

    def comparison(self) -> Comparison:
        """As the judge sees it; the id is a hash of the content."""
        return compare(self.prompt, self.response_a, self.response_b, self.guide)


class JudgmentsRequest(Ask):
    """``POST /v1/judgments``."""

    comparisons: list[ComparisonIn] = Field(min_length=1)

    def shown(self) -> list[Comparison]:
        """As the judge sees them."""
        return [entry.comparison() for entry in self.comparisons]


class RationaleOut(Wire):
    """One judgment in words. ``verdict`` and ``p_a`` are about A and B as they were sent."""

    order: str = Field(description="`ab`, or `ba` if the judge was shown the answers the other way round")
    verdict: Verdict
    p_a: float | None
    text: str


class Cost(Wire):
    """What one judgment took. All zero for a judgment that was remembered."""

    votes_asked: int = Field(0, description="judgments asked for, both orders together")
    votes_saved: int = Field(0, description="judgments planned and not asked for, because the verdict was settled")
    generated_tokens: int = 0
    prompt_tokens: int = Field(0, description="of the judge's prompts, those of forced verdict lines included")
    cached_prompt_tokens: int = Field(0, description="of these, found in the engine's prefix cache")

    def __add__(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(**{name: getattr(self, name) + getattr(other, name) for name in Cost.model_fields})


@dataclass(frozen=True, slots=True)
class Judged:
    """A judgment as a replica of ``judge_version`` returns it."""

    judgment: Judgment
    cached: bool
    cost: Cost
    judge_version: str


class Points(Wire):
    """What the answers are worth by themselves, to a judge that sees one at a time."""

    a: float
    b: float


class JudgmentOut(Wire):
    """One comparison, both orders folded. ``p_a`` is None if either order came to no verdict."""

    id: str = Field(description="hash of prompt, answers, rubric and known answer")
    verdict: Verdict
    p_a: float | None = Field(description="P(A wins); one half exactly where `tie` is true")
    tie: bool = Field(description="equal answers, or votes that balance: with one per order, orders that contradict")
    verdict_ab: Verdict | None
    verdict_ba: Verdict | None = Field(description="verdict when B was shown first, about A and B as they were sent")
    consistent: bool | None = Field(description="whether most votes of both orders agree")
    votes: int = Field(description="judgments that gave a verdict")
    non_verdicts: dict[Verdict, int] = Field(description="judgments that did not, by kind")
    cached: bool
    cost: Cost
    points: Points | None = Field(None, description="from judges by points and Bradley-Terry judges; None of others")
    rationales: list[RationaleOut] | None = None

    @classmethod
    def of(cls, judged: Judged, *, rationales: bool) -> JudgmentOut:
        """From the folded judgment."""
        judgment = judged.judgment
        failed: dict[Verdict, int] = {}
        for trace in judgment.traces:
            if not trace.verdict.is_verdict:
                failed[trace.verdict] = failed.get(trace.verdict, 0) + 1
        texts = [
            RationaleOut(
                order="ba" if trace.swapped else "ab",
                verdict=trace.canonical_verdict,
                p_a=trace.canonical_p_a,
                text=trace.text,
            )
            for trace in judgment.traces
        ]
        return cls(
            id=judgment.pair_id,
            verdict=judgment.verdict,
            p_a=judgment.p_a,
            tie=judgment.tie,
            verdict_ab=judgment.verdict_ab,
            verdict_ba=judgment.verdict_ba,
            consistent=judgment.consistent,
            votes=judgment.votes,
            non_verdicts=failed,
            cached=judged.cached,
            cost=judged.cost,
            points=None if judgment.points is None else Points(a=judgment.points[0], b=judgment.points[1]),
            rationales=texts if rationales else None,
        )


class JudgmentsReply(Wire):
    """Judgments in the order of the comparisons."""

    judge_version: str
    seconds: float
    judgments: list[JudgmentOut]


class StatsReply(Wire):
    """``GET /v1/stats``: sums since the service started."""

    judge_version: str
    pending_comparisons: int
    judgments: int
    cached_judgments: int = Field(description="of these, answered from the verdict cache")
    cost: Cost
    prefix_cache_hit_rate: float | None = Field(
        description="cached_prompt_tokens / prompt_tokens; None before the engine has read a prompt"
    )
    probe_gate: str = Field("", description="in words: whether null answers (empty, imitated verdicts) fool the judge")
    probe_gate_passed: bool | None = Field(None, description="None if it was not measured")


class GroupIn(Guided):
    """Responses to one prompt; ``reference`` is what they are compared with under the rules that need one."""

    prompt: Prompt
    responses: list[Text] = Field(min_length=1)
    reference: Text | None = None

    @property
    def answers(self) -> list[str]:
        """The responses in which there is something to judge."""
        return [text for text in self.responses if not never_answers(text)]


class RewardsRequest(Ask):
    """``POST /v1/rewards``."""

    groups: list[GroupIn] = Field(min_length=1)
    rule: Rule = Field("round_robin", description="how judgments become rewards")


class RewardOut(Wire):
    """A reward, or the reason why there is none. Never both."""

    reward: float | None
    mask: Mask | None
    judgments: list[str] = Field(description="ids of the judgments behind it")


class RewardsReply(Wire):
    """Rewards in the order of the groups and their responses, and the judgments behind them."""

    judge_version: str
    seconds: float
    groups: list[list[RewardOut]]
    judgments: list[JudgmentOut]


def compare(prompt: str | list[Turn], response_a: str, response_b: str, guide: Guide = NO_GUIDE) -> Comparison:
    """A comparison whose id is a hash of its content, in the order given."""
    messages = as_messages(prompt if isinstance(prompt, str) else [turn.model_dump() for turn in prompt])
    turns = [[turn.role, turn.content] for turn in messages]
    identifier = content_hash(turns, response_a, response_b, *guide_parts(guide))
    return Comparison(identifier, messages, response_a, response_b, guide=guide)
