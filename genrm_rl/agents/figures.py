"""Figures of many episodes: success, score, format, length, by level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.alignment.statistics import mean
from genrm_rl.evaluation.intervals import bootstrap_interval

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class EpisodeFigures:
    """Of the episodes with an outcome, with 95 % intervals over episodes; None without any. ``masked`` counts the
    others by what happened; ``format_rate`` is the share of all turns that follow the grammar."""

    episodes: int
    success: float | None
    success_interval: Interval | None
    score: float | None
    score_interval: Interval | None
    format_rate: float | None
    turns: float | None
    tokens: float | None
    turns_to_success: float | None
    ends: dict[str, int]
    masked: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def figures(episodes: Sequence[AgentEpisode], *, resamples: int, seed: int) -> EpisodeFigures:
    """Count ``episodes``."""
    known = [episode for episode in episodes if not episode.masked]
    wins = [float(bool(episode.success)) for episode in known]
    scores = [float(episode.score or 0.0) for episode in known]
    turns = [turn for episode in episodes for turn in episode.turns]
    return EpisodeFigures(
        episodes=len(episodes),
        success=mean(wins),
        success_interval=_interval(wins, resamples, seed),
        score=mean(scores),
        score_interval=_interval(scores, resamples, seed),
        format_rate=mean([float(turn.follows) for turn in turns]),
        turns=mean([float(len(episode.turns)) for episode in known]),
        tokens=mean([float(episode.tokens) for episode in known]),
        turns_to_success=mean([float(len(episode.turns)) for episode in known if episode.success]),
        ends=dict(Counter(episode.end for episode in episodes)),
        masked=dict(Counter(episode.failure.partition(":")[0] for episode in episodes if episode.masked)),
    )


def by_level(episodes: Sequence[AgentEpisode], *, resamples: int, seed: int) -> dict[str, EpisodeFigures]:
    """The same for each level."""
    levels = dict.fromkeys(episode.level for episode in episodes)
    return {
        level: figures([each for each in episodes if each.level == level], resamples=resamples, seed=seed)
        for level in levels
    }


def _interval(values: Sequence[float], resamples: int, seed: int) -> Interval | None:
    return bootstrap_interval(values, [1.0] * len(values), resamples=resamples, seed=seed) if values else None
