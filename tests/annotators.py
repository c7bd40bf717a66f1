"""A labelling desk in a process of its own, and scripted people who do over HTTP what its page does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from genrm_rl.labelling.book import TOKENS
from genrm_rl.runtime.machine_checks import free_port

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


class DeskProcess:
    """``genrm-rl label`` of a file of comparisons in ``root``; started again, it is the same desk."""

    def __init__(self, root: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        self.comparisons, self.out = root / "comparisons.jsonl", root / "labels.jsonl"
        self.folder = root / "labels.jsonl.desk"
        self.comparisons.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        settings = {"port": self.address.rpartition(":")[2], "linger": 0.5, **settings}
        words = [word for key, value in settings.items() for word in (f"--desk.{key}", str(value))]
        self.command = [sys.executable, "-m", "genrm_rl.cli", "label", str(self.comparisons), "--out", str(self.out)]
        self.command += words

    def start(self) -> subprocess.Popen[str]:
        """A process whose desk is open."""
        process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not is_open(self.address):
            assert process.poll() is None and process.stdout is not None, process.stdout.read()
            time.sleep(0.1)
        return process

    def tokens(self) -> dict[str, str]:
        """The secret of each link."""
        return json.loads((self.folder / TOKENS).read_text(encoding="utf-8"))

    def rows(self) -> list[dict[str, Any]]:
        """What it wrote when it closed."""
        return [json.loads(line) for line in self.out.read_text(encoding="utf-8").splitlines()]


def is_open(address: str) -> bool:
    """Whether a desk answers there."""
    try:
        return httpx.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False
