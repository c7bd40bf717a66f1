"""Which judge a loop serves: read from what its bootstrap runs left behind, decided on the same held-out pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrm_rl.closed_loop.judges import LoopJudge, judge_of_run, pass_gate
from genrm_rl.config import RunConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import RECORDS, record_from_probability, write_records
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.storage import publish_directory

CONFIG = RunConfig.model_validate({"evaluation": {"bootstrap_resamples": 100}})


def stage(path: Path, **facts: object) -> Path:
    with publish_directory(path, dict(facts)):
        pass
    return path


def a_round(root: Path, run: str, number: int, promoted: bool, *, gated: bool = True) -> None:
    folder = root / run / "methods/star_dpo" / f"round{number}"
    stage(folder / "checkpoint", version=f"dpo-{number}")
    if gated:
        stage(folder / "gate", promoted=promoted, version=f"star_dpo-{number}")


@pytest.mark.parametrize(
    ("promoted", "version"), [([True, True], "dpo-2"), ([True, False], "dpo-1"), ([False, True], "dpo-2")]
)
def test_the_last_promoted_round_is_the_judge(tmp_path, promoted, version):
    for number, value in enumerate(promoted, start=1):
        a_round(tmp_path, "turn1/bootstrap", number, value)
    a_round(tmp_path, "turn1/bootstrap", 3, True, gated=False)  # cut off before its gate
    judge = judge_of_run(tmp_path, "turn1/bootstrap", "star_dpo")
    number = version[-1]
    assert judge.version == version and judge.gate == f"star_dpo-{number}"
    assert judge.checkpoint == f"turn1/bootstrap/methods/star_dpo/round{number}/checkpoint"
    assert judge.serving(tmp_path) == str((tmp_path / judge.checkpoint).resolve())


def test_round_ten_comes_after_round_nine(tmp_path):
    for number in (9, 10):
        a_round(tmp_path, "turn1/bootstrap", number, True)
    assert judge_of_run(tmp_path, "turn1/bootstrap", "star_dpo").version == "dpo-10"


def test_without_a_promoted_round_the_untrained_judge_serves(tmp_path):
    a_round(tmp_path, "turn1/bootstrap", 1, False)
    judge = judge_of_run(tmp_path, "turn1/bootstrap", "star_dpo")
    assert judge.checkpoint is None and judge.gate == "base" and judge.serving(tmp_path) == "base"


def gate_of(root: Path, run: str, right: dict[int, bool]) -> LoopJudge:
    """A judge whose run recorded for each gate pair (by number) whether it was right."""
    records = []
    for number, value in right.items():
        pair = PreferencePair.create(f"question {number}", "right", "wrong")
        p_a = 0.9 if (pair.label() == "A") == value else 0.1
        records.append(record_from_probability(pair, p_a, p_a, judge="j", test_set="gate", judge_version=run))
    directory = root / run / "gate/g/judgments"
    directory.mkdir(parents=True)
    write_records(directory / RECORDS, records)
    return LoopJudge(run, f"{run}/checkpoint", run, "j", "g")


def test_the_better_judge_on_the_gate_is_promoted_and_an_equal_one_is_not(tmp_path):
    current = gate_of(tmp_path, "old", {n: n < 10 for n in range(20)})
    better = gate_of(tmp_path, "better", {n: n < 17 for n in range(20)})
    luckier = gate_of(tmp_path, "luckier", {n: n < 11 for n in range(20)})
    equal = gate_of(tmp_path, "equal", {n: n >= 10 for n in range(20)})
    decision = pass_gate(tmp_path, current, better, CONFIG)
    assert decision.promoted and (decision.parent.accuracy_strict, decision.candidate.accuracy_strict) == (0.5, 0.85)
    assert not pass_gate(tmp_path, current, equal, CONFIG).promoted
    assert not pass_gate(tmp_path, current, luckier, CONFIG).promoted  # one pair more is no evidence


def test_only_pairs_that_both_were_asked_about_decide(tmp_path):
    current = gate_of(tmp_path, "old", {0: True, 1: False, 2: True, 3: True})
    candidate = gate_of(tmp_path, "new", {0: True, 1: True, 7: False, 8: False})
    decision = pass_gate(tmp_path, current, candidate, CONFIG)
    assert decision.difference.n == decision.parent.n == decision.candidate.n == 2
    assert decision.difference.difference == pytest.approx(0.5)
    stranger = gate_of(tmp_path, "stranger", {11: True})
    with pytest.raises(DataError, match="share no pair"):
        pass_gate(tmp_path, current, stranger, CONFIG)
