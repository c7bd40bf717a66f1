"""From judged answers to examples: truncated, masked and spreadless ones, and where the reward lands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.experience import nothing_learned, rewarded_answers
from genrm_rl.alignment.ppo import refill
from genrm_rl.alignment.prompts import PolicyPrompt, PromptSets
from genrm_rl.alignment.rollouts import Rollout, RolloutStages
from genrm_rl.config import RunSettings
from genrm_rl.config.alignment import AlignConfig, PPOConfig, SamplingConfig
from genrm_rl.learners.experience import policy_examples
from genrm_rl.preferences.types import Message
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.runtime.run_directory import RunDirectory

END = 2
PROMPT = PolicyPrompt("p", (Message("user", "q"),), (9, 8))
DEFAULT = SamplingConfig()


def judged(index: int, reward: float | None, *, cut: bool = False, length: int = 4) -> JudgedAnswer:
    """An answer that ends with its end token, or a truncated one without."""
    tokens = tuple(range(10, 10 + length)) if cut else (*range(10, 9 + length), END)
    answer = Answer("p", index, tokens, "text", (-1.0,) * length, "length" if cut else "stop", "base")
    return JudgedAnswer(answer, RewardRecord(reward, Mask.BUSY if reward is None else None, (), "v"))


def examples(group: list[JudgedAnswer], config: PPOConfig, sampling: SamplingConfig, **given: Any):
    answers = rewarded_answers([PROMPT], [group], config, sampling)
    rows = [np.full(len(answer.answer.token_ids), -1.0) for answer in answers]
    values = given.get("values")
    critic = None if values is None else [np.array(values[answer.answer.index]) for answer in answers]
    learner = [row + given.get("ahead", 0.0) for row in rows]
    return policy_examples([answer.sampled() for answer in answers], learner, rows, critic, config, 0.0)


def kept(group: list[JudgedAnswer], sampling: SamplingConfig) -> list[tuple[int, float]]:
    answers = rewarded_answers([PROMPT], [group], PPOConfig(advantage="dr_grpo"), sampling)
    return [(answer.answer.index, answer.shaped) for answer in answers]


def test_truncated_answers_are_in_no_baseline_by_default() -> None:
    group = [judged(0, 1.0), judged(1, 0.0), judged(2, 0.9, cut=True)]
    assert kept(group, DEFAULT) == [(0, 0.5), (1, -0.5)]


def test_truncated_answers_can_be_penalised_or_kept() -> None:
    group = [judged(0, 1.0), judged(1, 0.5, cut=True)]
    lowered = SamplingConfig(truncated="penalise", truncated_penalty=0.25)
    assert kept(group, lowered) == [(0, pytest.approx(0.375)), (1, pytest.approx(-0.375))]
    assert kept(group, SamplingConfig(truncated="keep")) == [(0, 0.25), (1, -0.25)]


def test_a_penalty_reaches_an_answer_by_how_it_ended_and_not_by_its_tokens() -> None:
    """The last token of a truncated answer may be any, also one that is an end token of another model."""
    group = [judged(0, 0.5), judged(1, 0.5, cut=True)]
    assert [index for index, value in kept(group, SamplingConfig(truncated="penalise")) if value < 0] == [1]


@pytest.mark.parametrize("truncated", ["mask", "penalise", "keep"])
def test_the_end_token_is_learned_where_it_was_written_and_nowhere_else(truncated: str) -> None:
    group = [judged(0, 1.0), judged(1, 0.0), judged(2, 0.9, cut=True)]
    made = examples(group, PPOConfig(advantage="dr_grpo"), SamplingConfig(truncated=truncated))
    ends = [example.completion_ids[-1] == END for example in made]
    assert ends == [True, True, False][: len(made)] and len(made) == (2 if truncated == "mask" else 3)
    for example in made:  # the loss sees the tokens of the engine: none is added, none is left out
        segment = example.segment()
        predicted = [segment.token_ids[position + 1] for position in segment.take]
        assert tuple(predicted) == example.completion_ids


def test_the_reward_lands_on_the_last_token_that_was_written() -> None:
    config = PPOConfig(advantage="reinforce", gamma=0.5, kl_coefficient=0.0)
    group = [judged(0, 1.0, length=3), judged(1, -1.0, length=5, cut=True)]
    answers = rewarded_answers([PROMPT], [group], config, SamplingConfig(truncated="keep"))
    assert [answer.reward for answer in answers] == [1.0, -1.0]
    made = examples(group, config.model_copy(update={"advantage": "dr_grpo"}), SamplingConfig(truncated="keep"))
    assert made[0].advantages_T == pytest.approx([0.25, 0.5, 1.0])
    assert made[1].advantages_T == pytest.approx([-0.0625, -0.125, -0.25, -0.5, -1.0])


def test_gae_takes_a_kept_truncated_answer_as_one_that_goes_on() -> None:
    config = PPOConfig(advantage="gae", gae_lambda=1.0)
    group = [judged(0, 1.0, length=2), judged(1, 0.7, length=2, cut=True)]
    values = {0: [0.1, 0.2, 9.0], 1: [0.1, 0.2, 0.4]}
    ended, unfinished = examples(group, config, SamplingConfig(truncated="keep"), values=values)
    assert ended.returns_T == pytest.approx([1.0, 1.0]), "what a critic says after the end is nothing"
    assert unfinished.returns_T == pytest.approx([0.4, 0.4])
    _, penalised = examples(group, config, SamplingConfig(truncated="penalise", truncated_penalty=0.5), values=values)
    assert penalised.returns_T == pytest.approx([0.2, 0.2]), "a limit that is part of the task ends the answer"
    assert ended.old_values_T == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("group", "sentence"),
    [
        ([judged(i, 0.1 * i, cut=True) for i in range(8)], "all 8 answers were cut off at sampling.max_tokens 32"),
        ([judged(i, 0.5) for i in range(8)], "no group has two rewarded answers with different rewards (8 of 8"),
        ([judged(0, 0.5)] + [judged(i, None) for i in range(1, 8)], "(1 of 8 answers have one, 0 were cut off)"),
        ([judged(i, None) for i in range(8)], "none of 8 answers has a reward"),
    ],
)
def test_a_step_without_anything_to_learn_says_why(group: list[JudgedAnswer], sentence: str) -> None:
    config = PPOConfig()
    assert rewarded_answers([PROMPT], [group], config, DEFAULT) == []
    assert sentence in nothing_learned([group], config, DEFAULT)


def test_an_answer_that_the_correction_masks_leaves_the_batch() -> None:
    config = PPOConfig(advantage="dr_grpo", correction="mask", correction_level="sequence")
    assert len(examples([judged(0, 1.0), judged(1, 0.0)], config, DEFAULT)) == 2
    assert examples([judged(0, 1.0), judged(1, 0.0)], config, DEFAULT, ahead=3.0) == []


def test_a_step_learns_from_no_more_groups_than_it_asks_for() -> None:
    group = [judged(0, 1.0), judged(1, 0.0)]
    flat = [judged(0, 0.5), judged(1, 0.5)]
    config = PPOConfig(advantage="dr_grpo", prompts_per_step=2)
    answers = rewarded_answers([PROMPT] * 4, [flat, group, group, group], config, DEFAULT)
    assert len(answers) == 4


def test_a_refill_asks_for_as_many_questions_as_should_fill_the_batch() -> None:
    config = AlignConfig(ppo=PPOConfig(prompts_per_step=6, refills=2))
    prompts = PromptSets([PolicyPrompt(f"p{i}", (), (i,)) for i in range(40)], {})
    good, flat = [judged(0, 1.0), judged(1, 0.0)], [judged(0, 0.5), judged(1, 0.5)]
    for spread, without, expected in ((6, 0, 0), (8, 2, 0), (3, 3, 6), (5, 1, 2), (0, 6, 6), (2, 4, 6)):
        rollout = Rollout([good] * spread + [flat] * without, [], "v", 0.0, 0.0)
        assert len(refill(config, prompts, rollout, "step0/refill1")) == expected


def test_refills_ask_new_questions_from_the_seed() -> None:
    prompts = PromptSets([PolicyPrompt(f"p{i}", (), (i,)) for i in range(20)], {})
    first = prompts.others({f"p{i}" for i in range(10)}, 5, "seed")
    assert first == prompts.others({f"p{i}" for i in range(10)}, 5, "seed") != prompts.others({"p1"}, 5, "seed")
    assert not {prompt.id for prompt in first} & {f"p{i}" for i in range(10)}
    assert len(prompts.others({"p0"}, 50, "seed")) == 19


def test_answers_of_a_step_are_collected_once_and_then_read(tmp_path: Path) -> None:
    config = AlignConfig(run=RunSettings(root=str(tmp_path), id="run"))
    rollout = Rollout([[judged(0, 1.0), judged(1, None)]], [{"id": "j"}], "v", 1.0, 0.5)
    with RunDirectory(config) as run:
        stages = RolloutStages(run, None, None)  # type: ignore[arg-type]
        assert stages.stage(3, lambda: rollout) == (rollout, True)
        assert stages.stage(3, lambda: pytest.fail("asked again")) == (rollout, False)
        assert run.manifest("steps/00003/rollout")["masked"] == {"busy": 1}
