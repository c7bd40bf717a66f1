"""What a judge may write or an engine may return instead of a verdict, and the named non-verdict that it becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from genrm_rl.generation import FinishReason, GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.requests import JudgeRequest, judge_requests
from genrm_rl.judging.types import Verdict
from genrm_rl.models import load_tokenizer
from genrm_rl.models.resolve import TINY
from genrm_rl.preferences.types import Message, PreferencePair

ENCODER = JudgeEncoder(load_tokenizer(TINY), "compact", max_context=320, max_rationale=96)
PAIR = PreferencePair.create((Message("user", "add 1 2"),), "3", "4", source="test")
EVEN = (math.log(0.5), math.log(0.5))
GOOD = "1 and 2 is 3\nverdict: A"


@dataclass(frozen=True)
class BadOutput:
    """A generation: its text, why it ended, log-probabilities of (A, B) at each token, and what it must become."""

    becomes: Verdict
    text: str = GOOD
    finish: FinishReason = "stop"
    row: tuple[float, ...] = EVEN
    rows: int | None = None
    form: Literal["cot", "direct"] = "cot"
    control_token: bool = False

    def asked(self) -> JudgeRequest:
        """The request that it answers."""
        words = {"judge_version": "base", "purpose": "test", "run_seed": 0, "temperature": 1.0, "top_p": 1.0}
        return next(iter(judge_requests([PAIR.comparison()], ENCODER, form=self.form, **words)))

    def result(self) -> GenerationResult:
        """What the engine returned."""
        ids = list(ENCODER.chat.text_ids(self.text))
        if self.control_token:
            ids.insert(3, ENCODER.stop_token_id)
        if self.finish == "stop" and self.form == "cot":
            ids.append(ENCODER.stop_token_id)
        count = len(ids) if self.rows is None else self.rows
        return GenerationResult(
            self.asked().request_id, tuple(ids), self.text, self.finish, (self.row,) * count, "base", error="engine"
        )


OUTPUT_KINDS = {
    "no verdict line": BadOutput(Verdict.UNPARSEABLE, "answer A is better"),
    "nothing at all": BadOutput(Verdict.UNPARSEABLE, ""),
    "a verdict inside a sentence": BadOutput(Verdict.UNPARSEABLE, "so my verdict: A is what i say"),
    "a letter that is neither answer": BadOutput(Verdict.UNPARSEABLE, "verdict: D"),
    "a verdict in other case": BadOutput(Verdict.UNPARSEABLE, "Verdict: a"),
    "text after the verdict line": BadOutput(Verdict.UNPARSEABLE, "verdict: A\nor not"),
    "two verdicts that contradict each other": BadOutput(Verdict.UNPARSEABLE, "verdict: B\nno\nverdict: A"),
    "a control token inside the text": BadOutput(Verdict.UNPARSEABLE, GOOD, control_token=True),
    "a direct answer that is no letter": BadOutput(Verdict.UNPARSEABLE, "x", "length", form="direct"),
    "cut off at the length limit": BadOutput(Verdict.TRUNCATED, "1 and 2 is", "length"),
    "cut off while it thinks": BadOutput(Verdict.TRUNCATED_THINKING, "<think>\n1 and 2 is 3\nverdict: A", "length"),
    "a refusal to choose": BadOutput(Verdict.ABSTAINED, "both say 3\nverdict: tie"),
    "too late": BadOutput(Verdict.TIMED_OUT, GOOD, "deadline"),
    "a failed engine": BadOutput(Verdict.JUDGE_FAILED, GOOD, "failed"),
    "log-probabilities that are not numbers": BadOutput(Verdict.JUDGE_FAILED, row=(math.nan, -0.7)),
    "infinite log-probabilities": BadOutput(Verdict.JUDGE_FAILED, row=(math.inf, -0.7)),
    "two impossible verdict tokens": BadOutput(Verdict.JUDGE_FAILED, row=(-math.inf, -math.inf)),
    "log-probabilities of fewer tokens": BadOutput(Verdict.JUDGE_FAILED, rows=2),
    "log-probabilities of one letter": BadOutput(Verdict.JUDGE_FAILED, row=(-0.7,)),
    "a direct answer whose probabilities are not numbers": BadOutput(
        Verdict.JUDGE_FAILED, "A", "length", row=(math.nan, math.nan), form="direct"
    ),
}
