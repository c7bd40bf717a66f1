"""What a policy's steps are shown by, on the pages of alignments and agents, side by side, and while a run goes on.

One catalogue: a quantity has the same name, unit and explanation wherever it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genrm_rl.evaluation.charts import Bar, Chart, Points, bar_chart, line_chart, present

Row = Mapping[str, Any]
PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class StepCurve:
    """A quantity of each step: ``keys`` of the metrics by the label of their line (empty for a single line), drawn
    times ``scale``. ``rare``: not drawn where it is always zero."""

    name: str
    title: str
    unit: str
    note: str
    keys: Mapping[str, str]
    scale: float = 1.0
    rare: bool = False


CURVES = (
    StepCurve(
        "reward", "Reward", "reward, mean",
        "What the step's answers earned; answers without a reward are in no mean. Only comparisons within a run count: "
        "rules and judges have scales of their own.",
        {"": "reward/mean"},
    ),
    StepCurve(
        "gold", "Right answers while training", "right, %",
        "Sampled answers that a verifier finds right. It gives no reward, so this shows whether the reward means "
        "anything: a reward that rises while this falls is being exploited.",
        {"": "rollout/gold_accuracy"}, PERCENT,
    ),
    StepCurve(
        "success", "Successful episodes while training", "successful, %",
        "Sampled episodes of training tasks that reach their goal, by the environment's own word.",
        {"": "rollout/success"}, PERCENT,
    ),
    StepCurve(
        "parts", "Parts of the reward", "part, mean",
        "What the reward is made of before it is weighted: the environment's outcome, the trajectory judge, the step "
        "judge's marks.",
        {"outcome": "reward/outcome", "trajectory judge": "reward/judge", "marks of steps": "reward/steps"},
    ),
    StepCurve(
        "kl", "Distance from the starting policy (KL)", "KL, nats per token",
        "Kullback-Leibler divergence to the policy before training, on its own answers (k3 estimate); 0 is no "
        "difference. Far away, a judge is asked about texts that it never learned from.",
        {"": "train/kl_reference"},
    ),
    StepCurve(
        "length", "Length of the answers", "tokens",
        "Mean tokens of a sampled answer or episode. Growth without more right answers says that length is rewarded.",
        {"": "rollout/tokens_mean", "per episode": "rollout/tokens"},
    ),
    StepCurve(
        "turns", "Turns of an episode", "turns, mean", "How often the policy acts in an episode.",
        {"": "rollout/turns"},
    ),
    StepCurve(
        "entropy", "Entropy of the policy", "nats per token",
        "How undecided the policy is about its next token. Near 0 it writes the same answer again and again, and "
        "groups have nothing left to compare.",
        {"": "train/entropy"},
    ),
    StepCurve(
        "masked", "Answers without a reward", "masked, %",
        "Answers that the judge gave no usable reward for; they are left out, never counted as 0.",
        {"": "reward/masked_share"}, PERCENT, rare=True,
    ),
    StepCurve(
        "masked-episodes", "Episodes without a reward", "episodes",
        "Episodes that were lost, or that the judge gave no reward for; they are left out, never counted as 0.",
        {"": "reward/masked"}, rare=True,
    ),
    StepCurve(
        "truncated", "Answers that were cut off", "cut off, %",
        "Answers that reached the length limit before they ended.",
        {"": "rollout/truncated_share"}, PERCENT, rare=True,
    ),
    StepCurve(
        "contradiction", "Judgments whose two orders contradict", "contradicting, %",
        "The judge sees every pair in both orders. Where the orders name different winners, the judgment is a tie: "
        "the position decided, not the answers.",
        {"": "rollout/inconsistent_share"}, PERCENT,
    ),
    StepCurve(
        "spread", "Groups with something to learn from", "groups, %",
        "Groups of answers to one question, or episodes of one task, whose rewards differ. Equal ones teach nothing.",
        {"": "reward/spread_share", "of tasks": "reward/groups_with_spread"}, PERCENT,
    ),
    StepCurve(
        "length-correlation", "Does length pay?", "correlation",
        "Correlation of an answer's reward with its length in tokens: 1 pays for length alone, 0 does not care.",
        {"": "reward/length_correlation"},
    ),
    StepCurve(
        "format", "Turns that follow the grammar", "turns, %",
        "Turns of the policy from which an action can be read.",
        {"": "rollout/format"}, PERCENT,
    ),
    StepCurve(
        "staleness", "How far the weights were behind", "updates, mean",
        "Updates that were made after the weights that sampled a token (`ppo.staleness`).",
        {"": "rollout/staleness_steps"}, rare=True,
    ),
)  # fmt: skip
PARTS = ("generate", "play", "judge", "train", "publish", "other")


def step_charts(steps: Sequence[Row], masked: Mapping[int, Mapping[str, float]] | None = None) -> list[Chart]:
    """Every quantity of the catalogue that the steps have, and where their seconds went. ``masked``: the shares of
    masked answers by reason, by the number of the step (from 0), where reasons are known."""
    charts = []
    for curve in CURVES:
        lines = {label: points for label, key in curve.keys.items() if (points := step_points(steps, key, curve.scale))}
        if curve.name == "masked" and masked:
            lines = {"all reasons": next(iter(lines.values()), []), **by_reason(masked)}
        if curve.rare and not any(y for points in lines.values() for _, y in points):
            continue
        charts.append(step_chart(curve, lines))
    return present(*charts, seconds_chart(steps))


def step_chart(curve: StepCurve, lines: Mapping[str, Points]) -> Chart | None:
    """One quantity of the catalogue, of one run or of several."""
    return line_chart(f"step-{curve.name}", curve.title, curve.note, ("step", curve.unit), lines)


def step_points(steps: Sequence[Row], key: str, scale: float = 1.0) -> list[tuple[float, float]]:
    """(step from 1, number) of a metric, where it was measured."""
    return [
        (row["step"] + 1, scale * value)
        for row in steps
        if isinstance(value := row.get(key), int | float) and not isinstance(value, bool)
    ]


def by_reason(masked: Mapping[int, Mapping[str, float]]) -> dict[str, list[tuple[float, float]]]:
    """A line in percent for each reason, with 0 where a step lost nothing to it."""
    reasons = dict.fromkeys(reason for shares in masked.values() for reason in shares)
    return {
        reason.replace("_", " "): [(step + 1, PERCENT * shares.get(reason, 0.0)) for step, shares in masked.items()]
        for reason in reasons
    }


def seconds_chart(steps: Sequence[Row]) -> Chart | None:
    """Mean seconds of a step by what they were spent on."""
    bars = {}
    for part in PARTS:
        spent = [y for _, y in step_points(steps, f"seconds/{part}")]
        if any(spent):
            mean = sum(spent) / len(steps)
            bars[part] = Bar(mean, f"{mean:.2f}")
    note = (
        "Seconds of a step by part, mean of all steps. Judging overlaps with generation: its bar is the wait after the "
        "last answer was generated."
    )
    return bar_chart("step-seconds", "Where the time goes", note, ("part", "seconds per step"), bars)
