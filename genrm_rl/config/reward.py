"""Where rewards come from, and what happens when they do not come."""

from __future__ import annotations

from typing import Literal

from genrm_rl.choices import Rule
from genrm_rl.config.base import Section, setting


class RewardConfig(Section):
    """Who gives the reward, and what happens when it does not answer."""

    source: Literal["service", "verifier"] = setting(
        "service",
        "`service`: the served judge; `verifier`: the task world's own checker or known answers, as an upper control",
    )
    verifier_weight: float = setting(
        0.0,
        "share of a verifier in the judge's reward (1 right, 0 wrong): the task world's checker, or the final result "
        "(last number, \\boxed) against the column `prompts.train.*.known_answer`",
        ge=0,
        lt=1,
    )
    length_penalty: float = setting(
        0.0,
        "largest difference of reward by length within a group: the shortest answer gains, the longest loses, zero in "
        "the mean (as in NeMo Gym)",
        ge=0,
    )
    url: str | None = setting(
        None, "address of a running reward service; None serves `serving.checkpoint` in this job", free=True
    )
    rule: Rule = setting("circular", "how judgments of a group become rewards (docs/serving.md)")
    reference: Literal["column", "policy"] | None = setting(
        None,
        "reference answers of the rules reference and log_odds: `column` reads them beside the prompts "
        "(prompts.train.*.reference), `policy` takes the starting policy's greedy answers",
    )
    votes: int = setting(1, "sampled judgments per order", unit="votes", ge=1)
    greedy: bool = setting(False, "one judgment per order at temperature 0 instead of samples")
    max_in_flight: int = setting(
        16,
        "groups at the judge at once, for each replica of a judge that this job serves; generation waits beyond",
        unit="groups",
        free=True,
        ge=1,
    )
    deadline: float = setting(
        60.0, "longest time for one call; what is judged by then counts", unit="seconds", free=True, gt=0
    )
    attempts: int = setting(
        6, "calls for one group before it is masked (busy or other version)", unit="calls", free=True, ge=1
    )
    backoff: float = setting(
        0.5, "first pause before a call is made again; doubles, with jitter", unit="seconds", free=True, gt=0
    )
    max_backoff: float = setting(20.0, "longest pause", unit="seconds", free=True, gt=0)
    breaker_failures: int = setting(
        3, "lost connections in a row after which only one call probes the judge", free=True, ge=1
    )
    max_unscored: float = setting(
        0.5, "a run that loses more than this share of its rewards stops and can be resumed", free=True, ge=0, le=1
    )
    unscored_steps: int = setting(3, "in so many steps (rounds) in a row", unit="steps", free=True, ge=1)
    start_deadline: float = setting(
        900.0,
        "how long a judge at `url` that is not up yet is waited for before anything starts",
        unit="seconds",
        free=True,
        gt=0,
    )
    give_up_after: float = setting(
        1800.0,
        "how long a dead judge is waited for before the run stops (it can be resumed)",
        unit="seconds",
        free=True,
        gt=0,
    )
