"""NVIDIA NeMo Gym's texts: OpenAI Responses objects as turns and answers, and its scale of scores.

Extraction follows ``resources_servers/genrm_compare`` of NeMo Gym: messages only, the text parts joined; reasoning and
tool calls are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from genrm_rl.choices import Rule
from genrm_rl.config.rubric import Criterion
from genrm_rl.errors import DataError
from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.turns import TEXT_PARTS
from genrm_rl.preferences.types import Role
from genrm_rl.rewards.types import NO_SHARES
from genrm_rl.serving.contracts import JudgmentOut, compare
from genrm_rl.serving.wire import Turn

ROLES = {role: role for role in get_args(Role)} | {"developer": "system"}
LOWEST, HIGHEST = 1.0, 5.0  # genrm_compare's score of one answer
MUCH_WORSE = 6.0  # its ranking runs from 1 (first is much better) to 6 (second is)


def conversation(messages: object, field: str) -> tuple[Turn, ...]:
    """Turns of a Responses ``input``: a string, or messages. Raises DataError, which names ``field``."""
    if isinstance(messages, str):
        return (Turn(role="user", content=messages),)
    if not isinstance(messages, Sequence) or not messages:
        raise DataError(f"{field}: a text or a list of messages is needed")
    turns = []
    for number, message in enumerate(messages):
        where = f"{field}.{number}"
        if not isinstance(message, Mapping):
            raise DataError(f"{where}: a message with role and content is needed")
        if message.get("type", "message") != "message":
            continue
        role = message.get("role", "user")
        if not isinstance(role, str) or role not in ROLES:
            raise DataError(f"{where}.role: it is not one of {', '.join(ROLES)}")
        turns.append(Turn(role=ROLES[role], content=_text(message.get("content"), f"{where}.content")))
    if not turns:
        raise DataError(f"{field}: there is no message in it")
    return tuple(turns)


def answer_text(response: Mapping[str, Any], field: str) -> str:
    """The final answer of a Responses object, empty if it has none. Raises DataError, which names ``field``."""
    output = response.get("output")
    if not isinstance(output, list):
        raise DataError(f"{field}.output: a list of output items is needed")
    text = ""
    for number, item in enumerate(output):
        if not isinstance(item, Mapping):
            raise DataError(f"{field}.output.{number}: an output item is needed")
        if item.get("type", "message") == "message":
            text += _text(item.get("content"), f"{field}.output.{number}.content")
    return text


def _text(content: object, field: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise DataError(f"{field}: a text or a list of text parts is needed")
    texts = []
    for number, part in enumerate(content):
        if not isinstance(part, Mapping) or part.get("type") not in (*TEXT_PARTS, "refusal"):
            raise DataError(f"{field}.{number}: the judge reads text parts only")
        texts.append(part.get("refusal" if part["type"] == "refusal" else "text"))
        if not isinstance(texts[-1], str):
            raise DataError(f"{field}.{number}: it has no text")
    return "".join(texts)


def guide_of(principle: str | None) -> Guide:
    """Gym's principle as the one criterion of a group; a blank one is none."""
    return Guide((Criterion(description=principle),)) if principle and principle.strip() else NO_GUIDE


def gym_reward(rule: Rule, reward: float) -> float:
    """On genrm_compare's scale: a share of 0 to 1 becomes 1 to 5; strengths and log-odds stay what they are."""
    return reward if rule in NO_SHARES else LOWEST + (HIGHEST - LOWEST) * reward


def comparison_results(
    prompt: Sequence[Turn], responses: Sequence[str], guide: Guide, judgments: Sequence[JudgmentOut]
) -> list[dict[str, Any]]:
    """Judged pairs of ``responses`` (indices i < j). Both orders and all votes are one result; what came to no verdict
    has nulls."""
    judged = {judgment.id: judgment for judgment in judgments}
    results = []
    for i in range(len(responses)):
        for j in range(i + 1, len(responses)):
            first = judged.get(compare(list(prompt), responses[i], responses[j], guide).pair_id)
            second = judged.get(compare(list(prompt), responses[j], responses[i], guide).pair_id)
            if first is not None or second is not None:
                p = first.p_a if first is not None else None if second.p_a is None else 1 - second.p_a
                results.append({"response_i": i, "response_j": j, "judge_idx": 0, **_scores(p)})
    return results


def _scores(p: float | None) -> dict[str, float | None]:
    """P(first wins) as the two scores and the ranking of genrm_compare."""
    if p is None:
        return {"score_1": None, "score_2": None, "ranking": None}
    return {
        "score_1": LOWEST + (HIGHEST - LOWEST) * p,
        "score_2": HIGHEST - (HIGHEST - LOWEST) * p,
        "ranking": MUCH_WORSE - 5 * p,
    }
