"""What all drills share: the list of what was killed, and how long it took until the work went on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from genrm_rl.runtime.provenance import machine

RESULT = Path("runs/drills.json")
_recoveries: list[Recovery] = []


@dataclass(frozen=True)
class Recovery:
    """``seconds`` from the kill until the work that it interrupted went on."""

    killed: str
    during: str
    goes_on: str
    seconds: float


class Recoveries:
    """Where a drill writes down what it did."""

    def wait(self, killed: str, during: str, goes_on: str, until: Callable[[], object]) -> None:
        """Called right after the kill: wait for ``until`` and note how long that took."""
        began = time.monotonic()
        until()
        _recoveries.append(Recovery(killed, during, goes_on, round(time.monotonic() - began, 1)))


@pytest.fixture
def recoveries() -> Recoveries:
    return Recoveries()


@pytest.fixture(scope="session", autouse=True)
def keep_recoveries() -> Iterator[None]:
    """Write the list when the drills are over."""
    yield
    if _recoveries:
        RESULT.parent.mkdir(exist_ok=True)
        rows = [asdict(row) for row in _recoveries]
        RESULT.write_text(json.dumps({"machine": machine(), "recoveries": rows}, indent=1) + "\n", encoding="utf-8")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The list, for people."""
    if _recoveries:
        terminalreporter.section("recoveries")
        terminalreporter.write_line("| killed | during | goes on with | seconds |\n|---|---|---|---|")
        for row in _recoveries:
            terminalreporter.write_line(f"| {row.killed} | {row.during} | {row.goes_on} | {row.seconds:.1f} |")
