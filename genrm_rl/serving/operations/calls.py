"""What is known of one HTTP call while it is answered, for the metrics and the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genrm_rl.preferences.types import Comparison

UNMATCHED = "unmatched"  # endpoint of a path that is no route; paths themselves would make a label without bound
LOST = 499  # status of a call whose client hung up, as nginx counts it


@dataclass
class Call:
    """One call. ``endpoint`` is the route's template, ``shown`` what was judged for it so far, by ``judge_version``."""

    method: str
    request_id: str
    endpoint: str = UNMATCHED
    status: int = LOST
    seconds: float = 0.0
    shown: list[Comparison] = field(default_factory=list)
    judge_version: str | None = None


_current: ContextVar[Call | None] = ContextVar("genrm_rl_call", default=None)


def current_call() -> Call | None:
    """The call that this coroutine, or the task that started it, works for. A cohort works for its first caller."""
    return _current.get()


class Observed:
    """ASGI middleware that hands every finished call to ``report``."""

    def __init__(self, app: ASGIApp, report: Callable[[Call], None]) -> None:
        self._app = app
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        call = Call(scope["method"], Headers(scope=scope).get("x-request-id", ""))
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        token = _current.set(call)
        try:
            await self._app(scope, receive, watched)
        except Exception:
            call.status = 500
            raise
        finally:
            _current.reset(token)
            call.seconds = time.perf_counter() - began
            call.endpoint = getattr(scope.get("route"), "path", UNMATCHED)
            self._report(call)
