"""``genrm-rl read``: the judgments of a run, as files beside its report."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from genrm_rl.errors import RunDirectoryError
from genrm_rl.reading.collect import check_run, collect
from genrm_rl.reading.text_store import TextStore
from genrm_rl.reading.write import Writer
from genrm_rl.runtime.storage import publish_directory

READER = "reader"


def read_run(run: Path, console: Console) -> Path:
    """Write ``reader/`` into the run directory, in place of an earlier one; returns its first page.

    Only what is finished is read, so a run that goes on can be read too. Raises RunDirectoryError for a directory that
    is no run or holds nothing to read, ConfigError for settings of another version.
    """
    check_run(run)
    began = time.perf_counter()
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what it has read; Arrow's own keeps tens of MiB
    facts: dict[str, object] = {"stage": READER}
    with tempfile.TemporaryDirectory(prefix="genrm-rl-reader-") as folder, TextStore(Path(folder)) as store:
        parts = collect(run, store)
        first = next(parts, None)
        if first is None:
            raise RunDirectoryError(f"{run} holds no finished judgments yet; read it when a stage that judges is done")
        with publish_directory(run / READER, facts) as reader:
            writer = Writer(reader, Path(folder), run.resolve().name, report=(run / "report.html").is_file())
            writer.write(itertools.chain([first], parts))
            facts |= {"items": writer.items, "seconds": round(time.perf_counter() - began, 3)}
    for note in dict.fromkeys(note for part in writer.parts for note in part.notes):
        console.print(note, style="red", highlight=False, markup=False)
    page = run / READER / "index.html"
    console.print(f"{writer.items:,} judgments and groups: {page}", highlight=False, markup=False, soft_wrap=True)
    return page
