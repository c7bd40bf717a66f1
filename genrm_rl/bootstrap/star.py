"""Steps of a STaR round on preference pairs (arXiv 2410.12832, sections 4.1-4.3, appendix A.3); their order is in
``stories/bootstrap_genrm.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.examples import dpo_examples, has_reason, sft_examples, written_examples
from genrm_rl.bootstrap.learning import LearningStages
from genrm_rl.bootstrap.select import (
    TraceSelection,
    count_reasons,
    is_correct,
    pair_traces,
    reason_codes,
    select_traces,
    without_correct_trace,
)
from genrm_rl.config import Method
from genrm_rl.errors import DataError
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.requests import JudgeRequest, both_orders, judge_requests
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.types import Comparison, PreferencePair, Slot, labels_of
from genrm_rl.rollout.judge_engine import JudgeEngine

EXAMPLES_PER_REASON = 3


class NothingToLearn(DataError):
    """No sampled trace of a round passed the filter; other methods of the run are not concerned."""


def warm_started(pairs: Sequence[PreferencePair], stages: LearningStages) -> Judge:
    """The base after a fit on what somebody wrote about training pairs (people, or whoever made null negatives), and on
    its own right traces of the others; all methods of a run share it.

    Raises NothingToLearn if nobody wrote anything that fits.
    """
    encoder, selection, base = stages.engine.encoder, stages.config.bootstrap.selection, stages.engine.base
    told = [pair for pair in pairs if has_reason(pair, encoder)]
    if not told:
        raise NothingToLearn(
            "bootstrap.warm_start has nothing to learn from: no training pair carries a rationale of at most "
            f"{encoder.max_rationale} tokens; name their file with data.train.N.rationales, or switch it off"
        )
    known = {pair.id for pair in told}
    others = [pair for pair in pairs if pair.id not in known]
    traces = sample_round("star_sft", 0, others, base, stages.engine) if others else []
    selections = select_traces(traces, labels_of(others), selection, stages.config.run.seed)
    own = sft_examples(selections, {pair.id: pair for pair in others}, encoder)
    examples = [*written_examples(told, encoder, selection), *own]
    folder = "methods/warm_start/round1"
    facts = {"learned_from": "what somebody wrote, and traces"}
    file = stages.examples(f"{folder}/examples", examples, facts, reason_codes(selections))
    checkpoint = stages.fit(folder, "star_sft", "sft", file, base)
    return Judge("warm_start", "generative", checkpoint, "warm_start-1")


def sample_round(
    method: Method, iteration: int, part: Sequence[PreferencePair], judge: Judge, engine: JudgeEngine
) -> list[Trace]:
    """Traces that this round chooses from. Methods that ask the same judge about the same part share the stage."""
    labels = labels_of(part)
    comparisons = list(both_orders(pair.comparison() for pair in part))
    where = f"traces/{judge.version}-part{iteration}"
    if method == "star_rationalizer":
        return _rationalize(f"{where}-rationalized", comparisons, labels, judge, engine)
    requests = _requests(comparisons, judge, engine)
    traces = engine.sample_stage(where, judge, requests, f"traces of {judge.version}, part {iteration}")
    if method == "star_rationalizer_dpo":
        # Rationalised traces are the correct side; what the judge got wrong by itself is the incorrect one.
        wrong = [trace for trace in traces if not is_correct(trace, labels)]
        return wrong + _rationalize(f"{where}-rationalized", comparisons, labels, judge, engine)
    if engine.config.bootstrap.selection.on_all_wrong == "rationalize":
        hard = without_correct_trace(traces, labels)
        again = [comparison for comparison in comparisons if (comparison.pair_id, comparison.swapped) in hard]
        return traces + _rationalize(f"{where}-hard-rationalized", again, labels, judge, engine)
    return traces


def objective_of(method: Method) -> str:
    """What a round's examples are fitted by."""
    return "dpo" if method.endswith("dpo") else "sft"


def learn_from(
    method: Method, folder: str, traces: Sequence[Trace], pairs: Sequence[PreferencePair], stages: LearningStages
) -> Path:
    """Select, balance, and write the training examples with their reason codes."""
    config, seed, encoder = stages.config.bootstrap.selection, stages.config.run.seed, stages.engine.encoder
    by_id, labels = {pair.id: pair for pair in pairs}, labels_of(pairs)
    selections = select_traces(traces, labels, config, seed)
    if method.endswith("dpo"):
        chosen = pair_traces(selections, labels, config, seed)
        examples: list[Any] = list(dpo_examples(chosen, by_id, encoder))
    else:
        examples = list(sft_examples(selections, by_id, encoder))
    facts = selection_facts(selections, labels) | {
        "learned_from": "pairs of traces" if method.endswith("dpo") else "traces"
    }
    if not examples:
        counts = ", ".join(f"{count} {reason}" for reason, count in facts["reasons"].items() if count)
        raise NothingToLearn(
            f"{method} has nothing to learn from in {folder}: {counts}; "
            "sample more with --bootstrap.samples-per-order, or set --bootstrap.selection.on-all-wrong rationalize"
        )
    return stages.examples(f"{folder}/examples", examples, facts, reason_codes(selections))


def selection_facts(selections: Sequence[TraceSelection], labels: Mapping[str, Slot | None]) -> dict[str, Any]:
    """Counts per reason code, all-right and all-wrong comparisons, and a few trace ids per reason."""
    outcome: dict[tuple[str, bool], list[bool]] = {}
    shown: dict[str, list[str]] = {}
    for item in selections:
        outcome.setdefault((item.trace.pair_id, item.trace.swapped), []).append(is_correct(item.trace, labels))
        ids = shown.setdefault(item.reason.value, [])
        if len(ids) < EXAMPLES_PER_REASON:
            ids.append(item.trace.trace_id)
    return {
        "traces": len(selections),
        "reasons": count_reasons(selections),
        "pairs": len({item.trace.pair_id for item in selections}),
        "all_right": sum(all(values) for values in outcome.values()),
        "all_wrong": sum(not any(values) for values in outcome.values()),
        "shown": shown,
    }


def _requests(comparisons: Sequence[Comparison], judge: Judge, engine: JudgeEngine) -> list[JudgeRequest]:
    return list(
        judge_requests(
            comparisons,
            engine.encoder,
            form="cot",
            judge_version=judge.version,
            purpose="bootstrap",
            run_seed=engine.config.run.seed,
            temperature=engine.config.bootstrap.temperature,
            top_p=engine.config.bootstrap.top_p,
            samples=engine.config.bootstrap.samples_per_order,
        )
    )


def _rationalize(
    stage: str, comparisons: Sequence[Comparison], labels: Mapping[str, Slot | None], judge: Judge, engine: JudgeEngine
) -> list[Trace]:
    """Traces by the same judge when told which answer is better (STaR's rationalisation; paper's third template). Of a
    tie there is nothing to tell."""
    hints = {name: label for name, label in labels.items() if label is not None}
    comparisons = [comparison for comparison in comparisons if comparison.pair_id in hints]
    if not comparisons:
        return []
    requests = judge_requests(
        comparisons,
        engine.encoder,
        form="rationalize",
        judge_version=judge.version,
        purpose="bootstrap",
        run_seed=engine.config.run.seed,
        temperature=engine.config.bootstrap.temperature,
        top_p=engine.config.bootstrap.top_p,
        samples=engine.config.bootstrap.samples_per_order,
        hints=hints,
    )
    return engine.sample_stage(stage, judge, requests, f"rationalised traces of {judge.version}")
