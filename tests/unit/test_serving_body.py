"""Bodies are read whole, in time and of a bounded size and structure, before anything of them is parsed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.serving.desk.body import BodyLimits, WholeBody, count_parts

LIMITS = BodyLimits(bytes=1000, parts=50, seconds=0.2)
JSON = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")


def application() -> FastAPI:
    app = FastAPI()
    app.add_middleware(WholeBody, limits=lambda: LIMITS)

    @app.post("/")
    async def size(request: Request) -> int:
        return len(await request.body())

    return app


def post(chunks: Iterable[bytes], *headers: tuple[bytes, bytes], ends: bool = True) -> tuple[int, object, int]:
    """Status, JSON of the reply, and how many chunks the application took. Without ``ends`` the rest never comes."""
    waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if ends:
        waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[dict] = []
    offered = len(waiting)

    async def receive() -> dict:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": list(headers)}
    asyncio.run(application()(scope, receive, send))
    closes = (b"connection", b"close") in sent[0]["headers"]
    assert closes == (sent[0]["status"] != 200), "what is left of a body that was not read must not be the next call"
    return sent[0]["status"], json.loads(sent[1]["body"]), offered - len(waiting)


@pytest.mark.parametrize("size", [0, 1, LIMITS.bytes])
def test_what_fits_is_read(size: int) -> None:
    assert post([b"x" * size], (b"content-length", str(size).encode()), JSON)[:2] == (200, size)
    assert post([b"x"] * size, CHUNKED, JSON)[:2] == (200, size)


def test_a_declared_size_is_refused_unread() -> None:
    status, reply, taken = post([b"x" * 10] * 200, (b"content-length", b"2000"))
    assert (status, taken) == (413, 0)
    assert "larger than the 0.000953674 MiB" in reply["detail"]


@pytest.mark.parametrize("header", [(CHUNKED,), ((b"content-length", b"5"),)])
def test_chunks_are_refused_at_the_limit_whatever_the_header_says(header: tuple) -> None:
    status, reply, taken = post([b"x" * 100] * 1000, *header, JSON)
    assert (status, taken) == (413, 11)
    assert "serving.max_body_mib" in reply["detail"]


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    status, reply, taken = post([b"{"], (b"content-length", b"1000"), JSON, ends=False)
    assert (status, taken) == (408, 1) and "serving.read_deadline" in reply["detail"]


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ((), "has no Content-Type; send its JSON with the header `Content-Type: application/json`"),
        (((b"content-type", b"application/x-www-form-urlencoded"),), "says Content-Type: application/x-www-form"),
        (((b"content-type", b"text/plain; charset=utf-8"),), "says Content-Type: text/plain;"),
    ],
)
def test_the_missing_content_type_is_named(header: tuple, says: str) -> None:
    status, reply, taken = post([b"{}"], (b"content-length", b"2"), *header)
    assert (status, taken) == (415, 0) and says in reply["detail"]


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/problem+json"])
def test_json_by_any_of_its_names_is_read(kind: bytes) -> None:
    assert post([b"{}"], (b"content-length", b"2"), (b"content-type", kind))[:2] == (200, 2)


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,", b'"",', b'{"a":1},', b"[" * 3, b'"a":'])
def test_many_parts_are_refused_unparsed_however_short(part: bytes) -> None:
    status, reply, _ = post([b"[" + part * (LIMITS.bytes // len(part) - 1)], CHUNKED, JSON)
    assert status == 413 and "values, objects and lists" in reply["detail"]


def test_a_text_may_look_like_json() -> None:
    text = json.dumps([",[{" * 80, '"' * 80, "\\" * 80, '\\",[' * 40]).encode()
    assert post([text], CHUNKED, JSON)[:2] == (200, len(text))


def test_parts_can_not_hide_in_another_encoding() -> None:
    for name in ("utf-16", "utf-32-le"):
        status, reply, _ = post([json.dumps(['"', [[]]]).encode(name)], CHUNKED, JSON)
        assert status == 422 and "not UTF-8" in reply["detail"]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='",[]{}\\:a'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='",[]{}\\a'), inner),
    max_leaves=30,
)


def commas_and_openings(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(map(commas_and_openings, inner))


@given(VALUES, st.booleans())
def test_parts_are_those_of_the_value(value: object, ascii_only: bool) -> None:
    assert count_parts(json.dumps(value, ensure_ascii=ascii_only).encode(), 10_000) == commas_and_openings(value)
