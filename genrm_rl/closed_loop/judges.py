"""The judges that a loop has: which checkpoint, trained by which run, and what that run measured of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.gate import GateDecision, decide
from genrm_rl.config import RunConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, read_records
from genrm_rl.learners.probe_record import NOT_MEASURED, probe_words
from genrm_rl.runtime.storage import is_complete, read_manifest

UNTRAINED = "base"  # what `serving.checkpoint` calls the untrained model


@dataclass(frozen=True, slots=True)
class LoopJudge:
    """A judge of the loop. ``run`` is the bootstrap run that made it, ``checkpoint`` its weights (None: the untrained
    model); both relative to the loop's directory. ``name`` and ``gate`` are what that run calls it in its measurements
    of test sets and of the gate."""

    run: str
    checkpoint: str | None
    version: str
    name: str
    gate: str

    def serving(self, root: Path) -> str:
        """What ``serving.checkpoint`` has to be."""
        return UNTRAINED if self.checkpoint is None else str((root / self.checkpoint).resolve())

    def probe_words(self, root: Path) -> tuple[bool | None, str]:
        """Whether it passed the probe gate (None: not measured), and the sentence for people."""
        return (None, NOT_MEASURED) if self.checkpoint is None else probe_words(root / self.checkpoint)

    def gate_records(self, root: Path) -> list[JudgmentRecord]:
        """Its judgments of the gate pairs."""
        return read_records(root / self.run / "gate" / self.gate / "judgments" / RECORDS)

    def test_records(self, root: Path, test_set: str, decoding: str) -> list[JudgmentRecord] | None:
        """Its judgments of a test set, if it was measured there."""
        stage = root / self.run / "evaluation" / self.name / test_set / decoding / "judgments"
        return read_records(stage / RECORDS) if is_complete(stage) else None

    def as_dict(self) -> dict[str, Any]:
        """Plain form for manifests."""
        return asdict(self)


def judge_of_run(root: Path, run: str, method: str) -> LoopJudge:
    """The last judge that the method's gates promoted in a bootstrap run; the untrained one if there is none."""
    rounds = sorted((root / run / "methods" / method).glob("round*/gate"), key=lambda path: int(path.parent.name[5:]))
    gates = [(path.parent, read_manifest(path)) for path in rounds if is_complete(path)]
    promoted = [(folder, facts) for folder, facts in gates if facts["promoted"]]
    if not promoted:
        return LoopJudge(run, None, "base", "llm_judge", "base")
    folder, facts = promoted[-1]
    checkpoint = folder / "checkpoint"
    return LoopJudge(
        run, str(checkpoint.relative_to(root)), read_manifest(checkpoint)["version"], method, facts["version"]
    )


def pass_gate(root: Path, current: LoopJudge, candidate: LoopJudge, config: RunConfig) -> GateDecision:
    """Compare two judges by what their runs recorded on the gate pairs. Raises DataError if they share no pair."""
    ours, theirs = (judge.gate_records(root) for judge in (current, candidate))
    shared = {record.pair_id for record in ours} & {record.pair_id for record in theirs}
    if not shared:
        raise DataError(
            f"the gates of {root / current.run} and {root / candidate.run} share no pair; start another run"
        )
    return decide(ours, theirs, config.bootstrap, resamples=config.evaluation.bootstrap_resamples, seed=config.run.seed)
