"""Clusters of several pretended nodes run in processes of their own: all other tests share one Ray of this machine."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrm_rl.runtime.ray_access import MODE, SEVERAL_MACHINES, TOKEN

HERE = Path(__file__).parent
CASE = '{"case"'  # Ray prints to standard output too


@pytest.fixture(scope="session")
def cases_of() -> Callable[[str], dict[str, dict[str, Any]]]:
    """Runs a module of this folder and returns what each of its cases saw, by name."""

    def run(module: str) -> dict[str, dict[str, Any]]:
        command = [sys.executable, str(HERE / f"{module}.py")]
        with tempfile.TemporaryDirectory(prefix="genrm-", dir="/tmp") as folder:  # Ray's sockets need a short path
            access = {MODE: "token", TOKEN: secrets.token_hex(32), SEVERAL_MACHINES: "0", "RAY_TMPDIR": folder}
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=os.environ | access)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(CASE)]
        return {line["case"]: line for line in lines}

    return run
