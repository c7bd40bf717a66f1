"""Where words for people go: a terminal, or a log, in which lines stay whole and long work says little."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleDimensions
from rich.table import Column, Table

LOG_WIDTH = 10_000  # characters: nothing is broken or cut in a log, tables are as wide as what they hold
QUARTERS = 4
STEP_LINES = 10  # of a loop in a log
LOG_EVERY_SECONDS = 30.0  # what ends sooner needs no progress in a log


class PeopleConsole(Console):
    """A rich console that never wraps or cuts where it does not write to a terminal. NO_COLOR and COLUMNS count as rich
    reads them."""

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        here = Console.size.fget(self)  # type: ignore[attr-defined]
        return here if self.is_terminal else ConsoleDimensions(LOG_WIDTH, here.height)


def people_console(*, stderr: bool = False) -> PeopleConsole:
    """A console on stdout, or on ``stderr``."""
    return PeopleConsole(stderr=stderr)


def say(console: Console, text: str) -> None:
    """One line for the person who watches."""
    console.print(text, highlight=False)


def say_on(console: Console) -> Callable[[str], None]:
    """What says lines on ``console``, for code that knows no console."""
    return functools.partial(say, console)


def say_whole(console: Console, text: str) -> None:
    """One line that holds a path or a command: a terminal breaks it, not rich, so it can be copied as one."""
    console.print(text, highlight=False, soft_wrap=True)


def people_table(*columns: str | Column, title: str | None = None) -> Table:
    """A table that fits 80 characters sooner than rich's own: one line under the head, no frame, and what is too long
    goes on in the next line instead of ending in dots."""
    found = [column if isinstance(column, Column) else Column(column, overflow="fold") for column in columns]
    return Table(*found, title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)


def number(name: str) -> Column:
    """A column of numbers, which are never broken."""
    return Column(name, justify="right", no_wrap=True)


def plain_log() -> None:
    """Ray colours what it passes on from its processes, also in files, unless it is told not to."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")


def worth_a_line(step: int, steps: int, console: Console) -> bool:
    """Whether it is told that ``step`` of ``steps`` is done: each on a terminal, in a log the first, the last and each
    tenth part."""
    every = max(1, steps // STEP_LINES)
    return console.is_terminal or step in (1, steps) or step % every == 0


class LogMarks:
    """Which moments of a long task are worth a line in a log: a new quarter, and at least half a minute since the last
    line. Estimates made there rest on a quarter of the work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = clock()
        self._quarter = 0

    def due(self, done: int, total: int) -> bool:
        """Whether ``done`` of ``total`` is one of them; if so it counts as said."""
        quarter = QUARTERS * done // total if total else 0
        now = self._clock()
        if quarter <= self._quarter or quarter == QUARTERS or now - self._said < LOG_EVERY_SECONDS:
            return False
        self._quarter, self._said = quarter, now
        return True
