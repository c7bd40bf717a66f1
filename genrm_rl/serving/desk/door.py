"""Who may come in, decided from a call's head before a byte of its body is read.

The name that was called, then the token, then the client's allowance, then whether the service takes calls at all, and
whether the judge has room for one: under overload most calls are refused, and that must cost next to nothing.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from genrm_rl.config.serving import LOOPBACK, ServingConfig
from genrm_rl.serving.refusals import absent, later, unread

OPEN_PATHS = frozenset({"/", "/healthz", "/docs", "/openapi.json"})  # answered without the token
OPEN_BELOW = "/docs/"
# POSTs that are taken while the judge is busy
JUDGES_NOTHING = frozenset({"/v1/judge", "/v1/judge/sleep", "/v1/judge/wake", "/seed_session"})
MINUTE = 60.0
MOST_CLIENTS = 10_000  # whose allowance is remembered; the one that was silent longest is forgotten


class Doorkeeper:
    """The rules of one service and what it is doing now. ``calls`` are those that came in and were not answered yet;
    ``busy`` says why no further judgment is taken, empty if one is."""

    def __init__(self, settings: ServingConfig, token: str, busy: Callable[[], str] = str) -> None:
        self._settings = settings
        self._token = token
        self._busy = busy
        self._names = {*LOOPBACK, *settings.host_names} if settings.host in LOOPBACK else set(settings.host_names)
        self._allowances: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.calls = 0
        self.closed = ""  # why no new calls are taken, empty if they are

    def refused(self, scope: Scope) -> Response | None:
        """The refusal of this call, None if it may come in."""
        headers = Headers(scope=scope)
        name = host_name(headers.get("host", ""))
        if self._names and name not in self._names:
            return unread(
                421, f"this service is not called {name or 'nothing'}; call it by its address (serving.host_names)"
            )
        if is_open(scope):
            return None
        if self._token and not same_token(headers.get("authorization", ""), self._token):
            return unread(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        wait = self._wait_of((scope.get("client") or ("",))[0])
        if wait:
            most = self._settings.calls_per_minute
            return unread(429, f"one client may make {most} calls a minute (serving.calls_per_minute)", later(wait))
        if self.closed:
            return unread(503, self.closed, absent(self._settings.retry_after))
        full = "" if scope["method"] != "POST" or path_of(scope) in JUDGES_NOTHING else self._busy()
        if full:
            return unread(503, full, later(self._settings.retry_after))
        return None

    def _wait_of(self, client: str) -> float:
        """Seconds until ``client`` may call again, 0 for now: a bucket that holds a minute's calls and fills evenly."""
        most = self._settings.calls_per_minute
        if most is None:
            return 0.0
        now = time.monotonic()
        left, since = self._allowances.pop(client, (float(most), now))
        left = min(float(most), left + (now - since) * most / MINUTE)
        self._allowances[client] = (left - 1 if left >= 1 else left, now)
        if len(self._allowances) > MOST_CLIENTS:
            self._allowances.popitem(last=False)
        return 0.0 if left >= 1 else (1 - left) * MINUTE / most


class Door:
    """ASGI middleware: a call that :class:`Doorkeeper` refuses never reaches the application, nor does its body."""

    def __init__(self, app: ASGIApp, keeper: Callable[[], Doorkeeper]) -> None:
        self._app = app
        self._keeper = keeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        keeper = self._keeper()
        refused = keeper.refused(scope)
        if refused is not None:
            return await refused(scope, receive, send)
        if is_open(scope):
            return await self._app(scope, receive, send)
        keeper.calls += 1
        try:
            await self._app(scope, receive, send)
        finally:
            keeper.calls -= 1


def is_open(scope: Scope) -> bool:
    """Whether this path is for everybody: health, the page, and the schema, none of which says what was judged."""
    path = path_of(scope)
    return path in OPEN_PATHS or path.startswith(OPEN_BELOW)


def path_of(scope: Scope) -> str:
    """Of a call, below the prefix at which the service is mounted."""
    return scope["path"].removeprefix(scope.get("root_path", "")) or "/"


def same_token(header: str, token: str) -> bool:
    """Whether an Authorization header holds ``token`` under the scheme Bearer, in any case; compared in constant
    time."""
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def host_name(host: str) -> str:
    """The name in a Host header, without its port and in small letters."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
