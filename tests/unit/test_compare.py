"""`genrm-rl compare`: figures side by side, differences on the same questions, settings that differ."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from genrm_rl.errors import ConfigError, RunDirectoryError
from genrm_rl.pages.compare import charts, compare_runs, differing_settings, figure_rows, open_column
from tests.unit import run_examples


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared")
    run_examples.alignment(root / "slow", {"ppo": {"learning_rate": 1e-6}})
    run_examples.alignment(root / "fast", {"ppo": {"learning_rate": 1e-4}, "run": {"id": "fast"}}, right=12)
    run_examples.loop(root / "loop")
    return root


def test_the_same_questions_are_compared_one_by_one(root):
    columns = [open_column(name, str(root), name) for name in ("slow", "fast")]
    first, second = figure_rows(columns)["right answers, test_short, sampled, %"]
    assert (first.value, first.apart) == ("83.3", "")
    # 8 of 24 questions are lost and none is won
    assert (second.value, second.apart, second.way) == ("50.0", "\u221233.3", "worse")
    assert differing_settings(columns) == {"ppo.learning_rate": ["1e-06", "0.0001"]}
    reward = next(chart for chart in charts(columns) if chart.name == "step-reward")
    assert reward.columns == ("step", "slow", "fast")


def test_a_turn_stands_beside_a_run_and_what_one_lacks_is_a_dash(root):
    columns = [open_column(name, str(root), name) for name in ("slow", f"{root}/loop/turn1")]
    rows = figure_rows(columns)
    assert [cell.value for cell in rows["new judge at the gate"]] == ["\u2013", "served"]
    same = rows["right answers, test_short, sampled, %"][1]
    assert (same.value, same.apart, same.way) == ("83.3", "0.0", "unclear")


def test_evaluations_are_compared_pair_by_pair(tmp_path):
    columns = [open_column(str(run_examples.evaluated(tmp_path / name)), str(tmp_path), name) for name in "ab"]
    cells = figure_rows(columns)["right judgments, STaR-DPO on id, greedy, %"]
    assert [cell.value for cell in cells] == ["87.5", "87.5"] and cells[1].apart == "0.0"


def test_policies_are_compared_task_by_task(tmp_path):
    runs = {
        name: run_examples.agents_evaluated(tmp_path / name, marks) for name, marks in (("a", "SSFFM"), ("b", "SSSFS"))
    }
    columns = [open_column(str(run), str(tmp_path), name) for name, run in runs.items()]
    cells = figure_rows(columns)["successful episodes, test, %"]
    # the fifth task is known of one of them only
    assert [cell.value for cell in cells] == ["50.0", "80.0"] and cells[1].apart == "+25.0"


def test_the_terminal_and_the_page_say_the_same(root, tmp_path):
    console = Console(file=io.StringIO(), width=150)
    page = compare_runs(["slow", "fast"], str(root), tmp_path / "page.html", console).read_text(encoding="utf-8")
    assert "fast beside slow: better in none and worse in right answers, test_short, sampled (\u221233.3 points" in page
    for words in ("\u221233.3", "83.3", "ppo.learning_rate", "0.0001"):
        assert words in page
        assert words in console.file.getvalue()


@pytest.mark.parametrize(
    ("runs", "problem", "words"),
    [
        (["slow"], ConfigError, "2 to 8"),
        (["slow", "slow"], ConfigError, "named twice"),
        (["slow", "gone"], RunDirectoryError, "there is no run 'gone'"),
        (["slow", "loop/turn2"], RunDirectoryError, "no turn 2"),
    ],
)
def test_what_can_not_be_compared_is_refused(root, tmp_path, runs, problem, words):
    with pytest.raises(problem, match=words):
        compare_runs(runs, str(root), tmp_path / "page.html", Console(quiet=True))
