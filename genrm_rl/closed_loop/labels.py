"""Labels of new comparisons: the judge's own where it is sure, and a person's, which wins (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from genrm_rl.closed_loop.comparisons import NewComparison
from genrm_rl.config.loop import LabelsConfig
from genrm_rl.judging.types import Judgment, Verdict
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.preferences.world.style import verify

LABELS_FILE = "labels.jsonl"  # of the stage of labels
Label = Literal["a", "b"]
HumanLabel = Literal["a", "b", "tie", "skip", "disputed"]


class Unlabelled(StrEnum):
    """Why a comparison got no label."""

    TOO_FEW_VERDICTS = "too_few_verdicts"  # of the judge, in both orders together
    ONE_ORDER = "one_order"  # one order came to no verdict, also when it was asked once more
    ORDERS_DISAGREE = "orders_disagree"  # the judge contradicts itself when the answers change places
    TIE = "tie"  # people say so; or the votes of an order balance, or the judge is no surer of one answer
    UNSURE = "unsure"  # the judge's probability is below labels.min_probability
    SKIPPED = "skipped"  # a person skipped it
    DISPUTED = "disputed"  # people disagree about it
    NOT_ASKED = "not_asked"  # labels.source is human or people, and nobody has come to it


NO_LABEL = {"tie": Unlabelled.TIE, "skip": Unlabelled.SKIPPED, "disputed": Unlabelled.DISPUTED}


@dataclass(frozen=True, slots=True)
class LabelledComparison:
    """A comparison with its label and who gave it, or the reason why it has none. ``p_a`` is the judge's P(a wins),
    ``rationales`` is what people wrote, with ``[chosen]`` and ``[rejected]`` for the answers."""

    comparison: NewComparison
    label: Label | None
    by: Literal["human", "ai"] | None
    reason: Unlabelled | None
    p_a: float | None = None
    rationales: tuple[str, ...] = ()

    def pair(self) -> PreferencePair | None:
        """What the next judge learns from."""
        if self.label is None:
            return None
        return replace(self.comparison.labelled(self.label, str(self.by)), rationales=self.rationales)


def judge_label(judgment: Judgment, config: LabelsConfig) -> Label | Unlabelled:
    """The judge's label, if both orders agree and it is sure enough."""
    if judgment.verdict is Verdict.ONE_ORDER:
        return Unlabelled.ONE_ORDER
    if judgment.votes < config.min_verdicts or judgment.p_a is None:
        return Unlabelled.TOO_FEW_VERDICTS
    if judgment.consistent is False:
        return Unlabelled.ORDERS_DISAGREE
    if judgment.tie or Verdict.ABSTAINED in (judgment.verdict_ab, judgment.verdict_ba):
        return Unlabelled.TIE
    if max(judgment.p_a, 1 - judgment.p_a) < config.min_probability:
        return Unlabelled.UNSURE
    return "a" if judgment.p_a > 0.5 else "b"


def label_comparisons(
    comparisons: Sequence[NewComparison],
    judgments: Mapping[str, Judgment],
    human: Mapping[str, HumanLabel],
    config: LabelsConfig,
    reasons: Mapping[str, Sequence[str]] | None = None,
) -> list[LabelledComparison]:
    """One row per comparison. What a person said wins; where they said nothing, the judge's label counts, if it was
    asked for one (with ``labels.source: people`` it only says of what it is unsure).

    ``judgments``, ``human`` and their ``reasons`` are keyed by comparison id.
    """
    rows = []
    for comparison in comparisons:
        judgment, said = judgments.get(comparison.id), human.get(comparison.id)
        p_a = judgment.p_a if judgment is not None else None
        if said in ("a", "b"):
            why = tuple((reasons or {}).get(comparison.id, ()))
            rows.append(LabelledComparison(comparison, said, "human", None, p_a, why))
            continue
        if said is not None:
            rows.append(LabelledComparison(comparison, None, None, NO_LABEL[said], p_a))
            continue
        asked = judgment is not None and config.source != "people"
        found = judge_label(judgment, config) if asked else Unlabelled.NOT_ASKED
        unlabelled = found if isinstance(found, Unlabelled) else None
        label = None if isinstance(found, Unlabelled) else found
        rows.append(LabelledComparison(comparison, label, "ai" if label else None, unlabelled, p_a))
    return rows


def label_facts(rows: Sequence[LabelledComparison]) -> dict[str, Any]:
    """Counts by who labelled and by reason, and who agrees with whom.

    ``gold``: labels against the task world's verifier, where exactly one answer is right; no label comes from it.
    ``person_and_judge``: a person's labels against the judge's probability. None where there is nothing to compare.
    ``reasons``: how many people wrote that can be learned from.
    """
    labelled = Counter(row.by for row in rows if row.by)
    reasons = Counter(str(row.reason) for row in rows if row.reason)
    both = [(row.label == "a", row.p_a > 0.5) for row in rows if row.by == "human" and row.p_a not in (None, 0.5)]
    return {
        "comparisons": len(rows),
        "labelled": dict(sorted(labelled.items())),
        "unlabelled": dict(sorted(reasons.items())),
        "reasons": sum(len(row.rationales) for row in rows),
        "gold": {by: _agreement(_against_verifier(rows, by)) for by in sorted(labelled)},
        "person_and_judge": _agreement(both),
    }


def _against_verifier(rows: Sequence[LabelledComparison], by: str) -> list[tuple[bool, bool]]:
    """Label and verifier, as "a is better", for the comparisons that the verifier can decide."""
    found = []
    for row in rows:
        if row.by == by and row.comparison.world:
            right_a, right_b = (verify(row.comparison.world, answer) for answer in row.comparison.answers)
            if right_a != right_b:
                found.append((row.label == "a", right_a))
    return found


def _agreement(opinions: Sequence[tuple[bool, bool]]) -> dict[str, int] | None:
    agree = sum(first == second for first, second in opinions)
    return {"decided": len(opinions), "agree": agree} if opinions else None
