"""Commands of ``genrm-rl`` that show runs: live, side by side, and every judgment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrm_rl.cli_options import OVERRIDES, console
from genrm_rl.config.loading import load_config
from genrm_rl.config.watching import WatchConfig
from genrm_rl.settings_help import epilog

pages = typer.Typer()

Root = Annotated[str, typer.Option(help="folder of all run directories, or its URI")]


@pages.command(context_settings=OVERRIDES, epilog=epilog("watch"))
def watch(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="run directory, or run id")],
    root: Root = "runs",
) -> None:
    """A run's page while it goes on, in the browser, with alarms: missing rewards, null answers that win, KL, numbers
    that are none, a stall. Reads the run only."""
    settings = load_config(WatchConfig, None, context.args)
    from genrm_rl.pages.watch import watch_run

    watch_run(run, root, settings, console)


@pages.command(epilog=epilog("compare"))
def compare(
    runs: Annotated[list[str], typer.Argument(help="run directories or ids; RUN/turn2 is a turn of a loop")],
    root: Root = "runs",
    out: Annotated[Path, typer.Option(help="where to write the page")] = Path("comparison.html"),
) -> None:
    """Runs, or turns of a loop, side by side: figures with intervals, curves over each other, settings that differ."""
    from genrm_rl.pages.compare import compare_runs

    compare_runs(runs, root, out, console)


@pages.command("read", epilog=epilog("read"))
def read_judgments(run: Annotated[Path, typer.Argument(help="run directory of any job that judges")]) -> None:
    """Write every judgment of a run as pages to read, search and filter: reader/index.html, which needs no server."""
    from genrm_rl.reading.command import read_run

    read_run(run, console)


@pages.command(epilog=epilog("report"))
def report(run: Annotated[Path, typer.Argument(help="run directory, or run id")]) -> None:
    """Write the page of a finished run of any kind again, and print its table."""
    from genrm_rl.cli_report import show_report

    show_report(run, console)
