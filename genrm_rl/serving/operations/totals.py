"""What the service has judged so far, and what that took."""

from __future__ import annotations

from collections.abc import Iterable

from genrm_rl.serving.contracts import Cost, Judged, StatsReply


class Totals:
    """Sums over all judgments that were returned, whichever endpoint asked for them."""

    def __init__(self) -> None:
        self._judgments = 0
        self._cached = 0
        self._cost = Cost()

    def add(self, found: Iterable[Judged]) -> None:
        """Count judgments that a replica returned."""
        for judged in found:
            self._judgments += 1
            self._cached += judged.cached
            self._cost += judged.cost

    def reply(self, judge_version: str, pending: int) -> StatsReply:
        """As ``GET /v1/stats`` gives it."""
        cost = self._cost
        return StatsReply(
            judge_version=judge_version,
            pending_comparisons=pending,
            judgments=self._judgments,
            cached_judgments=self._cached,
            cost=cost,
            prefix_cache_hit_rate=cost.cached_prompt_tokens / cost.prompt_tokens if cost.prompt_tokens else None,
        )
