"""What runs in the processes of Serve's HTTP proxies: patience with slow callers, and words where Serve has none.

Serve's proxy answers before the service is deployed, and while its ingress is replaced, in its own words ("Path not
found", an empty 500). A client that comes early has to be told to wait instead.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import uvicorn.config
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from genrm_rl.serving.refusals import absent, later, refusal

ABSENT = (404, 503)  # Serve's statuses, in plain text, for a service that is not there; its own errors are JSON
WAIT_SECONDS = 2.0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, but a connection on which no whole head of a call comes within ``deadline`` seconds is closed:
    uvicorn itself waits for ever for the first one."""

    deadline: ClassVar[float] = 20.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._expect()

    def on_message_begin(self) -> None:
        """The first byte of a call."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """The head is here; the body has a deadline of its own (:class:`genrm_rl.serving.desk.body.WholeBody`)."""
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.deadline, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class Threshold:
    """ASGI middleware around Serve's proxy: 503 with ``Retry-After`` where the service is not there, yet or just now,
    and 502 for a call that was lost with its ingress."""

    def __init__(self, app: ASGIApp, deadline: float) -> None:
        self._app = app
        # Serve makes uvicorn's configuration itself, after its middlewares and with the protocol of this name.
        PatientProtocol.deadline = deadline
        uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{PatientProtocol.__name__}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http" or scope["path"].startswith("/-/"):
            return await self._app(scope, receive, send)
        started = missing = False

        async def watched(message: Message) -> None:
            nonlocal started, missing
            if message["type"] == "http.response.start":
                started = True
                plain = Headers(raw=list(message["headers"])).get("content-type", "").startswith("text/plain")
                missing = plain and message["status"] in ABSENT
            if not missing:
                await send(message)

        await self._app(scope, receive, watched)
        if missing:
            reply = refusal(503, "the service is not there: it starts, or has stopped; ask again", absent(WAIT_SECONDS))
            await reply(scope, receive, send)
        elif not started:
            reply = refusal(502, "the service lost this call; ask again", later(WAIT_SECONDS))
            await reply(scope, receive, send)


def threshold(deadline: float) -> Middleware:
    """As Serve takes it."""
    return Middleware(Threshold, deadline=deadline)
