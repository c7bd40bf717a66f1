"""Verdicts that need not be judged again: in memory, and in an SQLite file that survives restarts.

Only exact verdicts belong here: greedy ones and one-token ones, which the same question gives again. The key is a hash
of everything that they depend on (:func:`cache_key`), so a changed judge, template or setting finds nothing old.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from genrm_rl.errors import ConfigError
from genrm_rl.judging.types import Judgment, Trace, Verdict
from genrm_rl.preferences.types import Comparison, content_hash, guide_parts

FORMAT = 3  # of the stored judgments; another number finds none of the old ones
WITHOUT_TOKENS = {"prompt_token_ids": (), "completion_token_ids": (), "logprobs_T": ()}
BUSY_SECONDS = 5.0  # how long a replica waits while another one writes
_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, judgment TEXT NOT NULL) WITHOUT ROWID"
_log = logging.getLogger(__name__)


class VerdictCache:
    """The ``entries`` most recently used judgments in memory; all of them in the file ``path``, if there is one.

    Replicas of one service on one machine share the file (write-ahead log). Raises ConfigError if it can't be opened.
    A file that fails later is a cache that misses: judging goes on, and the log says so.
    """

    def __init__(self, entries: int, path: str | None) -> None:
        self._entries = entries
        self._memory: OrderedDict[str, Judgment] = OrderedDict()
        self._lock = threading.Lock()
        self._file = _open(Path(path)) if path else None

    @property
    def on_disk(self) -> bool:
        """Whether asking may read or write a file, which an event loop should leave to a thread."""
        return self._file is not None

    def get(self, key: str) -> Judgment | None:
        """The judgment under ``key``, or None."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
            rows = self._run("SELECT judgment FROM verdicts WHERE key = ?", key)
            if not rows:
                return None
            judgment = judgment_from_json(rows[0][0])
            self._remember(key, judgment)
            return judgment

    def put(self, key: str, judgment: Judgment) -> bool:
        """Keep a judgment; False, and nothing kept, if any of its votes is no verdict (it may go better next time)."""
        if not judgment.traces or not all(trace.verdict.is_verdict for trace in judgment.traces):
            return False
        with self._lock:
            self._remember(key, judgment)
            self._run("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", key, judgment_to_json(judgment))
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _remember(self, key: str, judgment: Judgment) -> None:
        self._memory[key] = judgment
        while len(self._memory) > self._entries:
            self._memory.popitem(last=False)

    def _run(self, statement: str, *values: str) -> list[Any]:
        if self._file is None:
            return []
        try:
            with self._file:
                return self._file.execute(statement, values).fetchall()
        except sqlite3.Error as problem:  # full, locked, damaged: what is not remembered is judged again
            _log.warning("the verdict cache can't be used just now: %s", problem)
            return []


def cache_key(comparison: Comparison, judge: str) -> str:
    """Hash of what is compared, in this order, with its guide, and of the judge (:meth:`ServedJudge.identity`)."""
    turns = [[turn.role, turn.content] for turn in comparison.prompt]
    parts = (FORMAT, judge, turns, comparison.response_a, comparison.response_b, comparison.swapped)
    return content_hash(*parts, *guide_parts(comparison.guide), length=64)


def weights_fingerprint(model_path: str | Path) -> str:
    """Hash of name, size and time of change of a model directory's files. Two models may both be called `base`."""
    files = sorted(path for path in Path(model_path).iterdir() if path.is_file())
    return content_hash([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files])


def judgment_to_json(judgment: Judgment) -> str:
    """A judgment with the words of its traces, without their tokens."""
    traces = tuple(replace(each, **WITHOUT_TOKENS) for each in judgment.traces)
    return json.dumps(asdict(replace(judgment, traces=traces)), ensure_ascii=False)


def judgment_from_json(text: str) -> Judgment:
    """The inverse of :func:`judgment_to_json`."""
    fields = json.loads(text)
    traces = tuple(Trace(**each | {"verdict": Verdict(each["verdict"])} | WITHOUT_TOKENS) for each in fields["traces"])
    verdicts = {name: fields[name] and Verdict(fields[name]) for name in ("verdict", "verdict_ab", "verdict_ba")}
    return Judgment(**fields | verdicts | {"traces": traces})


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last verdicts, never the file
        with file:
            file.execute(_TABLE)
    except (OSError, sqlite3.Error) as problem:
        raise ConfigError(
            f"serving.cache_path {path} can't be used as a verdict cache ({problem}); name a file in a folder "
            "that can be written, or remove the file if it is something else"
        ) from problem
    return file
