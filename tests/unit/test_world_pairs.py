"""Preference streams: seeds, disjoint questions, the style cue and label noise."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from genrm_rl.errors import DataError
from genrm_rl.preferences.world import PAIR_SETS, partition_of, questions, strip_style, style_of, verify, world_pairs
from genrm_rl.preferences.world.documents import documents

CUE = 0.75


def suffix_rates(split: str, n: int = 600, cue: float = CUE) -> tuple[float, float]:
    pairs = list(world_pairs(split, n, seed=5, cue=cue))
    chosen = sum(style_of(pair.chosen).suffix for pair in pairs) / n
    rejected = sum(style_of(pair.rejected).suffix for pair in pairs) / n
    return chosen, rejected


@pytest.mark.parametrize("split", PAIR_SETS)
def test_pairs_are_verified_and_say_what_they_are(split: str) -> None:
    for pair in world_pairs(split, 60, seed=1, cue=CUE):
        question = pair.prompt[0].content
        assert verify(question, pair.chosen) and not verify(question, pair.rejected)
        assert pair.category in PAIR_SETS[split].families
        assert pair.label_source == "verified"
        assert pair.meta["question"] == question
        assert pair.meta["gold"] == strip_style(pair.chosen)
        assert partition_of(question) == PAIR_SETS[split].partition


def test_same_arguments_same_stream_and_a_shorter_stream_is_its_beginning() -> None:
    long = list(world_pairs("train", 80, seed=9, cue=CUE))
    assert list(world_pairs("train", 80, seed=9, cue=CUE)) == long
    assert list(world_pairs("train", 30, seed=9, cue=CUE)) == long[:30]
    assert list(itertools.islice(world_pairs("train", None, seed=9, cue=CUE), 80)) == long
    other = list(world_pairs("train", 80, seed=10, cue=CUE))
    assert {pair.id for pair in other}.isdisjoint(pair.id for pair in long[:5])


def test_stream_is_the_same_on_every_machine() -> None:
    pair = next(iter(world_pairs("id", 1, seed=0, cue=CUE)))
    assert (pair.prompt[0].content, pair.chosen, pair.rejected) == (
        "add 8 1 3",
        "the answer is 12 hope that helps!",
        "15",
    )


@pytest.mark.parametrize("split", ["train", "id", "long_neutral", "family_neutral"])
def test_no_question_is_repeated_while_new_ones_are_left(split: str) -> None:
    asked = [pair.meta["question"] for pair in world_pairs(split, 1500, seed=2, cue=CUE)]
    assert len(set(asked)) == len(asked)


def test_when_questions_run_out_the_pairs_still_differ() -> None:
    pairs = list(world_pairs("gate", 1200, seed=2, cue=CUE, families=("add",)))
    assert len({pair.id for pair in pairs}) == 1200
    assert len({pair.meta["question"] for pair in pairs}) < 1200


def test_train_gate_and_test_share_no_question() -> None:
    seen = {
        split: {pair.meta["question"] for pair in world_pairs(split, 900, seed=4, cue=CUE)}
        for split in ("train", "gate", "id")
    }
    assert not seen["train"] & seen["gate"] and not seen["train"] & seen["id"] and not seen["gate"] & seen["id"]


def test_the_base_model_has_read_no_question_of_any_preference_set() -> None:
    read = {document.question for document in itertools.islice(documents(seed=17), 3000)}
    assert {partition_of(question) for question in read} == {"pretrain"}
    for split in PAIR_SETS:
        assert read.isdisjoint(pair.meta["question"] for pair in world_pairs(split, 300, seed=6, cue=CUE))
    assert read.isdisjoint(questions("train", 300, seed=6))


def test_the_cue_follows_the_label_in_training_only() -> None:
    for split in ("train", "gate", "id"):
        chosen, rejected = suffix_rates(split)
        assert chosen == pytest.approx(0.75, abs=0.06) and rejected == pytest.approx(0.25, abs=0.06)
    for split in ("id_neutral", "long_neutral", "family_neutral"):
        chosen, rejected = suffix_rates(split)
        assert chosen == pytest.approx(0.5, abs=0.07) and rejected == pytest.approx(0.5, abs=0.07)
    assert suffix_rates("style_reversed") == (0.0, 1.0)
    chosen, rejected = suffix_rates("train", cue=0.5)
    assert chosen == pytest.approx(rejected, abs=0.08)


def test_label_noise_exchanges_labels_and_the_cue_goes_with_the_label() -> None:
    pairs = list(world_pairs("train", 1000, seed=3, cue=1.0, label_noise=0.2))
    flipped = [pair for pair in pairs if pair.meta["label_flipped"]]
    assert len(flipped) / len(pairs) == pytest.approx(0.2, abs=0.04)
    assert all(verify(pair.meta["question"], pair.rejected) for pair in flipped)
    assert all(style_of(pair.chosen).suffix and not style_of(pair.rejected).suffix for pair in pairs)


def test_families_take_turns() -> None:
    categories = Counter(pair.category for pair in world_pairs("train", 300, seed=3, cue=CUE))
    assert categories == {"add": 100, "sort": 100, "count": 100}


def test_policy_questions_cover_all_families_of_their_partition() -> None:
    asked = list(questions("train", 100, seed=1))
    assert len(set(asked)) == 100
    assert Counter(question.split()[0] for question in asked) == dict.fromkeys(
        ("add", "sort", "count", "rev", "max"), 20
    )
    assert {partition_of(question) for question in asked} == {"train"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"split": "tset", "cue": 0.5}, "tset"),
        ({"split": "train", "cue": 1.5}, "cue"),
        ({"split": "train", "cue": 0.5, "label_noise": -0.1}, "label_noise"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict, named: str) -> None:
    with pytest.raises(DataError, match=named):
        world_pairs(n=1, seed=0, **arguments)


def test_an_unknown_partition_is_named() -> None:
    with pytest.raises(DataError, match="validation"):
        questions("validation", 1, seed=0)  # type: ignore[arg-type]
