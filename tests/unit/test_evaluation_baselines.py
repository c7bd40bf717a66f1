"""The two baselines of every report: what they know, what they don't, and the words when a judge is no better."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from genrm_rl.config.data import DataConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.baselines import lexical, longer, same_origin
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.headline import unbeaten
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.schema import JudgeInfo
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import PreferencePair
from tests.unit.report_example import PAIRS, small_report, suite

REAL = Path(os.environ.get("GENRM_RL_PREFERENCES", Path(__file__).parents[2] / "preferences"))


def pair(number: int, chosen: str, rejected: str, folder: str = "facts") -> PreferencePair:
    meta = {"file": f"{folder}/train.jsonl", "line": number}
    return PreferencePair.create(f"question {number}", chosen, rejected, meta=meta)


def facts(count: int, seed: int) -> list[PreferencePair]:
    """Like truthfulqa: what is labelled true hedges more often than what is labelled false, and is as long."""
    draw = random.Random(seed)
    nouns = ["cats", "moons", "kings", "bridges", "rivers", "coins"]
    rows = []
    for number in range(count):
        noun = draw.choice(nouns)
        true, false = f"there is no evidence about {noun}", f"it is surely proven about {noun}s"
        chosen, rejected = (true, false) if draw.random() < 0.85 else (false, true)
        rows.append(pair(number, f"{chosen} {number}", f"{rejected} {number}"))
    return rows


def test_the_lexical_model_finds_the_words_that_labels_follow_and_the_longer_answer_does_not():
    test = facts(300, seed=1)
    learnt = summarise(lexical("facts", test, facts(400, seed=2), seed=0), resamples=100)
    length = summarise(longer("facts", test), resamples=100)
    assert 0.78 < learnt.accuracy_folded < 0.92 and length.accuracy_folded == 0.5
    assert learnt.ci95[0] < learnt.accuracy_strict < learnt.ci95[1]


def test_the_same_seed_gives_the_same_rows_and_the_label_is_not_among_the_features():
    train, test = facts(60, seed=2), facts(40, seed=1)
    rows = lexical("facts", test, train, seed=0)
    assert rows == lexical("facts", test, train, seed=0)
    turned = [PreferencePair.create(each.prompt, each.rejected, each.chosen) for each in test]
    assert [row.p_a for row in lexical("facts", turned, train, seed=0)] == [row.p_a for row in rows]


def test_equal_words_and_equal_lengths_are_ties():
    even = [pair(0, "b a", "a b"), pair(1, "left", "wing")]
    assert [row.p_a for row in longer("even", even)] == [0.5, 0.5]
    unseen = lexical("even", even[1:], facts(40, seed=2), seed=0)
    assert unseen[0].p_a == 0.5 and summarise(unseen, resamples=100).accuracy_folded == 0.5


def test_few_pairs_are_enough_and_answers_without_a_word_are_refused():
    assert lexical("one", [pair(1, "good", "bad")], [pair(0, "good", "bad")], seed=0)[0].p_a != 0.5
    with pytest.raises(DataError, match="holds a word"):
        lexical("none", [pair(1, "good", "bad")], [pair(0, " ", "\n")], seed=0)


def test_a_test_set_is_learnt_from_its_own_folder_where_there_are_training_pairs():
    train = [pair(0, "a", "b", "facts"), pair(1, "c", "d", "manners")]
    assert same_origin(train, [pair(2, "e", "f", "manners")]) == train[1:]
    assert same_origin(train, [pair(2, "e", "f", "elsewhere")]) == train


def test_a_judge_that_is_not_better_than_a_baseline_says_so():
    base = suite("longer_answer", "id", "deterministic", "B" * (PAIRS - 4) + "WWWW")
    judges = [suite("star_dpo", "id", "greedy", "RRRF"), suite("pairrm", "id", "deterministic", "R")]
    infos = (JudgeInfo(name="star_dpo"), JudgeInfo(name="pairrm", kind="pair_classifier"))
    report = small_report(
        judges=(*infos, JudgeInfo(name="longer_answer", label="Longer answer", kind="baseline")),
        results=tuple(summarise(rows, resamples=100) for rows in [base, *judges]),
        differences=compare_all([base, *judges], resamples=100),
    )
    (sentence,) = unbeaten(report)
    assert sentence.startswith("STaR-DPO does not beat the longer answer in 1 of 1 comparisons")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real preference files are not on this machine")
@pytest.mark.parametrize(("name", "least", "length"), [("truthfulqa", 0.72, 0.512), ("hh_harmless", 0.61, 0.448)])
def test_on_human_pairs_words_alone_are_better_than_chance(name, least, length):
    def files(split: str) -> tuple[dict, ...]:
        return ({"path": f"{name}/{split}.jsonl.gz", "name": name},)

    config = DataConfig(root=str(REAL), train=files("train"), gate=files("validation"), test=files("test"))
    splits = load_sources(config, 0)
    pairs = splits.test[name]
    assert summarise(longer(name, pairs), resamples=100).accuracy_folded == pytest.approx(length, abs=0.002)
    row = summarise(lexical(name, pairs, splits.train, seed=0), resamples=100)
    assert row.accuracy_folded > least and row.prompts <= row.n
