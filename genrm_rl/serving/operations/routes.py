"""Endpoints for people: the page, single judgments, and sums for those who run the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field

from genrm_rl.serving.contracts import StatsReply
from genrm_rl.serving.desk.open_desk import OpenDesk
from genrm_rl.serving.operations.recent import RecentReply, StoredJudgment
from genrm_rl.serving.operations.static_page import read_page
from genrm_rl.serving.wire import Text, Wire

PAGE = Path(__file__).parents[1] / "page.html"
routes = APIRouter(tags=["operation"])
open_routes = APIRouter(tags=["operation"])  # answered without the token


@open_routes.get("/", response_class=HTMLResponse, include_in_schema=False)
async def page() -> HTMLResponse:
    """The web page. It holds nothing; what it asks for needs the token that is typed into it."""
    text, headers = read_page(PAGE)
    return HTMLResponse(text, headers=headers)


class JudgeRequest(Wire):
    """``POST /v1/judge``."""

    checkpoint: Text = Field(description="absolute path of a finished checkpoint on the service's machines, or `base`")


class JudgeReply(Wire):
    """The judge that new calls go to."""

    judge_version: str


@routes.post("/v1/judge")
async def change_judge(body: JudgeRequest, desk: OpenDesk) -> JudgeReply:
    """Serve another judge from now on; answered when it has started. Calls before that are finished by the old one."""
    return JudgeReply(judge_version=await desk.judges.change(body.checkpoint))


@routes.post("/v1/judge/sleep")
async def sleep(desk: OpenDesk) -> JudgeReply:
    """Leave the GPUs of the judge to somebody else; answered when they are free. Judgments are refused until it is
    woken, and calls before that are answered first."""
    await desk.judges.sleep()
    return JudgeReply(judge_version=desk.judges.current.version)


@routes.post("/v1/judge/wake")
async def wake(desk: OpenDesk) -> JudgeReply:
    """Judge again: the GPUs are free."""
    desk.judges.wake()
    return JudgeReply(judge_version=desk.judges.current.version)


@routes.get("/v1/stats")
async def stats(desk: OpenDesk) -> StatsReply:
    """What was judged since the service started, and what the caches saved."""
    judge = desk.judges.current
    reply = desk.ledger.totals.reply(judge.version, desk.admission.pending)
    return reply.model_copy(update={"probe_gate": judge.probe_gate, "probe_gate_passed": judge.probe_gate_passed})


@routes.get("/metrics", response_class=Response)
async def metrics(desk: OpenDesk) -> Response:
    """Prometheus metrics: calls, masks, verdicts, ties, what is pending, tokens, latency."""
    return Response(desk.ledger.metrics.page(), media_type=CONTENT_TYPE_LATEST)


@routes.get("/v1/judgments")
async def recent(desk: OpenDesk, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> RecentReply:
    """The last judgments, newest first, whichever endpoint asked for them; each opens by its id."""
    return RecentReply(judgments=desk.ledger.recent.newest(limit))


@routes.get("/v1/judgments/{identifier}")
async def judgment(identifier: str, desk: OpenDesk) -> StoredJudgment:
    """One of the last judgments, whichever endpoint asked for it, with its texts and rationales."""
    found = desk.ledger.recent.get(identifier)
    if found is None:
        kept = desk.settings.recent_judgments
        raise HTTPException(404, f"no judgment has this id; the service remembers the last {kept} it gave")
    return found
