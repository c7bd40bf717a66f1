"""A limit on the size of a request's body, kept before anything of it is parsed or collected."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 2**20


class BodyLimit:
    """ASGI middleware: a body above ``limit()`` bytes is answered with 413 and one sentence.

    A body whose ``Content-Length`` says so is refused unread; one that comes in chunks as soon as it passes the limit.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[], int]) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._limit()
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            refusal = JSONResponse({"detail": _sentence(limit)}, 413, headers={"Connection": "close"})
            return await refusal(scope, receive, send)
        return await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    """``receive`` that raises HTTPException 413 when more than ``limit`` bytes have come."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, _sentence(limit))
        return message

    return counted


def _sentence(limit: int) -> str:
    return f"the body is larger than the {limit / MIB:g} MiB that the service takes (serving.max_body_mib)"
