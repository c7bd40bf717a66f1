"""Rewards that a run asked for and did not get: a run that loses too many of them stops, and a run that could learn
from none does not end as a success."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genrm_rl.alignment.answers import JudgedAnswer
from genrm_rl.config.reward import RewardConfig
from genrm_rl.errors import GenRMError
from genrm_rl.rewards.types import NOT_LOST
from genrm_rl.runtime.run_directory import FinishedStages, RunDirectory
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest

AGAIN = "the same command with --rejudge judges again only what failed, without it the run goes on as it is"


class RewardsLostError(GenRMError):
    """Too many rewards are missing, for several steps in a row; or none is, and they should be asked for again."""


class NothingLearnedError(GenRMError):
    """A run came to its end, and no step of it had anything to learn from."""


@dataclass
class LossWatch:
    """Counts the steps in a row whose rewards were lost. Of this process only, so a run that is continued goes on."""

    config: RewardConfig
    lost: list[int] = field(default_factory=list)

    def see(self, step: int, groups: Sequence[Sequence[JudgedAnswer]]) -> None:
        """Take note of a step that was judged just now. Raises RewardsLostError."""
        share, reasons = lost_share(groups)
        if share <= self.config.max_unscored:
            self.lost.clear()
            return
        self.lost.append(step)
        if len(self.lost) >= self.config.unscored_steps:
            raise RewardsLostError(
                f"{share:.0%} of the rewards of step {step + 1} are missing ({reasons}), and more than "
                f"reward.max_unscored ({self.config.max_unscored:.0%}) in each of the last {len(self.lost)} steps; "
                f"look at the judge, then {AGAIN}"
            )


def lost_share(groups: Sequence[Sequence[JudgedAnswer]]) -> tuple[float, str]:
    """Share of the answers whose reward was asked for and not given, and the reasons in words."""
    answers = [judged for group in groups for judged in group]
    reasons = Counter(str(judged.record.mask) for judged in answers if is_lost(judged))
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (sum(reasons.values()) / len(answers) if answers else 0.0), said


def is_lost(judged: JudgedAnswer) -> bool:
    """Whether a reward is missing that asking again could give."""
    return judged.record.mask is not None and judged.record.mask not in NOT_LOST


def has_learned(run: RunDirectory) -> bool:
    """Whether any step of a run had an update."""
    return any(row.get(f"train/{name}") is not None for row in _metrics(run) for name in ("loss", "critic_loss"))


def check_learned(run: RunDirectory) -> None:
    """Raise NothingLearnedError if no step of a run that came to its end had an update."""
    if has_learned(run):
        return
    masks: Counter[str] = Counter()
    for folder in finished_rollouts(run):
        masks.update(read_manifest(folder)["masked"])
    why = ", ".join(f"{count} rewards {reason}" for reason, count in masks.most_common()) or "no answer beat another"
    again = "give the same command with --rejudge, or " if set(masks) - NOT_LOST else ""
    raise NothingLearnedError(
        f"nothing was learned in {len(_metrics(run))} steps ({why}), so run {run.config.run.id} has no aligned policy; "
        f"look at the judge and its rewards, then {again}start another --run.id"
    )


def _metrics(run: RunDirectory) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((run.path / "steps").glob("*/metrics.json"))]


def finished_rollouts(run: FinishedStages) -> list[Path]:
    """Folders of the judged answers of a run, by step."""
    return sorted(path for path in (run.path / "steps").glob("*/rollout") if is_complete(path))
