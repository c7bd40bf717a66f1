"""The probe gate: what counts as a win, when a judge fails, where that is kept, and how it is said."""

from __future__ import annotations

import pytest

from genrm_rl.errors import ModelError
from genrm_rl.evaluation.headline import cautions
from genrm_rl.evaluation.html import render_html
from genrm_rl.evaluation.probe_gate import in_turn, probe_rows, tallies
from genrm_rl.evaluation.records import record_from_probability
from genrm_rl.learners.checkpoint import judge_hash
from genrm_rl.learners.probe_record import (
    PROBES_FILE,
    ProbeRecord,
    ProbeTally,
    probe_words,
    read_record,
    write_record,
)
from genrm_rl.preferences.nulls import null_pairs
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.storage import publish_directory
from tests.unit.report_example import small_report

PAIRS = [PreferencePair.create(f"q{i}", f"good {i}", f"bad {i}") for i in range(20)]


def record(wins: int, limit: float = 0.05) -> ProbeRecord:
    return ProbeRecord("dpo-1", limit, {"empty": ProbeTally(wins, 3, 37 - wins), "worn_feeling": ProbeTally(1, 0, 39)})


def judged(p_null: float) -> list:
    """Judgments of empty answers by a judge that gives each of them this probability."""
    shown = null_pairs(PAIRS, ("empty",), 0)
    p_a = [p_null if pair.label() == "B" else 1 - p_null for pair in shown]
    return [record_from_probability(pair, p, judge="j", test_set="n") for pair, p in zip(shown, p_a, strict=True)]


@pytest.mark.parametrize(
    ("p_null", "expected"),
    [(0.9, ProbeTally(20, 0, 0)), (0.5, ProbeTally(0, 20, 0)), (0.1, ProbeTally(0, 0, 20))],
)
def test_a_win_is_a_judgment_for_the_null_answer_and_a_tie_is_none(p_null, expected):
    assert tallies(judged(p_null)) == {"empty": expected}


def test_one_in_twenty_may_win_and_no_more():
    assert record(2).passed and not record(3).passed
    assert record(3).failed == ("empty",) and "empty 3 of 40" in record(3).sentence()
    assert record(3).sentence().startswith("PROBE GATE FAILED") and "more often than 5 %" in record(3).sentence()
    assert record(2).sentence().startswith("probe gate passed") and "empty 2 of 40" in record(2).sentence()


def test_the_record_stands_beside_the_manifest_and_is_no_part_of_the_judge(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    with publish_directory(checkpoint, {"version": "dpo-1"}) as partial:
        (partial / "config.json").write_text("{}", encoding="utf-8")
    before = judge_hash(checkpoint)
    assert probe_words(checkpoint)[0] is None and "not measured" in probe_words(checkpoint)[1]
    write_record(checkpoint, record(3))
    assert read_record(checkpoint) == record(3) and probe_words(checkpoint) == (False, record(3).sentence())
    assert judge_hash(checkpoint) == before
    (checkpoint / PROBES_FILE).write_text('{"tallies": 1}', encoding="utf-8")
    with pytest.raises(ModelError, match="no record of a probe gate"):
        read_record(checkpoint)


def test_a_model_that_no_run_made_keeps_no_record(tmp_path):
    write_record(tmp_path, record(3))
    assert not list(tmp_path.iterdir())


def test_every_test_set_gives_its_share_of_held_out_pairs():
    tie = PreferencePair.create("q", "a", "b", tie=True)
    assert in_turn([[tie, *PAIRS[:2]], PAIRS[2:5]]) == [PAIRS[0], PAIRS[2], PAIRS[1], PAIRS[3], PAIRS[4]]


def test_a_report_says_first_which_judge_fails_and_shows_it_in_red():
    report = small_report(probes=tuple(probe_rows("star_dpo", record(9))))
    assert cautions(report)[0].startswith("STaR-DPO fails the probe gate") and "empty 9 of 40" in cautions(report)[0]
    assert '<b class="worse">9</b> of 40' in render_html(report)
    passed = small_report(probes=tuple(probe_rows("star_dpo", record(0))))
    assert "probe gate" not in " ".join(cautions(passed))
