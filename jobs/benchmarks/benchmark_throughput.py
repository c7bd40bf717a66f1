"""Ratios against what anyone would write by hand, in one run: medians of alternating repeats.

    python jobs/benchmarks/benchmark_throughput.py --lengths-from /path/to/preferences/hh_helpful/train.jsonl.gz

Engine pool against bare vLLM, learner against a plain PyTorch loop, packed against padded batches, prompts that are
computed once for all their answers against once for each, and the seconds that a publication of SmolLM2's weights
takes. Prints one line per ratio and writes them with the machine to ``--output``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from genrm_rl.config import LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.models import ResolvedModel, resolve_model
from genrm_rl.rollout.benchmark import engine_ratio, publication_seconds
from genrm_rl.rollout.pool import EnginePool
from genrm_rl.runtime.provenance import machine, versions
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json

GOALS = {
    "engine pool / bare vLLM": 0.9,
    "learner / plain loop": 0.9,
    "packed / padded": 1.3,
    "prompts once / with each answer": 1.5,
}
PARTS = ("learner", "engine", "publication")
# Six answers per question: of the task world (questions of 20 tokens), and of real questions to a small model.
GROUPS = {
    "task world": {"questions": 40, "prompt": 20, "answer": 6},
    "longer": {"questions": 8, "prompt": 150, "answer": 60},
}


def main() -> None:
    """Measure everything that was asked for, print it, keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths-from", type=Path, help="preference file whose lengths the packing ratio uses")
    parser.add_argument("--model", default="tiny", help="model of the engine and learner ratios")
    parser.add_argument("--published", default="smollm2", help="model whose weights are published")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what is measured")
    parser.add_argument("--repeats", type=int, default=9, help="measured repeats of each side")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/benchmark_throughput.json"), help="where the figures go"
    )
    arguments = parser.parse_args()
    console = Console()
    model = resolve_model(ModelConfig(name=arguments.model))
    results: dict[str, Any] = {}
    if "learner" in arguments.parts:
        with ray_session():  # of its own: engines that shut down would take turns with the learner's threads
            results |= ray.get(
                ray.remote(num_cpus=2)(measure_learner).remote(model, arguments.lengths_from, arguments.repeats)
            )
    with ray_session():
        if "engine" in arguments.parts:
            results["engine pool / bare vLLM"] = measure_engine(model, arguments.repeats)
        if "publication" in arguments.parts:
            results["publication"] = measure_publication(arguments.published, arguments.repeats)
    write_json(arguments.output, {"machine": machine(), "versions": versions(), "results": results})
    console.print(as_table(results))
    console.print(f"{machine()['cpu']}, {machine()['cores']} cores; {arguments.output}", highlight=False)


def measure_engine(model: ResolvedModel, repeats: int) -> dict[str, Any]:
    """Pool against bare AsyncLLM on judge-sized requests."""
    rollout = RolloutConfig(kv_cache_gib=0.5)
    with EnginePool(model.path, rollout, ModelConfig(name=model.name)) as pool:
        found = engine_ratio(
            pool, vocabulary=model.vocab_size, count=400, prompt_tokens=60, max_tokens=40, repeats=repeats
        )
    return {
        "ratio": found.ratio,
        "ours_tokens_per_second": list(found.pool_tokens_per_second),
        "theirs_tokens_per_second": list(found.bare_tokens_per_second),
    }


def measure_learner(model: ResolvedModel, lengths_from: Path | None, repeats: int) -> dict[str, Any]:
    """Learner against a plain loop, and packed against padded; in a process of its own, because it imports
    DeepSpeed."""
    from genrm_rl.learners.benchmark import conversation_lengths, learner_ratio, packing_ratio, sharing_ratio

    learner = LearnerConfig()
    ratios = {"learner / plain loop": learner_ratio(model.path, learner, repeats=repeats)}
    for name, shape in GROUPS.items():
        found = sharing_ratio(model.path, learner, samples=6, repeats=repeats, **shape)
        ratios[f"{found.name}, {name}"] = found
    if lengths_from is not None:
        lengths = conversation_lengths(lengths_from, resolve_model(ModelConfig(name="smollm2")).path)
        ratios["packed / padded"] = packing_ratio(model.path, learner, lengths, repeats=repeats)
    return {
        name: {
            "ratio": found.ratio,
            "ours_tokens_per_second": found.ours_tokens_per_second,
            "theirs_tokens_per_second": found.theirs_tokens_per_second,
        }
        for name, found in ratios.items()
    }


def measure_publication(name: str, repeats: int) -> dict[str, Any]:
    """Seconds from pause to compared probe, and the share of the transfer alone."""
    config = ModelConfig(name=name, dtype="bfloat16")
    model = resolve_model(config)
    with EnginePool(model.path, RolloutConfig(kv_cache_gib=0.5), config) as pool:
        timing = publication_seconds(pool, model.path, repeats)
    receipt = timing.receipts[-1]
    return {
        "median_seconds": timing.median_seconds,
        "transfer_seconds": receipt.transfer_seconds,
        "probe_seconds": receipt.probe_seconds,
        "call_seconds": list(timing.call_seconds),
        "megabytes": receipt.bytes / 1e6,
        "mean_abs_difference_nats": receipt.probe.mean_abs_difference_nats,
    }


def as_table(results: dict[str, Any]) -> Table:
    """The ratios and the goal beside each."""
    table = Table("what", "measured", "goal")
    for name, found in results.items():
        if name == "publication":
            table.add_row("publication of weights", f"{found['median_seconds']:.2f} s", "< 2 s")
        else:
            table.add_row(name, f"{found['ratio']:.2f}x", f">= {GOALS[name.partition(',')[0]]}x")
    return table


if __name__ == "__main__":
    main()
