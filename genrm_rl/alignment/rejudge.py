"""Judging again what a run lost, and nothing else.

The run goes back to the first step that lost too many rewards: the steps after it learned from other weights than they
would have, so their checkpoints, answers and measurements go. That step's answers stay, and of its groups only those
with a lost reward are judged again (all of them if another judge is served now: a step has one judge).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genrm_rl.alignment.lost import RewardsLostError, finished_rollouts, is_lost, lost_share
from genrm_rl.alignment.prompts import PromptSets
from genrm_rl.alignment.rewarding import AskedGroup, ask
from genrm_rl.alignment.rollouts import Rollout, RolloutStages, read_rollout
from genrm_rl.config.reward import RewardConfig
from genrm_rl.learners.run_state import step_folders
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_manifest, remove_tree


def first_lost_step(run: RunDirectory, config: RewardConfig) -> int:
    """The first step that lost too many rewards. Raises RewardsLostError if there is none."""
    for folder in finished_rollouts(run):
        share, _ = lost_share(read_rollout(folder, read_manifest(folder)).groups)
        if share > config.max_unscored:
            return int(folder.parent.name)
    raise RewardsLostError(
        f"no step of run {run.config.run.id} lost more than {config.max_unscored:.0%} of its rewards "
        "(reward.max_unscored), so nothing is judged again; leave out --rejudge to continue the run"
    )


def go_back(run: RunDirectory, step: int) -> None:
    """Undo everything after the answers of a step."""
    remove_tree(run.path / "policy")
    for kind in ("checkpoints", "evaluation"):
        for path in reversed(step_folders(run.path / kind)):
            if int(path.name) > step:
                remove_tree(path)
    for path in reversed(step_folders(run.path / "steps")):
        if int(path.name) > step:
            remove_tree(path)
    (run.path / f"steps/{step:05d}/metrics.json").unlink(missing_ok=True)


def judge_again(rollouts: RolloutStages, step: int, prompts: PromptSets, say: Callable[[str], None]) -> None:
    """Ask for the lost rewards of a step, unless it was learned from since; its answers stay what they are."""
    name = f"steps/{step:05d}/rollout"
    run, rewarder, sampling = rollouts.run, rollouts.rewarder, rollouts.sampler.sampling
    if (run.path / f"steps/{step:05d}/metrics.json").is_file():
        return
    old = read_rollout(run.path / name, run.manifest(name))
    version = rewarder.begin_step()
    asked = [
        place
        for place, group in enumerate(old.groups)
        if version != old.judge_version or any(is_lost(judged) for judged in group)
    ]
    waiting: dict[int, AskedGroup] = {}
    for place in asked:
        answers = [judged.answer for judged in old.groups[place]]
        waiting[place] = ask(rewarder, prompts.by_id[answers[0].prompt_id], answers, sampling, version)
    groups, judgments = list(old.groups), {judgment["id"]: judgment for judgment in old.judgments}
    for place, group in waiting.items():
        groups[place], found = group.result()
        judgments |= {judgment["id"]: judgment for judgment in found}
    behind = {identifier for group in groups for judged in group for identifier in judged.record.judgments}
    kept = [judgment for identifier, judgment in judgments.items() if identifier in behind]
    new = Rollout(groups, kept, version, old.generate_seconds, old.judge_seconds)

    def compute(directory: Path) -> dict[str, Any]:
        new.write(directory)
        return new.facts() | {"judged_again": len(asked)}

    run.replace_stage(name, compute)
    before, after = (f"{lost_share(each)[0]:.1%}" for each in (old.groups, groups))
    say(f"step {step + 1}: {len(asked)} groups judged again; rewards missing before {before}, now {after}")
