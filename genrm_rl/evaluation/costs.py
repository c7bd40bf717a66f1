"""What training a judge cost, from the manifests of its run: tokens sampled, tokens trained on, optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.runtime.storage import is_complete, read_manifest

# What the stages are called whose traces a rationaliser learns from (see bootstrap/star.py).
KINDS = {"star_rationalizer": ("-rationalized",), "star_rationalizer_dpo": ("", "-rationalized")}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one method. Traces that several methods of a run learn from count for each of them."""

    sampled_tokens: float
    trained_tokens: float
    steps: float


def training_cost(run: Path, method: str) -> Cost | None:
    """The cost of a method in a run over all its rounds, or None if it trained nothing there."""
    checkpoints = sorted((run / "methods" / method).glob("round*/checkpoint"))
    facts = [read_manifest(path) for path in checkpoints if is_complete(path)]
    if not facts:
        return None
    own = sum(row.get("generated_tokens", 0) for row in facts)
    return Cost(
        own + sum(_selected_from(run, method, len(facts))),
        sum(row["trained_tokens"] for row in facts),
        sum(row["steps"] for row in facts),
    )


def mean_cost(runs: Sequence[Path], method: str) -> Cost | None:
    """Mean over runs (seeds)."""
    found = [cost for run in runs if (cost := training_cost(run, method)) is not None]
    if not found:
        return None
    rows = [(cost.sampled_tokens, cost.trained_tokens, cost.steps) for cost in found]
    return Cost(*(sum(values) / len(found) for values in zip(*rows, strict=True)))


def _selected_from(run: Path, method: str, rounds: int) -> Iterable[int]:
    """Tokens of the traces that each round of a STaR method selected from; nothing for other methods."""
    if not method.startswith("star_"):
        return
    for part in range(1, rounds + 1):
        for told in KINDS.get(method, ("", "-hard-rationalized")):
            name = f"part{part}{told}"
            found = sorted((run / "traces").glob(f"{method}-*-{name}")) or [run / "traces" / f"base-{name}"]
            yield from (read_manifest(path)["completion_tokens"] for path in found[:1] if is_complete(path))
