"""Fresh parts of the training pairs, one per iteration (paper, appendix A.3: three equal thirds)."""

from __future__ import annotations

from collections.abc import Sequence

from genrm_rl.config.plan import part_sizes
from genrm_rl.preferences.types import PreferencePair, content_hash


def cut_parts(pairs: Sequence[PreferencePair], iterations: int, seed: int) -> list[list[PreferencePair]]:
    """Disjoint parts in a seeded order; together they are all pairs."""
    shuffled = sorted(pairs, key=lambda pair: content_hash(seed, "part", pair.id))
    parts: list[list[PreferencePair]] = []
    start = 0
    for size in part_sizes(len(shuffled), iterations):
        parts.append(shuffled[start : start + size])
        start += size
    return parts
