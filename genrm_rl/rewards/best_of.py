"""The best of n answers, from the rewards of their group. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.preferences.types import content_hash


@dataclass(frozen=True, slots=True)
class Best:
    """``index`` of the best answer, None if no answer has a reward. ``margin`` is its reward less that of the next
    different answer, 0 if they share the first place and None if no other one has a reward. ``tied`` are the indices of
    all answers that share it, the best one among them, equal texts too."""

    index: int | None
    margin: float | None
    tied: tuple[int, ...]


def best_of(rewards: Sequence[float | None], responses: Sequence[str]) -> Best:
    """Of answers that share the first place, a hash of the text chooses, so that the order in which they came is
    nothing; of equal texts the first one is named."""
    by_text = {text: reward for text, reward in zip(responses, rewards, strict=True) if reward is not None}
    if not by_text:
        return Best(None, None, ())
    top = max(by_text.values())
    first = [text for text, reward in by_text.items() if reward == top]
    chosen = min(first, key=lambda text: (content_hash(text), text))
    others = [reward for text, reward in by_text.items() if text != chosen]
    tied = tuple(index for index, text in enumerate(responses) if text in first)
    return Best(list(responses).index(chosen), top - max(others) if others else None, tied)
