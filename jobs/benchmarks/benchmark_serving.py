"""The service against the bare engine on the same comparisons, in one run: medians of alternating repeats.

    python jobs/benchmarks/benchmark_serving.py

Every comparison is judged once in both orders. Bare vLLM gets all requests at once in its own process; the service gets
them over HTTP in calls of ``--per-call`` comparisons. Also: what happens at ``--overload`` times the admitted load.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.serving import ServeConfig
from genrm_rl.generation import GenerationRequest
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.requests import both_orders, judge_requests
from genrm_rl.models import load_tokenizer
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import Comparison
from genrm_rl.rollout.bare_engine import BareEngine
from genrm_rl.rollout.settings import engine_settings
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.serving.app import running_service
from genrm_rl.serving.replicas.judge_apps import judge_to_serve

CONFIG = Path(__file__).parents[1] / "configs" / "serve_tiny.yaml"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=400, help="comparisons of one repeat")
    parser.add_argument("--per-call", type=int, default=8, help="comparisons of one HTTP call")
    parser.add_argument("--repeats", type=int, default=5, help="measured repeats of each side")
    parser.add_argument("--overload", type=int, default=4, help="times the admitted load that is sent at once")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_serving.json"), help="where figures go")
    arguments, overrides = parser.parse_known_args()
    config = load_config(ServeConfig, CONFIG, overrides)
    judge = judge_to_serve(config)
    results: dict[str, Any] = {}
    with ray_session(), running_service(config, judge) as address:
        results["throughput"] = measure_throughput(
            config, judge, address, arguments.comparisons, arguments.per_call, arguments.repeats
        )
        results["overload"] = asyncio.run(overload(config, address, arguments.overload, arguments.per_call))
    write_json(arguments.output, {"machine": machine(), "versions": versions(), "results": results})
    table = Table("what", "measured", "goal")
    table.add_row("service / bare vLLM", f"{results['throughput']['ratio']:.2f}x", ">= 0.85x")
    found = results["overload"]
    table.add_row(f"{arguments.overload}x overload", f"{found['answered']} answered, {found['refused']} refused", "")
    table.add_row("accepted and lost, or hanging", str(found["lost"]), "0")
    Console().print(table)
    Console().print(f"{machine()['cpu']}, {machine()['cores']} cores; {arguments.output}", highlight=False)


def world_comparisons(count: int, seed: int) -> list[Comparison]:
    """Comparisons of the controlled world, others for every seed."""
    config = DataConfig(test=(SourceConfig(world="id", limit=count),))
    (pairs,) = load_sources(config, seed).test.values()
    return [pair.comparison() for pair in pairs]


def measure_throughput(
    config: ServeConfig, judge: Judge, address: str, count: int, per_call: int, repeats: int
) -> dict[str, Any]:
    """Comparisons per second of both sides, in turns; the first turn of each is not counted."""
    settings = engine_settings(judge.path, config.rollout, config.model, "cpu")
    encoder = JudgeEncoder.from_config(load_tokenizer(judge.path), config.judge, config.model.max_context)
    rates: dict[str, list[float]] = {"service": [], "bare": []}
    with BareEngine(settings) as bare:
        for repeat in range(repeats + 1):
            comparisons = world_comparisons(count, seed=repeat)
            requests = bare_requests(comparisons, judge, encoder, config, repeat)
            for side in ("service", "bare") if repeat % 2 else ("bare", "service"):
                seconds = (
                    bare.generate(requests)[1]
                    if side == "bare"
                    else asyncio.run(call_all(address, comparisons, per_call))
                )
                if repeat:
                    rates[side].append(count / seconds)
    ratio = statistics.median(a / b for a, b in zip(rates["service"], rates["bare"], strict=True))
    return {"ratio": ratio, "comparisons_per_second": rates, "comparisons": count, "per_call": per_call}


def bare_requests(
    comparisons: list[Comparison], judge: Judge, encoder: JudgeEncoder, config: ServeConfig, repeat: int
) -> list[GenerationRequest]:
    """The generation requests that the service makes of the same comparisons."""
    asked = judge_requests(
        both_orders(comparisons),
        encoder,
        form=judge.form or "cot",
        judge_version=judge.version,
        purpose="serve",
        run_seed=config.seed,
        temperature=config.judge.temperature,
        top_p=config.judge.top_p,
    )
    return [replace(each.request, request_id=f"{repeat}/{each.request_id}") for each in asked]


async def call_all(address: str, comparisons: list[Comparison], per_call: int) -> float:
    """Seconds until every comparison is judged; all calls are sent at once."""
    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        begun = time.perf_counter()
        replies = await asyncio.gather(
            *(client.post("/v1/judgments", json=body) for body in bodies(comparisons, per_call))
        )
        seconds = time.perf_counter() - begun
    for reply in replies:
        reply.raise_for_status()
    return seconds


def bodies(comparisons: list[Comparison], per_call: int) -> list[dict[str, Any]]:
    """HTTP bodies of ``per_call`` comparisons each."""
    return [
        {
            "comparisons": [
                {"prompt": each.prompt[0].content, "response_a": each.response_a, "response_b": each.response_b}
                for each in batch
            ]
        }
        for batch in (comparisons[start : start + per_call] for start in range(0, len(comparisons), per_call))
    ]


async def overload(config: ServeConfig, address: str, times: int, per_call: int) -> dict[str, int]:
    """Send ``times`` as many comparisons at once as are admitted; count what became of the calls."""
    comparisons = world_comparisons(times * config.serving.max_pending, seed=99)
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=httpx.Limits(max_connections=None)) as client:

        async def call(body: dict[str, Any]) -> str:
            try:
                reply = await client.post("/v1/judgments", json=body)
            except httpx.HTTPError:
                return "lost"
            if reply.status_code == 503 and "retry-after" in reply.headers:
                return "refused"
            whole = reply.status_code == 200 and len(reply.json()["judgments"]) == len(body["comparisons"])
            return "answered" if whole else "lost"

        outcome = Counter(await asyncio.gather(*(call(body) for body in bodies(comparisons, per_call))))
    return {kind: outcome[kind] for kind in ("answered", "refused", "lost")}


if __name__ == "__main__":
    main()
