"""Tasks, near misses, style and the partition of questions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.errors import DataError
from genrm_rl.preferences.world import (
    FAMILIES,
    PARTITION_BUCKETS,
    Style,
    dress,
    near_miss,
    partition_of,
    solve,
    strip_style,
    style_of,
    verify,
)
from genrm_rl.preferences.world.families import draw_question, draw_question_in, show_work

drawn_questions = st.builds(
    lambda seed, family, length: draw_question(random.Random(seed), family, length),
    st.integers(0, 2**32),
    st.sampled_from(FAMILIES),
    st.sampled_from(("short", "long")),
)


@pytest.mark.parametrize(
    ("question", "answer", "work"),
    [
        ("add 7 8 5", "20", "7+8=15+5=20:20"),
        ("sort fdiba", "abdfi", "abdfi"),
        ("count b in dbbab", "3", "d0b1b2a2b3:3"),
        ("rev bdea", "aedb", "aedb"),
        ("max 21 53 87", "87", "21,53>53,87>87:87"),
    ],
)
def test_answer_and_work(question: str, answer: str, work: str) -> None:
    assert solve(question) == answer
    assert show_work(question, answer) == work


def test_work_follows_the_question_even_when_the_result_slips() -> None:
    assert show_work("add 7 8 5", "21") == "7+8=15+5=20:21"


@given(drawn_questions, st.integers(0, 2**32))
def test_a_near_miss_is_never_right_and_never_empty(question: str, seed: int) -> None:
    wrong = near_miss(random.Random(seed), question)
    assert wrong and wrong != solve(question)
    assert not verify(question, wrong)


@given(drawn_questions, st.booleans(), st.booleans())
def test_the_verifier_ignores_style_and_nothing_else(question: str, prefix: bool, suffix: bool) -> None:
    gold, style = solve(question), Style(prefix, suffix)
    response = dress(gold, style)
    assert verify(question, response)
    assert strip_style(response) == gold
    assert style_of(response) == style
    assert not verify(question, response + "!")
    assert not verify(question, " " + response)


def test_a_foreign_question_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="divide 4 2"):
        verify("divide 4 2", "2")


def test_buckets_cover_every_hash_once() -> None:
    assert sorted(bucket for buckets in PARTITION_BUCKETS.values() for bucket in buckets) == list(range(100))


def test_partition_is_fixed_across_machines_and_versions() -> None:
    # A changed hash would let the shipped model's pre-training questions into the test sets.
    sample = ("add 7 8 5", "sort fdiba", "count b in dbbab", "rev bdea", "max 21 53 87")
    assert [partition_of(question) for question in sample] == ["test", "train", "pretrain", "test", "pretrain"]


@pytest.mark.parametrize("partition", PARTITION_BUCKETS)
def test_questions_are_drawn_inside_their_partition(partition: str) -> None:
    rng = random.Random(3)
    for family in FAMILIES:
        assert all(partition_of(draw_question_in(rng, partition, family, "short")) == partition for _ in range(50))
