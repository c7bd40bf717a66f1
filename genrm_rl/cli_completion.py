"""Completion of settings: after `genrm-rl align --ppo.` a shell that completes offers those of the section."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from genrm_rl.config.loading import describe
from genrm_rl.settings_help import SETTINGS


class CompletedCommand(TyperCommand):
    """A command whose completions are its options, and the settings of its configuration by their dotted names."""

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[Any]:
        """What can stand for ``incomplete``; settings only once a section is begun, there are hundreds."""
        found = super().shell_complete(ctx, incomplete)
        item = type(super().shell_complete(ctx, "--help")[0])  # of the click that typer carries
        if not incomplete.startswith("--") or self.name not in SETTINGS:
            return found
        names = [f"--{key.replace('_', '-')}" for key, *_ in describe(SETTINGS[self.name]())]
        if "." not in incomplete:
            names = list(dict.fromkeys(name.partition(".")[0] + ("." if "." in name else "") for name in names))
        return found + [item(name) for name in names if name.startswith(incomplete.replace("_", "-"))]
