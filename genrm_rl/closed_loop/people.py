"""The people of a loop: what they have said in the file or at the desk, and the desk while the loop waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.closed_loop.label_file import label_row, read_label_file, write_label_file
from genrm_rl.closed_loop.labels import HumanLabel
from genrm_rl.closed_loop.settings import turn_seed
from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.config.loop import LoopConfig
from genrm_rl.judging.types import Judgment
from genrm_rl.labelling.book import JOURNAL, Book, read_desk
from genrm_rl.labelling.desk import Desk, counted
from genrm_rl.labelling.formats import read_tasks
from genrm_rl.labelling.reasons import reasons_for
from genrm_rl.labelling.types import Label, State, Task
from genrm_rl.runtime.console import say_whole
from genrm_rl.runtime.provenance import command_line
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import is_complete, write_json_lines

LABEL_FILE = "label_me.jsonl"
DESK = "desk"  # below a turn: the journal and the links
TASKS = "tasks.jsonl"


@dataclass(frozen=True)
class People:
    """What people have said, by comparison id: labels, and reasons that can be learned from. ``facts``: how much, by
    whom, and how far they agree; empty without a desk."""

    labels: dict[str, HumanLabel] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DeskPlace:
    """Everything that opens the desk of a turn. ``given``: labels that the file of tasks has already."""

    folder: Path
    tasks: list[Task]
    given: list[Label]
    config: LabellingConfig
    seed: int

    def read(self) -> Desk:
        """As it is now, with what the file says. Raises RunDirectoryError for a broken journal."""
        desk = read_desk(self.folder, self.tasks, self.config, self.seed)
        desk.take(self.given)
        return desk

    def open(self) -> Book:
        """To label at. Raises RunDirectoryError if another process has it open."""
        book = Book(self.folder, self.tasks, self.config, self.seed)
        book.add(self.given)
        return book


def what_people_said(run: RunDirectory, turn: int, comparisons: Sequence[NewComparison]) -> People | None:
    """What the loop goes on with, or None if people have more to say. Raises DataError for a file that was filled
    wrongly."""
    if not comparisons:
        return People()
    source, path = run.config.labels.source, run.path / f"turn{turn}" / LABEL_FILE
    if source == "people":
        desk = desk_of(run.path, run.config, turn).read()
        return from_desk(desk) if desk.enough else None
    write_label_file(path, comparisons, source, command_line())
    filled = read_label_file(path, comparisons)
    place = desk_of(run.path, run.config, turn)
    said = from_desk(place.read()) if (place.folder / JOURNAL).is_file() else People()
    labels = said.labels | filled
    waits = not labels or (source == "human" and len(labels) < len(comparisons))
    return None if waits else People(labels, said.reasons, said.facts)


def from_desk(desk: Desk) -> People:
    """What was said at a desk whose tasks are named after comparisons."""
    labels: dict[str, HumanLabel] = {}
    reasons: dict[str, list[str]] = {}
    for name, outcome in desk.outcomes().items():
        task = desk.tasks[name]
        if outcome.state is not State.OPEN:
            labels[task.name] = outcome.word  # type: ignore[assignment]
        if outcome.label in ("a", "b") and (told := reasons_for(desk.labels(name), outcome.label)):
            reasons[task.name] = told
    return People(labels, reasons, {"desk": counted(desk)})


def offer_at_desk(
    run: RunDirectory, turn: int, comparisons: Sequence[NewComparison], judgments: Mapping[str, Judgment]
) -> None:
    """Write down, once, what people are asked in a turn, and what the judge thinks of it, which decides what comes
    first and is shown to nobody."""

    def compute(directory: Path) -> dict[str, Any]:
        rows = []
        for comparison in comparisons:
            judgment = judgments.get(comparison.id)
            doubt = {} if judgment is None else {"p_a": judgment.p_a, "consistent": judgment.consistent}
            rows.append(label_row(comparison) | doubt)
        write_json_lines(directory / TASKS, rows)
        return {"comparisons": len(rows), "judged": len(judgments)}

    run.stage(f"turn{turn}/preferences/{DESK}", compute)


def desk_of(root: Path, config: LoopConfig, turn: int) -> DeskPlace:
    """The desk of a turn whose comparisons are there. Raises DataError."""
    offered = root / f"turn{turn}/preferences/{DESK}"
    file = offered / TASKS if is_complete(offered) else root / f"turn{turn}" / LABEL_FILE
    tasks, given = read_tasks(file)
    return DeskPlace(root / f"turn{turn}" / DESK, tasks, given, config.labels.desk, turn_seed(config, turn))


def wait_for_people(run: RunDirectory, turn: int, console: Console) -> None:
    """Open the desk of a turn, and come back when enough is there. KeyboardInterrupt ends it, and nothing is lost."""
    from genrm_rl.labelling.job import hold_desk, show_counts

    turns = run.config.turns
    say_whole(console, f"== turn {turn} of {turns}: people label; the loop goes on by itself when enough is there")
    with desk_of(run.path, run.config, turn).open() as book:
        hold_desk(book, console, command_line())
        show_counts(book.desk, console)
