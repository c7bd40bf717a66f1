"""Scoring rules of published benchmarks, applied to :class:`JudgmentRecord` rows. Pure.

- ``rewardbench`` (RewardBench v1): one game per pair, slot drawn at random (here from a seed; unseeded slots move a
  subset by up to 4 points); right 1, wrong 0, tie or no verdict 0.5. Conversations of more than four messages, the
  answer included, count 0.5 for judges that read both answers at once. ``category`` is the subset. A section is the
  count-weighted mean of its subsets, with PRM Math weighted like all code subsets together; overall is the mean of the
  sections.
- ``rm_bench``: the chosen answers in three styles against the rejected ones in three styles, won only if strictly
  preferred. Rows carry ``meta["chosen_style"]`` and ``meta["rejected_style"]`` (0 concise, 1 detailed, 2 detailed with
  markdown); ``category`` is the domain. Hard is above the diagonal (plainer chosen answer), normal on it, easy below
  it; a domain is the mean of the three, overall the mean of the domains. ``safety-refuse`` and ``safety-response`` are
  halves of one domain.
- ``judgebench``: both orders are games, +1 right, -1 wrong, 0 tie; a pair is won if the sum is above 0 (right and tie
  wins, contradiction loses). One game for scalar judges.
- ``rewardbench2`` and ``rmb``: see :mod:`genrm_rl.evaluation.best_of`; ``pandalm`` and ``auto_j``, whose labels may be
  ties: :mod:`genrm_rl.evaluation.three_way`.
- ``ppe`` (arXiv 2410.14872): accuracy over pairs without tied labels, a tied judgment counting one half; sections are
  the categories, overall their mean. *Approximation*: the benchmark also draws best-of-k curves and ranks models, which
  pairs alone do not allow.

:func:`check_scoring` finds out before anything is judged whether pairs hold what a rule needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from genrm_rl.config.bootstrap import Scoring
from genrm_rl.errors import DataError
from genrm_rl.evaluation.best_of import item_of, score_rewardbench2, score_rmb
from genrm_rl.evaluation.counts import folded_points
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema_results import BenchmarkScore
from genrm_rl.evaluation.three_way import chosen_is_first, score_auto_j, score_pandalm
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import PreferencePair, content_hash

CODE_SUBSETS = ("hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust")
REWARDBENCH_SECTIONS: dict[str, tuple[str, ...]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard", "llmbar-natural", "llmbar-adver-neighbor", "llmbar-adver-GPTInst", "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ), "Safety": ("refusals-dangerous", "refusals-offensive", "xstest-should-refuse", "xstest-should-respond",
    "donotanswer"), "Reasoning": ("math-prm", *CODE_SUBSETS),
}  # fmt: skip
REWARDBENCH_MESSAGES = 4  # longer conversations are not shown to a generative judge
STYLES = 3


def score_benchmark(records: Sequence[JudgmentRecord], rule: Scoring, *, seed: int = 0) -> BenchmarkScore:
    """Score rows of one judge by a benchmark's own rule. Raises DataError when the rows lack what the rule needs."""
    if not records:
        raise DataError(f"no judgments to score by the rule of {rule}")
    if rule == "rewardbench":
        return score_rewardbench(records, seed=seed)
    by_rule = {
        "rewardbench2": score_rewardbench2,
        "rm_bench": score_rm_bench,
        "judgebench": score_judgebench,
        "rmb": score_rmb,
        "ppe": score_ppe,
        "pandalm": score_pandalm,
        "auto_j": score_auto_j,
    }
    if rule in by_rule:
        return by_rule[rule](records)
    raise ValueError(f"{rule} is no benchmark rule")


def check_scoring(test_set: str, pairs: Sequence[PreferencePair], rule: Scoring) -> None:
    """Raise DataError, naming the row, if these pairs can't be scored by ``rule``: before anything is judged."""
    domains: dict[str, set[tuple[int, int]]] = {}
    for pair in pairs:
        where = f"{pair.meta.get('file', test_set)}:{pair.meta.get('line', pair.id)}"
        if rule in ("rewardbench2", "rmb"):
            item_of(pair.meta, where, rule)
        elif rule == "pandalm":
            chosen_is_first(pair.meta, where)
        elif rule == "rm_bench":
            row, column = (_style(pair.meta, key, where) for key in ("chosen_style", "rejected_style"))
            domains.setdefault(pair.category or pair.source or "all", set()).add((row, column))
    for domain, found in sorted(domains.items()):
        _all_styles(domain, found)


def whole_items(pairs: Sequence[PreferencePair], most: int) -> Sequence[PreferencePair]:
    """The first pairs, at most ``most`` of them, without tearing those of one question apart (they stand together); at
    least one question."""
    end = min(most, len(pairs))
    if end == len(pairs):
        return pairs
    item = pairs[end].meta.get("item")
    if item is None or pairs[end - 1].meta.get("item") != item:
        return pairs[:end]
    start = end - 1
    while start and pairs[start - 1].meta.get("item") == item:
        start -= 1
    while not start and end < len(pairs) and pairs[end].meta.get("item") == item:
        end += 1
    return pairs[: start or end]


def score_rewardbench(records: Sequence[JudgmentRecord], *, seed: int = 0) -> BenchmarkScore:
    """RewardBench v1. Subsets outside the four published sections form the section of their own name."""
    points: dict[str, list[float]] = {}
    for record in records:
        skipped = not record.order_free and record.meta.get("messages", 0) > REWARDBENCH_MESSAGES
        won = 0.5 if skipped else _game_points(_drawn_game(record, seed))
        points.setdefault(record.category or "all", []).append(won)
    subsets = {name: sum(values) / len(values) for name, values in sorted(points.items())}
    weights = {name: float(len(values)) for name, values in points.items()}
    code = sum(weights.get(name, 0.0) for name in CODE_SUBSETS)
    if "math-prm" in weights and code:
        weights["math-prm"] = code
    known = {subset for members in REWARDBENCH_SECTIONS.values() for subset in members}
    members_of = REWARDBENCH_SECTIONS | {name: (name,) for name in subsets if name not in known}
    sections = {}
    for section, members in members_of.items():
        present = [name for name in members if name in subsets]
        if present:
            total = sum(weights[name] for name in present)
            sections[section] = sum(weights[name] * subsets[name] for name in present) / total
    return BenchmarkScore(rule="rewardbench", overall=_mean(sections), sections=sections, detail=subsets)


def score_rm_bench(records: Sequence[JudgmentRecord]) -> BenchmarkScore:
    """RM-Bench. The 3 x 3 matrix (and easy, normal, hard in ``detail``) is the mean over domains."""
    won: dict[str, list[list[list[float]]]] = {}
    for record in records:
        where = f"pair {record.pair_id} of {record.test_set}"
        row, column = (_style(record.meta, key, where) for key in ("chosen_style", "rejected_style"))
        cells = won.setdefault(record.category or "all", [[[] for _ in range(STYLES)] for _ in range(STYLES)])
        cells[row][column].append(float(folded_points(record) == 1.0))
    parts: dict[str, list[np.ndarray]] = {}
    for domain, cells in sorted(won.items()):
        _all_styles(domain, {(i, j) for i in range(STYLES) for j in range(STYLES) if cells[i][j]})
        whole = "safety" if domain.startswith("safety-") else domain
        parts.setdefault(whole, []).append(np.asarray([[np.mean(cell) for cell in row] for row in cells]))
    matrices = [np.mean(halves, axis=0) for halves in parts.values()]
    levels = [_rm_bench_levels(matrix) for matrix in matrices]
    sections = {domain: _mean(level) for domain, level in zip(parts, levels, strict=True)}
    mean_matrix = np.mean(matrices, axis=0)
    return BenchmarkScore(
        rule="rm_bench",
        overall=_mean(sections),
        sections=sections,
        detail={name: sum(level[name] for level in levels) / len(levels) for name in ("easy", "normal", "hard")},
        matrix=tuple(tuple(float(value) for value in row) for row in mean_matrix),
    )


def score_judgebench(records: Sequence[JudgmentRecord]) -> BenchmarkScore:
    """JudgeBench: share of pairs whose games sum above 0, overall and by category."""
    won: dict[str, list[float]] = {}
    for record in records:
        verdicts = [verdict for verdict in (record.verdict_ab, record.verdict_ba) if verdict is not None]
        if not verdicts:
            raise DataError(f"pair {record.pair_id} of {record.test_set} was judged in neither order by {record.judge}")
        total = sum(_signed(verdict, record) for verdict in verdicts)
        won.setdefault(record.category or "all", []).append(float(total > 0))
    every = [value for values in won.values() for value in values]
    sections = {name: sum(values) / len(values) for name, values in sorted(won.items())}
    return BenchmarkScore(rule="judgebench", overall=sum(every) / len(every), sections=sections)


def score_ppe(records: Sequence[JudgmentRecord]) -> BenchmarkScore:
    """PPE: folded accuracy by category, and their mean. Pairs that are ties are not asked for by its rule."""
    won: dict[str, list[float]] = {}
    for record in records:
        if record.label is not None:
            won.setdefault(record.category or "all", []).append(folded_points(record))
    if not won:
        raise DataError(f"every pair of {records[0].test_set} is a tie, which the rule of ppe leaves out")
    sections = {name: sum(values) / len(values) for name, values in sorted(won.items())}
    return BenchmarkScore(rule="ppe", overall=_mean(sections), sections=sections)


def _drawn_game(record: JudgmentRecord, seed: int) -> tuple[Verdict, JudgmentRecord]:
    """The one order that the seed draws for this pair; the only one where just one was asked."""
    ab, ba = record.verdict_ab, record.verdict_ba
    if ab is None and ba is None:
        raise DataError(f"pair {record.pair_id} of {record.test_set} was judged in neither order by {record.judge}")
    if ab is None or ba is None:
        return (ab or ba), record  # type: ignore[return-value]
    return (ab if int(content_hash(seed, record.pair_id), 16) % 2 else ba), record


def _game_points(game: tuple[Verdict, JudgmentRecord]) -> float:
    return (_signed(*game) + 1) / 2


def _signed(verdict: Verdict, record: JudgmentRecord) -> int:
    """+1 right, -1 wrong, 0 tie or no verdict."""
    if verdict.slot is None:
        return 0
    return 1 if verdict.slot == record.label else -1


def _style(meta: Mapping[str, object], key: str, where: str) -> int:
    value = meta.get(key)
    if not isinstance(value, int) or not 0 <= value < STYLES:
        raise DataError(
            f"{where}: the RM-Bench rule needs `{key}` as 0, 1 or 2 (a column of the pairs, or in their `meta`), found "
            f"{value!r}; add it, or choose evaluation.scoring=pairs"
        )
    return value


def _all_styles(domain: str, found: set[tuple[int, int]]) -> None:
    empty = [(i, j) for i in range(STYLES) for j in range(STYLES) if (i, j) not in found]
    if empty:
        raise DataError(
            f"RM-Bench domain {domain} has no pair with chosen_style {empty[0][0]} and rejected_style {empty[0][1]}; "
            "the rule needs all nine combinations, choose evaluation.scoring=pairs otherwise"
        )


def _rm_bench_levels(matrix: np.ndarray) -> dict[str, float]:
    below, above = np.tril_indices(STYLES, -1), np.triu_indices(STYLES, 1)
    return {
        "easy": float(matrix[below].mean()), "normal": float(np.diag(matrix).mean()), "hard":
        float(matrix[above].mean()),
    }  # fmt: skip


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
