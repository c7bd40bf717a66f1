"""Scripted people at a labelling desk, who do over HTTP what the page does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

PATIENCE_SECONDS = 300.0  # against a hang, not a limit on speed
UNDONE = 17  # of so many labels, one is taken back and given again
Think = Callable[[str, dict[str, Any]], tuple[str, str]]  # from a person's name and what is shown: choice and reason


class Person:
    """One annotator, who remembers what the desk said that it kept: choices by task, as shown."""

    def __init__(self, name: str, address: str, token: str, think: Think) -> None:
        self.name, self.think = name, think
        self.kept: dict[str, str] = {}
        self.client = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=20)

    def ask(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Until the desk answers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                reply = self.client.request(method, path, json=body or None)
                reply.raise_for_status()
                return reply.json()
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"{self.name} got no answer"
                time.sleep(0.05)

    def work(self, most: int | None = None) -> None:
        """Label whatever the desk shows, until enough is there or this person has labelled ``most``."""
        view = self.ask("GET", "/api/next")
        while view["state"] != "done" and (most is None or len(self.kept) < most):
            if view["state"] == "wait":
                time.sleep(0.05)
                view = self.ask("GET", "/api/next")
                continue
            task = view["task"]
            choice, reason = self.think(self.name, task)
            said = {"task": task["id"], "choice": choice, "reason": reason, "seconds": 1.0}
            view = self.ask("POST", "/api/label", **said)
            if len(self.kept) % UNDONE == UNDONE - 1:
                assert self.ask("POST", "/api/undo", task=task["id"])["task"] == task
                view = self.ask("POST", "/api/label", **said)
            self.kept[task["id"]] = choice
