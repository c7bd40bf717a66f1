"""What a person sees while engines generate: finished, tokens per second, time left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from genrm_rl.runtime.console import LogMarks, people_console


class GenerationProgress:
    """A bar on a terminal, few lines elsewhere (`LogMarks`), nothing without a label."""

    def __init__(self, label: str | None, total: int) -> None:
        self._label, self._total = label, total
        self._done = self._tokens = 0
        self._begun = time.monotonic()
        self._marks = LogMarks()
        self._console = people_console(stderr=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> GenerationProgress:
        if self._label and self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:,.0f} tok/s"), TimeRemainingColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=self._console)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._total, rate=0.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, results: int, tokens: int) -> None:
        """Count newly finished results and their generated tokens."""
        self._done += results
        self._tokens += tokens
        now = time.monotonic()
        rate = self._tokens / max(now - self._begun, 1e-6)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        elif self._label and self._marks.due(self._done, self._total):
            left = (now - self._begun) / self._done * (self._total - self._done)
            self._console.print(
                f"{self._label}: {self._done:,} of {self._total:,}, {rate:,.0f} tokens/s, about {left:.0f} s left",
                highlight=False,
            )
