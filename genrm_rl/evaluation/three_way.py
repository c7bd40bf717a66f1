"""Scoring rules of benchmarks whose people may say tie: first, second or neither. Pure.

What a judge says is the folded judgment (PandaLM) or the verdict of each order (Auto-J); an order that balances or
abstains says tie, and so does, for PandaLM, a pair without a judgment, as its own script reads an unreadable answer.

- ``pandalm`` (arXiv 2306.05087): accuracy over three classes (first, second, tie); macro-averaged precision, recall and
  F1 beside it. *Approximation*: the benchmark asks in one order; here both orders are folded, so that a contradiction
  is a tie.
- ``auto_j`` (arXiv 2310.05470): agreement, the share of pairs whose two orders both say what the label says (one order
  where only one was asked, or the judge has none). Sections are the scenarios.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from genrm_rl.errors import DataError
from genrm_rl.evaluation.counts import orders_right
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema_results import BenchmarkScore

CLASSES = ("first", "second", "tie")


def score_pandalm(records: Sequence[JudgmentRecord]) -> BenchmarkScore:
    """PandaLM. Raises DataError for a row that does not say which answer came first."""
    seen = Counter((_class_of_label(record), _class_of_judgment(record)) for record in records)
    right = sum(seen[name, name] for name in CLASSES)
    parts = [_precision_recall_f1(seen, name) for name in CLASSES]
    detail = {
        f"macro_{what}": sum(values) / len(CLASSES)
        for what, values in zip(("precision", "recall", "f1"), zip(*parts, strict=True), strict=True)
    }
    recalls = {name: part[1] for name, part in zip(CLASSES, parts, strict=True) if _labelled(seen, name)}
    return BenchmarkScore(rule="pandalm", overall=right / len(records), sections=recalls, detail=detail)


def score_auto_j(records: Sequence[JudgmentRecord]) -> BenchmarkScore:
    """Auto-J, overall (pairs weigh the same) and by scenario."""
    won: dict[str, list[float]] = {}
    for record in records:
        asked = sum(verdict is not None for verdict in (record.verdict_ab, record.verdict_ba))
        won.setdefault(record.category or "all", []).append(float(asked > 0 and orders_right(record) == asked))
    every = [value for values in won.values() for value in values]
    sections = {name: sum(values) / len(values) for name, values in sorted(won.items())}
    return BenchmarkScore(rule="auto_j", overall=sum(every) / len(every), sections=sections)


def chosen_is_first(meta: Mapping[str, object], where: str) -> bool:
    """Whether the chosen answer was the first one of its row. Raises DataError if the row does not say so."""
    first = meta.get("first")
    if first not in ("chosen", "rejected"):
        raise DataError(
            f"{where}: the rule of pandalm needs to know which answer came first, as rows with two answers and a label "
            "say; use such a layout, or choose evaluation.scoring=pairs"
        )
    return first == "chosen"


def _class_of_label(record: JudgmentRecord) -> str:
    return "tie" if record.label is None else _place(record, chosen=True)


def _class_of_judgment(record: JudgmentRecord) -> str:
    if record.p_a is None or record.p_a == 0.5:
        return "tie"
    # Of a tie, the first answer is called chosen; its slot is no label.
    chosen_slot = record.label or record.meta.get("chosen_slot")
    return _place(record, chosen=(record.p_a > 0.5) == (chosen_slot == "A"))


def _place(record: JudgmentRecord, *, chosen: bool) -> str:
    first = chosen_is_first(record.meta, f"pair {record.pair_id} of {record.test_set}")
    return "first" if first == chosen else "second"


def _labelled(seen: Counter[tuple[str, str]], name: str) -> int:
    return sum(seen[name, said] for said in CLASSES)


def _precision_recall_f1(seen: Counter[tuple[str, str]], name: str) -> tuple[float, float, float]:
    """Of one class; 0 where nothing was said or labelled, as the benchmark's own script has it."""
    hits, said = seen[name, name], sum(seen[label, name] for label in CLASSES)
    labelled = _labelled(seen, name)
    precision, recall = (hits / total if total else 0.0 for total in (said, labelled))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return precision, recall, f1
