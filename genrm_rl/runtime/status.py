"""What a run has done and what it is doing, read from its directory alone: works while the driver is dead."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.console import number, people_table
from genrm_rl.runtime.lease import EXPIRES_SECONDS, read_lease
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.results import result_of, settings_of
from genrm_rl.runtime.run_directory import LOCK, PROVENANCE, no_such_run
from genrm_rl.runtime.storage import MARKER, read_json
from genrm_rl.runtime.store_paths import stored, working_path

SHOWN_STAGES = 8
SHOWN_METRICS = ("reward/mean", "rollout/gold_accuracy", "reward/masked_share", "train/kl_reference", "seconds/step")
# Complete by the hundred; counted as steps instead.
INSIDE_A_STEP = {"steps", "checkpoints"}


@dataclass(frozen=True)
class Stage:
    """A finished stage; ``ended`` in seconds since the epoch."""

    name: str
    seconds: float | None
    ended: float


@dataclass(frozen=True)
class RunStatus:
    """``driver`` is the process that holds the run, None if nobody does. ``result`` of a finished one is what to look
    at, else None. ``steps`` is (done, planned) of the last loop of updates, ``step_seconds`` their mean time,
    ``masked`` what became of rewards that the judge did not give."""

    path: Path
    provenance: dict[str, Any]
    driver: str | None
    result: str | None
    stages: list[Stage]
    last_write: float
    steps: tuple[int, int | None] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    step_seconds: float | None = None
    masked: Counter[str] = field(default_factory=Counter)


def read_status(run: str, root: str) -> RunStatus:
    """The status of the run in directory ``run``, or with that id below ``root``. Raises RunDirectoryError."""
    path = run_path(run, root)
    try:
        provenance = read_json(path / PROVENANCE)
    except ValueError as problem:
        raise RunDirectoryError(f"{path / PROVENANCE} is not the record of a run ({problem})") from problem
    written = _written(path)
    files = sorted(written, key=written.__getitem__)
    return RunStatus(
        path=path,
        provenance=provenance,
        driver=_lessee(path) if stored(path) else _driver(path / LOCK),
        result=result_of(path),
        stages=[
            _stage(path, file, written[file])
            for file in files
            if file.name == MARKER and not INSIDE_A_STEP & set(file.parts)
        ],
        last_write=max(written.values()),
        **_steps([file for file in files if file.match("steps/*/metrics.json")]),
    )


def run_path(run: str, root: str) -> Path:
    """The run in directory ``run``, or with that id below ``root``; of one in an object store, what is light is brought
    here. Raises RunDirectoryError."""
    path = Path(run) if (Path(run) / PROVENANCE).is_file() else working_path(root) / run
    fetch(path, lambda name, size: name.endswith((".json", ".yaml", ".html")))
    if not (path / PROVENANCE).is_file():
        raise RunDirectoryError(f"{no_such_run(root, run)}; give its directory, or --root")
    return path


def _written(run: Path) -> dict[Path, float]:
    """When each file was written last; one that goes away meanwhile is left out."""
    found = {}
    for file in run.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if file.is_file():
                found[file] = file.stat().st_mtime
    return found


def _lessee(run: Path) -> str | None:
    """Who holds the lease of a run on an object store, unless it has not been renewed for long."""
    lease = read_lease(run)
    alive = lease is not None and time.time() - lease["renewed"] < 2 * EXPIRES_SECONDS
    return lease["owner"] or None if lease is not None and alive else None


def _driver(lock: Path) -> str | None:
    """Who holds the lock; it dies with its process, so a name in the file alone says nothing."""
    try:
        with lock.open(encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return handle.read().strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


def _stage(run: Path, marker: Path, ended: float) -> Stage:
    return Stage(str(marker.parent.relative_to(run)), read_json(marker).get("seconds"), ended)


def _steps(metrics: list[Path]) -> dict[str, Any]:
    """Progress of the alignment whose metrics, oldest first, were written to last, if there is one."""
    if not metrics:
        return {}
    owner = metrics[-1].parents[2]
    done = [read_json(file) for file in sorted(owner.glob("steps/*/metrics.json"))]
    seconds = [step["seconds/step"] for step in done if "seconds/step" in step]
    masked: Counter[str] = Counter()
    for marker in owner.glob(f"steps/*/rollout/{MARKER}"):
        masked.update(read_json(marker).get("masked", {}))
    return {
        "steps": (len(done), _planned(owner)),
        "metrics": done[-1],
        "step_seconds": sum(seconds) / len(seconds) if seconds else None,
        "masked": masked,
    }


def _planned(run: Path) -> int | None:
    """Of an alignment, of agents, or of a judge that learns from its own traces (a folder of a bootstrap's method)."""
    config = settings_of(run)
    if not config:  # methods/METHOD/roundN
        return settings_of(run.parents[2]).get("bootstrap", {}).get(run.parent.name, {}).get("steps")
    return config["dpo"].get("rounds") if config.get("method") == "dpo" else config.get("ppo", {}).get("steps")


def show_status(status: RunStatus, console: Console) -> None:
    """Print it."""
    made = status.provenance
    console.print(
        f"run {status.path}: started {made.get('created')} with `{made.get('command')}`, revision "
        f"{made.get('code_revision')}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
    ago = _duration(time.time() - status.last_write)
    if status.result is not None:
        state = f"finished; see {status.result}"
    elif status.driver is not None:
        state = f"being driven by process {status.driver}; last written to {ago} ago"
    else:
        state = f"nobody drives it, last written to {ago} ago; submit it again with the same --run.id to go on"
    console.print(state, highlight=False)
    if status.stages:
        shown = status.stages[-SHOWN_STAGES:]
        title = f"complete stages: {len(status.stages)}" + (", the last:" if len(status.stages) > len(shown) else "")
        table = people_table("stage", number("took"), number("ended"), title=title)
        for stage in shown:
            took = _duration(stage.seconds) if stage.seconds is not None else "-"
            table.add_row(stage.name, took, f"{_duration(time.time() - stage.ended)} ago")
        console.print(table)
    if status.steps is not None:
        _show_steps(status, console)


def _show_steps(status: RunStatus, console: Console) -> None:
    done, planned = status.steps or (0, None)
    line = f"step {done} of {planned or '?'}"
    if planned and status.step_seconds and done < planned:
        line += f", {status.step_seconds:.1f} s each, about {_duration((planned - done) * status.step_seconds)} left"
    console.print(line, highlight=False)
    for name in SHOWN_METRICS:
        if isinstance(value := status.metrics.get(name), float):
            console.print(f"  {name}: {value:.4g}", highlight=False)
    if status.masked:
        counts = ", ".join(f"{count} {mask}" for mask, count in status.masked.most_common())
        console.print(f"  masked answers so far: {counts}", highlight=False)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
