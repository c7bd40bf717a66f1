"""What is labelled, and what a person says about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from genrm_rl.preferences.guide import NO_GUIDE, Guide
from genrm_rl.preferences.types import Message, content_hash

Choice = Literal["a", "b", "tie", "skip"]  # of the task's answers, whichever side they were shown on
CHOICES: tuple[Choice, ...] = ("a", "b", "tie", "skip")
FLIPPED: dict[Choice, Choice] = {"a": "b", "b": "a", "tie": "tie", "skip": "skip"}


@dataclass(frozen=True, slots=True)
class Task:
    """Two answers that people compare. ``id`` is a hash of the texts and of the order of the answers, ``name`` what the
    file calls it. ``doubt``: how unsure the judge is, from 0 to 1, and 2 where its orders disagree; None if it was not
    asked."""

    id: str
    name: str
    prompt: tuple[Message, ...]
    answer_a: str
    answer_b: str
    guide: Guide = NO_GUIDE
    doubt: float | None = None

    @classmethod
    def create(
        cls,
        prompt: tuple[Message, ...],
        answer_a: str,
        answer_b: str,
        *,
        name: str = "",
        guide: Guide = NO_GUIDE,
        doubt: float | None = None,
    ) -> Task:
        """A task and its id, which is also its name if it has none."""
        turns = [[turn.role, turn.content] for turn in prompt]
        identifier = content_hash("task", turns, [answer_a, answer_b])
        return cls(identifier, name or identifier, prompt, answer_a, answer_b, guide, doubt)

    def flipped(self) -> Task:
        """The same comparison with its answers exchanged."""
        return Task.create(self.prompt, self.answer_b, self.answer_a)


@dataclass(frozen=True, slots=True)
class Label:
    """What one person said about one task. ``swapped``: answer b was shown as side A; the reason speaks of the sides as
    they were shown. ``seconds`` is how long the person looked at it, ``at`` when they said it (seconds since 1970)."""

    task: str
    annotator: str
    choice: Choice
    reason: str = ""
    seconds: float | None = None
    at: float = 0.0
    swapped: bool = False


class State(StrEnum):
    """What has become of a task."""

    OPEN = "open"  # somebody has yet to say something
    LABELLED = "labelled"
    SKIPPED = "skipped"  # nobody could tell
    DISPUTED = "disputed"  # people disagree, and the rule leaves it out


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a task, with its label (a, b or tie) where it is labelled."""

    state: State
    label: Literal["a", "b", "tie"] | None = None

    @property
    def word(self) -> str:
        """The label, or why there is none."""
        return self.label or ("skip" if self.state is State.SKIPPED else self.state.value)
