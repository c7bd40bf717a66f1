"""What a judged group comes to: one reward, or one typed mask, per response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import get_args

from genrm_rl.choices import Rule

RULES: tuple[Rule, ...] = tuple(rule for rule in get_args(Rule) if rule != "points")  # that are made of comparisons
NO_SHARES: tuple[Rule, ...] = ("log_odds", "bradley_terry", "points")  # their rewards are not within 0 and 1
REFERENCE = -1  # index of the reference answer in a match
Match = tuple[int, int]  # two responses of a group by index, or a response and REFERENCE


class Mask(StrEnum):
    """Why a response has no reward. A masked response never enters an advantage or a baseline."""

    NOT_JUDGED = "not_judged"  # too few of its comparisons came to a probability
    ONE_ORDER = "one_order"  # the same, and each of them gave a verdict in one order and none in the other
    NOT_COMPARABLE = "not_comparable"  # no chain of comparisons ties it to the rest of its group
    ALONE = "alone"  # a group of one cannot be ranked, and there is no reference answer
    REFUSED = "refused"  # the service can't judge the group, for example because it does not fit the judge's context
    BUSY = "busy"  # the service refused the group as often as a client may ask
    OTHER_VERSION = "other_version"  # another judge than the one that the step accepts is served
    UNREADABLE = "unreadable"  # what the service sent, as often as a client may ask, is not its contract
    NO_REFERENCE = "no_reference"  # the rule compares with a reference answer, and the question has none
    NOT_GENERATED = "not_generated"  # the policy's engine failed, there is no answer to judge
    UNFINISHED_THINKING = "unfinished_thinking"  # the answer never ends its thinking, so there is nothing to judge
    TRUNCATED = "truncated"  # the answer was cut off at the length limit, and such answers are not judged


# Nobody was asked for these rewards, so none of them was lost on the way.
NOT_LOST = frozenset({Mask.ALONE, Mask.NOT_GENERATED, Mask.UNFINISHED_THINKING, Mask.TRUNCATED, Mask.NO_REFERENCE})


@dataclass(frozen=True, slots=True)
class RewardRecord:
    """Reward of one response, or None with its mask; ``judgments`` are the ids of the judgments behind it.

    ``parts`` are what the reward is made of where it is not the judge's alone (:mod:`genrm_rl.rewards.shaping`):
    ``judge`` and ``verifier`` before their weights, ``length`` as it was added.
    """

    reward: float | None
    mask: Mask | None
    judgments: tuple[str, ...]
    judge_version: str
    parts: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.reward is None) == (self.mask is None):
            raise ValueError("a reward record has either a reward or a mask")
