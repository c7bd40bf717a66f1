"""A reverse proxy in front of a reward service that fails on purpose: for drills, never in the path of a real run.

Every call is first answered by the real service, and what it truly said is kept; then the caller gets that, or a fault.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

import httpx

from genrm_rl.preferences.types import as_messages, content_hash
from genrm_rl.rewards.loopback import LoopbackServer

# What a caller gets instead of the truth. The first five break the connection or the protocol below JSON.
FAULTS = (
    "503", "429", "502", "dropped", "cut_off", "late", "no_json", "other_shape", "too_few", "nan", "text_reward",
    "reward_and_mask", "unknown_mask", "no_judgment", "huge", "half_a_judgment", "version_409", "version_200", "masked",
    "engine_failed",
)  # fmt: skip
GroupKey = tuple[str, tuple[str, ...]]  # prompt id, responses


def group_key(prompt: str | list[dict[str, str]], responses: list[str]) -> GroupKey:
    """How a group is found again in a run's records."""
    turns = [[turn.role, turn.content] for turn in as_messages(prompt)]
    return content_hash(turns), tuple(responses)


@dataclass
class Truth:
    """What the service said about each group, call by call: its rewards, None where it masked."""

    rewards: dict[GroupKey, list[tuple[float | None, ...]]] = field(default_factory=dict)
    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    judgments: int = 0
    from_one_order: int = 0  # of these, with a P(A) although one order gave no verdict

    def add(self, asked: dict[str, Any], reply: dict[str, Any]) -> None:
        """Keep a true reply."""
        for group, found in zip(asked["groups"], reply["groups"], strict=True):
            key = group_key(group["prompt"], group["responses"])
            self.rewards.setdefault(key, []).append(tuple(entry["reward"] for entry in found))
        for judgment in reply["judgments"]:
            silent = {judgment["verdict_ab"], judgment["verdict_ba"]} - {"prefers_a", "prefers_b", "abstained"}
            self.judgments += 1
            self.from_one_order += bool(judgment["p_a"] is not None and judgment["votes"] and silent)


class FaultyProxy(LoopbackServer):
    """Listens on a free loopback port; a share ``rate`` of the calls of ``/v1/rewards`` gets a seeded fault."""

    def __init__(self, url: str, *, rate: float, seed: int, late_seconds: float) -> None:
        self.truth = Truth()
        self._rate = rate
        self._late_seconds = late_seconds
        self._random = random.Random(f"faults/{seed}")
        self._lock = threading.Lock()
        self._upstream = httpx.Client(base_url=url, timeout=600)
        super().__init__(_handler(self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._upstream.close()

    def forward(self, method: str, path: str, body: bytes) -> httpx.Response:
        """The real service's reply."""
        return self._upstream.request(method, path, content=body, headers={"Content-Type": "application/json"})

    def fault(self) -> str | None:
        """The next call's fault, or None. Drawn in the order in which calls arrive."""
        with self._lock:
            self.truth.calls += 1
            found = self._random.choice(FAULTS) if self._random.random() < self._rate else None
            if found:
                self.truth.faults[found] += 1
            return found

    def rewards(self, handler: Any, body: bytes) -> None:
        """Answer one call of ``/v1/rewards``."""
        fault = self.fault()
        asked = json.loads(body)
        if fault == "engine_failed":  # a deadline that no judge can keep: the service's own masks
            body = json.dumps(asked | {"deadline_seconds": 0.001}).encode()
        reply = self.forward("POST", "/v1/rewards", body)
        if reply.status_code != 200:
            return handler.send(reply.status_code, reply.content, dict(reply.headers))
        with self._lock:
            self.truth.add(asked, reply.json())
        if fault is None or fault == "engine_failed":
            return handler.send(200, reply.content)
        if fault == "dropped":
            return handler.drop()
        if fault == "cut_off":
            return handler.send(200, reply.content, cut=True)
        if fault == "late":
            time.sleep(self._late_seconds)
            return handler.send(200, reply.content)
        if fault in ("503", "429", "502"):
            return handler.send(int(fault), b'{"detail": "on purpose"}', {"Retry-After": "0.1"})
        if fault == "version_409":
            return handler.send(409, b'{"detail": "on purpose"}')
        return handler.send(200, spoiled(fault, reply.json()))


def spoiled(fault: str, reply: dict[str, Any]) -> bytes:
    """A true reply after something went wrong with it."""
    if fault == "no_json":
        return b"<html>502 Bad Gateway</html>"
    if fault == "other_shape":
        return json.dumps({"rewards": [0.5]}).encode()
    if fault == "version_200":
        return json.dumps(reply | {"judge_version": "another"}).encode()
    if fault == "half_a_judgment":
        bare = [{"id": judgment["id"]} for judgment in reply["judgments"]]
        return json.dumps(reply | {"judgments": bare}).encode()
    first, *others = reply["groups"][0]
    changes: dict[str, dict[str, Any]] = {
        "nan": {"reward": float("nan"), "mask": None},
        "huge": {"reward": 1e300, "mask": None},
        "text_reward": {"reward": "0.5", "mask": None},
        "reward_and_mask": {"reward": 0.5, "mask": "not_judged"},
        "unknown_mask": {"reward": None, "mask": "tired"},
        "no_judgment": {"reward": 0.5, "mask": None, "judgments": []},
        "masked": {"reward": None, "mask": "not_judged"},
    }
    group = others if fault == "too_few" else [first | changes[fault], *others]
    return json.dumps(reply | {"groups": [group]}).encode()


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Nothing on the terminal."""

        def do_GET(self) -> None:
            reply = proxy.forward("GET", self.path, b"")
            self.send(reply.status_code, reply.content)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/rewards":
                proxy.rewards(self, body)
            else:
                reply = proxy.forward("POST", self.path, body)
                self.send(reply.status_code, reply.content)

        def send(
            self, status: int, payload: bytes, headers: dict[str, str] | None = None, *, cut: bool = False
        ) -> None:
            self.send_response(status)
            if headers and "Retry-After" in headers:
                self.send_header("Retry-After", headers["Retry-After"])
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload[: len(payload) // 2] if cut else payload)
            if cut:
                self.drop()

        def drop(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.close()

    return Handler
