"""The step judge's texts: an episode with numbered steps, and one structured answer that marks each of them.

Hindsight as in MISE (arXiv 2604.11611): the marks are given after the episode, when it is known where it led.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.trajectories import task_text, trajectory_steps
from genrm_rl.runtime.storage import is_complete, read_json_lines

Mark = Literal["helpful", "neutral", "harmful"]
VALUES: dict[Mark, float] = {"helpful": 1.0, "neutral": 0.0, "harmful": -1.0}
QUESTION = "Mark each step: helpful, neutral or harmful."
LINE = re.compile(r"(?P<number>\d+): (?P<mark>helpful|neutral|harmful)(?: - (?P<reason>\S[^\n]*))?")
MARKS_FILE = "marks.jsonl"
Key = tuple[str, int]  # task id and seed of an episode


@dataclass(frozen=True, slots=True)
class StepMark:
    """What the step judge says of one turn."""

    mark: Mark
    reason: str = ""

    @property
    def value(self) -> float:
        """1 for a helpful step, -1 for a harmful one."""
        return VALUES[self.mark]


def marking_text(episode: AgentEpisode) -> str:
    """What the step judge is asked: the task, and every step with what came of it."""
    steps = [f"{number}. {step}" for number, step in enumerate(trajectory_steps(episode), start=1)]
    return "\n".join([task_text(episode), *steps, QUESTION])


def parse_marks(text: str, turns: int) -> list[StepMark] | None:
    """One mark for each of ``turns`` steps, in order, one a line, with a reason behind a dash or none; None for
    anything else: a part of an answer is no answer."""
    lines = text.strip().split("\n")
    found = [LINE.fullmatch(line.rstrip()) for line in lines]
    numbers = [int(match["number"]) for match in found if match is not None]
    if None in found or numbers != list(range(1, turns + 1)):
        return None
    return [StepMark(match["mark"], match["reason"] or "") for match in found if match is not None]  # type: ignore[arg-type]


def written_marks(marks: Sequence[StepMark]) -> str:
    """The text that :func:`parse_marks` reads."""
    return "\n".join(
        f"{number}: {each.mark}{f' - {each.reason}' if each.reason else ''}" for number, each in enumerate(marks, 1)
    )


def hindsight_marks(group: Sequence[AgentEpisode], threshold: float) -> dict[Key, list[StepMark]]:
    """Marks that follow from outcomes alone: a step is helpful if episodes that took it, from where it was taken, ended
    better by more than ``threshold`` of score than all that came there, harmful if worse, else neutral.

    ``group`` are episodes of one task in an environment that draws nothing: equal actions lead to the same place. The
    value of a place is the mean score of the episodes through it (Monte-Carlo step labels, as in Math-Shepherd, arXiv
    2312.08935). Episodes without outcome are left out.
    """
    known = [episode for episode in group if episode.score is not None]
    scores: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
    for episode in known:
        actions = tuple(turn.action for turn in episode.turns)
        for length in range(len(actions) + 1):
            scores[actions[:length]].append(float(episode.score or 0.0))
    value = {path: sum(found) / len(found) for path, found in scores.items()}
    marked = {}
    for episode in known:
        actions = tuple(turn.action for turn in episode.turns)
        gains = [value[actions[: place + 1]] - value[actions[:place]] for place in range(len(actions))]
        marked[episode.task_id, episode.seed] = [StepMark(_mark(gain, threshold)) for gain in gains]
    return marked


def marked_steps(folder: Path) -> dict[Key, list[dict[str, Any]]]:
    """What a stage of the step judge holds, by episode; empty without one. An unreadable answer has no marks."""
    if not is_complete(folder):
        return {}
    rows = read_json_lines(folder / MARKS_FILE)
    return {(row["task_id"], row["seed"]): row["marks"] or [] for row in rows}


def values_of(marks: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The numbers of stored marks."""
    return tuple(VALUES[mark["mark"]] for mark in marks)


def _mark(gain: float, threshold: float) -> Mark:
    if abs(gain) <= threshold:
        return "neutral"
    return "helpful" if gain > 0 else "harmful"
