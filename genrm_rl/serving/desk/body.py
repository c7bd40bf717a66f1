"""A call's body, read whole before anything of it is parsed: in time, of a bounded size and of a bounded structure.

Parsing costs by the parts of a body (objects, lists, values), not by its bytes: half a million empty lists are one
megabyte and take a second. So parts are counted in the raw bytes, which costs milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrm_rl.config.serving import ServingConfig
from genrm_rl.serving.refusals import unread

MIB = 2**20
PARTS_OF_A_CALL = 1024
PARTS_PER_COMPARISON = 32  # more of them; a conversation of nine turns and two answers is one less


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Of one service: bytes, parts, and seconds until a body has come."""

    bytes: int
    parts: int
    seconds: float

    @classmethod
    def of(cls, settings: ServingConfig) -> BodyLimits:
        """From the settings."""
        parts = PARTS_OF_A_CALL + PARTS_PER_COMPARISON * settings.max_comparisons
        return cls(int(settings.max_body_mib * MIB), parts, settings.read_deadline)


class WholeBody:
    """ASGI middleware: the application gets a call's body in one piece, or not at all.

    413 for a body that is too large (unread if it says so itself), 408 for one that is late, 415 for one that is not
    declared as JSON, 422 for one that is no UTF-8.
    """

    def __init__(self, app: ASGIApp, limits: Callable[[], BodyLimits]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limits, headers = self._limits(), Headers(scope=scope)
        refused = _by_its_head(headers, limits)
        if refused is None:
            try:
                async with asyncio.timeout(limits.seconds):
                    found = await _read(receive, limits.bytes)
            except TimeoutError:
                found = unread(
                    408,
                    f"the body did not come within {limits.seconds:g} seconds (serving.read_deadline); send it again",
                )
            if found is None:
                return None  # the client hung up
            refused = found if isinstance(found, Response) else _by_its_structure(found, limits)
        if refused is not None:
            return await refused(scope, receive, send)
        await self._app(scope, _again(found, receive), send)


def _by_its_head(headers: Headers, limits: BodyLimits) -> Response | None:
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.bytes:
        return unread(413, _size_sentence(limits.bytes))
    if declared in ("", "0") and "transfer-encoding" not in headers:
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return None
    found = f"says Content-Type: {kind}" if kind else "has no Content-Type"
    return unread(415, f"the call {found}; send its JSON with the header `Content-Type: application/json`")


async def _read(receive: Receive, most: int) -> bytes | Response | None:
    """The body; a refusal as soon as it is larger than ``most`` bytes; None if the client hung up."""
    taken, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        taken.append(message.get("body", b""))
        size += len(taken[-1])
        if size > most:
            return unread(413, _size_sentence(most))
        if not message.get("more_body", False):
            return b"".join(taken)


def _by_its_structure(body: bytes, limits: BodyLimits) -> Response | None:
    if b"\0" in body:  # JSON in UTF-16 or UTF-32, whose parts can't be counted in bytes
        return unread(422, "the body is not JSON: it is not UTF-8 text")
    parts = count_parts(body, limits.parts)
    if parts > limits.parts:
        return unread(
            413,
            f"the body has more than {limits.parts:,} values, objects and lists, which is what the service takes "
            f"(serving.max_comparisons times {PARTS_PER_COMPARISON}); send less in one call",
        )
    return None


def count_parts(body: bytes, most: int) -> int:
    """Commas, brackets and braces of JSON outside of its strings: at least as many as it has values, but one.

    Exact for JSON up to its first mistake, where a parser stops too. Counting ends early above ``most``.
    """
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 4 * most:
        return 2 * most  # strings alone are too many: each is a key or a value
    outside = b"".join(plain.split(b'"')[::2])
    return sum(outside.count(mark) for mark in (b",", b"[", b"{"))


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive`` that begins with the whole body."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


def _size_sentence(most: int) -> str:
    return f"the body is larger than the {most / MIB:g} MiB that the service takes (serving.max_body_mib)"
