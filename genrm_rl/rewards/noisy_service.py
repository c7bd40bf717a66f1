"""A reward service whose judge is a verifier with known noise: rules at work in a real alignment, for benchmarks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np

from genrm_rl.choices import Rule
from genrm_rl.preferences.types import as_messages, content_hash
from genrm_rl.rewards.loopback import LoopbackServer
from genrm_rl.rewards.noisy import NoisyJudge
from genrm_rl.rewards.rules import canonical_order, next_matches, score, spread
from genrm_rl.rewards.types import REFERENCE, Mask

VERSION = "noisy-verifier"


class NoisyService(LoopbackServer):
    """Answers ``/healthz`` and ``/v1/rewards`` on a free loopback port; the quality of an answer is ``scale`` where
    ``verify(question, answer)``, else 0. What it says about two answers follows from their texts and ``seed``."""

    def __init__(self, judge: NoisyJudge, verify: Callable[[str, str], bool], *, scale: float, seed: int) -> None:
        self.judge, self.verify, self.scale, self.seed = judge, verify, scale, seed
        self.comparisons = 0
        self._lock = threading.Lock()
        super().__init__(_handler(self))

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """What ``/v1/rewards`` answers."""
        judgments: dict[str, dict[str, Any]] = {}
        groups = [self._group(group, body["rule"], judgments) for group in body["groups"]]
        with self._lock:
            self.comparisons += len(judgments)
        return {"judge_version": VERSION, "seconds": 0.0, "groups": groups, "judgments": list(judgments.values())}

    def _group(self, group: dict[str, Any], rule: Rule, judgments: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        question = as_messages(group["prompt"])[-1].content
        places = canonical_order(group["responses"], self.seed)
        texts = {place: group["responses"][indices[0]] for place, indices in enumerate(places)}
        texts[REFERENCE] = group["reference"] or ""
        outcomes: dict[tuple[int, int], float | None] = {}
        behind: dict[int, list[str]] = {place: [] for place in texts}
        while matches := next_matches(rule, len(places), outcomes):
            for match in matches:
                judgment = self._compare(question, texts[match[0]], texts[match[1]])
                outcomes[match] = judgment["p_a"]
                judgments[judgment["id"]] = judgment
                for place in match:
                    behind[place].append(judgment["id"])
        rewards = spread(places, score(rule, len(places), outcomes))
        names = spread(places, [behind[place] for place in range(len(places))])  # type: ignore[list-item,misc]
        return [
            {
                "reward": None if isinstance(value, Mask) else value,
                "mask": value if isinstance(value, Mask) else None,
                "judgments": ids,
            }
            for value, ids in zip(rewards, names, strict=True)
        ]

    def _compare(self, question: str, first: str, second: str) -> dict[str, Any]:
        name = content_hash(self.seed, question, first, second)
        p: float | None = 0.5
        if first != second:
            quality = np.array([[self.verify(question, text)] for text in (first, second)], dtype=float) * self.scale
            found = float(self.judge.judge(quality[0], quality[1], np.random.default_rng(int(name, 16)))[0])
            p = None if np.isnan(found) else found
        verdict = "unparseable" if p is None else "abstained" if p == 0.5 else "prefers_a" if p > 0.5 else "prefers_b"
        return {"id": name, "verdict": verdict, "p_a": p, "consistent": None if p is None else p != 0.5}


def _handler(service: NoisyService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Nothing on the terminal."""

        def do_GET(self) -> None:
            self.send(200, {"judge_version": VERSION})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send(200, service.reply(body)) if self.path == "/v1/rewards" else self.send(404, {"detail": "no"})

        def send(self, status: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler
