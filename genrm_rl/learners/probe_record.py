"""What the probe gate found out about a checkpoint: kept beside its manifest, read by whoever serves or shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from genrm_rl.errors import ModelError
from genrm_rl.runtime.object_store import fetch, light
from genrm_rl.runtime.storage import is_complete, write_json

PROBES_FILE = "_probes.json"  # the underscore keeps it out of the judge's hash: it changes no answer
NOT_MEASURED = "probe gate not measured: whether null answers (empty ones, imitated verdicts, ...) fool it is unknown"


@dataclass(frozen=True, slots=True)
class ProbeTally:
    """Greedy judgments of one probe against real answers, both orders folded."""

    wins: int
    ties: int
    losses: int
    no_verdict: int = 0

    @property
    def judged(self) -> int:
        """All of them."""
        return self.wins + self.ties + self.losses + self.no_verdict

    @property
    def share(self) -> float:
        """Of judgments that the probe wins."""
        return self.wins / self.judged if self.judged else 0.0


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """The tallies of every probe that could be tried, and the largest share that one may win."""

    judge_version: str
    limit: float
    tallies: Mapping[str, ProbeTally]

    @property
    def failed(self) -> tuple[str, ...]:
        """Probes that win too often, worst first."""
        over = (kind for kind, tally in self.tallies.items() if tally.share > self.limit)
        return tuple(sorted(over, key=lambda kind: -self.tallies[kind].share))

    @property
    def passed(self) -> bool:
        """Whether no probe wins too often."""
        return not self.failed

    def sentence(self) -> str:
        """The result in plain words."""
        limit = f"{100 * self.limit:g} %"
        if self.failed:
            worst = ", ".join(self._wins(kind) for kind in self.failed)
            return f"PROBE GATE FAILED: null answers beat real ones more often than {limit}: {worst}"
        worst = max(self.tallies, key=lambda kind: self.tallies[kind].share, default="")
        most = f"; at most {self._wins(worst)}" if worst else ""
        return f"probe gate passed: none of {len(self.tallies)} kinds of null answers wins more than {limit}{most}"

    def _wins(self, kind: str) -> str:
        tally = self.tallies[kind]
        return f"{kind.replace('_', ' ')} {tally.wins} of {tally.judged}"


def write_record(directory: Path, record: ProbeRecord) -> None:
    """Keep a record beside the manifest of a finished checkpoint; a model that no run made keeps none.

    Raises OSError where nothing can be written.
    """
    if is_complete(directory):
        write_json(directory / PROBES_FILE, asdict(record))


def read_record(checkpoint: Path) -> ProbeRecord | None:
    """The record of a model directory, None if its probe gate was never measured. Raises ModelError for one that can't
    be read."""
    path = checkpoint / PROBES_FILE
    if not path.is_file():
        fetch(checkpoint, light)
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        tallies = {kind: ProbeTally(**tally) for kind, tally in found["tallies"].items()}
        return ProbeRecord(str(found["judge_version"]), float(found["limit"]), tallies)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} is no record of a probe gate ({error}); remove it and evaluate the judge") from error


def probe_words(checkpoint: Path) -> tuple[bool | None, str]:
    """Whether a judge passed (None: not measured), and the sentence for people."""
    record = read_record(checkpoint)
    return (None, NOT_MEASURED) if record is None else (record.passed, record.sentence())
