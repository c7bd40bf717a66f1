"""A service that is told to end with calls under way: all of them are answered, and new ones are told why not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from genrm_rl.runtime.machine_checks import free_port

UNDER_WAY = 6


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """`genrm-rl serve` in a process of its own, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "genrm_rl.cli", "serve", "--serving.port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"GENRM_RL_TOKEN": ""})
    yield process, f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
def test_what_was_accepted_is_answered(service: tuple[subprocess.Popen, str], number: signal.Signals) -> None:
    process, address = service
    statuses, late = asyncio.run(ended(process, address, number))
    assert statuses == [200] * UNDER_WAY
    assert late.status_code == 503 and int(late.headers["retry-after"]) >= 1
    assert process.wait() == 0


async def ended(process: subprocess.Popen, address: str, number: signal.Signals) -> tuple[list[int], httpx.Response]:
    """Statuses of the calls under way, and the answer to one that came afterwards."""
    async with httpx.AsyncClient(base_url=address, timeout=600) as http:
        while not await healthy(http):
            assert process.poll() is None
            await asyncio.sleep(0.2)
        calls = [asyncio.create_task(http.post("/v1/judgments", json=body(call))) for call in range(UNDER_WAY)]
        while f"genrm_rl_open_calls {UNDER_WAY + 1}.0" not in (await http.get("/metrics")).text:
            await asyncio.sleep(0.05)
        process.send_signal(number)
        while await healthy(http):
            await asyncio.sleep(0.05)
        late = await http.post("/v1/judgments", json=body(UNDER_WAY))
        return [reply.status_code for reply in await asyncio.gather(*calls)], late


async def healthy(http: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await http.get("/healthz")).status_code == 200
    return False


def body(call: int) -> dict[str, object]:
    """A call that takes seconds."""
    pairs = [{"prompt": f"sort cab {call} {n}", "response_a": "abc", "response_b": "cba"} for n in range(16)]
    return {"comparisons": pairs, "votes": 16}
