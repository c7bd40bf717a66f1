"""Reads what a reward service answered, and believes nothing: a reply that is not whole gives no reward at all."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.rewards.wire import (
    ABSENT_HEADER,
    BUSY_STATUS,
    NOBODY_STATUS,
    Reply,
    sentence_of,
)

HEALTH = "/healthz"
REWARDS = "/v1/rewards"
UNKNOWN_PATH = 404  # of the two paths above: the service's routes are not there yet, or it is none
Records = tuple[RewardRecord, ...]

LARGEST = 1e4  # probabilities end at 1, log-odds at 9.3, strengths of n responses below 10 n: beyond is no reward


class UnreadableReply(ValueError):
    """A reply that breaks the contract of ``/v1/rewards``; the message says where."""


def read_rewards(body: bytes | str, sizes: Sequence[int]) -> tuple[str, list[Records], list[dict[str, Any]]]:
    """Judge version, records by group, and judgments of a reply to groups of ``sizes`` responses.

    Raises UnreadableReply for anything but the contract: no JSON, other counts, a reward that is no finite number, a
    reward together with a mask, an unknown mask, a reward that no rule can give or whose judgments are not in the
    reply, or a judgment without the fields that runs and reports read.
    """
    reply = _parse(body)
    version = reply.get("judge_version")
    if not isinstance(version, str):
        raise UnreadableReply("judge_version is no text")
    judgments = reply.get("judgments")
    if not isinstance(judgments, list):
        raise UnreadableReply("judgments is no list")
    groups = reply.get("groups")
    if not isinstance(groups, list) or [len(g) if isinstance(g, list) else None for g in groups] != list(sizes):
        raise UnreadableReply(f"groups is no list of {len(sizes)} groups with as many rewards as there were responses")
    known = {_checked_id(judgment) for judgment in judgments}
    return version, [tuple(_record(entry, known, version) for entry in group) for group in groups], judgments


def _parse(body: bytes | str) -> dict[str, Any]:
    try:
        reply = json.loads(body, parse_constant=_no_number)
    except ValueError as problem:  # UnicodeDecodeError is one too
        raise UnreadableReply(f"the body is no JSON: {problem}") from problem
    if not isinstance(reply, dict):
        raise UnreadableReply("the body is no JSON object")
    return reply


def _record(entry: Any, known: set[str], version: str) -> RewardRecord:
    if not isinstance(entry, dict) or not {"reward", "mask", "judgments"} <= set(entry):
        raise UnreadableReply("a reward has not the fields reward, mask and judgments")
    reward, mask, behind = entry["reward"], entry["mask"], entry["judgments"]
    if not isinstance(behind, list) or not all(isinstance(name, str) for name in behind):
        raise UnreadableReply("judgments of a reward is no list of ids")
    if (reward is None) == (mask is None):
        raise UnreadableReply("a reward has both a number and a mask, or neither")
    if mask is not None:
        if mask not in list(Mask):
            raise UnreadableReply(f"{str(mask)[:40]} is no mask")
        return RewardRecord(None, Mask(mask), tuple(behind), version)
    if isinstance(reward, bool) or not isinstance(reward, (int, float)) or not math.isfinite(reward):
        raise UnreadableReply(f"the reward {str(reward)[:40]} is no finite number")
    if abs(reward) > LARGEST:
        raise UnreadableReply(f"the reward {reward:g} is beyond what any rule gives (+-{LARGEST:g})")
    if not behind or not known.issuperset(behind):
        raise UnreadableReply("a reward has no judgment behind it")
    return RewardRecord(float(reward), None, tuple(behind), version)


def _checked_id(judgment: Any) -> str:
    """The id of a judgment that has what is read from it later."""
    if not isinstance(judgment, dict) or not isinstance(judgment.get("id"), str):
        raise UnreadableReply("judgments is no list of judgments with an id")
    name = judgment["id"][:40]
    if not isinstance(judgment.get("verdict"), str):
        raise UnreadableReply(f"the verdict of judgment {name} is no text")
    if "consistent" not in judgment or not isinstance(judgment["consistent"], bool | None):
        raise UnreadableReply(f"consistent of judgment {name} is neither a truth value nor null")
    if "p_a" not in judgment or not _is_probability(judgment["p_a"]):
        raise UnreadableReply(f"p_a of judgment {name} is neither a probability nor null")
    return judgment["id"]


def _is_probability(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def not_there(path: str, reply: Reply) -> str | None:
    """What somebody else says for a service that is down or still starting; None for an answer of the service."""
    down = reply.status_code == NOBODY_STATUS
    starting = reply.status_code == UNKNOWN_PATH and path in (HEALTH, REWARDS)
    unhealthy = reply.status_code in BUSY_STATUS and path == HEALTH
    absent = ABSENT_HEADER in reply.headers
    if not (down or starting or unhealthy or absent):
        return None
    return f"{path} answered {reply.status_code}: {sentence_of(reply)}"


def version_in(reply: Reply) -> str | None:
    """The judge version that a health check names, None if the answer is not that of a reward service."""
    try:
        found = reply.json() if reply.status_code == 200 else None
    except ValueError:
        return None
    version = found.get("judge_version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None
