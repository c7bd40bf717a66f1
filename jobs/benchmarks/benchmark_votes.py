"""Votes saved by early stopping, at what accuracy, and the hit rate of the prefix cache.

    python jobs/benchmarks/benchmark_votes.py --serving.checkpoint runs/demo/methods/star_dpo/round1/checkpoint
    python jobs/benchmarks/benchmark_votes.py --pairs FILE \\
        --model.name smollm2 --model.max-context 2048 --judge.template mt_bench

Labelled comparisons of the controlled world are judged by the running service with ``--votes`` votes per order: once
with all of them, then with every error rate of ``--errors``. Votes are sampled with the same seeds each time, so the
verdicts differ by nothing but the stop.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.serving import ServeConfig
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.sources import load_sources
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json
from genrm_rl.serving.app import running_service
from genrm_rl.serving.replicas.judge_apps import judge_to_serve

CONFIG = Path(__file__).parents[1] / "configs" / "serve_tiny.yaml"
COUNTED = ("votes_asked", "votes_saved", "generated_tokens", "prompt_tokens", "cached_prompt_tokens")


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=200, help="labelled comparisons")
    parser.add_argument("--pairs", help="preference pair file instead of the task world's pairs (longer prompts)")
    parser.add_argument("--votes", type=int, default=16, help="votes per order at most")
    parser.add_argument("--errors", type=float, nargs="*", default=[0.0, 0.01, 0.05, 0.1], help="error rates")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_votes.json"), help="where figures go")
    arguments, overrides = parser.parse_known_args()
    config = load_config(ServeConfig, CONFIG, overrides)
    judge = judge_to_serve(config)
    origin = {"path": arguments.pairs} if arguments.pairs else {"world": "id"}
    data = DataConfig(test=(SourceConfig(**origin, limit=arguments.comparisons),))
    (pairs,) = load_sources(data, 0).test.values()
    found: dict[str, list[dict[str, Any]]] = {}
    with (
        ray_session(),
        running_service(config, judge) as address,
        httpx.Client(base_url=address, timeout=600) as client,
    ):
        for error in (None, *arguments.errors):
            found[str(error)] = judged(client, pairs, arguments.votes, error)
    rows = {name: summary(pairs, judgments, found["None"]) for name, judgments in found.items()}
    write_json(arguments.output, {"machine": machine(), "versions": versions(), "judge": judge.name, "results": rows})
    table = Table(
        "error rate", "accuracy", "verdict as with all votes", "votes saved", "tokens saved", "prefix cache hits"
    )
    for name, row in rows.items():
        shares = [f"{100 * row[key]:.1f} %" for key in ("accuracy", "same_verdict", "votes_saved", "tokens_saved")]
        hits = row["prefix_cache_hit_rate"]
        table.add_row(
            "all votes" if name == "None" else name, *shares, "none" if hits is None else f"{100 * hits:.1f} %"
        )
    Console().print(table)
    Console().print(f"{judge.name}, {len(pairs)} comparisons, {arguments.votes} votes per order; {arguments.output}")


def judged(
    client: httpx.Client, pairs: Sequence[PreferencePair], votes: int, error: float | None
) -> list[dict[str, Any]]:
    """Judgments in the order of ``pairs``, asked for in calls of eight."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(pairs), 8):
        shown = [pair.comparison() for pair in pairs[start : start + 8]]
        comparisons = [
            {
                "prompt": [asdict(message) for message in each.prompt],
                "response_a": each.response_a,
                "response_b": each.response_b,
            }
            for each in shown
        ]
        reply = client.post("/v1/judgments", json={"comparisons": comparisons, "votes": votes, "stop_error": error})
        reply.raise_for_status()
        found += reply.json()["judgments"]
    return found


def summary(
    pairs: Sequence[PreferencePair], judgments: Sequence[dict[str, Any]], whole: Sequence[dict[str, Any]]
) -> dict[str, float | None]:
    """Shares over all comparisons. A judgment that is a tie or no verdict counts as wrong."""
    right = sum(Verdict(each["verdict"]).slot == pair.label() for pair, each in zip(pairs, judgments, strict=True))
    same = sum(each["verdict"] == other["verdict"] for each, other in zip(judgments, whole, strict=True))
    total = {name: sum(each["cost"][name] for each in judgments) for name in COUNTED}
    tokens = sum(each["cost"]["generated_tokens"] for each in whole)
    return {
        "accuracy": right / len(pairs),
        "same_verdict": same / len(pairs),
        "votes_saved": total["votes_saved"] / (total["votes_asked"] + total["votes_saved"]),
        "tokens_saved": 1 - total["generated_tokens"] / tokens,
        "prefix_cache_hit_rate": total["cached_prompt_tokens"] / total["prompt_tokens"]
        if total["prompt_tokens"]
        else None,
    }


if __name__ == "__main__":
    main()
