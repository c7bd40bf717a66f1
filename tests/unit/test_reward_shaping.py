"""What is added to the judge's reward: a verifier's word and a penalty for length, and never to what has no reward."""

from __future__ import annotations

import math
from concurrent.futures import Future
from pathlib import Path

import pytest

from genrm_rl.alignment.answers import Answer, JudgedAnswer, read_answers, write_answers
from genrm_rl.alignment.audit import Audit, check_group
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.alignment.rewarding import ServiceRewarder, VerifierRewarder
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.reward import RewardConfig
from genrm_rl.errors import ConfigError
from genrm_rl.preferences.types import Message
from genrm_rl.rewards.client import GroupReward
from genrm_rl.rewards.shaping import shape, shortness
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.rewards.verifier import final_result, is_right

RIGHT = [
    ("So the answer is 42.", "42"), ("10 + 32 = 42", "42"), ("#### 1,000", "1000"), ("It costs $1,000.00", "1000"),
    ("first 7, then \\boxed{42}, and 3 more", "42"), ("\\boxed{\\frac{1}{2}}", "1/2"), ("\\boxed{0.5}", "\\frac{1}{2}"),
    ("\\boxed{\\text{Yes}}", "yes"), ("Let me see.\nAnswer: Paris.", "paris"), ("a -3", "-3"), ("3.0", "3"),
    ("<think>it is 5</think>It is 42", "42"), ("5 - 3 = 2", "2"), ("12 %", "12"), ("\\boxed{{x}+{y}}", "{x}+{y}"),
]  # fmt: skip
WRONG = [
    ("", "42"), ("I do not know", "42"), ("42 or 43", "42"), ("\\boxed{41} 42", "42"), ("<think>42", "42"),
    ("\\boxed{42", "4"), ("Paris is not it.\nRome", "Paris"), ("1/0", "0"), ("x42", "42"), ("9" * 1000, "9"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "known"), RIGHT)
def test_a_right_final_result(text: str, known: str) -> None:
    assert is_right(text, known)


@pytest.mark.parametrize(("text", "known"), WRONG)
def test_anything_else_is_wrong(text: str, known: str) -> None:
    assert not is_right(text, known)


def test_a_text_without_a_result_has_none() -> None:
    assert final_result("no number here", numeric=True) is None and final_result(" \n ", numeric=False) is None


def test_shortness_by_hand() -> None:
    assert shortness(["ab", "abcd", "abcdef"]) == pytest.approx([0.5, 0.0, -0.5])
    assert shortness(["ab", "ab", "abcd"]) == pytest.approx([1 / 3, 1 / 3, -2 / 3])
    assert shortness(["same", "size"]) == [0.0, 0.0] and shortness([]) == []
    assert shortness(["<think>very long</think>ab", " ab ", "abcd"]) == pytest.approx([1 / 3, 1 / 3, -2 / 3])


def record(reward: float | None) -> RewardRecord:
    return RewardRecord(reward, Mask.NOT_JUDGED if reward is None else None, ("j",), "v")


def test_a_reward_is_the_sum_of_its_parts() -> None:
    records = [record(0.8), record(0.2), record(None)]
    one, two, masked = shape(
        records, ["ab", "abcd", "x" * 99], [False, True, True], verifier_weight=0.25, length_penalty=0.1
    )
    assert one.reward == pytest.approx(0.75 * 0.8 + 0.05) and dict(one.parts) == pytest.approx(
        {"judge": 0.8, "verifier": 0.0, "length": 0.05}
    )
    assert two.reward == pytest.approx(0.75 * 0.2 + 0.25 - 0.05)
    assert masked == records[2]  # right, and without a reward all the same; its length is nobody's measure
    assert math.isclose(one.parts["length"] + two.parts["length"], 0.0, abs_tol=1e-12)


def test_without_weights_nothing_is_touched() -> None:
    records = (record(0.8), record(None))
    assert shape(records, ["a", "b"], None, verifier_weight=0.0, length_penalty=0.0) == records
    with pytest.raises(ValueError, match="verifier"):
        shape(records, ["a", "b"], None, verifier_weight=0.5, length_penalty=0.0)


class Client:
    """What the rewarder asks of a client, with the judge's answers written down."""

    def __init__(self, config: RewardConfig, *rewards: float | None) -> None:
        self.config, self.rewards = config, rewards

    def judge_version(self) -> str:
        return "v"

    def submit(self, group: object, version: str) -> Future[GroupReward]:
        future: Future[GroupReward] = Future()
        future.set_result(GroupReward(tuple(map(record, self.rewards)), ({"id": "j"},)))
        return future


def answer(index: int, text: str) -> Answer:
    return Answer("p", index, (1, 2), text, (0.0, 0.0), "stop", "base")


PROMPT = PolicyPrompt("p", (Message("user", "6 x 7?"),), (1,), known_answer="42")
ANSWERS = [answer(0, "It is 41"), answer(1, "It is 42")]


def test_the_trainer_learns_from_the_mixed_reward_and_the_audit_knows_the_judges(tmp_path: Path) -> None:
    rewarder = ServiceRewarder(Client(RewardConfig(verifier_weight=0.5), 0.9, 0.1))  # type: ignore[arg-type]
    found = rewarder.submit(PROMPT, ANSWERS, rewarder.begin_step()).result()
    assert [each.reward for each in found.records] == pytest.approx([0.45, 0.55]) and found.judgments == ({"id": "j"},)
    group = [JudgedAnswer(one, each) for one, each in zip(ANSWERS, found.records, strict=True)]
    write_answers(tmp_path / "answers.parquet", [group])
    assert read_answers(tmp_path / "answers.parquet") == [group]
    audit = Audit()
    check_group(group, {("p", ("It is 41", "It is 42")): [(0.9, 0.1)]}, audit, "00000")
    assert audit.fabricated == []


def test_what_goes_wrong_at_the_judge_reaches_whoever_waits() -> None:
    class Broken(Client):
        def submit(self, group: object, version: str) -> Future[GroupReward]:
            future: Future[GroupReward] = Future()
            future.set_exception(RuntimeError("gone"))
            return future

    rewarder = ServiceRewarder(Broken(RewardConfig(length_penalty=0.5)))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="gone"):
        rewarder.submit(PROMPT, ANSWERS, "v1").result()


def test_known_answers_alone_are_a_control_too() -> None:
    found = VerifierRewarder().submit(PROMPT, ANSWERS, "verifier").result()
    assert [each.reward for each in found.records] == [0.0, 1.0]
    with pytest.raises(ValueError, match="no known answer"):
        PolicyPrompt("p", PROMPT.messages, (1,)).right("42")


def test_a_verifier_needs_something_to_check_against() -> None:
    words = ["--prompts.train", "[{path: x.jsonl}]", "--reward.verifier-weight", "0.5"]
    with pytest.raises(ConfigError, match=r"reward\.verifier_weight has nothing to check prompts\.train\.0"):
        load_config(AlignConfig, None, words)
    words[1] = "[{path: x.jsonl, known_answer: answer}]"
    assert load_config(AlignConfig, None, words).reward.verifier_weight == 0.5
    with pytest.raises(ConfigError, match="set reward.verifier_weight to 0"):
        load_config(AlignConfig, None, ["--reward.source", "verifier", "--reward.verifier-weight", "0.5"])
