"""What an episode earns: parts from whoever gives them, one sum, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.config.agents import EpisodeReward
from genrm_rl.judging.requests import derive_seed


@dataclass(frozen=True, slots=True)
class EarnedEpisode:
    """An episode with the parts of its reward (None: nobody gave it). ``marks`` are the step judge's, one a turn."""

    episode: AgentEpisode
    outcome: float | None = None
    judge: float | None = None
    format: float | None = None
    marks: tuple[float, ...] = ()

    def reward(self, parts: EpisodeReward) -> float | None:
        """The weighted sum. None for an episode without outcome of its own, and where a part that the sum needs is
        missing: the judge's where it has a weight, or every part. A hidden outcome is left out of the sum."""
        if self.episode.masked or (parts.judge and self.judge is None):
            return None
        given = [
            weight * value
            for weight, value in (
                (parts.outcome, self.outcome),
                (parts.judge, self.judge),
                (parts.format, self.format),
            )
            if weight and value is not None
        ]
        if given:
            return sum(given)
        return 0.0 if parts.steps and self.marks else None


def tells_outcome(task_id: str, parts: EpisodeReward, seed: int) -> bool:
    """Whether the outcomes of a task are told to the learner; all episodes of a task alike."""
    return derive_seed(seed, "told outcome", task_id) < parts.outcome_share * 2**31


def outcome_part(episode: AgentEpisode, parts: EpisodeReward, seed: int) -> float | None:
    """The environment's word, None where it has none or is not told."""
    if episode.masked or not parts.outcome or not tells_outcome(episode.task_id, parts, seed):
        return None
    return float(episode.success) if parts.outcome_is == "success" else episode.score


def turn_advantages(group: Sequence[EarnedEpisode], weight: float) -> list[tuple[float, ...]]:
    """Of each episode's turns: the weighted marks against the mean over the turns of the group, in its standard
    deviations (step-level advantages as in GiGPO, arXiv 2505.10978). Zeros where no mark differs."""
    marks = [mark for earned in group for mark in earned.marks]
    if not weight or not marks or max(marks) == min(marks):
        return [(0.0,) * len(earned.episode.turns) for earned in group]
    mean = sum(marks) / len(marks)
    spread = (sum((mark - mean) ** 2 for mark in marks) / len(marks)) ** 0.5
    return [
        tuple(weight * (mark - mean) / spread for mark in earned.marks) or (0.0,) * len(earned.episode.turns)
        for earned in group
    ]
