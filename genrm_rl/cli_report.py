"""`genrm-rl report` for every kind of run: the page again from what it holds, and the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.results import AGENTS_FILE, result_of
from genrm_rl.runtime.storage import read_json, write_atomic

PAGE = "report.html"


def show_report(run: Path, console: Console, root: Path = Path("runs")) -> None:
    """Write the page of a run (its directory, or its id below ``root``) again, and print what it came to. Raises
    RunDirectoryError for a run that has come to nothing yet."""
    folder = run if run.is_dir() else root / run
    if not folder.is_dir():
        raise RunDirectoryError(f"there is no run {str(run)!r} here or in {root}; give its directory")
    for name, show in (
        ("loop.json", _loop),
        ("report.json", _report),
        ("results.json", _judge),
        (AGENTS_FILE, _agent),
    ):
        if (folder / name).is_file():
            show(folder, console)
            made = folder / PAGE
            console.print(f"report: {made if made.is_file() else folder / name}", highlight=False, markup=False)
            return
    result = result_of(folder)
    if result in (None, PAGE):  # a page alone says nothing of its numbers
        raise RunDirectoryError(
            f"{folder} holds no figures yet; `genrm-rl status {folder}` says how far it is and how to go on"
        )
    console.print(f"{folder} has no figures; what it made is in {folder / result}", highlight=False, markup=False)


def _read(file: Path) -> Any:
    """Its JSON. Raises RunDirectoryError where it is none."""
    try:
        return read_json(file)
    except ValueError as problem:
        raise RunDirectoryError(f"{file} is not JSON ({problem}); resume the run to write it again") from problem


def _loop(folder: Path, console: Console) -> None:
    from genrm_rl.closed_loop import report as loop
    from genrm_rl.evaluation.report import load_report

    found, first = _read(folder / "loop.json"), folder / "turn1/bootstrap"
    write_atomic(folder / PAGE, loop.render(found, load_report(first) if (first / "report.json").is_file() else None))
    console.print(loop.table(found))


def _report(folder: Path, console: Console) -> None:
    """Alignments, agents and bootstraps all have a `report.json`."""
    from genrm_rl.agents import report as agents
    from genrm_rl.alignment import report as alignment
    from genrm_rl.evaluation.report import rerender

    found = _read(folder / "report.json")
    page = {"agent": agents, "alignment": alignment}.get(found.get("kind") if isinstance(found, dict) else None)
    if page is None:
        rerender(folder, console)
        return
    write_atomic(folder / PAGE, page.render(found))
    console.print(page.table(found))


def _judge(folder: Path, console: Console) -> None:
    from genrm_rl.evaluation.job import result_table
    from genrm_rl.evaluation.schema import ResultRow

    found = _read(folder / "results.json")
    rows = [ResultRow.model_validate(row) for row in (*found["results"], *found.get("baselines", ()))]
    console.print(result_table(rows, console.width))


def _agent(folder: Path, console: Console) -> None:
    from genrm_rl.agents.evaluation import table_of

    found = _read(folder / AGENTS_FILE)
    console.print(table_of(found["environments"], title=found["model"]))
