"""What a configuration will cost before it runs: the derived batch table of ``--dry-run``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from genrm_rl.config.bootstrap import ITERATED, ON_POLICY, Method, RunConfig
from genrm_rl.config.model import FitConfig


@dataclass(frozen=True, slots=True)
class PlannedRound:
    """One fit: what is sampled for it and how long it is. Upper bounds, because selection depends on the judge."""

    method: Method
    iteration: int
    pairs: int
    traces_sampled: int
    tokens_sampled_at_most: int
    examples_at_most: int
    batch_size: int
    steps_at_most: int


def plan_rounds(config: RunConfig, train_pairs: int) -> list[PlannedRound]:
    """The batch table, one row per fit, for ``train_pairs`` training pairs.

    Every iterated method sees a fresh part of the pairs in each round (paper, appendix A.3); the others see all of
    them once.
    """
    rows: list[PlannedRound] = []
    for method in config.bootstrap.methods:
        if method == "llm_judge":
            continue
        if method in ON_POLICY:
            rows.append(_on_policy(config, method, train_pairs))
        elif method in ITERATED:
            rows += [
                _iterated_round(config, method, index, train_pairs) for index in range(config.bootstrap.iterations)
            ]
        else:
            rows.append(_single_fit(config, method, train_pairs))
    return rows


def part_sizes(pairs: int, iterations: int) -> list[int]:
    """Sizes of the parts into which the training pairs are cut, one per iteration; they differ by at most one."""
    base, extra = divmod(pairs, iterations)
    return [base + (index < extra) for index in range(iterations)]


def fit_of(config: RunConfig, method: Method) -> FitConfig:
    """The fit settings that a method uses."""
    fits: Mapping[Method, FitConfig] = {
        "star_sft": config.bootstrap.sft,
        "star_rationalizer": config.bootstrap.rationalizer,
        "star_dpo": config.bootstrap.dpo,
        "star_rationalizer_dpo": config.bootstrap.dpo,
        "genrm_direct": config.bootstrap.direct,
        "bradley_terry": config.bootstrap.bradley_terry,
        "pairrm": config.bootstrap.pairrm,
        "genrm_points": config.bootstrap.points,
    }
    return fits[method]


def optimizer_steps(examples: int, fit: FitConfig) -> int:
    """Steps of a fit: whole batches over ``epochs`` passes, the last one may be smaller."""
    return math.ceil(examples * fit.epochs / fit.batch_size)


def _iterated_round(config: RunConfig, method: Method, index: int, train_pairs: int) -> PlannedRound:
    pairs = part_sizes(train_pairs, config.bootstrap.iterations)[index]
    samples = config.bootstrap.samples_per_order
    selection = config.bootstrap.selection
    traces = 2 * pairs * samples * (2 if method == "star_rationalizer_dpo" else 1)
    per_order = selection.pairs_per_order if method.endswith("dpo") else selection.max_kept_per_order
    return _row(config, method, index + 1, pairs, traces, 2 * pairs * min(per_order, samples))


def _on_policy(config: RunConfig, method: Method, train_pairs: int) -> PlannedRound:
    """Every trace of a step may be learned from in the same step."""
    settings = config.bootstrap.on_policy(method)
    per_step = 2 * min(settings.pairs_per_step, train_pairs) * settings.samples_per_order
    traces = settings.steps * per_step
    return PlannedRound(
        method=method,
        iteration=1,
        pairs=train_pairs,
        traces_sampled=traces,
        tokens_sampled_at_most=traces * config.judge.max_rationale,
        examples_at_most=traces,
        batch_size=math.ceil(per_step / settings.minibatches),
        steps_at_most=settings.steps * settings.minibatches,
    )


def _single_fit(config: RunConfig, method: Method, train_pairs: int) -> PlannedRound:
    examples = 2 * train_pairs if method == "pairrm" else train_pairs
    return _row(config, method, 1, train_pairs, 0, examples)


def _row(config: RunConfig, method: Method, iteration: int, pairs: int, traces: int, examples: int) -> PlannedRound:
    fit = fit_of(config, method)
    return PlannedRound(
        method=method,
        iteration=iteration,
        pairs=pairs,
        traces_sampled=traces,
        tokens_sampled_at_most=traces * config.judge.max_rationale,
        examples_at_most=examples,
        batch_size=fit.batch_size,
        steps_at_most=optimizer_steps(examples, fit),
    )
