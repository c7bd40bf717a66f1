"""What people read: whole lines in a log, tables that fit 80 columns, few lines of progress."""

from __future__ import annotations

import io

import pytest

from genrm_rl.alignment.measure import probe_words
from genrm_rl.closed_loop.report import table as loop_table
from genrm_rl.evaluation.job import result_table
from genrm_rl.learners.events import FitProgress, progress_display
from genrm_rl.runtime.console import LogMarks, PeopleConsole, worth_a_line
from tests.unit.report_example import small_report

LONG = "the loop waits for labels of a comparison that nobody has seen " * 4


def printed(what: object, **settings: object) -> str:
    console = PeopleConsole(file=io.StringIO(), **settings)  # type: ignore[arg-type]
    console.print(what)
    return console.file.getvalue()  # type: ignore[union-attr]


def test_a_log_gets_whole_lines_and_a_terminal_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert printed(f"[red]{LONG}[/]") == LONG + "\n"
    assert printed(LONG, force_terminal=True, color_system=None).count("\n") > 3


def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m" in printed("[red]failed[/]", force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in printed("[red]failed[/]", force_terminal=True, color_system="standard")


def test_tables_keep_every_name_within_80_columns() -> None:
    change = {"before": 0.912, "after": 0.954, "difference": 0.042, "ci95": (-0.004, 0.083)}
    judge = {"set": "style_reversed", "decoding": "sampled", "ties": (0.15, 0.058), **change}
    loop = {
        "turns": [{"turn": 12, "policy": [{"set": "test_short", "decoding": "greedy", **change}], "judge": [judge]}]
    }
    figures = small_report().results[0].model_copy(update={"judge": "star_dpo", "test_set": "style_reversed"})
    for table, names in (
        (loop_table(loop), ("style_reversed, sampled", "+4.2 [−0.4, +8.3]", "15.0 to 5.8")),
        (result_table([figures], 80), ("star_dpo", "style_reversed", "accuracy", "folded")),
    ):
        shown = printed(table, width=80, force_terminal=True, color_system=None)
        assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
        assert all(name in shown for name in names), shown


def test_a_long_task_is_told_at_quarters_that_are_half_a_minute_apart() -> None:
    now = [0.0]
    marks, said = LogMarks(lambda: now[0]), []
    for done in range(1, 101):
        now[0] += 1.0
        if marks.due(done, 100):
            said.append(done)
    assert said == [30, 60, 90], "a quarter is told as soon as the last line is old enough, the end by who ends it"
    assert not any(LogMarks(lambda: 0.0).due(done, 100) for done in range(101))


def test_a_fit_is_two_lines_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_display("star_dpo/round1", True, ends=True) as draw:
        for step in range(1, 39):
            draw(FitProgress("star_dpo/round1", "training", step, 38, 6000.0, 38.0 - step, metrics={"loss": 0.25}))
    with progress_display("scores", True) as draw:
        draw(FitProgress("scores", "scoring", 3, 3, 10.0, 0.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "star_dpo/round1: starting workers",
        "star_dpo/round1: step 38/38, 6,000 tokens/s, loss 0.250",
    ]


def test_steps_of_a_long_loop_are_told_in_tenths_where_nobody_watches() -> None:
    log, terminal = PeopleConsole(file=io.StringIO()), PeopleConsole(file=io.StringIO(), force_terminal=True)
    assert [step for step in range(1, 96) if worth_a_line(step, 95, log)] == [
        1,
        9,
        18,
        27,
        36,
        45,
        54,
        63,
        72,
        81,
        90,
        95,
    ]
    assert all(worth_a_line(step, 95, terminal) for step in range(1, 96))


def test_probes_that_never_win_are_counted_not_listed() -> None:
    found = {"empty": {"wins": 3, "judged": 20}, "opener": {"wins": 0, "judged": 20}, "trace": {"wins": 0, "judged": 9}}
    assert probe_words(found) == "empty 3 of 20, 2 others never"
    assert probe_words({kind: row for kind, row in found.items() if not row["wins"]}) == "none of 2"
    assert probe_words({}) == "none could be judged"
