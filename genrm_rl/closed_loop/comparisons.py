"""New comparisons: distinct answers of the aligned policy to one question, without anything held out in them (pure)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.judging.thoughts import never_answers
from genrm_rl.preferences.dedup import PromptTable
from genrm_rl.preferences.sources import DataSplits
from genrm_rl.preferences.splits import remove_leaks
from genrm_rl.preferences.types import PreferencePair

SOURCE = "aligned policy"


@dataclass(frozen=True, slots=True)
class NewComparison:
    """Two answers to a question, in the order in which a judge or a person sees them; nobody has chosen yet. ``world``
    is the text of a task-world question, whose answers can be verified, else empty."""

    pair: PreferencePair
    world: str = ""

    @property
    def id(self) -> str:
        """Hash of question and answers, whichever is better."""
        return self.pair.id

    @property
    def answers(self) -> tuple[str, str]:
        """Answers a and b; the order comes from their hashes and says nothing about them."""
        comparison = self.pair.comparison()
        return comparison.response_a, comparison.response_b

    def labelled(self, label: str, by: str) -> PreferencePair:
        """The preference pair in which answer ``label`` (a or b) was chosen."""
        first, second = self.answers
        chosen, rejected = (first, second) if label == "a" else (second, first)
        pair = self.pair
        return PreferencePair.create(
            pair.prompt,
            chosen,
            rejected,
            source=SOURCE,
            category=pair.category,
            label_source=by,  # type: ignore[arg-type]
            guide=pair.guide,
        )


@dataclass(frozen=True)
class Comparisons:
    """What is to be labelled, and how many possible pairs were left out for which reason."""

    kept: list[NewComparison]
    left_out: dict[str, int] = field(default_factory=dict)


def pair_answers(question: PolicyPrompt, answers: Sequence[str], *, pairs: int, seed: int) -> list[NewComparison]:
    """At most ``pairs`` seeded pairs of answers that differ by more than white space. Empty answers, and those
    whose thinking never ends, take no part."""
    distinct: dict[str, str] = {}
    for answer in answers:
        if not answer.strip() or never_answers(answer):
            continue
        distinct.setdefault(answer.strip(), answer)
    possible = list(itertools.combinations(distinct.values(), 2))
    drawn = random.Random(f"comparisons/{seed}/{question.id}").sample(possible, min(pairs, len(possible)))
    guide = replace(question.guide, known_answer=question.known_answer)
    return [
        NewComparison(
            PreferencePair.create(question.messages, *answers, source=SOURCE, category=question.family, guide=guide),
            question.world,
        )
        for answers in drawn
    ]


def usable_comparisons(
    found: Sequence[NewComparison],
    splits: DataSplits,
    known: Mapping[str, PreferencePair],
    misfit: Callable[[PreferencePair], str | None],
    threshold: float,
) -> Comparisons:
    """Leave out what the next judge could not learn from: (near-)copies of gate and test prompts, pairs that have a
    label already, and what does not fit the judge's context. Found before anybody is asked for a label."""
    by_id = {comparison.id: comparison for comparison in found}
    fresh = {name: comparison for name, comparison in by_id.items() if name not in known}
    fitting = [comparison.pair for comparison in fresh.values() if misfit(comparison.pair) is None]
    everything = itertools.chain(fitting, splits.gate, *splits.test.values())
    kept, _, _ = remove_leaks(fitting, splits.gate, splits.test, PromptTable(everything, threshold))
    counts = {
        "labelled already": len(by_id) - len(fresh),
        "does not fit the judge": len(fresh) - len(fitting),
        "prompt is held out": len(fitting) - len(kept),
    }
    return Comparisons([fresh[pair.id] for pair in kept], {reason: count for reason, count in counts.items() if count})
