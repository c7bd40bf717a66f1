"""report.json: its schema, its file, its words, its terminal table."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from genrm_rl.errors import RunDirectoryError
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.examples import choose_examples
from genrm_rl.evaluation.headline import cautions, complete, headline
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.report import comparison_table, load_report, rerender, write_report
from genrm_rl.evaluation.schema import DifferenceRow, GateRow, JudgeInfo, Report
from genrm_rl.evaluation.schema_docs import schema_markdown
from genrm_rl.evaluation.view import duration, percent, points
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.types import PreferencePair
from tests.unit.report_example import small_report, suite

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> Report:
    return small_report()


def test_the_file_holds_the_whole_report(report, tmp_path):
    path = write_report(tmp_path, report)
    assert path.name == "report.html"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert load_report(tmp_path) == complete(report)
    row = json.loads((tmp_path / "report.json").read_text())["results"][0]
    assert {"n", "accuracy_strict", "accuracy_flexible", "right_in_both", "tie_rate", "ci95"} <= set(row)


def test_rendering_again_changes_nothing(report, tmp_path):
    write_report(tmp_path, report)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    output = io.StringIO()
    rerender(tmp_path, Console(file=output, width=120))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert "STaR-DPO" in output.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("{", "not JSON"),
        ("[]", "schema version None"),
        ('{"schema_version": 99}', "schema version 99, this genrm_rl reads 2"),
        ('{"schema_version": 2, "baseline": "x"}', "run: field required"),
    ],
)
def test_a_broken_report_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=message):
        load_report(tmp_path)


def test_numbers_that_are_none_and_unknown_fields_are_refused():
    fields = {"method": "m", "iteration": 1, "n": 5, "accuracy_strict": 0.5, "promoted": True}
    GateRow(**fields)
    with pytest.raises(ValidationError):
        GateRow(**(fields | {"accuracy_strict": float("nan")}))
    with pytest.raises(ValidationError):
        GateRow(**fields, acuracy=1.0)


def test_the_schema_document_is_current():
    committed = (REPOSITORY / "docs" / "report_schema.md").read_text(encoding="utf-8")
    assert committed == schema_markdown()
    for field in ("accuracy_flexible", "right_in_both", "tie_rate", "mcnemar_p", "limit_nats"):
        assert f"`{field}`" in committed


def test_the_headline_speaks_of_the_trained_judge_in_distribution(report):
    text = headline(report).replace("\u00a0", " ")
    # STaR-DPO sampled: RRRRF over 24 pairs is 20 R and 4 F: 44 of 48.
    assert text.startswith("On \u201cid\u201d (24 held-out pairs in both orders) STaR-DPO, sampled, judges 91.7 % [")
    assert "of 48 comparisons right, the untrained judge " in text
    assert "Bradley-Terry 100.0 %" in text


def test_the_headline_takes_the_judge_of_the_gate_not_the_best_on_the_test_set():
    suites = [suite(name, "id", "sampled", pattern) for name, pattern in (("llm_judge", "F"), ("a", "RF"), ("b", "R"))]
    curve = [
        GateRow(method=name, iteration=1, n=9, accuracy_strict=value, accuracy_folded=value, promoted=True)
        for name, value in (("a", 0.9), ("b", 0.8))
    ]
    judges = tuple(JudgeInfo(name=name, iteration=i) for name, i in (("llm_judge", 0), ("a", 1), ("b", 1)))
    shown = small_report(
        judges=judges, learning_curve=tuple(curve), results=tuple(summarise(rows, resamples=100) for rows in suites),
        differences=compare_all(suites, resamples=100),
    )  # fmt: skip
    assert " a, sampled, judges 75.0" in headline(shown).replace("\u00a0", " ")  # b has 100.0 on the test set


@pytest.mark.parametrize(
    ("name", "end"), [("star_dpo", "right."), ("llm_judge", "right. No trained judge was measured.")]
)
def test_the_headline_of_a_judge_that_stands_alone(name, end):
    alone = summarise(suite(name, "id", "sampled", "RF"), resamples=100)
    shown = small_report(
        baseline=name, judges=(JudgeInfo(name=name, iteration=1),), learning_curve=(), results=(alone,), differences=()
    )
    assert headline(shown).endswith(end)


def test_the_headline_does_not_hide_a_loss(report):
    def flip(row: DifferenceRow) -> DifferenceRow:
        return row.model_copy(update={"difference": -0.1, "ci95": (-0.2, -0.01)})

    worse = report.model_copy(update={"differences": tuple(flip(row) for row in report.differences)})
    assert "\u221210.0 points [\u221220.0, \u22121.0] (training made the judge worse)" in headline(worse)
    assert any("STaR-DPO is worse than the untrained judge in 3 of 3" in line for line in cautions(worse))


def test_cautions_name_refused_rounds_and_missing_verdicts(report):
    text = "\n".join(cautions(report)).replace("\u00a0", " ")
    assert "STaR-DPO: round 2 of 2 did not pass the gate" in text
    # RFWFN over 24 pairs: 4 without a verdict.
    assert "Untrained judge gives no verdict in up to 16.7 % of its judgments" in text
    assert "16.7 % unparseable" in text


def test_without_bad_news_there_are_no_cautions(report):
    good = report.model_copy(
        update={
            "differences": tuple(row for row in report.differences if row.ci95[0] > 0),
            "learning_curve": report.learning_curve[:2],
            "results": tuple(row for row in report.results if row.non_verdict_rate == 0),
        }
    )
    assert cautions(good) == ()


def test_the_terminal_table_is_plain_and_fits(report):
    for width in (80, 100, 120):
        lines = comparison_table(report, width=width).splitlines()
        assert max(len(line) for line in lines) <= width
        assert "\x1b" not in "".join(lines)
        assert any("STaR-DPO" in line and "91.7" in line for line in lines)
    assert any("91.7 [" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.219, "+21.9"), (-0.03, "\u22123.0"), (0.0, "0.0"), (-0.0004, "0.0"), (None, "\u2013")],
)
def test_points_are_always_signed(value, text):
    assert points(value) == text


def test_numbers_for_people():
    assert percent(None) == "\u2013"
    assert [duration(s).replace("\u00a0", " ") for s in (0.21, 12, 95, 3600, 7325)] == [
        "0.2 s", "12 s", "1 min 35 s", "1 h", "2 h 2 min",
    ]  # fmt: skip


def test_examples_take_the_outcomes_in_turn():
    pair = PreferencePair.create("q", "good", "bad")
    right = Verdict.of(pair.label())

    def make(index: int, verdict: Verdict, swapped: bool = False) -> Trace:
        return Trace(
            trace_id=f"t{index:02}", pair_id=pair.id, swapped=swapped, form="cot", text="", rationale="",
            verdict=verdict, p_a=None, prompt_token_ids=(), completion_token_ids=(), finish_reason="stop",
            judge_version="v", temperature=1.0, top_p=1.0, seed=0, sample_index=index,
        )  # fmt: skip

    traces = [make(i, right) for i in range(20)] + [make(20, right.swap()), make(21, Verdict.TRUNCATED)]
    traces.append(make(22, right, swapped=True))  # shown the other way round the same letter is wrong
    chosen = choose_examples([(pair, t) for t in traces], judge="j", limit=5, seed=0)
    assert [example.outcome for example in chosen] == ["right", "right", "wrong", "wrong", "non_verdict"]
    assert chosen == choose_examples([(pair, t) for t in reversed(traces)], judge="j", limit=5, seed=0)
    swapped = next(example for example in chosen if example.trace_id == "t22")
    assert {"A": swapped.response_a, "B": swapped.response_b}[swapped.label] == "good"
