"""A reward service that sleeps: the wire contract of ``/v1/rewards`` in a process of its own."""

from __future__ import annotations

import asyncio
import itertools

import ray
from aiohttp import web

VERSION = "simulated"


@ray.remote(num_cpus=0)
class SimulatedJudge:
    """Answers every group after ``seconds``; the reward of a response is its share of the group's longest."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._numbers = itertools.count()

    async def serve(self) -> str:
        """Begin to listen on a free loopback port; returns the address."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/healthz", self._health)
        app.router.add_post("/v1/rewards", self._rewards)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"judge_version": VERSION})

    async def _rewards(self, request: web.Request) -> web.Response:
        (group,) = (await request.json())["groups"]
        await asyncio.sleep(self._seconds)
        sizes = [len(response) for response in group["responses"]]
        judgment = {"id": f"j{next(self._numbers)}", "verdict": "prefers_a", "p_a": 0.9, "consistent": True}
        rewards = [{"reward": size / max(sizes), "mask": None, "judgments": [judgment["id"]]} for size in sizes]
        return web.json_response(
            {"judge_version": VERSION, "seconds": self._seconds, "groups": [rewards], "judgments": [judgment]}
        )
