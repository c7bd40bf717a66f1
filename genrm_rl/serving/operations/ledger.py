"""All that the ingress records of its work: totals, recent judgments, metrics and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genrm_rl.config.serving import ServingConfig
from genrm_rl.preferences.types import Comparison
from genrm_rl.serving.contracts import Judged, RewardOut
from genrm_rl.serving.operations.call_log import log_call, open_log
from genrm_rl.serving.operations.calls import Call, current_call
from genrm_rl.serving.operations.metrics import ServiceMetrics
from genrm_rl.serving.operations.recent import RecentJudgments
from genrm_rl.serving.operations.totals import Totals


class Ledger:
    """Told of what happens, never asked for a decision. Belongs to one ingress replica."""

    def __init__(self, settings: ServingConfig, open_calls: Callable[[], float]) -> None:
        open_log(settings.log_path)
        self.totals = Totals()
        self.recent = RecentJudgments(settings.recent_judgments)
        self._log_texts = settings.log_texts
        self.metrics = ServiceMetrics(open_calls)

    def judged(self, shown: Sequence[Comparison], found: Sequence[Judged]) -> None:
        """Judgments of ``shown`` came back."""
        self.totals.add(found)
        for comparison, judged in zip(shown, found, strict=True):
            self.recent.add(comparison, judged)
        self.metrics.judged(found)
        call = current_call()
        if call is not None and found:
            call.shown += shown
            call.judge_version = found[0].judge_version

    def rewarded(self, group: Sequence[RewardOut]) -> None:
        """A group got its rewards and masks."""
        self.metrics.rewarded(group)

    def pending(self, comparisons: int) -> None:
        """What is accepted and not yet answered."""
        self.metrics.pending(comparisons)

    def finished(self, call: Call) -> None:
        """A call was answered."""
        self.metrics.call(call)
        log_call(call, texts=self._log_texts)
