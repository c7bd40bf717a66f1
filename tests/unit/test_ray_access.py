"""Nobody but its owner gets into a Ray that was started here."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrm_rl.runtime.entries import target_of, try_entries
from genrm_rl.runtime.ray_access import MODE, SEVERAL_MACHINES, TOKEN, TOKEN_PATH, knock, own_access

SESSION = """
import sys
from genrm_rl.runtime.session import ray_session
with ray_session() as session:
    print(session.address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner() -> Iterator[int]:
    """Process id of a session's driver, without the engines and services that other tests have started in theirs."""
    with subprocess.Popen([sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        yield process.pid
        process.stdin.close()


def test_strangers_get_in_by_no_kind_of_entry(owner: int):
    target = target_of(owner)
    entries = try_entries(target)
    assert [where for entry in entries for where in entry.entered] == []
    assert len(entries) == 6 and all(entry.refused for entry in entries), entries
    assert all(door.host in ("127.0.0.1", "::1") for door in target.doors), target.doors


def test_the_owner_gets_in(ray_cluster):
    assert knock(ray_cluster.address) == "welcome"


def test_the_token_is_new_and_for_this_account_alone(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(TOKEN, "the user's, for a cluster")
    tokens = set()
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        before = dict(os.environ)
        with own_access(folder):
            file = Path(os.environ[TOKEN_PATH])
            assert stat.S_IMODE(file.stat().st_mode) == 0o600 and file.parent == folder
            assert TOKEN not in os.environ and os.environ[MODE] == "token" and os.environ[SEVERAL_MACHINES] == "0"
            tokens.add(file.read_text())
        assert dict(os.environ) == before
    assert len(tokens) == 2 and all(len(token) == 64 for token in tokens)
