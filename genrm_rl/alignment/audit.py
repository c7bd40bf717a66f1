"""Checks after a run that no reward was invented: each one is what the judge said about that answer, or is masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genrm_rl.alignment.answers import JudgedAnswer, read_answers
from genrm_rl.alignment.rollouts import ANSWERS_FILE
from genrm_rl.errors import DataError
from genrm_rl.rewards.types import Mask
from genrm_rl.runtime.storage import is_complete

NOT_ASKED = (Mask.UNFINISHED_THINKING, Mask.TRUNCATED)
Said = Mapping[tuple[str, tuple[str, ...]], Sequence[tuple[float | None, ...]]]


@dataclass
class Audit:
    """Counts over all answers of a run; ``fabricated`` names every reward that nobody gave."""

    answers: int = 0
    rewarded: int = 0
    masked: Counter[str] = field(default_factory=Counter)
    fabricated: list[str] = field(default_factory=list)


def audit_run(run: Path, said: Said) -> Audit:
    """All steps of a run against what the judge truly said, keyed by prompt id and the responses of the group.

    Raises DataError if the run has no finished step.
    """
    audit = Audit()
    files = [path for path in sorted(run.glob(f"steps/*/rollout/{ANSWERS_FILE}")) if is_complete(path.parent)]
    if not files:
        raise DataError(f"{run} has no finished step; give the directory of an alignment run")
    for path in files:
        for group in read_answers(path):
            check_group(group, said, audit, path.parts[-3])
    return audit


def check_group(group: Sequence[JudgedAnswer], said: Said, audit: Audit, step: str) -> None:
    """Count one group. A reward counts as given if some call about exactly this group returned exactly this number at
    this place."""
    asked = [judged for judged in group if judged.answer.usable and judged.record.mask not in NOT_ASKED]
    key = (group[0].answer.prompt_id, tuple(judged.answer.text for judged in asked))
    given = said.get(key, ())
    for judged in group:
        audit.answers += 1
        record = judged.record
        if record.mask is not None:
            audit.masked[str(record.mask)] += 1
            continue
        audit.rewarded += 1
        place = next((i for i, other in enumerate(asked) if other is judged), None)
        judge = record.parts.get("judge", record.reward)
        if place is None or judge not in [rewards[place] for rewards in given]:
            audit.fabricated.append(f"step {step}, prompt {judged.answer.prompt_id}, answer {judged.answer.index}")
