"""The best of n from rewards, and the files that it is chosen from."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import pytest

from genrm_rl.config.data import SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.preferences.candidates import read_candidates
from genrm_rl.preferences.rejects import RejectLog
from genrm_rl.rewards.best_of import Best, best_of


def test_the_highest_reward_wins_by_its_distance_to_the_next_different_answer() -> None:
    assert best_of([0.2, 0.9, 0.5], ["a", "b", "c"]) == Best(1, pytest.approx(0.4), (1,))
    assert best_of([0.9, 0.9, 0.5], ["a", "a", "c"]) == Best(0, pytest.approx(0.4), (0, 1))
    assert best_of([None, 0.1], ["a", "b"]) == Best(1, None, (1,))
    assert best_of([None, None], ["a", "b"]) == Best(None, None, ())


def test_answers_that_share_the_first_place_are_told_apart_by_their_words_alone() -> None:
    answers = ["one", "two", "three"]
    chosen = set()
    for order in permutations(answers):
        found = best_of([0.5] * 3, order)
        assert found.index is not None and found.margin == 0 and found.tied == (0, 1, 2)
        chosen.add(order[found.index])
    assert len(chosen) == 1


def read(folder: Path, *rows: dict, on_bad_row: str = "fail") -> tuple[list, RejectLog]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    log = RejectLog(on_bad_row)  # type: ignore[arg-type]
    found = read_candidates(SourceConfig(path="rows.jsonl"), folder, log)
    log.finish()
    return found, log


def test_candidates_are_found_under_their_usual_names(tmp_path: Path) -> None:
    found, _ = read(
        tmp_path,
        {"prompt": "q", "responses": ["a", "b"]},
        {"question": "q", "completions": ["a", "b"]},
        {"prompt": [{"role": "user", "content": "q"}], "response_2": "b", "response_10": "c", "response_1": "a"},
    )
    assert [each.responses for each in found] == [("a", "b"), ("a", "b"), ("a", "b", "c")]
    assert {each.prompt[0].content for each in found} == {"q"}
    one, other = found[0].compare("a", "b"), found[1].compare("a", "b")
    assert one.pair_id == other.pair_id != found[0].compare("b", "a").pair_id


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "q"}, "`responses` is missing"),
        ({"prompt": "q", "responses": []}, "must be a list of answers"),
        ({"prompt": "q", "responses": ["a", 3]}, "must be a list of answers"),
        ({"responses": ["a"]}, "`prompt` is missing"),
        ({"prompt": "q", "response_1": None}, "response_1"),
    ],
)
def test_a_row_without_candidates_is_told_with_its_line_or_left_out(tmp_path: Path, row: dict, says: str) -> None:
    with pytest.raises(DataError, match="rows.jsonl:2: ") as told:
        read(tmp_path, {"prompt": "q", "responses": ["a"]}, row)
    assert says in str(told.value)
    found, log = read(tmp_path, {"prompt": "q", "responses": ["a"]}, row, on_bad_row="skip")
    assert len(found) == 1 and sum(log.counts().values()) == 1
