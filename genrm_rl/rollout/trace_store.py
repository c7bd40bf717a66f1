"""Traces on disk: Parquet that `datasets` reads, written in shards so that a kill loses at most the last few
seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from genrm_rl.errors import RunDirectoryError
from genrm_rl.judging.types import Trace, Verdict
from genrm_rl.runtime.storage import write_atomic

REASONS_FILE = "reasons.parquet"
REASONS_SCHEMA = pa.schema([("trace_id", pa.string()), ("reason", pa.string())])
SCHEMA = pa.schema(
    [
        ("trace_id", pa.string()),
        ("pair_id", pa.string()),
        ("swapped", pa.bool_()),
        ("form", pa.string()),
        ("text", pa.string()),
        ("rationale", pa.string()),
        ("verdict", pa.string()),
        ("p_a", pa.float64()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("completion_token_ids", pa.list_(pa.int32())),
        ("finish_reason", pa.string()),
        ("judge_version", pa.string()),
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("seed", pa.int64()),
        ("sample_index", pa.int32()),
        ("log_odds", pa.float64()),
        ("logprobs_T", pa.list_(pa.float32())),
    ]
)
assert [field.name for field in fields(Trace)] == SCHEMA.names


def write_traces(path: Path, traces: Iterable[Trace]) -> Path:
    """Write traces sorted by id to one Parquet file, atomically."""
    rows = [
        {name: getattr(trace, name) for name in SCHEMA.names} | {"verdict": trace.verdict.value}
        for trace in sorted(traces, key=lambda trace: trace.trace_id)
    ]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return write_atomic(path, buffer.getvalue().to_pybytes())


def read_traces(path: Path) -> list[Trace]:
    """Read a file written by :func:`write_traces`."""
    return list(_rows(path))


def write_reasons(path: Path, reasons: Iterable[tuple[str, str]]) -> Path:
    """Write what became of each trace, by its id, to one Parquet file, atomically."""
    names = REASONS_SCHEMA.names
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in reasons], schema=REASONS_SCHEMA)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return write_atomic(path, buffer.getvalue().to_pybytes())


def _rows(path: Path) -> Iterator[Trace]:
    try:
        rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise RunDirectoryError(
            f"{path} is not a readable file of traces ({type(error).__name__}); move {path.parent} away, and the "
            "resumed run samples it again"
        ) from error
    for row in rows:
        row["verdict"] = Verdict(row["verdict"])
        row["prompt_token_ids"] = tuple(row["prompt_token_ids"])
        row["completion_token_ids"] = tuple(row["completion_token_ids"])
        row["logprobs_T"] = tuple(row["logprobs_T"] or ())  # a file of an earlier version has none
        yield Trace(**row)


class TraceJournal:
    """Finished traces of a stage that is still running, in shards ``part-00000.parquet`` ...

    ``add`` returns before the trace is durable; ``flush`` makes everything so far durable and happens by itself every
    ``seconds``. After a kill, ``finished`` tells what need not be sampled again.
    """

    def __init__(self, directory: Path, seconds: float) -> None:
        self.directory = directory
        self.seconds = seconds
        directory.mkdir(parents=True, exist_ok=True)
        self._shards = sorted(directory.glob("part-*.parquet"))
        self.finished: dict[str, Trace] = {trace.trace_id: trace for shard in self._shards for trace in _rows(shard)}
        self._pending: list[Trace] = []
        self._last = time.monotonic()

    def add(self, trace: Trace) -> None:
        """Take one finished trace; a second one with the same id is refused."""
        if trace.trace_id in self.finished:
            raise ValueError(f"trace {trace.trace_id} was sampled twice")
        self.finished[trace.trace_id] = trace
        self._pending.append(trace)
        if time.monotonic() - self._last >= self.seconds:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as a new shard."""
        if self._pending:
            shard = self.directory / f"part-{len(self._shards):05d}.parquet"
            write_traces(shard, self._pending)
            self._shards.append(shard)
            self._pending = []
        self._last = time.monotonic()
