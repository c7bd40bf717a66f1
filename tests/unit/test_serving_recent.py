"""Recent judgments: bounded by number and by size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genrm_rl.judging.folding import fold
from genrm_rl.judging.types import Verdict
from genrm_rl.serving.contracts import Cost, Judged
from genrm_rl.serving.operations import recent
from genrm_rl.serving.operations.recent import RecentJudgments
from tests.unit.judging_cases import comparison, trace


def add(kept: RecentJudgments, name: str, text: str = "", p_a: float = 0.9) -> None:
    judgment = fold([replace(trace(Verdict.PREFERS_A, p_a, pair_id=name), text=text)], orders="one")
    kept.add(comparison(pair_id=name), Judged(judgment, False, Cost(), "v"))


def test_the_oldest_leave_first_and_the_last_judgment_counts() -> None:
    kept = RecentJudgments(2)
    for name in "abac":
        add(kept, name)
    assert [kept.get(name) is not None for name in "abc"] == [True, False, True]
    add(kept, "c", p_a=0.7)
    assert kept.get("c").judgment.p_a == pytest.approx(0.7) and kept.get("a") is not None


def test_a_list_has_the_newest_first_and_no_more_than_asked() -> None:
    kept = RecentJudgments(3)
    for name in "abcda":
        add(kept, name)
    assert [line.id for line in kept.newest(2)] == ["a", "d"] and len(kept.newest(99)) == 3
    assert kept.newest(1)[0].question == "add 37 48" and RecentJudgments(3).newest(5) == []


def test_long_texts_leave_room_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST_CHARACTERS", 1000)
    kept = RecentJudgments(100)
    for name in "abc":
        add(kept, name, "x" * 400)
    assert [kept.get(name) is not None for name in "abc"] == [False, True, True]
    add(kept, "d", "x" * 2000)
    assert all(kept.get(name) is None for name in "abcd"), "what is larger than all room is not kept"
    add(kept, "e")
    assert kept.get("e") is not None
    none = RecentJudgments(0)
    add(none, "a")
    assert none.get("a") is None
