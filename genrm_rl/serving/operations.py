"""Endpoints for people who run the service."""

from __future__ import annotations

from fastapi import APIRouter

from genrm_rl.serving.contracts import StatsReply
from genrm_rl.serving.desk import OpenDesk

routes = APIRouter(tags=["operation"])


@routes.get("/v1/stats")
async def stats(desk: OpenDesk) -> StatsReply:
    """What was judged since the service started, and what the caches saved."""
    return desk.ledger.totals.reply(desk.served.version, desk.admission.pending)
