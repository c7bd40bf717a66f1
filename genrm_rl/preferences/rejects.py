"""Rows that can't be used: stop with one sentence, or put them aside with their reasons."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from genrm_rl.errors import DataError
from genrm_rl.preferences.turns import BadRow
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.validation import RawRow
from genrm_rl.runtime.storage import write_atomic

MAX_COLLECTED = 10
TIE = "tie"  # the kind of rows that prefer neither answer


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was refused. ``kind`` groups reasons for counting."""

    file: str
    line: int
    kind: str
    reason: str
    row: str


@dataclass(slots=True)
class RejectLog:
    """Collects refused rows. With ``fail`` it raises DataError once ten are together, or at :meth:`finish`.

    A tie is no fault of the data: it is put aside and counted, and never stops a job. ``way_out`` is what the sentence
    offers.
    """

    on_bad_row: Literal["fail", "skip"]
    rejects: list[Reject] = field(default_factory=list)
    way_out: str = "mend the data, or leave such rows out with --data.on-bad-row skip"

    def add_row(self, row: RawRow, kind: str, reason: str) -> None:
        """Refuse a row as it was read."""
        text = row.text or json.dumps(_shown(row.fields), ensure_ascii=False, default=str)
        self._add(Reject(row.file, row.line, kind, reason, text))

    def add_pair(self, pair: PreferencePair, kind: str, reason: str) -> None:
        """Refuse a pair that was well-formed by itself."""
        turns = [{"role": turn.role, "content": turn.content} for turn in pair.prompt]
        row = {"id": pair.id, "prompt": turns, "chosen": pair.chosen, "rejected": pair.rejected}
        file, line = place_of(pair)
        self._add(Reject(file, line, kind, reason, json.dumps(row, ensure_ascii=False)))

    def _add(self, reject: Reject) -> None:
        self.rejects.append(reject)
        if self.on_bad_row == "fail" and reject.kind != TIE and len(self._bad()) >= MAX_COLLECTED:
            self.finish()

    def _bad(self) -> list[Reject]:
        return [reject for reject in self.rejects if reject.kind != TIE]

    def finish(self) -> None:
        """Raise DataError for what was collected, unless rows are to be skipped."""
        bad = self._bad() if self.on_bad_row == "fail" else []
        if not bad:
            return
        first, count = bad[0], len(bad) - 1
        others = (
            f"; {'at least ' if count + 1 >= MAX_COLLECTED else ''}{count} more bad row{'s' * (count > 1)} follow"
            if count
            else ""
        )
        raise DataError(f"{first.file}:{first.line}: {first.reason}{others}; {self.way_out}")

    def counts(self) -> dict[str, int]:
        """Refused rows by kind."""
        return dict(sorted(Counter(reject.kind for reject in self.rejects).items()))

    def write(self, path: Path) -> None:
        """Write the refused rows as JSONL (file, line, kind, reason, row), atomically."""
        lines = [
            {"file": r.file, "line": r.line, "kind": r.kind, "reason": r.reason, "row": r.row} for r in self.rejects
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_atomic(path, text.encode("utf-8", "backslashreplace"))


def _shown(fields: object) -> object:
    """The fields as they can be written: what can't be read is left out."""
    if not isinstance(fields, Mapping):
        return fields
    shown = {}
    for name in fields:
        with contextlib.suppress(BadRow):  # the reason names it
            shown[name] = fields[name]
    return shown


def place_of(pair: PreferencePair) -> tuple[str, int]:
    """File and line that a pair was read from."""
    line = pair.meta.get("line")
    return str(pair.meta.get("file", pair.source)), line if isinstance(line, int) else 0
