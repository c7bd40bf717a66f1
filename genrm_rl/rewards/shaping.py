"""What a policy learns from beside the judge: a verifier's verdict, and a length penalty relative to the group. Pure.

    reward = (1 - verifier_weight) x judge + verifier_weight x verifier + length_penalty x shortness

``verifier`` is 1 for a right answer, else 0. ``shortness`` is 1 for the shortest answer of the group, 0 for the
longest, linear between them, less the group's mean, so that it sums to zero over the group (the group-relative length
penalty of NVIDIA NeMo Gym's ``genrm_compare``); lengths are characters without thinking and blanks around. A masked
answer stays masked and is in no group's lengths. Every part is kept in the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genrm_rl.judging.thoughts import without_thoughts
from genrm_rl.rewards.types import RewardRecord


def shape(
    records: Sequence[RewardRecord],
    texts: Sequence[str],
    right: Sequence[bool] | None,
    *,
    verifier_weight: float,
    length_penalty: float,
) -> tuple[RewardRecord, ...]:
    """The records of one group with all parts of their rewards. ``right`` is what the verifier says of each text, None
    where there is none to ask (its weight must be 0 then, ValueError)."""
    if verifier_weight and right is None:
        raise ValueError("a verifier with a weight has to say which answers are right")
    if not verifier_weight and not length_penalty:
        return tuple(records)
    judged = {place: record.reward for place, record in enumerate(records) if record.reward is not None}
    short = dict(zip(judged, shortness([texts[place] for place in judged]), strict=True))
    shaped = list(records)
    for place, reward in judged.items():
        parts = {"judge": reward}
        total = (1 - verifier_weight) * reward
        if verifier_weight and right is not None:
            parts["verifier"] = float(right[place])
            total += verifier_weight * parts["verifier"]
        if length_penalty:
            parts["length"] = length_penalty * short[place]
            total += parts["length"]
        shaped[place] = replace(records[place], reward=total, parts=parts)
    return tuple(shaped)


def shortness(texts: Sequence[str]) -> list[float]:
    """1 for the shortest, 0 for the longest, less the mean; all 0 where all are as long."""
    lengths = [len(without_thoughts(text).strip()) for text in texts]
    if len(set(lengths)) < 2:
        return [0.0] * len(lengths)
    shortest, longest = min(lengths), max(lengths)
    raw = [(longest - length) / (longest - shortest) for length in lengths]
    mean = sum(raw) / len(raw)
    return [value - mean for value in raw]
