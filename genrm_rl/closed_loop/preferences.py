"""From the aligned policy to labelled pairs: answers, comparisons, verdicts of the judge, labels."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from genrm_rl.alignment.answers import answer_of, answer_requests, place_of
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.closed_loop.comparisons import SOURCE, NewComparison, pair_answers, usable_comparisons
from genrm_rl.closed_loop.inputs import LoopInputs
from genrm_rl.closed_loop.judges import LoopJudge
from genrm_rl.closed_loop.labels import LABELS_FILE, LabelledComparison, label_comparisons, label_facts
from genrm_rl.closed_loop.people import DESK, People, offer_at_desk, what_people_said
from genrm_rl.closed_loop.settings import serve_settings, turn_seed
from genrm_rl.config.loop import LoopConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.judging.folding import fold_all
from genrm_rl.judging.requests import judge_requests, orders_to_ask
from genrm_rl.judging.types import Judgment
from genrm_rl.preferences.guide import Guide
from genrm_rl.preferences.types import PreferencePair, as_messages
from genrm_rl.runtime.console import say_whole
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_atomic

PART = 256  # questions whose answers become durable together
ANSWERS, COMPARISONS, PAIRS = "answers.jsonl", "comparisons.jsonl", "pairs.jsonl"


def new_comparisons(run: RunDirectory, turn: int, policy: str, inputs: LoopInputs, console: Console) -> None:
    """Find pairs of answers that ``policy`` (its directory below the loop's) gives to training questions."""
    stage = f"turn{turn}/preferences/comparisons"

    def compute(directory: Path) -> dict[str, Any]:
        config, seed = run.config.comparisons, turn_seed(run.config, turn)
        train = inputs.questions(turn).train
        asked = random.Random(f"questions/{seed}").sample(train, min(config.questions, len(train)))
        answers = sample_answers(run, turn, asked, policy, inputs.chat, console)
        found = [
            comparison
            for question in asked
            for comparison in pair_answers(question, answers[question.id], pairs=config.pairs_per_question, seed=seed)
        ]
        known = {pair.id: pair for pair in inputs.splits.train} | {
            pair.id: pair for earlier in range(1, turn) for pair in read_pairs(run, earlier)
        }
        threshold = run.config.judge.data.near_duplicate_threshold
        usable = usable_comparisons(found, inputs.splits, known, inputs.misfit, threshold)
        _write_lines(directory / COMPARISONS, map(_comparison_row, usable.kept))
        return {
            "questions": len(asked),
            "answers": sum(map(len, answers.values())),
            "comparisons": len(usable.kept),
            "left_out": usable.left_out,
            "sampling_seed": seed,
            "policy": policy,
        }

    facts = run.stage_facts(stage, compute)
    left = "".join(f", {count} left out ({reason})" for reason, count in facts["left_out"].items())
    say_whole(console, f"{facts['comparisons']} new comparisons from {facts['questions']} questions{left}")


def read_comparisons(run: RunDirectory, turn: int) -> list[NewComparison]:
    """The new comparisons of a turn that has got so far."""
    rows = _read_lines(run.path / f"turn{turn}/preferences/comparisons" / COMPARISONS)
    return [_comparison(row) for row in rows]


def sample_answers(
    run: RunDirectory, turn: int, asked: Sequence[PolicyPrompt], policy: str, chat: ChatEncoder, console: Console
) -> dict[str, list[str]]:
    """Answers by question id, durable part by part; the engine starts only if a part is missing."""
    parts = {
        f"turn{turn}/preferences/answers/part{start // PART:04d}": asked[start : start + PART]
        for start in range(0, len(asked), PART)
    }
    if not all(map(run.done, parts)):
        from genrm_rl.rollout.shared_pool import engine_pool

        config, path = run.config.policy, (run.path / policy).resolve()
        # "sampling" as in the alignment, whose engines these can then be.
        with engine_pool(
            path, config.rollout, config.model, console=console, logprobs_of="sampling", role="policy"
        ) as pool:
            for name, questions in parts.items():
                run.stage(name, lambda directory, q=questions: _ask(run.config, turn, pool, chat, q, directory))
    answers: defaultdict[str, list[str]] = defaultdict(list)
    for name in parts:
        for row in _read_lines(run.path / name / ANSWERS):
            answers[row["question"]].append(row["text"])
    return answers


def _ask(
    config: LoopConfig, turn: int, pool: Any, chat: ChatEncoder, questions: Sequence[PolicyPrompt], directory: Path
) -> dict[str, Any]:
    requests = answer_requests(
        questions,
        chat,
        config.policy.sampling,
        purpose="comparisons",
        seed=turn_seed(config, turn),
        samples=config.comparisons.samples_per_question,
    )
    seeds = {request.request_id: request.seed for request in requests}
    rows = []
    for result in pool.generate(requests, progress="answers of the aligned policy"):
        place, index = place_of(result)
        answer = answer_of(result, questions[place], index, chat)
        if answer.usable:
            row = {"question": answer.prompt_id, "index": index, "text": answer.text}
            rows.append((place, row | {"finish_reason": answer.finish_reason, "seed": seeds[result.request_id]}))
    rows.sort(key=lambda entry: (entry[0], entry[1]["index"]))
    _write_lines(directory / ANSWERS, (row for _, row in rows))
    return {"questions": len(questions), "answers": len(rows), "not_generated": len(requests) - len(rows)}


def label(
    run: RunDirectory, turn: int, judge: LoopJudge, inputs: LoopInputs, console: Console
) -> dict[str, Any] | None:
    """Label a turn's comparisons; returns the stage's facts, or None while people are asked and have more to say."""
    stage, labels = f"turn{turn}/preferences/labels", run.config.labels
    if not run.done(stage):
        comparisons = read_comparisons(run, turn)
        ask_judge = labels.source in ("ai", "both") or (labels.source == "people" and labels.desk.active)
        if labels.source == "people" and comparisons:
            offer_at_desk(run, turn, comparisons, judged(run, turn, judge, inputs, console) if ask_judge else {})
        people = People() if labels.source == "ai" else what_people_said(run, turn, comparisons)
        if people is None:
            return None

        def compute(directory: Path) -> dict[str, Any]:
            judgments = judged(run, turn, judge, inputs, console) if ask_judge else {}
            rows = label_comparisons(comparisons, judgments, people.labels, labels, people.reasons)
            _write_lines(directory / LABELS_FILE, map(_label_row, rows))
            _write_lines(directory / PAIRS, (_pair_row(pair) for row in rows if (pair := row.pair())))
            source = {"source": labels.source, "judge": judge.as_dict() if judgments else None}
            return label_facts(rows) | people.facts | source

        run.stage(stage, compute)
    facts = run.manifest(stage)
    counts = [f"{count} by {by}" for by, count in facts["labelled"].items()]
    counts += [f"{count} {reason.replace('_', ' ')}" for reason, count in facts["unlabelled"].items()]
    say_whole(console, f"labels: {', '.join(counts) or 'none'}")
    return facts


def people_are_wanted(run: RunDirectory, turn: int) -> bool:
    """Whether all that can be done in a turn now is for people to do. Raises DataError as ``what_people_said`` does."""
    stages, source = f"turn{turn}/preferences", run.config.labels.source
    offered = f"{stages}/{DESK}" if source == "people" else f"{stages}/comparisons"
    if source == "ai" or not run.done(offered) or run.done(f"{stages}/labels"):
        return False
    return what_people_said(run, turn, read_comparisons(run, turn)) is None


def judged(run: RunDirectory, turn: int, judge: LoopJudge, inputs: LoopInputs, console: Console) -> dict[str, Judgment]:
    """The judge's verdicts on every comparison of a turn, ``labels.votes`` times in both orders, by comparison id."""
    comparisons = read_comparisons(run, turn)
    if not comparisons:
        return {}
    from genrm_rl.rollout.judge_engine import JudgeEngine
    from genrm_rl.serving.replicas.judge_apps import judge_to_serve

    config, asked = run.config, run.config.judge.judge
    served = judge_to_serve(serve_settings(config, run.path, judge))
    requests = judge_requests(
        orders_to_ask(
            (comparison.pair.comparison() for comparison in comparisons), asked.orders, turn_seed(config, turn)
        ),
        inputs.encoder,
        form=served.form or "cot",
        judge_version=served.version,
        purpose="labels",
        run_seed=turn_seed(config, turn),
        temperature=asked.temperature,
        top_p=asked.top_p,
        samples=config.labels.votes,
    )
    with JudgeEngine(config.judge, run, inputs.encoder, served, console) as engine:
        stage = f"turn{turn}/preferences/traces"
        traces = engine.sample_stage(stage, served, requests, "verdicts on new comparisons", ask_again=True)
    return fold_all(traces, asked.aggregate, asked.orders)


GUIDE_COLUMNS = ("rubric", "known_answer")  # of every row, so that they can be named as columns


def pairs_file(turn: int) -> str:
    """The labelled pairs of a turn, relative to the loop's directory."""
    return f"turn{turn}/preferences/labels/{PAIRS}"


def read_pairs(run: RunDirectory, turn: int) -> list[PreferencePair]:
    """The labelled pairs of a finished turn."""
    rows = _read_lines(run.path / pairs_file(turn))
    return [
        PreferencePair.create(as_messages(row["prompt"]), row["chosen"], row["rejected"], guide=Guide.of(row))
        for row in rows
    ]


def _comparison_row(comparison: NewComparison) -> dict[str, Any]:
    answer_a, answer_b = comparison.answers
    return {
        "id": comparison.id,
        "prompt": _turns(comparison.pair),
        "answer_a": answer_a,
        "answer_b": answer_b,
        "category": comparison.pair.category,
        "world": comparison.world,
        **comparison.pair.guide.plain(),
    }


def _comparison(row: dict[str, Any]) -> NewComparison:
    pair = PreferencePair.create(
        row["prompt"],
        row["answer_a"],
        row["answer_b"],
        source=SOURCE,
        category=row["category"],
        guide=Guide.of(row),
    )
    return NewComparison(pair, row["world"])


def _label_row(row: LabelledComparison) -> dict[str, Any]:
    said = {"label": row.label, "by": row.by, "reason": row.reason, "p_a": row.p_a, "rationales": row.rationales}
    return _comparison_row(row.comparison) | said


def _pair_row(pair: PreferencePair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "prompt": _turns(pair),
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "category": pair.category,
        "label_source": pair.label_source,
        **dict.fromkeys(GUIDE_COLUMNS),
        **pair.guide.plain(),
        "rationales": pair.rationales,
    }


def _turns(pair: PreferencePair) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in pair.prompt]


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
