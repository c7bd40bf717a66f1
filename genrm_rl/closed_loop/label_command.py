"""``genrm-rl label``: the desk of a loop that waits for labels, or of a file of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console

from genrm_rl.closed_loop.people import DESK, LABEL_FILE, TASKS, DeskPlace, desk_of
from genrm_rl.config.labelling import LabelConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import ConfigError, DataError
from genrm_rl.labelling.desk import Desk
from genrm_rl.labelling.formats import Form, read_tasks, write_text
from genrm_rl.labelling.job import hold_desk, show_counts, take_labels
from genrm_rl.runtime.provenance import command_line
from genrm_rl.runtime.storage import is_complete, write_atomic

RUNS = Path("runs")  # where an id is looked for


def label_source(
    source: str, words: Sequence[str], out: Path | None, form: str, take: Sequence[Path], page: bool, console: Console
) -> None:
    """Take the labels of the files ``take``, hold the desk (with ``page``), and write ``out``; ``words`` are settings.
    What is there when ctrl-C ends the desk is written too.

    Raises GenRMError before the desk opens.
    """
    if form not in get_args(Form):
        raise ConfigError(f"--form {form} is no form of labels; choose one of {', '.join(get_args(Form))}")
    run = next((folder for folder in (Path(source), RUNS / source) if folder.is_dir()), None)
    place = desk_of_file(Path(source), words, out) if run is None else desk_of_run(run, words, page=page)
    if not (page or take):
        return finish(place.read(), out, form, console)
    with place.open() as book:
        for file in take:
            console.print(f"{file}: {take_labels(book, file)} new labels", highlight=False, markup=False)
        try:
            if page:
                hold_desk(book, console, command_line())
        except KeyboardInterrupt:
            finish(book.desk, out, form, console)
            raise
        finish(book.desk, out, form, console)


def finish(desk: Desk, out: Path | None, form: str, console: Console) -> None:
    """Show what came of it, and write it."""
    show_counts(desk, console)
    if out is not None:
        write_atomic(out, write_text(form, desk))  # type: ignore[arg-type]
        console.print(f"written: {out}", highlight=False, markup=False, soft_wrap=True)


def desk_of_file(path: Path, words: Sequence[str], out: Path | None) -> DeskPlace:
    """The desk of a file of comparisons, beside ``out``. Raises GenRMError."""
    if not path.is_file():
        raise DataError(f"{path} is neither a file of comparisons, nor the directory or id of a loop; check its name")
    if out is None:
        raise ConfigError("--out is missing; name the file that the labels of a file go to")
    config = load_config(LabelConfig, None, words)
    tasks, given = read_tasks(path)
    return DeskPlace(out.with_name(f"{out.name}.desk"), tasks, given, config.desk, config.seed)


def desk_of_run(run: Path, words: Sequence[str], *, page: bool) -> DeskPlace:
    """The desk of the newest turn of a loop that has comparisons; to label at (``page``) only if it waits for labels.
    ``words`` (``--desk.port 9000``) go over the loop's own ``labels.desk``. Raises GenRMError."""
    settings = run / "config.yaml"
    if not settings.is_file() or not list(run.glob("turn*/")):
        raise DataError(f"{run} is no directory of a loop that has begun; give one of `genrm-rl loop`, or a file")
    config = load_config(LoopConfig, settings, [word.replace("--desk.", "--labels.desk.", 1) for word in words])
    turns = [turn for turn in range(config.turns, 0, -1) if is_offered(run, turn)]
    if not turns:
        raise DataError(f"{run} has no comparisons for people yet; go on with the loop until it waits for labels")
    if page and is_complete(run / f"turn{turns[0]}/preferences/labels"):
        raise DataError(f"turn {turns[0]} of {run} is labelled already; with --no-page --out its labels are written")
    return desk_of(run, config, turns[0])


def is_offered(run: Path, turn: int) -> bool:
    """Whether people may label in a turn."""
    files = run / f"turn{turn}/preferences/{DESK}" / TASKS, run / f"turn{turn}" / LABEL_FILE
    return any(file.is_file() for file in files)
