"""The events of a fit: written by worker 0 line by line, read by the driver for progress, kept as the history.

Each attempt (first start, or restart after a failure) writes its own file, so nothing is ever truncated. Events are
JSON objects with a ``type``: start, ready, reference, step, checkpoint, refused, done.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from genrm_rl import errors
from genrm_rl.errors import GenRMError
from genrm_rl.runtime.object_store import fetch, upload

STORE_SECONDS = 2.0  # between uploads of the steps


@dataclass(frozen=True)
class FitProgress:
    """Where a fit stands. ``seconds_left`` is None until a step has been made."""

    title: str
    phase: str
    step: int = 0
    total_steps: int = 0
    tokens_per_second: float = 0.0
    seconds_left: float | None = None
    attempt: int = 1
    metrics: dict[str, float] = field(default_factory=dict)


class EventWriter:
    """Worker 0's side. Each event is one flushed line: a kill loses at most the line being written."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        self.attempt = len(event_files(state_dir)) + 1
        self._file = state_dir / f"events-{self.attempt:03d}.jsonl"
        self._handle: TextIO = open(self._file, "x", encoding="utf-8")  # noqa: SIM115
        self._stored = time.monotonic()

    def write(self, type: str, **facts: Any) -> None:
        """Append one event."""
        self._handle.write(json.dumps({"type": type, "time": time.time(), **facts}) + "\n")
        self._handle.flush()
        if type != "step" or time.monotonic() - self._stored > STORE_SECONDS:
            self.store()

    def store(self) -> None:
        """Where the run is kept in an object store, the driver on another machine sees the events from now on."""
        upload(self._file)
        self._stored = time.monotonic()

    def close(self) -> None:
        """Push the events to the disk."""
        os.fsync(self._handle.fileno())
        self._handle.close()
        self.store()


class FitEvents:
    """The driver's side."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def refusal(self) -> GenRMError | None:
        """The error for people that a worker of the last attempt ran into, as the exception to raise."""
        fetch(self.state_dir, is_event_file)
        files = event_files(self.state_dir)
        for event in read_events(files[-1]) if files else []:
            if event["type"] == "refused":
                kind = getattr(errors, event["error"], GenRMError)
                return kind(event["message"])
        return None

    def progress(self, title: str) -> FitProgress:
        """Where the fit stands now."""
        fetch(self.state_dir, is_event_file)
        files = event_files(self.state_dir)
        if not files:
            return FitProgress(title, "starting workers")
        events = read_events(files[-1])
        steps = [event for event in events if event["type"] == "step"]
        last = events[-1]["type"] if events else "start"
        total = next((event["total_steps"] for event in events if event["type"] == "start"), 0)
        if not steps:
            phase = {"start": "loading the model", "ready": "reference log-probabilities"}.get(last, "training")
            return FitProgress(title, phase, total_steps=total, attempt=len(files))
        recent = steps[-20:]
        seconds = sum(event["seconds"] for event in recent)
        done = steps[-1]["step"] + 1
        hidden = {"type", "time", "step", "tokens", "seconds", "total_steps"}
        return FitProgress(
            title,
            "saving" if done == total else "training",
            step=done,
            total_steps=total,
            tokens_per_second=sum(event["tokens"] for event in recent) / max(seconds, 1e-9),
            seconds_left=(total - done) * seconds / len(recent),
            attempt=len(files),
            metrics={key: value for key, value in steps[-1].items() if key not in hidden},
        )

    @contextlib.contextmanager
    def watching(
        self, title: str, callback: Callable[[FitProgress], None] | None, *, show: bool, interval: float
    ) -> Iterator[None]:
        """Show and report progress from a thread while the body runs."""
        stop = threading.Event()
        with progress_display(title, show, ends=True) as draw:

            def look() -> None:
                while not stop.wait(interval):
                    state = self.progress(title)
                    draw(state)
                    if callback is not None:
                        callback(state)

            thread = threading.Thread(target=look, name="fit-progress", daemon=True)
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
                draw(self.progress(title))


def is_event_file(name: str, size: int) -> bool:
    """Choice for `fetch`."""
    return name.startswith("events-")


def event_files(state_dir: Path) -> list[Path]:
    """Event files of all attempts, oldest first."""
    return sorted(state_dir.glob("events-*.jsonl"))


def read_events(file: Path) -> list[dict[str, Any]]:
    """Whole lines of an event file; a last line that a kill cut off is not an event."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def merged_history(state_dir: Path) -> list[dict[str, Any]]:
    """One row per optimizer step over all attempts, with what was measured after it; a step that was repeated after a
    restart counts once, the last."""
    rows: dict[int, dict[str, Any]] = {}
    for file in event_files(state_dir):
        for event in read_events(file):
            facts = {key: value for key, value in event.items() if key not in ("type", "time")}
            if event["type"] == "step":
                rows[event["step"]] = facts
            elif event["type"] == "evaluation":  # after its step
                rows[event["step"]] |= facts
    return [rows[step] for step in sorted(rows)]


@contextlib.contextmanager
def progress_display(title: str, show: bool, *, ends: bool = False) -> Iterator[Callable[[FitProgress], None]]:
    """A progress bar on a terminal, few lines elsewhere (`LogMarks`), with ``ends`` also the first and last."""
    from rich.progress import BarColumn, Progress, TextColumn

    from genrm_rl.runtime.console import LogMarks, people_console

    console = people_console(stderr=True)
    if not show:
        yield lambda state: None
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"))
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=None, status="starting workers")
            yield lambda state: bar.update(
                task, total=state.total_steps or None, completed=state.step, status=describe(state)
            )
    else:
        marks, last = LogMarks(), FitProgress(title, "starting workers")

        def draw(state: FitProgress) -> None:
            nonlocal last
            last = state
            if marks.due(state.step, state.total_steps):
                console.print(f"{title}: {describe(state)}", highlight=False)

        if ends:
            console.print(f"{title}: {describe(last)}", highlight=False)
        yield draw
        if ends:
            console.print(f"{title}: {describe(last)}", highlight=False)


def describe(state: FitProgress) -> str:
    """One line about a fit that runs."""
    if not state.step:
        return state.phase
    parts = [f"step {state.step}/{state.total_steps}", f"{state.tokens_per_second:,.0f} tokens/s"]
    parts += [f"{key} {state.metrics[key]:.3f}" for key in ("loss", "accuracy") if key in state.metrics]
    if state.seconds_left:
        parts.append(f"about {state.seconds_left:.0f} s left")
    if state.attempt > 1:
        parts.append(f"attempt {state.attempt}")
    return ", ".join(parts)
