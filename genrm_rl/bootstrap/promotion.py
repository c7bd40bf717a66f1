"""The gate of a run: measures a new judge and its parent on the held-out gate pairs and keeps what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.gate import decide
from genrm_rl.bootstrap.learning import LearningStages
from genrm_rl.evaluation.measure import Measurement
from genrm_rl.judging.judge import Judge
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.runtime.console import say
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import MetricSink

GATE_METRICS = ("accuracy_strict", "accuracy_folded", "tie_rate", "right_in_both", "non_verdict_rate")


@dataclass(frozen=True)
class Gate:
    """Promotes judges, each decision once in a run. ``pairs`` are all gate pairs, of which ``bootstrap.gate_pairs`` are
    asked about."""

    measurement: Measurement
    pairs: Sequence[PreferencePair]
    sink: MetricSink

    @classmethod
    def of(cls, stages: LearningStages, pairs: Sequence[PreferencePair]) -> Gate:
        """The gate of the run whose judges learn in ``stages``."""
        return cls(Measurement(stages.config, stages.run, stages.engine.encoder, stages.engine), pairs, stages.sink)

    def passed(self, folder: str, parent: Judge, candidate: Judge) -> Judge:
        """The candidate, marked as promoted or not; its parent is measured too if that was not done yet."""
        config = self.measurement.config
        asked = self.pairs[: config.bootstrap.gate_pairs]
        rows = [self.measurement.gate(each, asked) for each in (parent, candidate)]
        resamples = config.evaluation.bootstrap_resamples
        decision = decide(*rows, config.bootstrap, resamples=resamples, seed=config.run.seed)

        if config.bootstrap.promote == "always":
            decision = replace(decision, promoted=True, reason=f"bootstrap.promote is always; {decision.reason}")

        def compute(directory: Path) -> dict[str, Any]:
            write_json(directory / "candidate.json", decision.candidate.model_dump(mode="json"))
            write_json(directory / "parent.json", decision.parent.model_dump(mode="json"))
            write_json(directory / "difference.json", decision.difference.model_dump(mode="json"))
            return {
                "promoted": decision.promoted,
                "reason": decision.reason,
                "version": candidate.version,
                "parent": parent.version,
            }

        self.measurement.run.stage(f"{folder}/gate", compute)
        for row, iteration in ((decision.parent, parent.iteration), (decision.candidate, candidate.iteration)):
            metrics = {key: getattr(row, key) for key in GATE_METRICS}
            self.sink.log(
                {f"{candidate.name}/gate_{key}": value for key, value in metrics.items() if value is not None},
                iteration,
            )
        said = "promoted" if decision.promoted else "kept, not promoted"
        say(self.measurement.engine.console, f"gate of {candidate.version}: {said}: {decision.reason}")
        return replace(candidate, promoted=decision.promoted)
