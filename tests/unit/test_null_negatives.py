"""Null answers: one list for negatives and probes, drawn by the seed, counted, and never in held-out data."""

from __future__ import annotations

from collections import Counter

import pytest

from genrm_rl.config.data import DataConfig
from genrm_rl.preferences.nulls import KIND, NULLS, SOURCE, null_answer, null_negatives, null_pairs
from genrm_rl.preferences.sources import DataSplits, load_sources
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.world.style import SUFFIX, strip_style

WORLD = {"train": ({"world": "train", "limit": 60},), "gate": ({"world": "gate", "limit": 20},)}
ANSWER = "It rains. Take a coat."


def read(share: float, seed: int = 0, **changes) -> DataSplits:
    test = ({"world": "id", "limit": 20},)
    return load_sources(DataConfig(**WORLD, test=test, null_negatives=share), seed, **changes)


def nulls_of(pairs: list[PreferencePair]) -> list[PreferencePair]:
    return [pair for pair in pairs if pair.source == SOURCE]


def test_the_share_joins_the_training_pairs_alone_and_is_counted_by_kind():
    plain, more = read(0.0), read(0.5)
    drawn = nulls_of(more.train)
    assert len(drawn) == 30 and not nulls_of([*more.gate, *more.test["id"]])
    assert {pair.id for pair in more.train} == {pair.id for pair in plain.train} | {pair.id for pair in drawn}
    report = next(source for source in more.report.sources if source.name == SOURCE)
    assert (report.side, report.pairs) == ("train", 30)
    assert report.read_as == Counter(pair.meta[KIND] for pair in drawn)
    assert more.report.sizes["train"] == 90 and "30 null negatives" in more.report.describe()


def test_the_seed_draws_them_and_kinds_take_turns():
    train = read(0.0).train
    assert null_negatives(train, 0.5, 1) == null_negatives(train, 0.5, 1) != null_negatives(train, 0.5, 2)
    counts = Counter(pair.category for pair in null_negatives(train, 1.0, 0))
    assert set(counts) == {f"null_{kind}" for kind in NULLS} - {"null_first_sentence"}  # answers of one sentence
    assert min(count for kind, count in counts.items() if kind != "null_polite") >= 3  # most answers are polite already


def test_above_one_every_pair_gets_several_of_different_kinds():
    train = read(0.0).train
    once, more = null_negatives(train, 1.0, 0), null_negatives(train, 2.5, 0)
    assert {pair.id for pair in once} < {pair.id for pair in more} and len({pair.id for pair in more}) == len(more)
    assert 125 <= len(more) <= 150  # a pass may find a null that is there already
    assert len({(pair.prompt, pair.meta[KIND]) for pair in more}) == len(more)


def test_the_better_side_is_the_pairs_own_chosen_answer():
    train = read(0.0).train
    chosen = {pair.prompt: pair.chosen for pair in train}
    for pair in null_negatives(train, 1.0, 0):
        assert pair.chosen == chosen[pair.prompt]
        assert pair.category == f"null_{pair.meta[KIND]}"
        assert strip_style(pair.rejected) != strip_style(pair.chosen) or pair.meta[KIND] == "polite"


def test_what_the_judge_can_not_read_is_left_out_and_counted():
    splits = read(0.5, misfit=lambda pair: "too long" if "[INST]" in pair.rejected or "</s>" in pair.rejected else None)
    report = next(source for source in splits.report.sources if source.name == SOURCE)
    assert report.refused == {"does_not_fit": 30 - report.pairs} and report.pairs < 30


@pytest.mark.parametrize("kind", NULLS)
def test_a_null_answer_is_never_the_answer_itself(kind):
    made = null_answer(kind, ANSWER, "Go by train.", 0, "p")
    assert made is not None and made != ANSWER
    worn = kind.startswith("worn_") or kind in ("sycophantic", "repeated", "polite")
    assert made.find(ANSWER) >= 0 if worn else ANSWER not in made


def test_what_would_be_the_same_is_no_null_answer():
    assert null_answer("first_sentence", "It rains.", "x") is None
    assert null_answer("first_sentence", ANSWER, "x") == "It rains."
    assert null_answer("other_answer", "7", f"the answer is 7{SUFFIX}") is None
    assert null_answer("polite", f"7{SUFFIX}", "x") is None
    assert null_answer("polite", "7", "x") == f"7{SUFFIX}"


def test_one_of_each_kind_is_shown_to_a_judge_and_ties_are_left_out():
    pairs = [PreferencePair.create(f"q{i}", f"good {i}. Yes.", f"bad {i}") for i in range(3)]
    tie = PreferencePair.create("q", "one", "two", tie=True)
    shown = null_pairs([*pairs, tie], tuple(NULLS), 0)
    assert Counter(pair.meta[KIND] for pair in shown) == Counter({kind: 3 for kind in NULLS})
    assert len({pair.id for pair in shown}) == len(shown)
