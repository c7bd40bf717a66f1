"""What one judge came to on one test set, as the report holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genrm_rl.evaluation.schema_rows import ReportModel

Decoding = Literal["sampled", "greedy", "deterministic"]
Interval = tuple[float, float]


class CalibrationBin(ReportModel):
    """One of ten equally wide bins of the stated P(A)."""

    low: float = Field(description="lower edge, inclusive")
    high: float = Field(description="upper edge, exclusive except in the last bin")
    n: int = Field(description="pairs in the bin")
    mean_p: float | None = Field(None, description="mean stated P(A) in the bin; null if it is empty")
    share_a: float | None = Field(
        None, description="share of the pairs in the bin whose answer A was the chosen one; null if it is empty"
    )


class MajorityPoint(ReportModel):
    """One point of the maj@k curve; every k uses the same traces, in disjoint groups of k per pair and order."""

    k: int = Field(description="votes per pair and order")
    pairs: int = Field(description="pairs behind the point")
    accuracy_strict: float = Field(description="majority right; a tied vote is wrong")
    accuracy_flexible: float = Field(description="majority right; a tied vote counts 0.5")
    accuracy_mean_probability: float | None = Field(
        None, description="mean P(A) of the k traces is on the right side; null without probabilities"
    )
    ci95: Interval = Field(description="95 % interval of accuracy_flexible")


class LengthBias(ReportModel):
    """Does the judge like the longer answer more than the labels do? Pairs with equally long answers are left out."""

    pairs: int = Field(description="pairs whose answers differ in length")
    prefers_longer: float | None = Field(None, description="share of verdicts for the longer answer")
    chosen_is_longer: float | None = Field(
        None,
        description="share of pairs in which the chosen answer is the longer one: what a "
        "judge that is always right would show",
    )
    accuracy_chosen_longer: float | None = Field(
        None, description="accuracy_strict where the chosen answer is the longer one"
    )
    accuracy_chosen_shorter: float | None = Field(
        None, description="accuracy_strict where the chosen answer is the shorter one"
    )


class CategoryRow(ReportModel):
    """Accuracy within one category of a test set."""

    category: str = Field(description="category, source or subset of the pairs")
    n: int = Field(description="pairs")
    accuracy_strict: float = Field(description="as in results")
    right_in_both: float | None = Field(None, description="as in results")
    tie_rate: float = Field(description="as in results")
    ci95: Interval = Field(description="95 % interval of accuracy_strict")


class BenchmarkScore(ReportModel):
    """The score by the rule of a published benchmark."""

    rule: Literal["rewardbench", "rewardbench2", "rm_bench", "judgebench", "rmb", "ppe", "pandalm", "auto_j"] = Field(
        description="scoring rule"
    )
    overall: float = Field(description="the benchmark's headline number")
    sections: dict[str, float] = Field(description="score of each section or domain")
    detail: dict[str, float] = Field(
        default_factory=dict,
        description="RewardBench and RMB subsets; RM-Bench easy, normal, hard; PandaLM macro precision, recall, F1",
    )
    matrix: tuple[tuple[float | None, ...], ...] | None = Field(
        None,
        description="RM-Bench: accuracy by style of the chosen (row) and of the rejected answer "
        "(column); null where nothing was measured",
    )
    left_out: int = Field(0, description="questions that lack some of their answers, so that the rule can't score them")


class ResultRow(ReportModel):
    """One judge on one test set with one decoding."""

    judge: str = Field(description="name in judges")
    test_set: str = Field(description="name in test_sets")
    decoding: Decoding = Field(description="sampled (T > 0), greedy, or deterministic for judges that sample nothing")
    n: int = Field(description="pairs")
    prompts: int = Field(description="different prompts behind the pairs: what intervals resample")
    judgments: int = Field(description="judgments: two per pair when both orders were asked")
    votes: int = Field(1, description="traces folded into one judgment")
    accuracy_strict: float = Field(
        description="share of judgments that are right; a non-verdict and a tie are wrong; each order counts once"
    )
    ci95: Interval = Field(description="95 % interval of accuracy_strict, bootstrap over prompts")
    accuracy_flexible: float = Field(description="the same, but a non-verdict or a tie counts 0.5")
    accuracy_decided: float | None = Field(
        None, description="share of verdicts that are right: what is left out is in non_verdict_rate"
    )
    accuracy_folded: float = Field(
        description="share of pairs whose folded judgment (both orders, as rewards use it) is right; a tie counts "
        "0.5, a pair without a judgment 0",
    )
    accuracy_folded_ci95: Interval | None = Field(None, description="95 % interval of accuracy_folded")
    tie_rate: float = Field(
        description="share of pairs that are ties: the orders contradict each other, or P(A) is exactly one half"
    )
    unjudged_rate: float = Field(description="share of pairs without a judgment")
    unjudged: dict[str, float] = Field(
        default_factory=dict,
        description="share of pairs by reason why there is no judgment; one_order: one order gave a verdict, the "
        "other none",
    )
    right_in_both: float | None = Field(
        None, description="share of pairs that are right in both orders; null for judges without an order"
    )
    right_in_both_ci95: Interval | None = Field(None, description="95 % interval of right_in_both")
    consistent: float | None = Field(
        None,
        description="share of pairs whose two orders name the same answer, right or wrong; null for judges without an "
        "order",
    )
    flip_rate: float | None = Field(
        None, description="share of pairs with a verdict in both orders whose verdicts contradict each other"
    )
    first_position_rate: float | None = Field(
        None, description="share of verdicts for the answer shown first; 0.5 is unbiased"
    )
    non_verdict_rate: float = Field(description="share of judgments without a verdict")
    non_verdicts: dict[str, float] = Field(
        default_factory=dict,
        description="share of judgments by kind of non-verdict, ties included; kinds that did not occur are left out",
    )
    n_with_probability: int = Field(0, description="pairs with a judgment, so with a P(A); a tie's is one half")
    ece: float | None = Field(None, description="expected calibration error of P(A), ten equally wide bins")
    brier: float | None = Field(
        None, description="mean squared difference between P(A) and what the label says; 0.25 is always saying 0.5"
    )
    calibration: tuple[CalibrationBin, ...] = Field((), description="the bins behind ece")
    length: LengthBias | None = Field(None, description="preference for the longer answer")
    completion_tokens: int | None = Field(
        None, description="generated tokens behind the row; null for judges that generate none"
    )
    prompt_tokens: int | None = Field(None, description="tokens read behind the row, every vote and order counted")
    by_category: tuple[CategoryRow, ...] = Field((), description="accuracy by category")
    majority_curve: tuple[MajorityPoint, ...] = Field((), description="maj@k for k = 1, 2, 4, ...")
    benchmark: BenchmarkScore | None = Field(None, description="score by a benchmark's own rule, if one was selected")
