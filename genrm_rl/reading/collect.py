"""Everything that was judged in a run directory and in the runs inside it (the turns of a closed loop)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from genrm_rl.config import RunConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.reading.judged import judged_parts
from genrm_rl.reading.labelled import labelled_parts
from genrm_rl.reading.rewarded import rewarded_parts
from genrm_rl.reading.text_store import TextStore
from genrm_rl.reading.types import Part
from genrm_rl.runtime.results import CONFIG, kind_of, settings_of
from genrm_rl.runtime.run_directory import PROVENANCE


def check_run(run: Path) -> None:
    """Raise RunDirectoryError for a directory that is no run."""
    if not (run / PROVENANCE).is_file():
        raise RunDirectoryError(f"{run} is not a run directory (it has no {PROVENANCE}); give one that a job has made")


def collect(run: Path, store: TextStore) -> Iterator[Part]:
    """The parts of a run, of the runs inside it by name; each is to be read before the next one is asked for.

    Raises ConfigError for settings that this version can't read.
    """
    for record in sorted(run.rglob(PROVENANCE), key=lambda path: path.parent):
        folder = record.parent
        inside = folder.relative_to(run).as_posix()
        yield from _parts(folder, store, "" if folder == run else f"{inside}/")


def _parts(folder: Path, store: TextStore, name: str) -> Iterator[Part]:
    """Of one run. Episodes of agents are read on their own page."""
    path = folder / CONFIG
    match kind_of(settings_of(folder)):
        case "alignment":
            yield from rewarded_parts(folder, load_config(AlignConfig, path), name)
        case "loop":
            yield from labelled_parts(folder, load_config(LoopConfig, path), name)
        case "bootstrap":
            yield from judged_parts(folder, load_config(RunConfig, path), store, name)
