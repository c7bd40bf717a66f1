"""Steps of a STaR round on preference pairs (arXiv 2410.12832, sections 4.1-4.3, appendix A.3); their order is in
``stories/bootstrap_genrm.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.examples import dpo_examples, has_reason, sft_examples, written_examples
from genrm_rl.bootstrap.gate import decide
from genrm_rl.bootstrap.select import (
    TraceSelection,
    count_reasons,
    is_correct,
    pair_traces,
    select_traces,
    without_correct_trace,
)
from genrm_rl.bootstrap.workshop import Workshop
from genrm_rl.config import Method
from genrm_rl.errors import DataError
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.requests import JudgeRequest, both_orders, judge_requests
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.types import Comparison, PreferencePair
from genrm_rl.runtime.storage import write_json

EXAMPLES_PER_REASON = 3
GATE_METRICS = ("accuracy_strict", "accuracy_folded", "tie_rate", "right_in_both", "non_verdict_rate")


class NothingToLearn(DataError):
    """No sampled trace of a round passed the filter; other methods of the run are not concerned."""


def warm_started(workshop: Workshop) -> Judge:
    """The base after a fit on what somebody wrote about training pairs (people, or whoever made null negatives), and on
    its own right traces of the others; all methods of a run share it.

    Raises NothingToLearn if nobody wrote anything that fits.
    """
    encoder, selection = workshop.encoder, workshop.config.bootstrap.selection
    told = [pair for pair in workshop.splits.train if has_reason(pair, encoder)]
    if not told:
        raise NothingToLearn(
            "bootstrap.warm_start has nothing to learn from: no training pair carries a rationale of at most "
            f"{encoder.max_rationale} tokens; name their file with data.train.N.rationales, or switch it off"
        )
    known = {pair.id for pair in told}
    others = [pair for pair in workshop.splits.train if pair.id not in known]
    traces = sample_round("star_sft", 0, others, workshop.base, workshop) if others else []
    selections = select_traces(traces, workshop.train_labels, selection, workshop.seed)
    own = sft_examples(selections, workshop.train_by_id, encoder)
    examples = [*written_examples(told, encoder, selection), *own]
    folder = "methods/warm_start/round1"
    file = workshop.examples_stage(f"{folder}/examples", examples, {"learned_from": "what somebody wrote, and traces"})
    checkpoint = workshop.fit_stage(f"{folder}/checkpoint", "star_sft", "sft", file, workshop.base)
    return Judge("warm_start", "generative", checkpoint, "warm_start-1")


def sample_round(
    method: Method, iteration: int, part: Sequence[PreferencePair], judge: Judge, workshop: Workshop
) -> list[Trace]:
    """Traces that this round chooses from. Methods that ask the same judge about the same part share the stage."""
    comparisons = list(both_orders(pair.comparison() for pair in part))
    where = f"traces/{judge.version}-part{iteration}"
    if method == "star_rationalizer":
        return _rationalize(f"{where}-rationalized", comparisons, judge, workshop)
    requests = _requests(comparisons, judge, workshop)
    traces = workshop.engine.sample_stage(where, judge, requests, f"traces of {judge.version}, part {iteration}")
    if method == "star_rationalizer_dpo":
        # Rationalised traces are the correct side; what the judge got wrong by itself is the incorrect one.
        wrong = [trace for trace in traces if not is_correct(trace, workshop.train_labels)]
        return wrong + _rationalize(f"{where}-rationalized", comparisons, judge, workshop)
    if workshop.config.bootstrap.selection.on_all_wrong == "rationalize":
        hard = without_correct_trace(traces, workshop.train_labels)
        again = [comparison for comparison in comparisons if (comparison.pair_id, comparison.swapped) in hard]
        return traces + _rationalize(f"{where}-hard-rationalized", again, judge, workshop)
    return traces


def objective_of(method: Method) -> str:
    """What a round's examples are fitted by."""
    return "dpo" if method.endswith("dpo") else "sft"


def learn_from(method: Method, folder: str, traces: Sequence[Trace], workshop: Workshop) -> Path:
    """Select, balance, and write the training examples with their reason codes."""
    config = workshop.config.bootstrap.selection
    selections = select_traces(traces, workshop.train_labels, config, workshop.seed)
    if method.endswith("dpo"):
        pairs = pair_traces(selections, workshop.train_labels, config, workshop.seed)
        examples: list[Any] = list(dpo_examples(pairs, workshop.train_by_id, workshop.encoder))
    else:
        examples = list(sft_examples(selections, workshop.train_by_id, workshop.encoder))
    facts = selection_facts(selections, workshop) | {
        "learned_from": "pairs of traces" if method.endswith("dpo") else "traces"
    }
    if not examples:
        counts = ", ".join(f"{count} {reason}" for reason, count in facts["reasons"].items() if count)
        raise NothingToLearn(
            f"{method} has nothing to learn from in {folder}: {counts}; "
            "sample more with --bootstrap.samples-per-order, or set --bootstrap.selection.on-all-wrong rationalize"
        )
    reasons = [(item.trace.trace_id, item.reason.value) for item in selections]
    return workshop.examples_stage(f"{folder}/examples", examples, facts, reasons)


def pass_gate(folder: str, parent: Judge, candidate: Judge, workshop: Workshop) -> Judge:
    """Measure the candidate on the gate pairs, and its parent if that was not measured yet."""
    pairs = workshop.splits.gate[: workshop.config.bootstrap.gate_pairs]
    rows = [workshop.measurement.gate(each, pairs) for each in (parent, candidate)]
    resamples = workshop.config.evaluation.bootstrap_resamples
    decision = decide(*rows, workshop.config.bootstrap, resamples=resamples, seed=workshop.seed)

    if workshop.config.bootstrap.promote == "always":
        decision = replace(decision, promoted=True, reason=f"bootstrap.promote is always; {decision.reason}")

    def compute(directory: Path) -> dict[str, Any]:
        write_json(directory / "candidate.json", decision.candidate.model_dump(mode="json"))
        write_json(directory / "parent.json", decision.parent.model_dump(mode="json"))
        write_json(directory / "difference.json", decision.difference.model_dump(mode="json"))
        return {
            "promoted": decision.promoted,
            "reason": decision.reason,
            "version": candidate.version,
            "parent": parent.version,
        }

    workshop.run.stage(f"{folder}/gate", compute)
    for row, iteration in ((decision.parent, parent.iteration), (decision.candidate, candidate.iteration)):
        metrics = {key: getattr(row, key) for key in GATE_METRICS}
        workshop.sink.log(
            {f"{candidate.name}/gate_{key}": value for key, value in metrics.items() if value is not None}, iteration
        )
    workshop.say(
        f"gate of {candidate.version}: {'promoted' if decision.promoted else 'kept, not promoted'}: {decision.reason}"
    )
    return replace(candidate, promoted=decision.promoted)


def selection_facts(selections: Sequence[TraceSelection], workshop: Workshop) -> dict[str, Any]:
    """Counts per reason code, all-right and all-wrong comparisons, and a few trace ids per reason."""
    outcome: dict[tuple[str, bool], list[bool]] = {}
    shown: dict[str, list[str]] = {}
    for item in selections:
        outcome.setdefault((item.trace.pair_id, item.trace.swapped), []).append(
            is_correct(item.trace, workshop.train_labels)
        )
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


def _requests(comparisons: Sequence[Comparison], judge: Judge, workshop: Workshop) -> list[JudgeRequest]:
    return list(
        judge_requests(
            comparisons,
            workshop.encoder,
            form="cot",
            judge_version=judge.version,
            purpose="bootstrap",
            run_seed=workshop.seed,
            temperature=workshop.config.bootstrap.temperature,
            top_p=workshop.config.bootstrap.top_p,
            samples=workshop.config.bootstrap.samples_per_order,
        )
    )


def _rationalize(stage: str, comparisons: Sequence[Comparison], judge: Judge, workshop: Workshop) -> list[Trace]:
    """Traces by the same judge when told which answer is better (STaR's rationalisation; paper's third template). Of a
    tie there is nothing to tell."""
    hints = {name: label for name, label in workshop.train_labels.items() if label is not None}
    comparisons = [comparison for comparison in comparisons if comparison.pair_id in hints]
    if not comparisons:
        return []
    requests = judge_requests(
        comparisons,
        workshop.encoder,
        form="rationalize",
        judge_version=judge.version,
        purpose="bootstrap",
        run_seed=workshop.seed,
        temperature=workshop.config.bootstrap.temperature,
        top_p=workshop.config.bootstrap.top_p,
        samples=workshop.config.bootstrap.samples_per_order,
        hints=hints,
    )
    return workshop.engine.sample_stage(stage, judge, requests, f"rationalised traces of {judge.version}")
