"""The schema of ``report.json``: everything that the HTML page shows.

Shares are numbers in 0..1, differences are shares too (0.12 is 12 percentage points), times are seconds. A quantity
that is not defined (a flip rate of a judge that has no order) is ``null``; NaN and infinity are refused.
``docs/report_schema.md`` is generated from these models (:func:`genrm_rl.evaluation.schema_docs.schema_markdown`).

``schema_version`` is raised when a field is removed or changes its meaning; new optional fields keep it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from genrm_rl.evaluation.schema_rows import DataRow, PaperRow, ProbeRow, ReportModel, StageRow, SyncRow

SCHEMA_VERSION = 2

Decoding = Literal["sampled", "greedy", "deterministic"]
JudgeKind = Literal["generative", "direct", "pair_classifier", "scalar", "baseline"]
Outcome = Literal["right", "wrong", "non_verdict"]
Interval = tuple[float, float]
Metric = Literal[
    "accuracy_strict",
    "accuracy_flexible",
    "accuracy_decided",
    "accuracy_folded",
    "right_in_both",
    "consistent",
    "tie_rate",
    "unjudged_rate",
]


class RunInfo(ReportModel):
    """Which run this is."""

    id: str = Field(description="name of the run directory")
    created: str = Field(description="when the report was written, ISO 8601 with time zone")
    command: str = Field("", description="command line that started the run")
    seed: int | None = Field(None, description="the run's seed")
    seconds: float | None = Field(None, description="wall-clock seconds of the run so far, over all resumptions")
    resumed: int = Field(0, description="how many times the run was resumed")
    code_revision: str | None = Field(None, description="commit of the code, with `-dirty` when files were changed")


class Machine(ReportModel):
    """Where it ran."""

    platform: str = Field("", description="operating system and processor")
    cpus: float | None = Field(None, description="CPUs that the run could use")
    memory_gib: float | None = Field(None, description="main memory in GiB")
    gpus: tuple[str, ...] = Field((), description="names of the GPUs, one entry each")
    nodes: int = Field(1, description="machines in the Ray cluster")


class JudgeInfo(ReportModel):
    """One judge of the comparison."""

    name: str = Field(description="method name, unique in the report; other rows refer to it")
    label: str = Field("", description="name shown to people; empty takes `name`")
    kind: JudgeKind = Field(
        "generative",
        description="writes a rationale, one verdict token, a classifier of pairs, a scalar reward, or no language "
        "model at all: a baseline that a judge has to beat",
    )
    note: str = Field("", description="one line: what it was trained on, which iteration was promoted")
    iteration: int | None = Field(
        None, description="promoted iteration; 0 is the untrained start, null for methods without iterations"
    )
    judge_version: str = Field("", description="version of the weights that gave the judgments")
    checkpoint: str | None = Field(None, description="checkpoint directory relative to the run directory")


class TestSetInfo(ReportModel):
    """One set of held-out pairs."""

    __test__ = False  # not a pytest class

    name: str = Field(description="name in tables, unique in the report")
    pairs: int = Field(description="pairs that were judged, each in both orders where the judge has orders")
    label: str = Field("", description="name shown to people; empty takes `name`")
    distribution: Literal["in", "out", "unknown"] = Field(
        "unknown", description="in or out of the training distribution"
    )
    label_source: str = Field("", description="who decided which answer is better: human, ai or verified")
    note: str = Field("", description="one line about the set")


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


class DifferenceRow(ReportModel):
    """Judge minus baseline on the same pairs."""

    judge: str = Field(description="name in judges")
    baseline: str = Field(description="name in judges")
    test_set: str = Field(description="name in test_sets")
    decoding: Decoding = Field(description="decoding of the judge")
    baseline_decoding: Decoding = Field(description="decoding of the baseline")
    metric: Metric = Field("accuracy_strict", description="which metric is subtracted")
    n: int = Field(description="pairs that both judged")
    prompts: int = Field(0, description="different prompts behind them")
    difference: float = Field(description="judge minus baseline; below 0 the judge is worse")
    ci95: Interval = Field(description="95 % interval, bootstrap over the same resampled prompts for both")
    prompts_judge_better: int = Field(0, description="prompts on which the judge gets more by this metric")
    prompts_baseline_better: int = Field(0, description="prompts on which the baseline gets more")
    mcnemar_p: float | None = Field(
        None,
        description="exact two-sided test of the same decisions that the metric counts: all ways to exchange the two "
        "judges within prompts; McNemar's test where a prompt holds one decision",
    )


class GateRow(ReportModel):
    """One round of one method at the gate: the learning curve."""

    method: str = Field(description="name in judges")
    iteration: int = Field(description="0 is the judge before training")
    n: int = Field(description="pairs of the gate")
    accuracy_strict: float = Field(description="as in results, on the gate pairs")
    ci95: Interval | None = Field(None, description="95 % interval of accuracy_strict")
    accuracy_folded: float | None = Field(None, description="as in results")
    tie_rate: float | None = Field(None, description="as in results")
    right_in_both: float | None = Field(None, description="as in results")
    non_verdict_rate: float | None = Field(None, description="as in results")
    promoted: bool = Field(description="whether the round's judge became the current one")
    reason: str = Field("", description="why it was or was not promoted, in one sentence")
    examples: int | None = Field(None, description="training examples of the round")
    loss: float | None = Field(None, description="last training loss")
    checkpoint: str | None = Field(None, description="checkpoint directory relative to the run directory")


class FitCurve(ReportModel):
    """A fit that was measured on the gate's pairs while it learned."""

    method: str = Field(description="name in judges")
    steps: tuple[int, ...] = Field(description="optimizer steps after which it was measured, from 1")
    train_loss: tuple[float | None, ...] = Field(description="mean loss of the steps since the measurement before")
    held_out_loss: tuple[float | None, ...] = Field(description="loss on the gate's pairs; null if it was no number")
    best_step: int | None = Field(description="step whose weights are the judge; null if no loss was a number")


class ExampleTrace(ReportModel):
    """One judgment in words. All texts come from data or models: never trust them."""

    trace_id: str = Field(description="id in the run's trace files")
    judge: str = Field(description="name in judges")
    test_set: str = Field("", description="name in test_sets; empty for traces of training")
    decoding: Decoding | None = Field(None, description="how it was sampled")
    outcome: Outcome = Field(description="right, wrong or without a verdict")
    pair_id: str = Field("", description="pair that was judged")
    category: str = Field("", description="category of the pair")
    prompt: str = Field(description="the question, turns separated by blank lines")
    response_a: str = Field(description="answer shown first")
    response_b: str = Field(description="answer shown second")
    label: Literal["A", "B", "tie"] = Field(description="slot of the chosen answer as shown, or tie")
    verdict: str = Field(description="verdict as shown: prefers_a, prefers_b or the kind of non-verdict")
    p_a: float | None = Field(None, description="P(slot A wins) as shown")
    text: str = Field(description="what the judge wrote, whole")


class SelectionRow(ReportModel):
    """What became of the sampled traces of one round."""

    method: str = Field(description="name in judges")
    iteration: int = Field(description="round, from 1")
    traces: int = Field(description="sampled traces")
    reasons: dict[str, int] = Field(description="traces by reason code; they add up to `traces`")
    pairs: int | None = Field(None, description="training pairs of the round")
    all_right: int | None = Field(None, description="comparisons whose traces are all right")
    all_wrong: int | None = Field(None, description="comparisons without a right trace")
    examples: dict[str, tuple[ExampleTrace, ...]] = Field(
        default_factory=dict, description="a few traces by reason code"
    )


class Report(ReportModel):
    """One run."""

    schema_version: Literal[2] = Field(SCHEMA_VERSION, description="version of this schema")
    title: str = Field("Judge bootstrap", description="heading of the page")
    headline: str = Field("", description="the result in plain words, derived from the numbers below")
    cautions: tuple[str, ...] = Field((), description="the bad news in plain words, derived from the numbers below")
    run: RunInfo = Field(description="which run this is")
    versions: dict[str, str] = Field(default_factory=dict, description="versions of Python, genrm_rl and the libraries")
    machine: Machine = Field(default_factory=Machine, description="where it ran")
    config: dict[str, Any] = Field(default_factory=dict, description="the resolved configuration")
    baseline: str = Field(description="judge that the others are compared with: the untrained one")
    judges: tuple[JudgeInfo, ...] = Field(description="judges in the order of the tables")
    test_sets: tuple[TestSetInfo, ...] = Field(description="test sets in the order of the tables")
    results: tuple[ResultRow, ...] = Field(description="one row per judge, test set and decoding")
    differences: tuple[DifferenceRow, ...] = Field((), description="paired differences between judges")
    probes: tuple[ProbeRow, ...] = Field((), description="the probe gate of each trained judge")
    learning_curve: tuple[GateRow, ...] = Field((), description="gate measurements by method and iteration")
    fit_curves: tuple[FitCurve, ...] = Field((), description="losses of fits that were measured as they learned")
    selection: tuple[SelectionRow, ...] = Field((), description="what became of the sampled traces")
    stages: tuple[StageRow, ...] = Field((), description="time and tokens")
    data: tuple[DataRow, ...] = Field((), description="what was read and what was left out")
    sync: tuple[SyncRow, ...] = Field((), description="weight publications")
    traces: tuple[ExampleTrace, ...] = Field((), description="sample of judgments to read")
    paper: tuple[PaperRow, ...] = Field((), description="the paper's own numbers")
    notes: tuple[str, ...] = Field((), description="what a reader should know: warnings, deviations, limits")
