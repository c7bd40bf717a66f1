"""What a reader shows: judgments with their texts, and rewarded groups. Everything about A and B is canonical."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from functools import reduce
from operator import or_
from typing import Literal

from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.guide import NO_GUIDE, Guide, guide_texts
from genrm_rl.preferences.types import Message, Slot

Order = Literal["ab", "ba"]


class Flag(IntFlag):
    """What pages are filtered by; fits two bytes."""

    RIGHT = 1
    WRONG = 2
    CONTRADICTORY = 4  # the orders name different answers
    TIE = 8
    NO_VERDICT = 16
    MASKED = 32  # of a group: an answer of it has no reward
    PROBE = 64
    GROUP = 128
    TRACES = 256  # sampled for training; what follows are reason codes of selection
    KEPT = 512
    DUPLICATE = 1024
    ONE_ORDER = 2048
    QUOTA_REACHED = 4096
    BALANCED_OUT = 8192


@dataclass(frozen=True, slots=True)
class Texts:
    """What was compared: the conversation, both answers, and what the judge was told beside them."""

    prompt: tuple[Message, ...]
    a: str
    b: str
    guide: Guide = NO_GUIDE


@dataclass(frozen=True, slots=True)
class Vote:
    """One trace: verdict, P(A wins) and log-odds (nats) as folded, and the judge's own words, in which ``ba`` has its
    letters exchanged."""

    order: Order
    verdict: Verdict
    p_a: float | None
    text: str
    log_odds: float | None = None

    @property
    def letter_p(self) -> tuple[float, float] | None:
        """Probabilities of the letters A and B at the deciding token, as the judge wrote them in this order."""
        if self.p_a is None:
            return None
        return (self.p_a, 1 - self.p_a) if self.order == "ab" else (1 - self.p_a, self.p_a)


@dataclass(frozen=True, slots=True)
class ReadJudgment:
    """One judgment. ``id`` is unique in its run and stays when it is read again; ``gold`` is the better answer where it
    is known, ``gold_from`` who says so. ``texts`` is None where they can't be found again. ``facts`` are further lines,
    ``group`` is the id of the group that it is a match of."""

    id: str
    texts: Texts | None
    verdict: Verdict | None
    verdict_ab: Verdict | None
    verdict_ba: Verdict | None
    p_a: float | None
    tie: bool
    votes: Sequence[Vote] = ()
    gold: Slot | Literal["tie"] | None = None
    gold_from: str = ""
    order_free: bool = False
    probe: str = ""
    facts: Sequence[tuple[str, str]] = ()
    group: str = ""
    p_by_order: tuple[float | None, float | None] = (None, None)

    @property
    def flags(self) -> Flag:
        """By which filters it is found."""
        slots = {each.slot for each in (self.verdict_ab, self.verdict_ba) if each is not None and each.slot}
        found = Flag.CONTRADICTORY if len(slots) == 2 else Flag(0)
        said = self.verdict.slot if self.verdict is not None else None
        if self.p_a is None:
            found |= Flag.NO_VERDICT if self.verdict is not None else Flag(0)  # None: nobody was asked
        elif said is None:
            found |= Flag.TIE
        elif self.gold in ("A", "B"):
            found |= Flag.RIGHT if said == self.gold else Flag.WRONG
        return found | (Flag.PROBE if self.probe else Flag(0))

    @property
    def tally(self) -> list[Flag]:
        """What is counted of it."""
        return [self.flags]

    @property
    def title(self) -> str:
        """The question, or the id of a judgment whose texts are gone."""
        return _question(self.texts) or f"judgment {self.id}"

    def words(self) -> Iterator[str]:
        """Every text by which it is found."""
        yield self.id
        yield from _words(self.texts)
        yield from (vote.text for vote in self.votes)
        yield from (value for _, value in self.facts)


def _question(texts: Texts | None) -> str:
    return texts.prompt[-1].content if texts and texts.prompt else ""


def _words(texts: Texts | None) -> Iterator[str]:
    if texts is not None:
        yield from (turn.content for turn in texts.prompt)
        yield from (texts.a, texts.b, *guide_texts(texts.guide))


@dataclass(frozen=True, slots=True)
class SampledTrace:
    """One trace that training chose from. ``right`` is None where it has no verdict or the label can't be found again;
    ``reasons`` are (round of a method, reason code that its selection gave), none where nothing is recorded."""

    vote: Vote
    right: bool | None
    reasons: Sequence[tuple[str, str]] = ()

    @property
    def flags(self) -> Flag:
        """By which filters it is found."""
        found = Flag.TRACES | (Flag(0) if self.vote.verdict.is_verdict else Flag.NO_VERDICT)
        if self.right is not None:
            found |= Flag.RIGHT if self.right else Flag.WRONG
        names = {reason.upper() for _, reason in self.reasons}
        return found | Flag(sum(Flag[name] for name in names & Flag.__members__.keys()))


@dataclass(frozen=True, slots=True)
class ReadTraces:
    """All traces of a pair that one stage sampled for training. ``gold`` is the pair's label, None where it can't be
    found again."""

    id: str
    texts: Texts | None
    gold: Slot | Literal["tie"] | None
    traces: Sequence[SampledTrace]
    facts: Sequence[tuple[str, str]] = ()

    @property
    def flags(self) -> Flag:
        """By which filters it is found: those of any of its traces."""
        return reduce(or_, self.tally, Flag.TRACES)

    @property
    def tally(self) -> list[Flag]:
        """What is counted of it: its traces."""
        return [trace.flags for trace in self.traces]

    @property
    def title(self) -> str:
        """The question, or the id of traces whose texts are gone."""
        return _question(self.texts) or f"traces {self.id}"

    def words(self) -> Iterator[str]:
        """Every text by which it is found."""
        yield self.id
        yield from _words(self.texts)
        yield from (trace.vote.text for trace in self.traces)
        yield from (value for _, value in self.facts)


@dataclass(frozen=True, slots=True)
class Played:
    """One match of an answer: place of the opponent (None: the reference answer, or nobody under rule `points`), what
    came out for this answer (P(it wins), or points; None: nothing), the judgment's id, and its place among the
    judgments that follow the group."""

    opponent: int | None
    outcome: float | None
    judgment: str
    place: int


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """One answer with its reward or mask; ``parts`` of a reward that is not the judge's alone; ``right`` as a verifier
    says, None where none can."""

    text: str
    reward: float | None
    mask: str | None
    parts: Mapping[str, float] = field(default_factory=dict)
    right: bool | None = None
    matches: Sequence[Played] = ()


@dataclass(frozen=True, slots=True)
class ReadGroup:
    """Answers of a policy that were rewarded together, and by which rule."""

    id: str
    prompt: tuple[Message, ...]
    answers: Sequence[GroupAnswer]
    rule: str
    judge_version: str
    reference: str | None = None
    facts: Sequence[tuple[str, str]] = ()

    @property
    def flags(self) -> Flag:
        """By which filters it is found."""
        masked = any(answer.mask is not None for answer in self.answers)
        return Flag.GROUP | (Flag.MASKED if masked else Flag(0))

    @property
    def tally(self) -> list[Flag]:
        """What is counted of it."""
        return [self.flags]

    @property
    def title(self) -> str:
        """The question, or the id of a group whose question is gone."""
        return self.prompt[-1].content if self.prompt else f"group {self.id}"

    def words(self) -> Iterator[str]:
        """Every text by which it is found."""
        yield self.id
        yield from (turn.content for turn in self.prompt)
        for answer in self.answers:
            yield answer.text
            yield answer.mask or ""


Item = ReadJudgment | ReadGroup | ReadTraces


@dataclass(frozen=True)
class Part:
    """What one stage of a run left: a name, what it is in words, and its items in order. ``notes`` are filled while
    the items are read."""

    name: str
    about: str
    items: Iterator[Item]
    notes: list[str] = field(default_factory=list)
