"""A desk whose every event is written down before it counts, in a folder with the journal and the people's links."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.errors import DataError
from genrm_rl.labelling.desk import Desk, Event
from genrm_rl.labelling.journal import Journal, read_events
from genrm_rl.labelling.types import Label, Task

JOURNAL = "journal.jsonl"
TOKENS = ".tokens.json.tmp"  # a name that object stores are not given


class Book:
    """The desk of ``folder``. Raises RunDirectoryError if another process has it, or if its journal is broken."""

    def __init__(self, folder: Path, tasks: Sequence[Task], config: LabellingConfig, seed: int) -> None:
        self.folder = folder
        self.desk = Desk(tasks, config, seed)
        self.journal = Journal(folder / JOURNAL)
        for event in self.journal.events:
            self.desk.apply(event)

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *exc: object) -> None:
        self.journal.close()

    def show(self, annotator: str, now: float) -> Task | None:
        """What this person labels next, which is kept for them from now on; None if nothing is left for them."""
        task = self.desk.choose(annotator, now)
        if task is not None and self.desk.kept_for(annotator) != task.id:
            event = {"event": "shown", "task": task.id, "annotator": annotator, "at": now}
            self.journal.append(event, durable=False)
            self.desk.apply(event)
        return task

    def say(self, label: Label) -> bool:
        """Keep a label. False if it was kept already: a sender who got no answer sends it again. Raises DataError for a
        task that is not here, and for another word of the same person, who has to take the first one back."""
        if label.task not in self.desk.tasks:
            raise DataError(f"there is no comparison {label.task} at this desk")
        before = self.desk.label(label.task, label.annotator)
        if before is not None:
            if (before.choice, before.reason) == (label.choice, label.reason):
                self.journal.store()  # what failed the first time
                return False
            raise DataError(f"{label.annotator} has labelled comparison {label.task} already; undo that first")
        self._write({"event": "label", **asdict(label)})
        return True

    def take_back(self, task: str, annotator: str, now: float) -> Label | None:
        """Undo a label, whose task this person gets next; the label, or None if there was none."""
        label = self.desk.label(task, annotator)
        if label is not None:
            self._write({"event": "undo", "task": task, "annotator": annotator, "at": now})
        return label

    def add(self, labels: Iterable[Label]) -> int:
        """Keep labels that were given elsewhere; how many were new. What the same person said here stays."""
        new = [label for label in labels if self.desk.label(label.task, label.annotator) is None]
        return sum(map(self.say, new))

    def _write(self, event: Event) -> None:
        self.journal.append(event)
        self.desk.apply(event)
        self.journal.store()

    def tokens(self) -> dict[str, str]:
        """The secret of each person's link, by name (p1, p2, ...). They stay the same as long as the folder."""
        path = self.folder / TOKENS
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        wanted = [f"p{number}" for number in range(1, self.desk.config.annotators + 1)]
        missing = [name for name in wanted if name not in known]
        if missing:
            known |= {name: secrets.token_urlsafe(24) for name in missing}
            _write_private(path, json.dumps(known, indent=2))
        return {name: known[name] for name in wanted}


def read_desk(folder: Path, tasks: Sequence[Task], config: LabellingConfig, seed: int) -> Desk:
    """The desk of a folder as it is now, to be looked at. Raises RunDirectoryError for a broken journal."""
    desk = Desk(tasks, config, seed)
    for event in read_events(folder / JOURNAL)[0]:
        desk.apply(event)
    return desk


def _write_private(path: Path, text: str) -> None:
    """For this account's eyes only."""
    draft = path.with_name(f".{path.name}.tmp")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(draft, path)
