"""Prometheus metrics of the service, on its own port under ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from genrm_rl.serving.contracts import Judged, RewardOut
from genrm_rl.serving.operations.calls import Call

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # a client may make up others, without end


class ServiceMetrics:
    """All counters of one ingress, since it started. Every label has a handful of values, whatever clients send."""

    def __init__(self, open_calls: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        calls = Gauge("genrm_rl_open_calls", "calls that came in and are not answered yet", registry=self._registry)
        calls.set_function(open_calls)
        self._requests = self._counter("requests", "HTTP calls", "endpoint", "method", "status")
        self._seconds = Histogram(
            "genrm_rl_request_seconds",
            "from a call's headers to the end of its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._pending = Gauge("genrm_rl_pending_comparisons", "accepted and not yet answered", registry=self._registry)
        self._comparisons = self._counter("comparisons", "comparisons that were judged")
        self._cache_hits = self._counter("verdict_cache_hits", "of these, answered by the cache")
        self._ties = self._counter("ties", "of these, judged a tie")
        self._verdicts = self._counter("verdicts", "judgments by what they came to, both orders folded", "verdict")
        self._votes = self._counter("votes", "single votes by what they came to", "verdict")
        self._votes_saved = self._counter("votes_saved", "votes not asked: verdict was settled")
        self._masked = self._counter("masked_rewards", "responses without a reward, by reason", "mask")
        self._rewards = self._counter("rewards", "responses with a reward")
        self._tokens = self._counter("tokens", "prompt (cached ones too), cached_prompt, generated", "kind")

    def page(self) -> bytes:
        """All of them in Prometheus's text format."""
        return generate_latest(self._registry)

    def call(self, call: Call) -> None:
        """Count one finished call."""
        method = call.method if call.method in METHODS else "other"
        self._requests.labels(call.endpoint, method, str(call.status)).inc()
        self._seconds.labels(call.endpoint).observe(call.seconds)

    def pending(self, comparisons: int) -> None:
        """What is accepted and not yet answered."""
        self._pending.set(comparisons)

    def judged(self, found: Iterable[Judged]) -> None:
        """Count judgments. Votes and tokens only of those that were judged now."""
        for each in found:
            self._comparisons.inc()
            self._ties.inc(each.judgment.tie)
            self._verdicts.labels(each.judgment.verdict.value).inc()
            if each.cached:
                self._cache_hits.inc()
                continue
            for trace in each.judgment.traces:
                self._votes.labels(trace.canonical_verdict.value).inc()
            self._votes_saved.inc(each.cost.votes_saved)
            self._tokens.labels("prompt").inc(each.cost.prompt_tokens)
            self._tokens.labels("cached_prompt").inc(each.cost.cached_prompt_tokens)
            self._tokens.labels("generated").inc(each.cost.generated_tokens)

    def rewarded(self, group: Iterable[RewardOut]) -> None:
        """Count rewards and masks of one group."""
        for each in group:
            if each.mask is None:
                self._rewards.inc()
            else:
                self._masked.labels(each.mask.value).inc()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"genrm_rl_{name}", meaning, labels, registry=self._registry)
