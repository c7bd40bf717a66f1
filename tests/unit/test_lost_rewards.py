"""A run that loses its rewards stops, can ask for them again, and never ends as a success without having learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.lost import LossWatch, NothingLearnedError, RewardsLostError, check_learned, lost_share
from genrm_rl.alignment.rejudge import first_lost_step, go_back
from genrm_rl.alignment.report import missing_rewards
from genrm_rl.alignment.rollouts import Rollout
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.bootstrap import RunSettings
from genrm_rl.config.reward import RewardConfig
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_json


def group(*rewards: float | Mask) -> list[JudgedAnswer]:
    return [
        JudgedAnswer(
            Answer("p", index, (1,), "a", (0.0,), "stop", "base"),
            RewardRecord(None, value, (), "v1") if isinstance(value, Mask) else RewardRecord(value, None, ("j",), "v1"),
        )
        for index, value in enumerate(rewards)
    ]


GOOD, HALF, BAD = group(0.5, 0.4), group(0.5, Mask.BUSY), group(Mask.BUSY, Mask.NOT_JUDGED)
SAME = group(Mask.ALONE, Mask.ALONE, Mask.NOT_GENERATED)


def test_what_asking_again_can_not_change_is_not_lost() -> None:
    assert lost_share([GOOD, SAME])[0] == 0
    assert lost_share([GOOD, BAD]) == (0.5, "1 busy, 1 not_judged")


def test_a_run_stops_after_steps_in_a_row_and_says_how_to_go_on() -> None:
    watch = LossWatch(RewardConfig(max_unscored=0.5, unscored_steps=2))
    for step, groups in enumerate(([BAD], [HALF], [BAD])):
        watch.see(step, groups)
    with pytest.raises(RewardsLostError, match=r"100% of the rewards of step 4 are missing .*--rejudge"):
        watch.see(3, [BAD])


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory(AlignConfig(run=RunSettings(id="r", root=str(tmp_path)))) as made:
        yield made


def record(run: RunDirectory, steps: list[list[list[JudgedAnswer]]], **metrics: Any) -> None:
    """Judged answers, metrics, checkpoint and measurement of every step."""
    for step, groups in enumerate(steps):
        rollout = Rollout(groups, [], "v1", 1.0, 1.0)
        run.stage(f"steps/{step:05d}/rollout", lambda path, made=rollout: (made.write(path), made.facts())[1])
        write_json(run.path / f"steps/{step:05d}/metrics.json", {"step": step, **metrics})
        for name in (f"checkpoints/{step + 1:05d}", f"evaluation/{step + 1:05d}/test/sampled"):
            run.stage(name, lambda path: {})


def test_a_run_that_learned_nothing_is_no_success(run: RunDirectory) -> None:
    record(run, [[BAD], [BAD, GOOD]], **{"train/kl_coefficient": 0.1})
    with pytest.raises(NothingLearnedError, match=r"in 2 steps \(2 rewards not_judged, 2 rewards busy\).*--rejudge"):
        check_learned(run)
    write_json(run.path / "steps/00001/metrics.json", {"step": 1, "train/loss": 0.2})
    check_learned(run)


def test_nothing_is_asked_again_where_nothing_was_lost(run: RunDirectory) -> None:
    record(run, [[GOOD, SAME]])
    with pytest.raises(NothingLearnedError, match=r"2 rewards alone, 1 rewards not_gen.*, then start another"):
        check_learned(run)
    with pytest.raises(RewardsLostError, match="leave out --rejudge"):
        first_lost_step(run, RewardConfig())


def test_the_report_counts_what_is_missing_by_reason(run: RunDirectory) -> None:
    record(run, [[GOOD], [BAD, HALF]])
    found = missing_rewards(run)
    assert found == {
        "answers": 6, "by_reason": {"busy": 2, "not_judged": 1}, "worst_step": 2, "worst_share": 0.75,
            "by_step": {0: {}, 1: {"busy": 0.5, "not_judged": 0.25}},
    }  # fmt: skip


def test_judging_again_undoes_what_was_learned_after_the_first_lost_step(run: RunDirectory) -> None:
    record(run, [[GOOD], [BAD], [GOOD], [BAD]], **{"train/loss": 0.1})
    run.stage("policy", lambda path: {})
    assert first_lost_step(run, RewardConfig()) == 1
    go_back(run, 1)
    left = {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.name in ("rollout", "metrics.json")}
    assert left == {"steps/00000/rollout", "steps/00000/metrics.json", "steps/00001/rollout"}
    assert [path.name for path in sorted((run.path / "checkpoints").iterdir())] == ["00001"]
    assert [path.name for path in sorted((run.path / "evaluation").iterdir())] == ["00001"]
    assert not run.done("policy")
