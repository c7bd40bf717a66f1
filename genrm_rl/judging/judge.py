"""A judge: weights in a directory and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genrm_rl.judging.types import Form

JudgeKind = Literal["generative", "bradley_terry", "pairrm"]


@dataclass(frozen=True, slots=True)
class Judge:
    """``path`` is a local model directory. ``version`` names the weights in traces, receipts and reports.

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
