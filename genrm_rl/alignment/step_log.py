"""What an alignment says of itself while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.runtime.console import say
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import MetricSink


@dataclass(frozen=True)
class StepLog:
    """Steps of the run at ``path``, in files, metric sinks and lines."""

    path: Path
    sink: MetricSink
    console: Console

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        """The numbers of a step, which follow it in ``steps/`` and the sinks."""
        write_json(self.path / "steps" / f"{step:05d}" / "metrics.json", {"step": step, **row})
        self.sink.log(row, step)

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        say(self.console, text)
