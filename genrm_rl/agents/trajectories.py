"""Episodes as a judge reads them, and pairs of episodes of one task as preference pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.turns import UNREADABLE
from genrm_rl.judging.requests import derive_seed

LONGEST_SEEN = 400  # characters of one observation that a judge is shown
AS_BEFORE = "[as before]"
WORTH_CUTTING = 80  # characters of a page that was seen before
LONGEST_TASK = 1000  # of the first one, in which a task differs from others, often late


def trajectory_text(episode: AgentEpisode, longest: int = LONGEST_SEEN) -> str:
    """The episode turn by turn: what was done, and what was seen then. Thoughts are not shown: a judge rewards deeds,
    and words are cheap."""
    return "\n".join(trajectory_steps(episode, longest)) or "> nothing"


def trajectory_steps(episode: AgentEpisode, longest: int = LONGEST_SEEN) -> list[str]:
    """The same, a text for each step. A page that was seen before is not shown again."""
    seen, steps = list[str](), list[str]()
    after = [*(turn.observation for turn in episode.turns[1:]), episode.last]
    for turn, shown in zip(episode.turns, after, strict=True):
        seen.append(turn.observation)
        steps.append(f"> {turn.action if turn.follows else UNREADABLE}\n{_news(shown, seen, longest)}")
    return steps


def _news(shown: str, seen: Sequence[str], longest: int) -> str:
    """What stands before the page that was seen already, as a refusal does; the shortest, which has none itself."""
    known = min((page for page in seen if len(page) >= WORTH_CUTTING and shown.endswith(page)), key=len, default="")
    return f"{_short(shown.removesuffix(known), longest)}{AS_BEFORE if known else ''}"


def task_text(episode: AgentEpisode, longest: int = LONGEST_TASK) -> str:
    """What the judge is told that the task was."""
    begin = f"\n{_short(episode.turns[0].observation, longest)}" if episode.turns else ""
    return f"{episode.goal}{begin}"


def by_task(episodes: Sequence[AgentEpisode]) -> dict[str, list[AgentEpisode]]:
    """Episodes of each task, in order."""
    groups: dict[str, list[AgentEpisode]] = {}
    for episode in episodes:
        groups.setdefault(episode.task_id, []).append(episode)
    return groups


def trajectory_pairs(
    episodes: Sequence[AgentEpisode], *, seed: int, most: int, margin: float
) -> Iterator[dict[str, Any]]:
    """Preference pairs of each task's episodes: the one with the better outcome is chosen, by at least ``margin`` of
    score; at most ``most`` of a task, drawn by the seed. Equal texts, and episodes without outcome, make none."""
    for task_id, group in by_task(episodes).items():
        known = [(episode, trajectory_text(episode)) for episode in group if not episode.masked]
        found = [
            (derive_seed(seed, task_id, better.seed, worse.seed), better, first, second)
            for better, first in known
            for worse, second in known
            if _value(better) - _value(worse) >= margin and first != second
        ]
        for draw, better, first, second in sorted(found, key=lambda item: item[0])[:most]:
            yield {
                "id": f"{task_id}/{draw}",
                "task": task_id,
                "prompt": task_text(better),
                "chosen": first,
                "rejected": second,
            }


def _value(episode: AgentEpisode) -> float:
    assert episode.success is not None and episode.score is not None
    return float(episode.success) + episode.score  # among failures the score, and success above all


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} [cut]"
