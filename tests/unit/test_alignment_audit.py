"""The audit of a run's rewards finds what nobody gave."""

from __future__ import annotations

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.audit import Audit, check_group
from genrm_rl.rewards.types import Mask, RewardRecord


def judged(index: int, text: str, reward: float | None, finish: str = "stop") -> JudgedAnswer:
    answer = Answer("p", index, (1, 2) if finish == "stop" else (), text, (0.0, 0.0), finish, "base")
    mask = None if reward is not None else Mask.BUSY
    return JudgedAnswer(answer, RewardRecord(reward, mask, ("j",), "v1"))


def audited(group: list[JudgedAnswer], *said: tuple[float | None, ...]) -> Audit:
    audit = Audit()
    texts = tuple(each.answer.text for each in group if each.answer.usable)
    check_group(group, {("p", texts): said}, audit, "00000")
    return audit


def test_rewards_that_were_given_and_masks_pass() -> None:
    group = [judged(0, "a", 0.25), judged(1, "b", None), judged(2, "", None, "failed"), judged(3, "c", 0.5)]
    audit = audited(group, (0.75, None, 0.5), (0.25, 0.5, 0.5))
    assert (audit.answers, audit.rewarded, audit.fabricated) == (4, 2, [])
    assert audit.masked == {"busy": 2}


def test_another_number_and_another_place_are_found() -> None:
    group = [judged(0, "a", 0.5), judged(1, "b", 0.25)]
    assert len(audited(group, (0.25, 0.5)).fabricated) == 2
    assert len(audited(group, (0.5, None)).fabricated) == 1


def test_a_reward_of_a_group_that_nobody_judged_is_found() -> None:
    audit = Audit()
    check_group([judged(0, "a", 0.5)], {}, audit, "00003")
    assert audit.fabricated == ["step 00003, prompt p, answer 0"]


def test_an_answer_that_was_not_generated_has_no_reward() -> None:
    group = [judged(0, "a", 0.5), judged(1, "", 0.5, "failed")]
    assert audited(group, (0.5,)).fabricated == ["step 00000, prompt p, answer 1"]


def test_a_truncated_answer_was_not_part_of_what_the_judge_saw() -> None:
    cut = JudgedAnswer(
        Answer("p", 1, (1, 2), "b", (0.0, 0.0), "length", "base"), RewardRecord(None, Mask.TRUNCATED, (), "v1")
    )
    audit = Audit()
    check_group([judged(0, "a", 0.25), cut, judged(2, "c", 0.5)], {("p", ("a", "c")): [(0.25, 0.5)]}, audit, "00000")
    assert (audit.rewarded, audit.fabricated, audit.masked) == (2, [], {"truncated": 1})
