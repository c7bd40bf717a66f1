"""Bodies that are too large are refused before they are read, whether they say their size or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from fastapi import FastAPI, Request

from genrm_rl.serving.body_limit import BodyLimit

LIMIT = 1000


def application() -> FastAPI:
    app = FastAPI()
    app.add_middleware(BodyLimit, limit=lambda: LIMIT)

    @app.post("/")
    async def size(request: Request) -> int:
        return len(await request.body())

    return app


def post(chunks: Iterable[bytes], *headers: tuple[bytes, bytes]) -> tuple[int, object, int]:
    """Status, JSON of the reply, and how many chunks the application took."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict] = []
    offered = len(waiting)

    async def receive() -> dict:
        return waiting.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": list(headers)}
    asyncio.run(application()(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), offered - len(waiting)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
def test_what_fits_is_read(size: int) -> None:
    assert post([b"x" * size], (b"content-length", str(size).encode()))[:2] == (200, size)
    assert post([b"x"] * size)[:2] == (200, size)


def test_a_declared_size_is_refused_unread() -> None:
    status, reply, taken = post([b"x" * 10] * 200, (b"content-length", b"2000"))
    assert (status, taken) == (413, 0)
    assert "larger than the 0.000953674 MiB" in reply["detail"]


@pytest.mark.parametrize("header", [(), ((b"content-length", b"5"),), ((b"transfer-encoding", b"chunked"),)])
def test_chunks_are_refused_at_the_limit_whatever_the_header_says(header: tuple) -> None:
    status, reply, taken = post([b"x" * 100] * 1000, *header)
    assert (status, taken) == (413, 11)
    assert "serving.max_body_mib" in reply["detail"]
