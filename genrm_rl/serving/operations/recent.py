"""The judgments that were given last, so that any of them can be opened by its id."""

from __future__ import annotations

import time
from collections import OrderedDict
from itertools import islice

from pydantic import Field

from genrm_rl.config.rubric import Rubric
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import Comparison
from genrm_rl.serving.contracts import Judged, JudgmentOut
from genrm_rl.serving.wire import Turn, Wire

LINE_CHARACTERS = 120  # of a question in a list
MOST_CHARACTERS = 64 * 2**20  # of all texts together; long ones leave room for fewer


class StoredJudgment(Wire):
    """``GET /v1/judgments/{id}``: a judgment with what was judged and what the judge wrote."""

    judge_version: str
    at: float = Field(description="seconds since 1970-01-01 UTC")
    prompt: list[Turn]
    response_a: str
    response_b: str
    rubric: Rubric = ()
    known_answer: str | None = None
    judgment: JudgmentOut


class RecentLine(Wire):
    """One of the last judgments, in a list."""

    id: str
    at: float = Field(description="seconds since 1970-01-01 UTC")
    question: str = Field(description="the beginning of the last turn")
    verdict: Verdict
    p_a: float | None
    judge_version: str


class RecentReply(Wire):
    """``GET /v1/judgments``: the last ones, newest first."""

    judgments: list[RecentLine]


class RecentJudgments:
    """At most ``entries`` judgments by id; the oldest leave first. Of a comparison judged again the last counts."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._kept: OrderedDict[str, StoredJudgment] = OrderedDict()
        self._characters = 0

    def add(self, shown: Comparison, judged: Judged) -> None:
        """Keep one judgment."""
        stored = StoredJudgment(
            judge_version=judged.judge_version,
            at=time.time(),
            prompt=[Turn(role=turn.role, content=turn.content) for turn in shown.prompt],
            response_a=shown.response_a,
            response_b=shown.response_b,
            rubric=shown.guide.rubric,
            known_answer=shown.guide.known_answer,
            judgment=JudgmentOut.of(judged, rationales=True),
        )
        identifier = stored.judgment.id
        self._drop(identifier)
        self._kept[identifier] = stored
        self._characters += _characters(stored)
        while self._kept and (len(self._kept) > self._entries or self._characters > MOST_CHARACTERS):
            self._drop(next(iter(self._kept)))

    def get(self, identifier: str) -> StoredJudgment | None:
        """The judgment, or None if it was never given or has left."""
        return self._kept.get(identifier)

    def newest(self, count: int) -> list[RecentLine]:
        """The last ``count`` judgments, newest first."""
        return [_line(each) for each in islice(reversed(self._kept.values()), count)]

    def _drop(self, identifier: str) -> None:
        old = self._kept.pop(identifier, None)
        if old is not None:
            self._characters -= _characters(old)


def _line(stored: StoredJudgment) -> RecentLine:
    found = stored.judgment
    question = " ".join(stored.prompt[-1].content[:LINE_CHARACTERS].split()) if stored.prompt else ""
    return RecentLine(
        id=found.id,
        at=stored.at,
        question=question,
        verdict=found.verdict,
        p_a=found.p_a,
        judge_version=stored.judge_version,
    )


def _characters(stored: StoredJudgment) -> int:
    words = sum(len(each.text) for each in stored.judgment.rationales or ())
    return words + len(stored.response_a) + len(stored.response_b) + sum(len(turn.content) for turn in stored.prompt)
