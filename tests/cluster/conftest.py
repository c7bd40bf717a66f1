"""Clusters of several pretended nodes run in processes of their own: all other tests share one Ray of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CASE = '{"case"'  # Ray prints to standard output too


@pytest.fixture(scope="session")
def cases_of() -> Callable[[str], dict[str, dict[str, Any]]]:
    """Runs a module of this folder and returns what each of its cases saw, by name."""

    def run(module: str) -> dict[str, dict[str, Any]]:
        command = [sys.executable, str(HERE / f"{module}.py")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(CASE)]
        return {line["case"]: line for line in lines}

    return run
