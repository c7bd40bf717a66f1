"""A judge: weights in a directory and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genrm_rl.judging.types import Asked, Form

JudgeKind = Literal["generative", "bradley_terry", "pairrm", "points"]
ORDER_FREE: tuple[JudgeKind, ...] = ("bradley_terry", "points")  # they see one answer at a time
WITH_HEAD: tuple[JudgeKind, ...] = ("bradley_terry", "pairrm")  # a scalar head beside the weights


@dataclass(frozen=True, slots=True)
class Judge:
    """``kind`` points: the language model's own numbers, each answer by itself (:mod:`genrm_rl.judging.scale`).

    ``path`` is a local model directory. ``version`` names the weights in traces, receipts and reports.

    ``form`` is how a generative judge is asked (``cot`` or ``direct``), None for judges without words. ``iteration`` is
    the bootstrap round that made it, 0 for the untrained base. ``weights`` is the hash of the files of a judge that
    comes from elsewhere than the run that measures it, whose figures are kept apart by it; empty for the run's own
    judges.
    """

    name: str
    kind: JudgeKind
    path: Path
    version: str
    form: Form | None = "cot"
    iteration: int = 0
    promoted: bool = True
    weights: str = ""


def untrained_judge(path: Path, form: Asked) -> Judge:
    """The model of a directory as a judge, asked in words or for points."""
    if form == "points":
        return Judge("llm_judge_points", "points", path, "base", None)
    return Judge("llm_judge", "generative", path, "base", form)
