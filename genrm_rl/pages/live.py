"""A run looked at again and again while it goes on: its page, what it is doing, and what is wrong."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genrm_rl.config.watching import AlarmConfig, WatchConfig
from genrm_rl.evaluation.view import duration
from genrm_rl.pages.runs import find_run, known_kind, label_of, page_of
from genrm_rl.runtime.run_directory import PROVENANCE
from genrm_rl.runtime.status import RunStatus, read_status

TRIES = 3  # of a look that finds a file gone which was there a moment ago


@dataclass(frozen=True, slots=True)
class Look:
    """``version`` changes with anything that is shown; ``state`` is what the run is doing, ``alarms`` what is wrong."""

    version: str
    label: str
    state: str
    alarms: list[str]
    html: str


class Watcher:
    """Looks at a run, and at the runs within it, at most every ``page.every`` seconds each. Safe among threads."""

    def __init__(self, run: str, root: str, config: WatchConfig, clock: Callable[[], float] = time.time) -> None:
        """Raises RunDirectoryError if there is no such run."""
        self.path = find_run(run, root)
        known_kind(self.path)
        self.config = config
        self._root, self._clock = root, clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Look]] = {}
        self._drawn: dict[str, tuple[float, str, list[str]]] = {}

    def look(self, within: str = "") -> Look | None:
        """The run, or the run ``within`` it (``turn1/align``); None if there is none there. Raises GenRMError for a
        directory that can't be read."""
        if within not in self.runs():
            return None
        with self._lock:
            at, seen = self._seen.get(within, (float("-inf"), None))
            if seen is None or self._clock() - at >= self.config.page.every:
                seen = self._look(within)
                self._seen[within] = self._clock(), seen
            return seen

    def runs(self) -> list[str]:
        """This run ("") and those within it, which have a page of their own."""
        inner = sorted(record.parent for record in self.path.glob(f"*/*/{PROVENANCE}"))
        return ["", *(str(folder.relative_to(self.path)) for folder in inner)]

    def _look(self, within: str) -> Look:
        path = find_run(str(self.path / within), self._root)
        for attempt in range(TRIES):
            try:
                status = read_status(str(path), self._root)
                html, alarms = self._page(within, path, status)
            except (FileNotFoundError, json.JSONDecodeError):  # a stage was renamed, or a file replaced, meanwhile
                if attempt == TRIES - 1:
                    raise
            else:
                break
        alarms = stall_alarms(status, self.config.alarms, self._clock()) + alarms
        state = state_of(status)
        version = hashlib.sha256("\n".join([state, *alarms, html]).encode()).hexdigest()[:16]
        return Look(version, label_of(path), state, alarms, html)

    def _page(self, within: str, path: Path, status: RunStatus) -> tuple[str, list[str]]:
        """Drawn again only if anything was written."""
        kept = self._drawn.get(within)
        if kept is None or kept[0] != status.last_write:
            page = page_of(path, self.config.alarms)
            kept = self._drawn[within] = status.last_write, page.html, page.alarms
        return kept[1], kept[2]


def state_of(status: RunStatus) -> str:
    """What the run is doing, in a sentence; without the time of day, so that it changes only when something happens."""
    if status.result is not None:
        return "Finished."
    who = "Nobody drives it" if status.driver is None else f"Under way (process {status.driver})"
    last = f"; last finished: {status.stages[-1].name}" if status.stages else ""
    if status.steps is None:
        return f"{who}{last}."
    done, planned = status.steps
    words = f"; step {done} of {planned or '?'}"
    if planned and status.step_seconds and done < planned:
        words += f", about {duration((planned - done) * status.step_seconds)} left in these steps"
    return f"{who}{words}{last}."


def stall_alarms(status: RunStatus, config: AlarmConfig, now: float) -> list[str]:
    """A run that is not finished and writes nothing: because nobody drives it, or because it hangs."""
    silent = now - status.last_write
    if status.result is not None:
        return []
    if status.driver is None:
        return ["Nobody drives the run, and it is not finished; the same command with the same --run.id goes on."]
    patience = max(config.stall, config.stall_steps * (status.step_seconds or 0.0))
    if silent <= patience:
        return []
    minutes = duration(60 * round(silent / 60))
    return [f"The run has written nothing for {minutes}, longer than {duration(patience)}; it may hang."]
