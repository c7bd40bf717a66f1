"""Which two answers of a judged group become a DPO pair."""

from __future__ import annotations

from typing import Any

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.dpo import judged_pairs
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.preferences.types import Message
from genrm_rl.rewards.types import Mask, RewardRecord

PROMPTS = [PolicyPrompt(f"p{index}", (Message("user", "q"),), (9,)) for index in range(400)]


def group(*rewards: float | None, tokens: list[int] | None = None, cut: tuple[int, ...] = ()) -> list[JudgedAnswer]:
    """One answer per reward; None is a masked one. Its token is its place unless ``tokens`` says otherwise. ``cut`` are
    the places of truncated ones."""
    answers = []
    for index, reward in enumerate(rewards):
        finish = "length" if index in cut else "stop"
        answer = Answer("p", index, ((tokens or range(len(rewards)))[index],), "text", (0.0,), finish, "base")
        answers.append(JudgedAnswer(answer, RewardRecord(reward, None if reward is not None else Mask.BUSY, (), "v")))
    return answers


def chosen(
    rewards: list[JudgedAnswer], seed: str | None, margin: float = 0.3, **sampling: Any
) -> list[tuple[int, int]]:
    """(better, worse) places over many prompts with the same group."""
    pairs = judged_pairs(PROMPTS, [rewards] * len(PROMPTS), margin, SamplingConfig(**sampling), seed)
    return [(pair.chosen_ids[-1], pair.rejected_ids[-1]) for pair in pairs]


def test_extremes_are_the_best_and_the_worst() -> None:
    assert set(chosen(group(0.5, 0.9, 0.1, 0.8), None)) == {(1, 2)}


def test_any_pair_with_the_margin_is_as_likely_and_none_without_it_appears() -> None:
    found = chosen(group(0.5, 0.9, 0.1, 0.85), "seed")
    allowed = {(0, 2), (1, 2), (3, 2), (1, 0), (3, 0)}
    assert set(found) == allowed
    assert all(50 <= found.count(pair) <= 110 for pair in allowed), "80 each are expected"


def test_the_same_seed_chooses_the_same_pairs() -> None:
    answers = group(0.5, 0.9, 0.1, 0.85)
    assert chosen(answers, "a") == chosen(answers, "a") != chosen(answers, "b")


def test_masked_equal_and_too_close_answers_make_no_pair() -> None:
    assert chosen(group(None, 0.9, None), "s") == []
    assert chosen(group(0.5, 0.7), "s") == []
    assert chosen(group(0.1, 0.9, tokens=[4, 4]), "s") == []


def test_a_truncated_answer_is_chosen_only_where_it_is_kept_on_purpose() -> None:
    answers = group(0.9, 0.5, 0.1, cut=(0,))
    assert set(chosen(answers, None)) == {(1, 2)}
    assert set(chosen(answers, None, truncated="keep")) == {(0, 2)}
    assert set(chosen(answers, None, truncated="penalise", truncated_penalty=1.0)) == {(1, 0)}
