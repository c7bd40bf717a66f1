"""Texts that are looked up by id while judgments stream by: on disk, so that a large run needs no large memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from genrm_rl.errors import RunDirectoryError
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import Message, PreferencePair, Slot
from genrm_rl.reading.types import Texts, Vote
from genrm_rl.rollout.trace_store import REASONS_SCHEMA

COLUMNS = ("trace_id", "pair_id", "swapped", "verdict", "p_a", "log_odds", "text")
BATCH_ROWS = 500


class TextStore:
    """Pairs by id, chosen answers by their hash, and the traces of one stage at a time, in a file in ``folder`` that is
    of no use afterwards."""

    def __init__(self, folder: Path) -> None:
        self._base = sqlite3.connect(folder / "texts.sqlite", isolation_level=None)
        self._base.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;"
            "CREATE TABLE pairs (id TEXT PRIMARY KEY, texts TEXT, gold TEXT) WITHOUT ROWID;"
            "CREATE TABLE chosen (hash TEXT, texts TEXT); CREATE INDEX by_hash ON chosen (hash);"
            "CREATE TABLE train (draw TEXT PRIMARY KEY, texts TEXT) WITHOUT ROWID;"
            "CREATE TABLE traces (id TEXT PRIMARY KEY, vote TEXT) WITHOUT ROWID;"
            "CREATE TABLE reasons (id TEXT, by TEXT, reason TEXT, PRIMARY KEY (id, by)) WITHOUT ROWID;"
        )

    def __enter__(self) -> TextStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self._base.close()

    def add_pair(self, pair: PreferencePair) -> None:
        """Keep the texts and the label of a pair under its id."""
        shown = pair.comparison()
        row = _row(shown.prompt, shown.response_a, shown.response_b, shown.guide)
        gold = "tie" if pair.tie else pair.label()
        self._base.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", (pair.id, row, gold))

    def add_chosen(self, digest: str, pair: PreferencePair) -> None:
        """Keep a pair under the hash of its chosen answer; several may have the same."""
        row = _row(pair.prompt, pair.chosen, pair.rejected, pair.guide)
        self._base.execute("INSERT INTO chosen VALUES (?, ?)", (digest, row))

    def add_train(self, draw: str, pair: PreferencePair) -> None:
        """Keep a training pair under the hash by which null negatives were drawn."""
        row = _row(pair.prompt, pair.chosen, pair.rejected, pair.guide)
        self._base.execute("INSERT OR REPLACE INTO train VALUES (?, ?)", (draw, row))

    def take_train(self) -> Iterator[PreferencePair]:
        """Training pairs in the order of their hashes; afterwards they are gone."""
        for (row,) in self._base.execute("SELECT texts FROM train ORDER BY draw"):
            texts = _texts(row)
            yield PreferencePair.create(texts.prompt, texts.a, texts.b, guide=texts.guide)
        self._base.execute("DELETE FROM train")

    def texts(self, pair_id: str) -> Texts | None:
        """The texts of a pair, in its canonical order."""
        found = self._base.execute("SELECT texts FROM pairs WHERE id = ?", (pair_id,)).fetchone()
        return None if found is None else _texts(found[0])

    def gold(self, pair_id: str) -> Slot | Literal["tie"] | None:
        """The better answer of a pair by its label."""
        found = self._base.execute("SELECT gold FROM pairs WHERE id = ?", (pair_id,)).fetchone()
        return found and found[0]

    def chosen(self, digest: str) -> list[Texts]:
        """Pairs whose chosen answer has this hash, as ``a``."""
        return [_texts(row) for (row,) in self._base.execute("SELECT texts FROM chosen WHERE hash = ?", (digest,))]

    def read_traces(self, path: Path) -> None:
        """Take the traces of a stage in place of those before."""
        self._base.execute("DELETE FROM traces")
        rows = ((row["trace_id"], json.dumps(_vote(row))) for row in parquet_rows(path, COLUMNS))
        self._base.executemany("INSERT OR REPLACE INTO traces VALUES (?, ?)", rows)

    def read_reasons(self, path: Path, by: str) -> None:
        """Take the reason codes that a round of a method, ``by``, gave to its traces."""
        rows = ((row["trace_id"], by, row["reason"]) for row in parquet_rows(path, REASONS_SCHEMA.names))
        self._base.executemany("INSERT OR REPLACE INTO reasons VALUES (?, ?, ?)", rows)

    def forget_reasons(self) -> None:
        """Those of the run before: trace ids are told apart within a run only."""
        self._base.execute("DELETE FROM reasons")

    def reasons(self, trace_id: str) -> list[tuple[str, str]]:
        """(round of a method, reason code) of a trace."""
        return self._base.execute("SELECT by, reason FROM reasons WHERE id = ?", (trace_id,)).fetchall()

    def votes(self, trace_ids: Sequence[str]) -> list[Vote]:
        """The traces with these ids that are there, in order."""
        one = "SELECT vote FROM traces WHERE id = ?"
        found: Iterable[Any] = (self._base.execute(one, (name,)).fetchone() for name in trace_ids)
        return [_as_vote(json.loads(row[0])) for row in found if row]


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a file with these columns, a few at a time in memory. Raises RunDirectoryError for a damaged file."""
    try:
        file = pq.ParquetFile(path, pre_buffer=False)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns), use_threads=False):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise RunDirectoryError(
            f"{path} is not a readable Parquet file ({type(error).__name__}); move {path.parent} away, and the resumed "
            "run makes it again"
        ) from error


def vote_in(row: dict[str, Any]) -> Vote:
    """The trace in a row of its file, as it is shown."""
    return _as_vote(_vote(row))


def _as_vote(fields: Sequence[Any]) -> Vote:
    order, verdict, *rest = fields
    return Vote(order, Verdict(verdict), *rest)


def _vote(row: dict[str, Any]) -> tuple[Any, ...]:
    """The fields of a Vote."""
    swapped = row["swapped"]
    verdict, p_a, odds = Verdict(row["verdict"]), row["p_a"], row["log_odds"]
    if swapped:
        verdict, p_a, odds = verdict.swap(), None if p_a is None else 1 - p_a, None if odds is None else -odds
    return ("ba" if swapped else "ab", verdict.value, p_a, row["text"], odds)


def vote_of(trace: Trace) -> Vote:
    """A trace that is in memory already, as it is shown."""
    order = "ba" if trace.swapped else "ab"
    return Vote(order, trace.canonical_verdict, trace.canonical_p_a, trace.text, trace.canonical_log_odds)


def _row(prompt: Sequence[Message], a: str, b: str, guide: Guide) -> str:
    return json.dumps([[[turn.role, turn.content] for turn in prompt], a, b, guide.plain()])


def _texts(row: str) -> Texts:
    turns, a, b, guide = json.loads(row)
    return Texts(tuple(Message(role, content) for role, content in turns), a, b, Guide.of(guide))
