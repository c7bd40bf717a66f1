"""Names that settings choose among and that pure code works by, below both, and light enough for other trainers."""

from __future__ import annotations

from typing import Literal

# How judgments of a group become rewards (genrm_rl/rewards/rules.py).
Rule = Literal[
    "log_odds", "reference", "round_robin", "bradley_terry", "pivot", "circular", "chunked", "knockout", "points"
]  # fmt: skip
AGAINST_REFERENCE: tuple[Rule, ...] = ("log_odds", "reference")

# How rewards become advantages (genrm_rl/algorithms/advantages.py); grouped ones compare answers to one question.
Estimator = Literal["gae", "group_norm", "dr_grpo", "rloo", "reinforce", "reinforce_baseline"]
GROUPED: tuple[Estimator, ...] = ("group_norm", "dr_grpo", "rloo", "reinforce_baseline")
