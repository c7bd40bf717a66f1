"""The data section of a configuration, read once: training, gate and test pairs, and a report of what was dropped."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genrm_rl.config.data import DataConfig, SourceConfig
from genrm_rl.errors import ConfigError, DataError
from genrm_rl.preferences.data_report import DataReport, SourceReport
from genrm_rl.preferences.dedup import PromptTable
from genrm_rl.preferences.nulls import KIND, SOURCE, null_negatives
from genrm_rl.preferences.readers import read_rows
from genrm_rl.preferences.reasons import with_reasons
from genrm_rl.preferences.rejects import RejectLog, place_of
from genrm_rl.preferences.splits import Pairs, cut_gate, hash_order, item_of, remove_leaks
from genrm_rl.preferences.turns import BadRow
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.validation import PairReader

Misfit = Callable[[PreferencePair], str | None]
"""Says why a pair does not fit the judge's context, or None if it does (``JudgeEncoder.misfit``)."""


@dataclass(frozen=True, slots=True)
class DataSplits:
    """Training, gate and test pairs, each in a seeded random order, with no (near-)copies of prompts between them."""

    train: Pairs
    gate: Pairs
    test: dict[str, Pairs]
    report: DataReport
    tied: Pairs = field(default_factory=list)


def check_test_sets(config: DataConfig) -> None:
    """Raise ConfigError if there is nothing to evaluate on."""
    if not config.test:
        raise ConfigError("there is nothing to evaluate on: list pair files under data.test in the config")


def load_sources(
    config: DataConfig, seed: int, *, misfit: Misfit | None = None, rejects_path: Path | None = None
) -> DataSplits:
    """Read everything that ``data`` names.

    Per source: rows are validated, equal pairs dropped, the rest put into a seeded hash order, checked against the
    context (``misfit``) and cut at ``limit``. Then the gate is cut from train if none is given, copies of held-out
    prompts are removed, and null negatives join what is left to train on. With ``on_bad_row: fail`` the first bad rows
    raise DataError; with ``skip`` they go to ``rejects_path`` (JSONL). Also raises DataError for files that can't be
    read and for a side that has no pair left, ConfigError for test sets of the same name.
    """
    log, report = RejectLog(config.on_bad_row), DataReport()
    names = [source.label for source in config.test]
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"data.test has {count} sets called `{name}`; give each its own `name`")
    train = _load_side("train", config.train, config, seed, misfit, log, report)
    gate = _load_side("gate", config.gate, config, seed, misfit, log, report)
    test = {
        source.label: _load_side(f"test/{source.label}", [source], config, seed, misfit, log, report)
        for source in config.test
    }
    log.finish()
    tied, train = [pair for pair in train if pair.tie], [pair for pair in train if not pair.tie]
    everything = itertools.chain(train, tied, gate, *test.values())
    prompts = PromptTable(everything, config.near_duplicate_threshold)
    if train and not config.gate:
        train, gate = cut_gate(train, config.gate_fraction, seed, prompts)
        report.gate_cut_from_train = True
    train, gate, report.leaks = remove_leaks(train, gate, test, prompts)
    tied, _, _ = remove_leaks(tied, gate, test, prompts)
    train = _with_nulls(train, config, seed, misfit, report)
    report.refused = log.counts()
    report.sizes = {"train": len(train), "gate": len(gate)} | {
        f"test/{name}": len(pairs) for name, pairs in test.items()
    }
    if log.rejects and rejects_path is not None:
        log.write(rejects_path)
        report.rejects_file = str(rejects_path)
    _refuse_empty(config, report)
    if tied:
        report.sizes["tied"] = len(tied)
    return DataSplits(train, gate, test, report, tied)


def load_source(
    source: SourceConfig,
    config: DataConfig,
    seed: int,
    *,
    misfit: Misfit | None = None,
    rejects_path: Path | None = None,
) -> tuple[Pairs, DataReport]:
    """One source alone (``evaluate`` on a pair file), with the same checks and errors as :func:`load_sources`."""
    log, report = RejectLog(config.on_bad_row), DataReport()
    pairs = _load_side("test", [source], config, seed, misfit, log, report)
    log.finish()
    report.refused, report.sizes = log.counts(), {"test": len(pairs)}
    if log.rejects and rejects_path is not None:
        log.write(rejects_path)
        report.rejects_file = str(rejects_path)
    if not pairs:
        raise DataError(f"{source.label} has no usable pair{_refusals(report)}; mend the data or name another source")
    return pairs, report


def unique_pairs(pairs: Sequence[PreferencePair], log: RejectLog) -> tuple[Pairs, int]:
    """Pairs without repetitions, and how many there were. Pairs labelled both ways are refused, both of them."""
    first: dict[str, PreferencePair] = {}
    contradicted: set[str] = set()
    duplicates = 0
    for pair in pairs:
        known = first.setdefault(pair.id, pair)
        if known is pair:
            continue
        if known.tie == pair.tie and (pair.tie or known.chosen == pair.chosen):
            duplicates += 1
            continue
        where, here = (f"{file}:{line}" for file, line in (place_of(known), place_of(pair)))
        log.add_pair(pair, "contradiction", f"the same prompt and answers are labelled the other way at {where}")
        if pair.id not in contradicted and log.on_bad_row == "skip":
            log.add_pair(known, "contradiction", f"the same prompt and answers are labelled the other way at {here}")
        contradicted.add(pair.id)
    return [pair for pair in first.values() if pair.id not in contradicted], duplicates


def _load_side(
    side: str,
    sources: Sequence[SourceConfig],
    config: DataConfig,
    seed: int,
    misfit: Misfit | None,
    log: RejectLog,
    report: DataReport,
) -> Pairs:
    pairs: Pairs = []
    for source in sources:
        refused_before = log.counts()
        if source.world is not None:
            found = _world(source, config, seed, with_noise=side == "train")
            rows, reader = len(found), None
        else:
            keep_ties = (config.ties != "leave_out" and side.startswith("test")) or (
                config.ties == "learn" and side == "train"
            )
            found, rows, reader = _read_pairs(source, Path(config.root), log, keep_ties=keep_ties)
            if source.rationales is not None:
                found = with_reasons(found, Path(config.root).expanduser() / source.rationales, source.label)
        found, duplicates = unique_pairs(found, log)
        kept = _take(hash_order(found, seed), source.limit, misfit, log)
        refused = {kind: count - refused_before.get(kind, 0) for kind, count in log.counts().items()}
        refused = {kind: count for kind, count in refused.items() if count}
        report.sources.append(
            SourceReport(
                side,
                source.label,
                rows,
                duplicates,
                refused,
                len(kept),
                layout=reader.layout if reader else "",
                read_as=dict(reader.notes) if reader else {},
            )
        )
        pairs += kept
    if len(sources) > 1:
        pairs, repeated = unique_pairs(pairs, log)
        if repeated:
            report.duplicates_between_sources[side] = repeated
    return hash_order(pairs, seed)


def _with_nulls(train: Pairs, config: DataConfig, seed: int, misfit: Misfit | None, report: DataReport) -> Pairs:
    """Training pairs and the null negatives that ``data.null_negatives`` asks for; those that do not fit the context or
    the tokenizer are left out and counted."""
    drawn = null_negatives(train, config.null_negatives, seed)
    kept = [pair for pair in drawn if misfit is None or misfit(pair) is None]
    if drawn:
        refused = {"does_not_fit": len(drawn) - len(kept)} if len(kept) < len(drawn) else {}
        kinds = Counter(str(pair.meta[KIND]) for pair in kept)
        report.sources.append(
            SourceReport("train", SOURCE, len(drawn), 0, refused, len(kept), read_as=dict(sorted(kinds.items())))
        )
    return hash_order([*train, *kept], seed) if kept else train


def _read_pairs(source: SourceConfig, root: Path, log: RejectLog, *, keep_ties: bool) -> tuple[Pairs, int, PairReader]:
    pairs: Pairs = []
    rows, reader = 0, PairReader(source, keep_ties=keep_ties)
    for row in read_rows(source, root):
        rows += 1
        try:
            pairs += reader.pairs(row)
        except BadRow as reason:
            log.add_row(row, reason.kind, str(reason))
    return pairs, rows, reader


def _world(source: SourceConfig, config: DataConfig, seed: int, *, with_noise: bool) -> Pairs:
    """Pairs of the controlled task world; label noise is for training alone."""
    from genrm_rl.preferences.world import world_pairs

    if source.limit is None:
        raise ConfigError(
            f"the task world is endless: give the source `{source.label}` (world: {source.world}) a `limit`"
        )
    noise = config.world.label_noise if with_noise else 0.0
    stream = world_pairs(str(source.world), source.limit, seed, cue=config.world.cue, label_noise=noise)
    return [_named(pair, source, index) for index, pair in enumerate(stream, start=1)]


def _named(pair: PreferencePair, source: SourceConfig, index: int) -> PreferencePair:
    meta = {**pair.meta, "file": f"task world, {source.world}", "line": index}
    return PreferencePair.create(
        pair.prompt,
        pair.chosen,
        pair.rejected,
        source=source.label,
        category=pair.category,
        label_source=pair.label_source,
        guide=pair.guide,
        meta=meta,
    )


def _take(pairs: Pairs, limit: int | None, misfit: Misfit | None, log: RejectLog) -> Pairs:
    """The first items of at most ``limit`` pairs that fit the context; those met on the way that do not are refused."""
    kept: Pairs = []
    for _, group in itertools.groupby(pairs, key=item_of):
        item = list(group)
        if limit is not None and kept and len(kept) + len(item) > limit:
            break
        reasons = [misfit(pair) if misfit is not None else None for pair in item]
        if not any(reasons):
            kept += item
            continue
        for pair, reason in zip(item, reasons, strict=True):
            log.add_pair(pair, "does_not_fit", reason or f"another answer to its item {item_of(pair)} does not fit")
    return kept


def _refuse_empty(config: DataConfig, report: DataReport) -> None:
    """A side that was asked for and has nothing left stops the run."""
    asked = {"train": bool(config.train), "gate": bool(config.gate or config.train)}
    asked |= {f"test/{source.label}": True for source in config.test}
    for side, count in report.sizes.items():
        if asked[side] and count == 0:
            removed = sum(n for (loser, _, _), n in report.leaks.counts.items() if loser == side)
            copies = f" ({removed} were copies of held-out prompts)" if removed else ""
            raise DataError(f"No pair is left for {side}{copies}{_refusals(report)}; give it more data")


def _refusals(report: DataReport) -> str:
    if not report.refused:
        return ""
    counts = ", ".join(f"{count} {kind}" for kind, count in report.refused.items())
    return f" (refused: {counts}{f'; see {report.rejects_file}' if report.rejects_file else ''})"
