"""How far behind answers may be: when a step's answers are begun, and what is counted and kept of their weights."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from genrm_rl.alignment.answers import Answer, JudgedAnswer, read_answers, write_answers
from genrm_rl.alignment.ppo import PPO, staleness, steps_of, version_of
from genrm_rl.alignment.rollouts import Rollout
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.rewards.types import RewardRecord
from genrm_rl.rollout.spans import VersionSpans
from genrm_rl.stories.align_ppo import by_policy_gradient


def answer(tokens: int, version: str, *later: tuple[int, str], index: int = 0) -> JudgedAnswer:
    made = Answer("p", index, tuple(range(tokens)), "text", (-0.5,) * tokens, "stop", version, later)
    return JudgedAnswer(made, RewardRecord(1.0, None, (), "judge"))


class Loop(PPO):
    """The real order of a run around rollouts that end at once, and updates that wait for what may be begun beside
    them."""

    def __init__(self, bound: int, steps: int, first: int) -> None:
        config = SimpleNamespace(ppo=PPOConfig(steps=steps, staleness=bound), checkpoint_every=steps)
        losses = SimpleNamespace(see=lambda step, groups: self.seen.append(step))
        turns = SimpleNamespace(learn=lambda: self.slept.append(self.published))
        self.kept: list[int] = []
        weights = SimpleNamespace(
            publish=self.publish,
            turns=turns,
            keep=lambda step, memory: self.kept.append(step),
            checkpoints=SimpleNamespace(look=lambda: None),
        )
        updates = SimpleNamespace(controller=SimpleNamespace(value=0.0))
        super().__init__(config, None, None, weights, updates, losses, None)  # type: ignore[arg-type]
        self.first = self.published = first
        self.begun: dict[int, int] = {}
        self.learned: list[int] = []
        self.seen: list[int] = []
        self.slept: list[int] = []
        self.all_begun = {step: threading.Event() for step in range(steps)}

    def restore(self) -> int:
        return self.first

    def publish(self, version: str) -> float:
        self.published = steps_of(version)
        return 0.0

    def rollout(self, step: int) -> tuple[Rollout, bool]:
        self.begun[step] = self.published
        self.all_begun[step].set()
        return Rollout([[answer(3, version_of(self.published))]], [], "judge", 1.0, 0.5), step > self.first

    def learn(self, step: int, rollout: Rollout) -> dict[str, float]:
        self.learned.append(step)
        last = min(step + self.config.ppo.staleness, self.steps - 1)
        assert all(self.all_begun[ahead].wait(60) for ahead in range(step, last + 1)), "the next steps have begun"
        return {}

    def report(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("bound", [0, 1, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_answers_are_begun_as_early_as_the_bound_allows_and_no_earlier(bound: int, first: int) -> None:
    loop, measured = Loop(bound, 7, first), []
    by_policy_gradient(loop, measured.append)
    assert loop.learned == list(range(first, 7)) and measured == list(range(first, 8)) and loop.kept == [7]
    assert {step: version for step, version in loop.begun.items() if step > first + bound} == {
        step: step - bound for step in range(first + bound + 1, 7)
    }, "after the first steps, exactly so many updates before they are learned from"
    assert all(loop.begun[step] == first for step in range(first, min(first + bound + 1, 7)))
    assert loop.seen == list(range(first + 1, 7)), "lost rewards are counted in order, of what was judged now"
    assert len(loop.slept) == (7 - first if bound == 0 else 1), "engines rest only when nothing is begun"


def test_staleness_is_counted_by_token() -> None:
    group = [answer(4, "step-00001", (1, "step-00002"), (3, "step-00003"), index=0), answer(2, "step-00003", index=1)]
    found = staleness(Rollout([group], [], "judge", 0.0, 0.0), step=3)
    assert found == {
        "rollout/staleness_steps": (2 + 1 + 1 + 0 + 0 + 0) / 6,
        "rollout/staleness_max_steps": 2.0,
        "rollout/carried_share": 0.5,
    }


def test_nothing_is_counted_where_nothing_was_generated() -> None:
    rollout = Rollout([[answer(0, "base")]], [], "judge", 0.0, 0.0)
    assert set(staleness(rollout, step=0).values()) == {None}


def test_versions_of_tokens_are_kept_and_older_files_have_one(tmp_path: Path) -> None:
    groups = [[answer(4, "base", (2, "step-00001")), answer(4, "step-00001", index=1)]]
    path = tmp_path / "answers.parquet"
    write_answers(path, groups)
    assert read_answers(path) == groups
    assert groups[0][0].answer.tokens_by_version() == [("base", 2), ("step-00001", 2)]
    pq.write_table(pq.read_table(path).drop_columns(["later_versions"]), path)
    assert [judged.answer.later_versions for judged in read_answers(path)[0]] == [(), ()]


def test_a_version_that_sampled_nothing_of_an_answer_is_not_named() -> None:
    spans = VersionSpans()
    for name in ("waiting", "running", "ended"):
        spans.begin(name, "base")
    spans.swap([("waiting", 0), ("running", 5), ("ended", 7), ("probe", 1)], "step-00001")
    spans.swap([("waiting", 0), ("running", 5)], "step-00002")
    spans.swap([("waiting", 3), ("running", 9)], "step-00003")
    assert spans.of("waiting", 4) == ("step-00002", ((3, "step-00003"),))
    assert spans.of("running", 10) == ("base", ((5, "step-00002"), (9, "step-00003")))
    assert spans.of("ended", 7) == ("base", ()), "its last token had been sampled before"
