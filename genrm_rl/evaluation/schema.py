"""The schema of ``report.json``: everything that the HTML page shows.

Shares are numbers in 0..1, differences are shares too (0.12 is 12 percentage points), times are seconds. A quantity
that is not defined (a flip rate of a judge that has no order) is ``null``; NaN and infinity are refused.
``docs/report_schema.md`` is generated from these models (:func:`genrm_rl.evaluation.schema_docs.schema_markdown`).

``schema_version`` is raised when a field is removed or changes its meaning; new optional fields keep it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from genrm_rl.evaluation.schema_results import Decoding, Interval, ResultRow
from genrm_rl.evaluation.schema_rows import DataRow, PaperRow, ProbeRow, ReportModel, StageRow, SyncRow

SCHEMA_VERSION = 2

JudgeKind = Literal["generative", "direct", "pair_classifier", "scalar", "baseline"]
Outcome = Literal["right", "wrong", "non_verdict"]
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
