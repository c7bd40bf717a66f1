"""Every layout of docs/data.md is told by its columns, and every example on the page gives what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from genrm_rl.config.data import DataConfig, Layout, SourceConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.scoring import check_scoring
from genrm_rl.preferences.published import LAYOUTS
from genrm_rl.preferences.sources import DataSplits, load_sources
from genrm_rl.preferences.turns import BadRow
from genrm_rl.preferences.types import Message
from genrm_rl.preferences.validation import PairReader, RawRow

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: (rows, int(pairs), int(ties))
    for name, rows, pairs, ties in re.findall(
        r"^### `(\w+)`\n.*?^```json\n(.*?)^```\n3 rows: (\d+) pairs, (\d+) tie", PAGE, re.DOTALL | re.MULTILINE
    )
}


def read(folder: Path, rows: str, **source: object) -> DataSplits:
    """Rows of an example as the only test set."""
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    entry = {"path": "rows.jsonl", "name": "set", **source}
    return load_sources(DataConfig.model_validate({"root": str(folder), "test": [entry]}), 0)


def test_the_page_the_settings_and_the_code_name_the_same_layouts() -> None:
    assert set(EXAMPLES) == set(LAYOUTS) == set(get_args(Layout)) - {"auto"}
    assert set(re.findall(r"^\| \[`(\w+)`\]\(#\w+\)", PAGE, re.MULTILINE)) == set(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_example_is_told_by_its_columns_and_gives_the_pairs_of_the_page(tmp_path: Path, layout: str) -> None:
    rows, pairs, ties = EXAMPLES[layout]
    splits = read(tmp_path, rows)
    assert splits.report.sources[0].layout == layout
    assert len(splits.test["set"]) == pairs and splits.report.refused.get("tie", 0) == ties
    named = read(tmp_path, rows, layout=layout)
    assert named.test == splits.test
    (tmp_path / "rows.json").write_text(json.dumps([json.loads(row) for row in rows.splitlines()], indent=1))
    array = load_sources(
        DataConfig.model_validate({"root": str(tmp_path), "test": [{"path": "rows.json", "name": "set"}]}), 0
    )
    assert [pair.id for pair in array.test["set"]] == [pair.id for pair in splits.test["set"]]


def test_the_rules_that_the_page_names_can_score_the_layout(tmp_path: Path) -> None:
    table = re.findall(r"^\| \[`(\w+)`\].*\| (`.*`) \|$", PAGE, re.MULTILINE)
    assert [layout for layout, _ in table] and {layout for layout, _ in table} == set(LAYOUTS)
    for layout, rules in table:
        pairs = read(tmp_path, EXAMPLES[layout][0]).test["set"]
        for rule in re.findall(r"`(\w+)`", rules):
            check_scoring("set", pairs, rule)


def by_question(splits: DataSplits, question: str) -> list:
    """Pairs of one question, by rejected answer."""
    return sorted((p for p in splits.test["set"] if question in p.prompt[-1].content), key=lambda p: p.rejected)


def test_strengths_and_rationales_are_kept_and_the_winner_is_first(tmp_path: Path) -> None:
    splits = read(tmp_path, EXAMPLES["helpsteer2"][0])
    (one,) = by_question(splits, "1 plus 1")
    assert (one.chosen, one.strength, one.rationales) == ("2", 3, ("Response 1 is right.\nThe sum is 2.",))
    assert one.meta["first"] == "chosen"
    (two,) = by_question(splits, "fruit")
    assert (two.chosen, two.strength, two.meta["first"]) == ("apple", 2, "rejected")
    assert two.prompt == (Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "A fruit?"))
    assert splits.report.sources[0].read_as == {"prompts cut into turns at <extra_id_1>": 1}
    (three,) = by_question(read(tmp_path, EXAMPLES["helpsteer3"][0]), "1 plus 1")
    assert (three.chosen, three.strength, three.category) == ("2", 3, "stem")
    assert three.rationales == ("The sum is 2.", "Response 2 is right.")


def test_styles_and_items_of_benchmarks_are_kept(tmp_path: Path) -> None:
    nine = by_question(read(tmp_path, EXAMPLES["rm_bench"][0]), "1 plus 1")
    styles = {(p.meta["chosen_style"], p.meta["rejected_style"]): (p.chosen, p.rejected) for p in nine}
    assert len(styles) == 9 and styles[0, 2] == ("2", "**3**") and styles[1, 0] == ("The sum is 2", "3")
    assert {p.meta["item"] for p in nine} == {"1"} and {p.category for p in nine} == {"math"}
    ties = by_question(read(tmp_path, EXAMPLES["best_of"][0]), "rainbow")
    assert {(p.meta["chosen_candidate"], p.meta["candidate"]) for p in ties} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {(p.meta["correct"], p.meta["incorrect"], p.meta["item"], p.category) for p in ties} == {
        (2, 2, "tied:1", "Ties")
    }
    rmb = by_question(read(tmp_path, EXAMPLES["rmb_best_of"][0]), "fruit")
    assert [(p.meta["item"], p.category, p.meta["incorrect"]) for p in rmb] == [("b1", "Helpfulness", 2)] * 2
    (judged,) = by_question(read(tmp_path, EXAMPLES["judgebench"][0]), "1 plus 1")
    assert (judged.category, judged.meta["subset"]) == ("mmlu-pro", "mmlu-pro-math")
    assert {(p.chosen, p.rejected) for p in read(tmp_path, EXAMPLES["ppe_correctness"][0]).test["set"]} == {
        ("2", "3"), ("2", "4"), ("4", "5"), ("6", "5"),
    }  # fmt: skip


@pytest.mark.parametrize(("ranking", "pairs"), [("best", 2), ("adjacent", 2), ("all", 3)])
def test_a_ranking_makes_the_pairs_that_are_asked_for(tmp_path: Path, ranking: str, pairs: int) -> None:
    found = by_question(read(tmp_path, EXAMPLES["ranked"][0], ranking=ranking), "fruit")
    assert len(found) == pairs and all(p.chosen != "brick" for p in found)
    assert {p.rejected for p in found if p.chosen == "apple"} >= {"an apple pie"}


LABELS = {
    "A": "first", "b": "second", "[[A]]": "first", "A>>B": "first", "B > A": "second", "A<B": "second",
    "Response 2": "second", "model_a": "first", "second": "second", "A=B": "tie", "both": "tie", "Tie": "tie",
}  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
def test_labels_say_first_second_or_tie(tmp_path: Path, label: str) -> None:
    row = {"question": "q", "response_1": "one", "response_2": "two", "label": label}
    splits_or_tie = json.dumps(row) + "\n" + json.dumps(row | {"question": "other", "label": "A"})
    chosen = {p.prompt[0].content: p.chosen for p in read(tmp_path, splits_or_tie).test["set"]}
    assert chosen.get("q") == {"first": "one", "second": "two", "tie": None}[LABELS[label]]


@pytest.mark.parametrize(("first_is", "expected"), [(0, {"0": "one", "1": "two"}), (1, {"1": "one", "2": "two"})])
def test_numbers_need_to_be_told_apart(tmp_path: Path, first_is: int, expected: dict[str, str]) -> None:
    row = {"response_a": "one", "response_b": "two"}
    rows = "\n".join(json.dumps(row | {"prompt": str(label), "label": label}) for label in (0, "1", 2.0))
    splits = read(tmp_path, rows, first_is=first_is)
    chosen = {str(int(float(p.prompt[0].content))): p.chosen for p in splits.test["set"]}
    assert chosen == expected and splits.report.refused == {"tie": 1}


def test_a_limit_takes_whole_items(tmp_path: Path) -> None:
    splits = read(tmp_path, EXAMPLES["rm_bench"][0], limit=20)
    assert len(splits.test["set"]) == 18 and len({p.meta["item"] for p in splits.test["set"]}) == 2


CALL = {"role": "assistant", "content": None}
ODD = [
    None, True, 0, -1, 7, 1.5, float("nan"), "", " ", "\u200b", "\ud83d", "x", "[", '[{"role": 1, "content": 2}]',
    10**400, "1e999999", [], [None], [[]], ["a"], ["a", None], [{}], {}, {"answer": None},
    {"role": "assistant", "content": "x"},
    [{"role": "user"}], [{"role": "user", "content": None}], [{"role": None, "content": "x"}], [[0]], [["a", "b"]],
    [{"role": "user", "content": []}], [{"role": "user", "content": ["x"]}],
    [{"from": ["x"], "value": "x"}], [[0, 99]],
    [{"answer": "x", "rank": None}], [{"answer": None, "rank": 1}], [[0, None]], [CALL | {"tool_calls": 5}],
    [CALL | {"tool_calls": ["x"]}], [CALL | {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_odd_values_give_pairs_that_can_be_written_or_a_reason_and_nothing_else(layout: str) -> None:
    row = json.loads(EXAMPLES[layout][0].splitlines()[0])
    for column in (*row, "system", "input", "tie", "score_chosen", "id", "meta", "category"):
        for odd in ODD:
            reader = PairReader(SourceConfig(path="x", layout=layout))
            try:
                pairs = reader.pairs(RawRow("file", 1, fields=row | {column: odd}))
            except (BadRow, DataError) as reason:
                assert str(reason)
                continue
            for pair in pairs:
                json.dumps([pair.chosen, pair.category, dict(pair.meta)], ensure_ascii=False).encode("utf-8")
