"""Who labels what next. All state comes from events that are applied one by one, so a replayed journal is the desk."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any

from genrm_rl.config.labelling import LabellingConfig
from genrm_rl.labelling.agreement import agreement
from genrm_rl.labelling.rules import in_order, labelled_twice, settled
from genrm_rl.labelling.types import Label, Outcome, State, Task

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kept:
    """A task in front of a person since ``since``; ``again``: they took their label of it back."""

    task: str
    since: float
    again: bool = False


class Desk:
    """The tasks, what people have said about them, and what is in front of whom. Pure: time comes in as seconds.

    Events are ``shown`` (a task was put in front of a person, for whom it is kept for ``lease`` seconds), ``label``,
    and ``undo`` (the person takes a label back). Those about tasks that are not here are counted and not used.
    """

    def __init__(self, tasks: Sequence[Task], config: LabellingConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.tasks = {task.id: task for task in tasks}
        self.unknown = 0
        self._order = {task.id: rank for rank, task in enumerate(in_order(tasks, seed, active=config.active))}
        self._twice = labelled_twice(tasks, config.overlap, seed)
        # By task and annotator. A label that was taken back is None, so that its successor keeps its place: who was
        # asked first is decided before anybody disagrees.
        self._labels: defaultdict[str, dict[str, Label | None]] = defaultdict(dict)
        self._kept_for: dict[str, Kept] = {}  # by annotator
        self._history: defaultdict[str, list[str]] = defaultdict(list)  # by annotator: tasks, as labelled
        self._open = dict.fromkeys(self._order)  # in the order in which they are offered

    def apply(self, event: Event) -> None:
        """Something happened."""
        task, annotator = event["task"], event["annotator"]
        if task not in self.tasks:
            self.unknown += event["event"] == "label"
            return
        if event["event"] == "shown":
            self._kept_for[annotator] = Kept(task, event["at"])
            return
        if event["event"] == "undo":
            if self.label(task, annotator) is not None:
                self._labels[task][annotator] = None
                self._history[annotator].remove(task)
            self._kept_for[annotator] = Kept(task, event["at"], again=True)
        else:
            self._labels[task][annotator] = label_of(event)
            self._history[annotator].append(task)
            if self.kept_for(annotator) == task:
                del self._kept_for[annotator]
        self._file_away(task)

    def take(self, labels: Iterable[Label]) -> None:
        """Count labels that are written elsewhere, unless the same person has labelled the task here."""
        for label in labels:
            if self.label(label.task, label.annotator) is None:
                self.apply({"event": "label", **asdict(label)})

    def choose(self, annotator: str, now: float) -> Task | None:
        """What this person labels next: what is in front of them, else the first that wants them. Comparisons on which
        two people disagree come before all others."""
        kept = self._kept_for.get(annotator)
        if kept is not None and (kept.again or self._wants(kept.task, annotator, now)):
            return self.tasks[kept.task]
        wanting = [name for name in self._disputes() if self._wants(name, annotator, now)]
        first = wanting or (name for name in self._open if self._wants(name, annotator, now))
        return next((self.tasks[name] for name in first), None)

    def kept_for(self, annotator: str) -> str | None:
        """The task in front of this person."""
        kept = self._kept_for.get(annotator)
        return None if kept is None else kept.task

    def label(self, task: str, annotator: str) -> Label | None:
        """What this person said about a task."""
        return self._labels.get(task, {}).get(annotator)

    def last(self, annotator: str) -> str | None:
        """The task that this person labelled last."""
        history = self._history.get(annotator)
        return history[-1] if history else None

    def labels(self, task: str) -> list[Label]:
        """Of a task, in the order in which people came to it."""
        return [label for label in self._labels.get(task, {}).values() if label is not None]

    def by(self, annotator: str) -> list[Label]:
        """All labels of a person, oldest first."""
        return [label for task in self._history.get(annotator, ()) if (label := self.label(task, annotator))]

    def annotators(self) -> Mapping[str, int]:
        """Everybody who has labelled, with how many."""
        return {name: len(tasks) for name, tasks in sorted(self._history.items()) if tasks}

    def outcome(self, task: str) -> Outcome:
        """What has become of a task."""
        return settled(self.labels(task), self._wanted(task), self.config)

    def outcomes(self) -> dict[str, Outcome]:
        """Of every task, in their own order."""
        return {task: self.outcome(task) for task in self.tasks}

    @property
    def settled_count(self) -> int:
        """Tasks about which nobody is asked any more."""
        return len(self.tasks) - len(self._open)

    @property
    def needed(self) -> int:
        """Tasks that have to be settled before the desk may close."""
        return math.ceil(round(self.config.enough * len(self.tasks), 6))

    @property
    def enough(self) -> bool:
        """Whether that is so."""
        return self.settled_count >= self.needed

    def _wanted(self, task: str) -> int:
        return min(2 if task in self._twice else 1, self.config.annotators)

    def _disputes(self) -> list[str]:
        return [name for name in self._open if len(self.labels(name)) >= 2]

    def _wants(self, task: str, annotator: str, now: float) -> bool:
        """Whether ``annotator`` may label the task: it is open, they have said nothing yet, and enough of those who are
        wanted are not at it already."""
        if task not in self._open or self.label(task, annotator) is not None:
            return False
        said = len(self.labels(task))
        wanted = max(self._wanted(task), said + 1 if said >= 2 else 0)
        others = (kept for name, kept in self._kept_for.items() if name != annotator and kept.task == task)
        return wanted - said > sum(now - kept.since < self.config.lease for kept in others)

    def _file_away(self, task: str) -> None:
        if self.outcome(task).state is not State.OPEN:
            self._open.pop(task, None)
        elif task not in self._open:
            self._open = dict.fromkeys(sorted((*self._open, task), key=self._order.__getitem__))


def label_of(event: Event) -> Label:
    """The label that an event of that kind carries."""
    return Label(**{field.name: event[field.name] for field in fields(Label) if field.name in event})


def counted(desk: Desk) -> dict[str, Any]:
    """What the labelling has come to, for people and for manifests: outcomes by word, who said how much and how long it
    took them (seconds), agreement."""
    outcomes = Counter(outcome.word for outcome in desk.outcomes().values())
    return {
        "comparisons": len(desk.tasks),
        "outcomes": dict(sorted(outcomes.items())),
        "annotators": {name: {"labels": count, **times(desk.by(name))} for name, count in desk.annotators().items()},
        "agreement": agreement(desk.labels(task) for task in desk.tasks),
    }


def times(labels: Sequence[Label]) -> dict[str, float | None]:
    """How long a person looked at what they labelled, in seconds: in all, and at one comparison (the median)."""
    known = [label.seconds for label in labels if label.seconds is not None]
    return {"seconds": round(sum(known), 1), "median_seconds": round(median(known), 1) if known else None}
