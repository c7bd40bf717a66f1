"""The live page over HTTP: a page that holds nothing, and one call that needs the token of its link; both only read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from genrm_rl.config.serving import LOOPBACK
from genrm_rl.errors import GenRMError
from genrm_rl.pages.live import Watcher
from genrm_rl.serving.desk.door import host_name, same_token
from genrm_rl.serving.operations.static_page import read_page
from genrm_rl.serving.refusals import unread

PAGE = Path(__file__).with_name("live.html")
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Named:
    """ASGI middleware: on loopback, a call by another name comes from a page of somebody else (DNS rebinding)."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._names = app, set(LOOPBACK) if host in LOOPBACK else set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] == "http" and self._names:
            name = host_name(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
            if name not in self._names:
                refusal = unread(421, f"this page is not called {name or 'nothing'}; open the link that watch printed")
                return await refusal(scope, receive, send)
        await self._app(scope, receive, send)


def watch_app(watcher: Watcher, token: str) -> Starlette:
    """For an ASGI server."""

    async def page(request: Request) -> Response:
        text, headers = read_page(PAGE)
        return HTMLResponse(text, headers={**headers, **PRIVATE})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def look(request: Request) -> Response:
        if not same_token(request.headers.get("authorization", ""), token):
            return _answer({"detail": "this link is not valid any more; open the one that watch printed last"}, 401)
        try:
            seen = await run_in_threadpool(watcher.look, request.query_params.get("run", ""))
        except (GenRMError, OSError, ValueError) as problem:
            return _answer({"detail": f"the run can't be read now: {problem}"}, 503)
        if seen is None:
            return _answer({"detail": "there is no run in this place (yet)"}, 404)
        same = seen.version == request.query_params.get("have")
        return _answer(
            {
                "version": seen.version,
                "label": seen.label,
                "state": seen.state,
                "alarms": seen.alarms,
                "runs": watcher.runs(),
                "html": None if same else seen.html,
                "every": watcher.config.page.every,
            }
        )

    routes = [
        Route("/healthz", health),
        Route("/api/look", look),
        Route("/", page),
        Route("/{within:path}report.html", page),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Named, host=watcher.config.page.host)])


def _answer(body: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(body, status, headers=PRIVATE)
