"""Answers of a policy: how they are asked for, what came back, and their Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.preferences.types import content_hash
from genrm_rl.rewards.types import Mask, RewardRecord


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the policy. ``logprobs_T`` are the engine's when it sampled; ``finish_reason`` is stop, length,
    deadline or failed (the last two have no answer). ``weight_version`` sampled the first token; ``later_versions`` are
    those that were published meanwhile, each with the index of the first token that it sampled."""

    prompt_id: str
    index: int
    token_ids: tuple[int, ...]
    text: str
    logprobs_T: tuple[float, ...]
    finish_reason: str
    weight_version: str
    later_versions: tuple[tuple[int, str], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the engine produced an answer at all."""
        return self.finish_reason in ("stop", "length") and len(self.token_ids) > 0

    @property
    def truncated(self) -> bool:
        """Whether the length limit ended it: what would have followed, and its end token, were never written."""
        return self.finish_reason == "length"

    def tokens_by_version(self) -> list[tuple[str, int]]:
        """How many tokens each version of the weights sampled, in order."""
        spans = ((0, self.weight_version), *self.later_versions)
        ends = [*(first for first, _ in spans[1:]), len(self.token_ids)]
        return [(version, end - first) for (first, version), end in zip(spans, ends, strict=True)]

    def unjudged(self, sampling: SamplingConfig) -> Mask | None:
        """Why the answer is not given to the judge, or None."""
        if not self.usable:
            return Mask.NOT_GENERATED
        if never_answers(self.text):
            return Mask.UNFINISHED_THINKING
        return Mask.TRUNCATED if self.truncated and sampling.truncated == "mask" else None


PARTS = ("judge", "verifier", "length")  # of a reward that is not the judge's alone
ANSWER_FIELDS = tuple(field.name for field in fields(Answer))
SPAN = ("first_token", "version")


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer and what it earned; a masked one carries the reason."""

    answer: Answer
    record: RewardRecord

    def earned(self, sampling: SamplingConfig) -> float | None:
        """The reward that is learned from: the judge's, lowered for a truncated answer with ``penalise``."""
        if self.record.reward is None or self.answer.unjudged(sampling):
            return None
        penalised = self.answer.truncated and sampling.truncated == "penalise"
        return self.record.reward - (sampling.truncated_penalty if penalised else 0.0)


def answer_requests(
    prompts: Sequence[PolicyPrompt],
    chat: ChatEncoder,
    sampling: SamplingConfig,
    *,
    purpose: str,
    seed: int,
    samples: int,
    greedy: bool = False,
) -> list[GenerationRequest]:
    """``samples`` requests per prompt; ids and seeds are functions of run seed, purpose, prompt and sample number."""
    return [
        GenerationRequest(
            request_id=f"{purpose}/{place}/{index}",
            prompt_token_ids=prompt.token_ids,
            max_tokens=sampling.max_tokens,
            temperature=0.0 if greedy else sampling.temperature,
            top_p=1.0 if greedy else sampling.top_p,
            seed=int(content_hash(seed, purpose, prompt.id, index, length=8), 16) % 2**31,
            stop_token_ids=(chat.stop_token_id,),
            sampled_logprobs=not greedy,
        )
        for place, prompt in enumerate(prompts)
        for index in range(samples)
    ]


def place_of(result: GenerationResult) -> tuple[int, int]:
    """Prompt number and sample number of a result of :func:`answer_requests`."""
    *_, place, index = result.request_id.split("/")
    return int(place), int(index)


def answer_of(result: GenerationResult, prompt: PolicyPrompt, index: int, chat: ChatEncoder) -> Answer:
    """The answer in a result; its text has no control tokens. Where the prompt opened ``<think>``, it begins so."""
    return Answer(
        prompt.id,
        index,
        result.token_ids,
        chat.answer_text(result.token_ids),
        result.sampled_logprobs_T,
        result.finish_reason,
        result.weight_version,
        result.later_versions,
    )


def write_answers(path: Path, groups: Sequence[Sequence[JudgedAnswer]]) -> None:
    """One row per answer, in order; opens with ``datasets``."""
    import pyarrow
    import pyarrow.parquet

    rows = [
        {
            "group": number,
            **{name: getattr(judged.answer, name) for name in ANSWER_FIELDS},  # `asdict` would copy every token
            "later_versions": [dict(zip(SPAN, span, strict=True)) for span in judged.answer.later_versions],
            "reward": judged.record.reward,
            "mask": None if judged.record.mask is None else str(judged.record.mask),
            **{f"reward_{part}": judged.record.parts.get(part) for part in PARTS},
            "judgments": list(judged.record.judgments),
            "judge_version": judged.record.judge_version,
        }
        for number, group in enumerate(groups)
        for judged in group
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=_schema()), path)


def read_answers(path: Path) -> list[list[JudgedAnswer]]:
    """What :func:`write_answers` wrote."""
    import pyarrow.parquet

    groups: dict[int, list[JudgedAnswer]] = {}
    for row in pyarrow.parquet.read_table(path).to_pylist():
        answer = Answer(
            row["prompt_id"],
            row["index"],
            tuple(row["token_ids"]),
            row["text"],
            tuple(row["logprobs_T"]),
            row["finish_reason"],
            row["weight_version"],
            tuple((span["first_token"], span["version"]) for span in row.get("later_versions") or ()),
        )
        mask = None if row["mask"] is None else Mask(row["mask"])
        parts = {part: row[f"reward_{part}"] for part in PARTS if row.get(f"reward_{part}") is not None}
        record = RewardRecord(row["reward"], mask, tuple(row["judgments"]), row["judge_version"], parts)
        groups.setdefault(row["group"], []).append(JudgedAnswer(answer, record))
    return [groups[number] for number in sorted(groups)]


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("group", pa.int32()),
            ("prompt_id", pa.string()),
            ("index", pa.int32()),
            ("token_ids", pa.list_(pa.int32())),
            ("text", pa.string()),
            ("logprobs_T", pa.list_(pa.float32())),
            ("finish_reason", pa.string()),
            ("weight_version", pa.string()),
            ("later_versions", pa.list_(pa.struct([(SPAN[0], pa.int32()), (SPAN[1], pa.string())]))),
            ("reward", pa.float64()),
            ("mask", pa.string()),
            *((f"reward_{part}", pa.float64()) for part in PARTS),
            ("judgments", pa.list_(pa.string())),
            ("judge_version", pa.string()),
        ]
    )
