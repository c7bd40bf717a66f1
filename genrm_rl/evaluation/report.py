"""report.json and report.html of a run directory: write, read, render again."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from genrm_rl.errors import RunDirectoryError
from genrm_rl.evaluation.headline import complete, failed_probes, headline, unbeaten
from genrm_rl.evaluation.html import render_html
from genrm_rl.evaluation.schema import SCHEMA_VERSION, Report
from genrm_rl.evaluation.terminal import comparison_grid, comparison_table
from genrm_rl.evaluation.view import judge_label
from genrm_rl.runtime.storage import write_atomic

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
__all__ = [
    "comparison_grid",
    "comparison_table",
    "load_report",
    "print_report",
    "render_report",
    "rerender",
    "write_report",
]


def write_report(run_dir: str | Path, report: Report) -> Path:
    """Write ``report.json`` and ``report.html`` into a run directory, atomically each; returns the page's path.

    Headline and cautions are computed from the rows here, so that they can't say anything else than the numbers.
    """
    report = complete(report)
    write_atomic(Path(run_dir) / REPORT_JSON, report.model_dump_json(indent=1) + "\n")
    return render_report(report, Path(run_dir) / REPORT_HTML)


def render_report(report: Report, path: str | Path) -> Path:
    """Write the page of a report to ``path``, atomically."""
    return write_atomic(path, render_html(report))


def load_report(run_dir: str | Path) -> Report:
    """Read ``report.json`` of a run directory. Raises RunDirectoryError if it is absent, broken or too old or new."""
    path = Path(run_dir) / REPORT_JSON
    if not path.is_file():
        raise RunDirectoryError(f"{path} does not exist; give the directory of a run that reached its report")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunDirectoryError(f"{path} is not JSON ({error}); resume the run to write it again") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path} has schema version {version}, this genrm_rl reads {SCHEMA_VERSION}; "
            "resume the run to write it again"
        )
    try:
        return Report.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunDirectoryError(f"{path}, {where}: {first['msg'].lower()}; resume the run to write it again") from error


def print_report(report: Report, console: Console, *, brief: bool = False) -> None:
    """The comparison table, and in red which judges fail the probe gate and which baselines were not beaten; ``brief``
    is the headline and the probe gate alone."""
    if brief:
        console.print(headline(report), highlight=False, markup=False)
    else:
        console.print(comparison_grid(report, width=console.width))
    for sentence in (*failed_probes(report), *(() if brief else unbeaten(report))):
        console.print(sentence, style="red", highlight=False, markup=False)
    passed = {row.judge for row in report.probes} - {row.judge for row in report.probes if not row.passed}
    if passed:
        names = ", ".join(judge_label(report, judge.name) for judge in report.judges if judge.name in passed)
        console.print(f"Probe gate passed: {names}.", highlight=False, markup=False)


def rerender(run_dir: str | Path, console: Console) -> Path:
    """Write the page again from ``report.json`` and print the comparison table; returns the page's path."""
    report = load_report(run_dir)
    path = write_report(run_dir, report)
    print_report(report, console)
    console.print(report.headline or "", highlight=False, markup=False)
    return path
