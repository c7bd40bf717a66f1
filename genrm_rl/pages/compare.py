"""``genrm-rl compare``: runs, or turns of loops, side by side, in the terminal and on one page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genrm_rl.config.watching import AlarmConfig
from genrm_rl.errors import ConfigError, RunDirectoryError
from genrm_rl.evaluation.charts import DASH, Chart, gate_chart, present
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.step_charts import CURVES, step_chart, step_points
from genrm_rl.evaluation.svg import SERIES
from genrm_rl.evaluation.view import points, points_interval, way
from genrm_rl.pages.figures import (
    Figure,
    agent_figures,
    alignment_figures,
    bootstrap_figures,
    difference,
    turn_figures,
)
from genrm_rl.pages.runs import find_run, label_of, report_of
from genrm_rl.runtime.results import settings_of
from genrm_rl.runtime.run_directory import flatten
from genrm_rl.runtime.storage import write_atomic

TURN = re.compile(r"turn(\d+)")
OWN = ("run.id", "run.root", "judge.run.id", "judge.run.root", "policy.run.id", "policy.run.root")  # always differ


@dataclass(frozen=True, slots=True)
class Compared:
    """One column: a run, or a turn of a loop. ``steps`` and ``rounds`` are its curves by their label."""

    label: str
    kind: str
    figures: Mapping[str, Figure]
    steps: Mapping[str, Sequence[Mapping[str, Any]]]
    rounds: Mapping[str, Sequence[Mapping[str, Any]]]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one column, and its difference to the first column on the same questions."""

    value: str
    interval: str = ""
    apart: str = ""
    apart_interval: str = ""
    way: str = "unclear"


def compare_runs(runs: Sequence[str], root: str, out: Path, console: Console) -> Path:
    """Print what differs, and write the page ``out``; returns it. Raises GenRMError for less than two or too many runs,
    and for one that is not there."""
    if not 2 <= len(runs) <= SERIES:
        raise ConfigError(
            f"compare takes 2 to {SERIES} runs or turns, and got {len(runs)}; name them one after another"
        )
    labels = [column_label(run, root) for run in runs]
    if len(set(labels)) < len(labels):  # the same id in two folders
        labels = list(runs)
    if len(set(labels)) < len(labels):
        raise ConfigError("a run is named twice; name each run or turn once")
    columns = [open_column(run, root, label) for run, label in zip(runs, labels, strict=True)]
    rows, settings = figure_rows(columns), differing_settings(columns)
    said = sentences(columns, rows)
    console.print(figure_table(columns, rows))
    for sentence in said:
        console.print(sentence, highlight=False, markup=False)
    if settings:
        console.print(settings_table(columns, settings))
    page = page_environment("genrm_rl.pages").get_template("compare.html.j2")
    text = page.render(columns=columns, rows=rows, settings=settings, charts=charts(columns), said=said)
    write_atomic(out, text)
    console.print(f"page: {out}", highlight=False, markup=False, soft_wrap=True)
    return out


def column_label(run: str, root: str) -> str:
    """What a run, or a turn, is called. Raises RunDirectoryError."""
    above, number = place_of(run)
    label = label_of(find_run(above, root))
    return f"{label}, turn {number}" if number else label


def place_of(run: str) -> tuple[str, int | None]:
    """The run, and the number of its turn if one is meant (``RUN/turn2``)."""
    above, _, last = run.rstrip("/").rpartition("/")
    turn = TURN.fullmatch(last)
    return (above, int(turn[1])) if turn and above else (run, None)


def open_column(run: str, root: str, label: str) -> Compared:
    """A run (its directory or id), or a turn of a loop. Raises RunDirectoryError."""
    run, number = place_of(run)
    path = find_run(run, root)
    if number is not None:
        return _turn(path, number, label)
    kind, report = report_of(path)
    if kind == "loop":
        figures, steps = {}, {}
        for each in report["turns"]:
            figures = turn_figures(path, each)  # those of the last turn
            steps[f"{label}, turn {each['turn']}"] = each["steps"]
        return Compared(label, kind, figures, steps, {}, flatten(settings_of(path)))
    if kind == "alignment":
        figures = alignment_figures(path, report, AlarmConfig().probe_wins)
    else:
        figures = agent_figures(path, report) if kind == "agent" else bootstrap_figures(path, report)
    steps = {label: report["steps"]} if "steps" in report else {}
    curve = report.get("learning_curve", ())
    rounds = {
        f"{label}, {method}": [row for row in curve if row["method"] == method]
        for method in dict.fromkeys(row["method"] for row in curve)
    }
    return Compared(label, kind, figures, steps, rounds, flatten(settings_of(path)))


def _turn(path: Path, number: int, label: str) -> Compared:
    kind, report = report_of(path)
    turns = {turn["turn"]: turn for turn in report["turns"]} if kind == "loop" else {}
    if number not in turns:
        raise RunDirectoryError(f"{path} has no turn {number} with anything finished; give another one, or the run")
    turn = turns[number]
    return Compared(label, "turn", turn_figures(path, turn), {label: turn["steps"]}, {}, flatten(settings_of(path)))


def figure_rows(columns: Sequence[Compared]) -> dict[str, list[Cell]]:
    """Every figure that a column has, with a cell for each column; what more of them have comes first."""
    names = list(dict.fromkeys(name for column in columns for name in column.figures))
    names.sort(key=lambda name: -sum(name in column.figures for column in columns))
    return {name: [_cell(name, column, columns[0]) for column in columns] for name in names}


def _cell(name: str, column: Compared, first: Compared) -> Cell:
    figure, base = column.figures.get(name), first.figures.get(name)
    if figure is None:
        return Cell(DASH)
    apart = None if column is first or base is None else difference(figure, base)
    if apart is None:
        return Cell(figure.value, figure.interval)
    return Cell(figure.value, figure.interval, points(apart[0]), points_interval(apart[1]), way(apart[1]))


def sentences(columns: Sequence[Compared], rows: Mapping[str, Sequence[Cell]]) -> list[str]:
    """Of every column but the first: in what it is clearly better or worse on the same questions or pairs."""
    found = []
    for place, column in enumerate(columns[1:], start=1):
        paired = {name: cells[place] for name, cells in rows.items() if cells[place].apart}
        if not paired:
            found.append(
                f"{column.label} and {columns[0].label} share no question or pair, so only intervals compare them."
            )
            continue
        parts = []
        for direction in ("better", "worse"):
            named = [
                f"{name.removesuffix(', %')} ({cell.apart} points, {cell.apart_interval})"
                for name, cell in paired.items()
                if cell.way == direction
            ]
            parts.append(f"{direction} in {'; '.join(named) or 'none'}")
        found.append(
            f"{column.label} beside {columns[0].label}: {' and '.join(parts)}, of {len(paired)} figures on the same "
            "questions or pairs."
        )
    return found


def differing_settings(columns: Sequence[Compared]) -> dict[str, list[str]]:
    """Dotted names of the settings in which the columns differ, with each one's value; a dash where there is none."""
    names = dict.fromkeys(name for column in columns for name in column.settings if name not in OWN)
    found = {}
    for name in names:
        values = [column.settings.get(name) for column in columns]
        if any(value != values[0] for value in values):
            found[name] = [str(column.settings.get(name, DASH)) for column in columns]
    return found


def charts(columns: Sequence[Compared]) -> list[Chart]:
    """The curves of all columns over each other."""
    steps = {label: rows for column in columns for label, rows in column.steps.items()}
    found = []
    for curve in CURVES:
        lines = {
            ", ".join(filter(None, (label, part))): points
            for label, rows in steps.items()
            for part, key in curve.keys.items()
            if (points := step_points(rows, key, curve.scale))
        }
        if lines and not (curve.rare and not any(y for points in lines.values() for _, y in points)):
            found.append(step_chart(curve, lines))
    rounds = {label: rows for column in columns for label, rows in column.rounds.items()}
    return present(*found, gate_chart(rounds))


def figure_table(columns: Sequence[Compared], rows: Mapping[str, Sequence[Cell]]) -> Table:
    """For the terminal: values, intervals in brackets, and the difference to the first column."""
    table = Table("figure", *(column.label for column in columns), title="side by side")
    for name, cells in rows.items():
        table.add_row(name, *(_words(cell) for cell in cells))
    return table


def _words(cell: Cell) -> str:
    interval = f" \\[{cell.interval}]" if cell.interval else ""
    return f"{cell.value}{interval}" + (f"\n{cell.apart} points ({cell.apart_interval})" if cell.apart else "")


def settings_table(columns: Sequence[Compared], rows: Mapping[str, Sequence[str]]) -> Table:
    """For the terminal."""
    table = Table("setting", *(column.label for column in columns), title="settings that differ")
    for name, values in rows.items():
        table.add_row(name, *values)
    return table
