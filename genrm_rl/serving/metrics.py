"""Prometheus metrics of the service, exported by Ray on every node's metrics port (prefix ``ray_``)."""

from __future__ import annotations

from collections.abc import Iterable

from ray.serve import metrics

from genrm_rl.serving.calls import Call
from genrm_rl.serving.contracts import Judged, RewardOut

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]


class ServiceMetrics:
    """All counters of one ingress. Needs to be made inside a Serve replica, whose tags they carry."""

    def __init__(self) -> None:
        self._requests = metrics.Counter(
            "genrm_rl_requests", description="HTTP calls", tag_keys=("endpoint", "method", "status")
        )
        self._seconds = metrics.Histogram(
            "genrm_rl_request_seconds",
            description="from a call's headers to the end of its answer",
            boundaries=SECONDS,
            tag_keys=("endpoint",),
        )
        self._pending = metrics.Gauge("genrm_rl_pending_comparisons", description="accepted and not yet answered")
        self._comparisons = metrics.Counter("genrm_rl_comparisons", description="comparisons that were judged")
        self._cache_hits = metrics.Counter("genrm_rl_verdict_cache_hits", description="of these, answered by the cache")
        self._verdicts = metrics.Counter(
            "genrm_rl_verdicts", description="judgments by what they came to, both orders folded", tag_keys=("verdict",)
        )
        self._votes = metrics.Counter(
            "genrm_rl_votes", description="single votes by what they came to", tag_keys=("verdict",)
        )
        self._votes_saved = metrics.Counter("genrm_rl_votes_saved", description="votes not asked: verdict was settled")
        self._masked = metrics.Counter(
            "genrm_rl_masked_rewards", description="responses without a reward, by reason", tag_keys=("mask",)
        )
        self._rewards = metrics.Counter("genrm_rl_rewards", description="responses with a reward")
        self._tokens = metrics.Counter(
            "genrm_rl_tokens", description="prompt (cached ones too), cached_prompt, generated", tag_keys=("kind",)
        )

    def call(self, call: Call) -> None:
        """Count one finished call."""
        tags = {"endpoint": call.endpoint, "method": call.method, "status": str(call.status)}
        self._requests.inc(tags=tags)
        self._seconds.observe(call.seconds, tags={"endpoint": call.endpoint})

    def pending(self, comparisons: int) -> None:
        """What is accepted and not yet answered."""
        self._pending.set(comparisons)

    def judged(self, found: Iterable[Judged]) -> None:
        """Count judgments. Votes and tokens only of those that were judged now."""
        for each in found:
            self._comparisons.inc()
            self._verdicts.inc(tags={"verdict": each.judgment.verdict.value})
            if each.cached:
                self._cache_hits.inc()
                continue
            for trace in each.judgment.traces:
                self._votes.inc(tags={"verdict": trace.canonical_verdict.value})
            _inc(self._votes_saved, each.cost.votes_saved)
            _inc(self._tokens, each.cost.prompt_tokens, kind="prompt")
            _inc(self._tokens, each.cost.cached_prompt_tokens, kind="cached_prompt")
            _inc(self._tokens, each.cost.generated_tokens, kind="generated")

    def rewarded(self, group: Iterable[RewardOut]) -> None:
        """Count rewards and masks of one group."""
        for each in group:
            if each.mask is None:
                self._rewards.inc()
            else:
                self._masked.inc(tags={"mask": each.mask.value})


def _inc(counter: metrics.Counter, value: int, **tags: str) -> None:
    """Ray's counters refuse to be raised by nothing."""
    if value:
        counter.inc(value, tags=tags or None)
