"""Scoring rules of published benchmarks, applied to :class:`JudgmentRecord` rows. Pure.

- ``rewardbench`` (RewardBench v1): one game per pair, slot drawn at random (here from a seed; unseeded slots move a
  subset by up to 4 points); right 1, wrong 0, tie or no verdict 0.5. Conversations of more than four messages, the
  answer included, count 0.5 for judges that read both answers at once. ``category`` is the subset. A section is the
  count-weighted mean of its subsets, with PRM Math weighted like all code subsets together; overall is the mean of the
  sections.
- ``rm_bench``: the chosen answers in three styles against the rejected ones in three styles, won only if strictly
  preferred. Rows carry ``meta["chosen_style"]`` and ``meta["rejected_style"]`` (0 concise, 1 detailed, 2 detailed with
  markdown); ``category`` is the domain. Hard is above the diagonal (plainer chosen answer), normal on it, easy below
  it; a domain is the mean of the three, overall the mean of the domains.
- ``judgebench``: both orders are games, +1 right, -1 wrong, 0 tie; a pair is won if the sum is above 0 (right and tie
  wins, contradiction loses). One game for scalar judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from genrm_rl.errors import DataError
from genrm_rl.evaluation.records import JudgmentRecord
from genrm_rl.evaluation.schema import BenchmarkScore
from genrm_rl.judging.types import Verdict
from genrm_rl.preferences.types import content_hash

Scoring = Literal["pairs", "rewardbench", "rm_bench", "judgebench"]

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
    if rule == "rm_bench":
        return score_rm_bench(records)
    if rule == "judgebench":
        return score_judgebench(records)
    raise ValueError(f"{rule} is no benchmark rule")


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
        row, column = _style(record, "chosen_style"), _style(record, "rejected_style")
        cells = won.setdefault(record.category or "all", [[[] for _ in range(STYLES)] for _ in range(STYLES)])
        cells[row][column].append(float(_strictly_preferred(record)))
    matrices = []
    for domain, cells in sorted(won.items()):
        empty = [(i, j) for i in range(STYLES) for j in range(STYLES) if not cells[i][j]]
        if empty:
            raise DataError(
                f"RM-Bench domain {domain} has no pair with chosen_style {empty[0][0]} "
                f"and rejected_style {empty[0][1]}; "
                "the rule needs all nine combinations, choose evaluation.scoring=pairs otherwise"
            )
        matrices.append(np.asarray([[np.mean(cell) for cell in row] for row in cells]))
    levels = [_rm_bench_levels(matrix) for matrix in matrices]
    sections = {domain: _mean(level) for domain, level in zip(sorted(won), levels, strict=True)}
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


def _strictly_preferred(record: JudgmentRecord) -> bool:
    """P(chosen) above one half; without a probability, right in every order that was asked."""
    if record.p_a is not None:
        return record.p_a > 0.5 if record.label == "A" else record.p_a < 0.5
    verdicts = [verdict for verdict in (record.verdict_ab, record.verdict_ba) if verdict is not None]
    return bool(verdicts) and all(verdict.slot == record.label for verdict in verdicts)


def _style(record: JudgmentRecord, key: str) -> int:
    value = record.meta.get(key)
    if not isinstance(value, int) or not 0 <= value < STYLES:
        raise DataError(
            f"pair {record.pair_id} of {record.test_set}: the RM-Bench rule needs "
            f"meta.{key} as 0, 1 or 2, found {value!r}; "
            "add it to the pairs or choose evaluation.scoring=pairs"
        )
    return value


def _rm_bench_levels(matrix: np.ndarray) -> dict[str, float]:
    below, above = np.tril_indices(STYLES, -1), np.triu_indices(STYLES, 1)
    return {
        "easy": float(matrix[below].mean()), "normal": float(np.diag(matrix).mean()), "hard":
        float(matrix[above].mean()),
    }  # fmt: skip


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)
