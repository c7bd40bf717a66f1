"""What an environment is: tasks in named splits, observations, actions, an outcome, and failures that are none.

An agent sees an observation, answers with one line of text, and sees the next; after some turns the environment says
whether the task is done. Environments are ordinary objects of one process (`genrm_rl.rollout.environment_host` puts
each into a Ray actor of its own).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

from genrm_rl.errors import GenRMError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LONGEST_ACTION = 200  # characters; interpreters of text games read a line into a buffer of about this size
FailureKind = Literal["hung", "died", "leaked", "broke"]


class EnvironmentFailure(GenRMError):
    """An environment hung, died, grew beyond its limit, or broke. What it was playing has no outcome, not even 0."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class SplitSizes(NamedTuple):
    """Tasks of one level in each split. The splits share no task."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True, slots=True)
class Task:
    """One task: the ``index``-th of its ``level`` (a difficulty or a kind of task) in a split."""

    environment: str
    split: Split
    level: str
    index: int

    @property
    def task_id(self) -> str:
        """Names the task in records; the same everywhere."""
        return f"{self.environment}/{self.split}/{self.level}/{self.index}"


@dataclass(frozen=True, slots=True)
class Admissible:
    """The actions that an environment understands now: some by name, some as a frame around free text.

    A frame is what stands before and behind the free text, such as ``("search[", "]")``.
    """

    actions: tuple[str, ...]
    frames: tuple[tuple[str, str], ...] = ()

    def accepts(self, action: str) -> bool:
        """True for an action that is in the grammar."""
        return re.fullmatch(self.pattern(), action) is not None

    def pattern(self) -> str:
        """A regular expression of every admissible action, as constrained decoding takes it."""
        free = [f"{re.escape(before)}[^\\[\\]\\n]+{re.escape(behind)}" for before, behind in self.frames]
        return "|".join([*map(re.escape, self.actions), *free])


@dataclass(frozen=True, slots=True)
class Observation:
    """What the agent is told after its last action, and what the whole task is (``goal``).

    ``admissible`` is None where the environment can't list its actions.
    """

    text: str
    goal: str
    admissible: Admissible | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well the task is done so far. ``score`` is in [0, 1]; ``success`` is the environment's own word, not
    ``score == 1``."""

    success: bool
    score: float


@runtime_checkable
class Environment(Protocol):
    """One environment, at one task at a time. Everything it does follows from task, seed and actions."""

    def reset(self, task: Task, seed: int) -> Observation:
        """Begin ``task``. ``seed`` is for what the environment draws besides; most draw nothing."""
        ...

    def step(self, action: str) -> tuple[Observation, bool]:
        """Answer one action, whatever it says; True when the episode is over. An action that is not understood is
        told so and changes nothing."""
        ...

    @property
    def outcome(self) -> Outcome:
        """Of the task that is being played, as it stands now."""
        ...

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...] | None:
        """Actions that solve ``task``, None where nobody knows. Call :meth:`reset` afterwards."""
        ...

    def process_ids(self) -> tuple[int, ...]:
        """Processes that belong to it, besides the one that it lives in."""
        ...

    def close(self) -> None:
        """End those processes."""
        ...


def clean_action(text: str) -> str:
    """One line of at most LONGEST_ACTION characters that every environment can read: no control characters, no lone
    surrogates, single blanks."""
    readable = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in readable).split())[:LONGEST_ACTION]
