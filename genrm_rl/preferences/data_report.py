"""What became of the data that a run read: counts for its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

from genrm_rl.preferences.nulls import SOURCE
from genrm_rl.preferences.rejects import TIE
from genrm_rl.preferences.splits import Leaks


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one source: rows read in which layout, what was read in another form, equal pairs dropped, rows
    refused by kind (ties among them), pairs kept."""

    side: str
    name: str
    rows: int
    duplicates: int
    refused: dict[str, int]
    pairs: int
    layout: str = ""
    read_as: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class DataReport:
    """Counts for the run's report. ``leaks`` are pairs removed across train, gate and test."""

    sources: list[SourceReport] = field(default_factory=list)
    leaks: Leaks = field(default_factory=lambda: Leaks({}))
    duplicates_between_sources: dict[str, int] = field(default_factory=dict)
    gate_cut_from_train: bool = False
    refused: dict[str, int] = field(default_factory=dict)
    rejects_file: str | None = None
    sizes: dict[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """One line: pairs per side, what was left out, and what was read in another form than it has."""
        sizes = ", ".join(f"{count:,} {side.removeprefix('test/')}" for side, count in self.sizes.items())
        ties = self.refused.get(TIE, 0)
        read_as = Counter[str]()
        for source in self.sources:
            read_as.update({"null negatives": source.pairs} if source.name == SOURCE else source.read_as)
        said = {
            "bad rows skipped": sum(self.refused.values()) - ties,
            "ties left out": ties,
            "copies of held-out prompts removed": sum(self.leaks.counts.values()),
            **read_as,
        }
        dropped = ", ".join(f"{count:,} {what}" for what, count in said.items() if count)
        return f"{sizes} pairs{'; ' + dropped if dropped else ''}"

    def as_dict(self) -> dict[str, object]:
        """Plain form for JSON."""
        return {
            "sources": [asdict(source) for source in self.sources],
            "leaks": self.leaks.as_rows(),
            "duplicates_between_sources": self.duplicates_between_sources,
            "gate_cut_from_train": self.gate_cut_from_train,
            "refused": self.refused,
            "rejects_file": self.rejects_file,
            "sizes": self.sizes,
        }
