"""What the commands of ``genrm-rl`` share: options, the console, and how a configuration is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrm_rl.config import RunConfig
from genrm_rl.config.loading import load_config
from genrm_rl.runtime.console import people_console

CONFIGS = Path(__file__).resolve().parents[1] / "jobs" / "configs"
OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
console = people_console()


def shipped(files: list[Path] | None) -> list[Path] | None:
    """Files as they were given; one of ``jobs/configs`` that is not here is the one that came with this package."""
    return files and [_shipped(file) for file in files]


def _shipped(file: Path) -> Path:
    own = CONFIGS / file.name
    return own if not file.exists() and file.parent == Path("jobs/configs") and own.is_file() else file


ConfigOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        help="YAML file, e.g. jobs/configs/bootstrap_tiny.yaml; given again: laid over it",
        callback=shipped,
    ),
]


def config_from(context: typer.Context, path: list[Path] | None) -> RunConfig:
    """The configuration of a command: file plus the dotted overrides that typer left over."""
    return load_config(RunConfig, path, context.args)
