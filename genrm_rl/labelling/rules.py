"""Which comparisons come first, which are labelled twice, on which side an answer is shown, and when one is settled
(pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from genrm_rl.config.labelling import THIRD, LabellingConfig
from genrm_rl.labelling.types import Label, Outcome, State, Task
from genrm_rl.preferences.types import content_hash

CONTRADICTION = 2.0  # above any doubt of a judge whose orders agree


def doubt_of(p_a: float | None, consistent: bool | None) -> float | None:
    """How unsure a judge is whose P(a wins) is ``p_a``: 0 sure, 1 one half, and more where its two orders disagree.
    None if it did not judge."""
    if consistent is False:
        return CONTRADICTION
    return None if p_a is None else 1.0 - 2.0 * abs(p_a - 0.5)


def in_order(tasks: Iterable[Task], seed: int, *, active: bool) -> list[Task]:
    """The order in which tasks are offered: the most doubtful first (uncertainty sampling, Lewis and Gale 1994), else
    and among equals by a drawn order. What the judge was not asked about, or could not judge, counts as doubtful."""
    drawn = sorted(tasks, key=lambda task: content_hash("order", seed, task.id))
    return sorted(drawn, key=lambda task: -(1.0 if task.doubt is None else task.doubt)) if active else drawn


def labelled_twice(tasks: Iterable[Task], share: float, seed: int) -> frozenset[str]:
    """Ids of the ``share`` of the tasks that two people label; drawn, whatever the judge says of them, so that their
    agreement speaks for all."""
    drawn = sorted((task.id for task in tasks), key=lambda name: content_hash("overlap", seed, name))
    return frozenset(drawn[: round(share * len(drawn))])


def shown_swapped(task: Task, annotator: str, seed: int) -> bool:
    """Whether this person sees answer b as side A; drawn for each person, so that no side is favoured."""
    return int(content_hash("side", seed, task.id, annotator), 16) % 2 == 1


def settled(labels: Sequence[Label], wanted: int, rule: LabellingConfig) -> Outcome:
    """What ``labels`` (of one task, by different people) come to. ``wanted``: how many are asked for.

    A skip is no vote. Where people disagree, ``rule.disagreement`` either leaves the task out, or asks a third person,
    if there is one, and takes what more than half of the votes say.
    """
    votes = Counter(label.choice for label in labels if label.choice != "skip")
    if len(labels) < wanted:
        return Outcome(State.OPEN)
    if not votes:
        return Outcome(State.SKIPPED)
    (first, most), *others = votes.most_common()
    if not others or (rule.disagreement == "third" and 2 * most > votes.total()):
        return Outcome(State.LABELLED, first)  # type: ignore[arg-type]
    if rule.disagreement == "third" and len(labels) < min(THIRD, rule.annotators):
        return Outcome(State.OPEN)
    return Outcome(State.DISPUTED)
