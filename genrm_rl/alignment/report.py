"""What an alignment run came to: ``report.json``, and one self-contained page."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genrm_rl.alignment.answers import Answer
from genrm_rl.alignment.figures import alignment_charts
from genrm_rl.alignment.lost import finished_rollouts
from genrm_rl.alignment.measure import ANSWERS_FILE
from genrm_rl.alignment.prompts import PolicyPrompt, find_questions
from genrm_rl.alignment.rollouts import ANSWERS_FILE as ROLLOUT_ANSWERS
from genrm_rl.alignment.rollouts import read_rollout
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.prompts import PromptsConfig
from genrm_rl.config.watching import AlarmConfig
from genrm_rl.errors import DataError
from genrm_rl.evaluation import view
from genrm_rl.evaluation.alarms import probe_alarms, step_alarms
from genrm_rl.evaluation.intervals import paired_difference
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.runtime.console import number, people_table
from genrm_rl.runtime.run_directory import FinishedStages, RunDirectory
from genrm_rl.runtime.storage import is_complete, read_json, read_manifest, write_atomic, write_json

SCHEMA_VERSION = 1
SHOWN_GROUPS = 12
METHODS = {"gae": "PPO", "group_norm": "GRPO", "dr_grpo": "Dr. GRPO", "rloo": "RLOO", "dpo": "DPO"}


def write_align_report(run: RunDirectory, config: AlignConfig, console: Console) -> Path:
    """Write both files and print the table; returns the page's path."""
    report = build_align_report(run, config)
    write_json(run.path / "report.json", report)
    page = write_atomic(run.path / "report.html", render(report))
    console.print(table(report))
    return page


def build_align_report(run: FinishedStages, config: AlignConfig) -> dict[str, Any]:
    """Everything that the page shows: measurements, differences to the start, steps, time, probes, examples."""
    steps = [read_json(path) for path in sorted((run.path / "steps").glob("*/metrics.json"))]
    measured = [read_manifest(path.parent) for path in sorted((run.path / "evaluation").glob("*/*/*/_COMPLETE.json"))]
    probes = [read_manifest(path.parent) for path in sorted((run.path / "evaluation").glob("*/probes/_COMPLETE.json"))]
    last = max((row["step"] for row in measured), default=0)
    provenance = read_json(run.path / "provenance.json")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "alignment",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "machine": provenance["machine"],
        "versions": provenance["versions"],
        "method": config.method if config.method == "dpo" else config.ppo.advantage,
        "reward": "verifier" if config.reward.source == "verifier" else config.serving.checkpoint,
        "prompts": read_json(path) if (path := run.path / "prompts.json").is_file() else None,
        "steps": steps,
        "evaluation": [_plain(row) for row in measured],
        "differences": differences(run, config, measured, last),
        "probes": [_plain(row) for row in probes],
        "time": time_shares(steps),
        "missing_rewards": missing_rewards(run),
        "learning": learning(steps),
        "examples": examples(run, config),
        "reward_client": read_json(path) if (path := run.path / "reward_client.json").is_file() else None,
        "config": config.model_dump(mode="json"),
    }


def differences(
    run: FinishedStages, config: AlignConfig, measured: Sequence[dict[str, Any]], last: int
) -> list[dict[str, Any]]:
    """Gold accuracy of the final policy minus that of the start, on the same questions, with 95 % intervals."""
    rows = []
    for row in measured:
        if row["step"] != last or last == 0 or row["gold_accuracy"] is None:
            continue
        after, before = (_right(run, step, row["set"], row["decoding"]) for step in (last, 0))
        ones = [1.0] * len(after)
        difference, interval = paired_difference(
            after, ones, before, ones, resamples=config.evaluation.bootstrap_resamples, seed=config.run.seed
        )
        start = next(r for r in measured if (r["step"], r["set"], r["decoding"]) == (0, row["set"], row["decoding"]))
        rows.append(
            {
                "set": row["set"],
                "decoding": row["decoding"],
                "n": len(after),
                "before": start["gold_accuracy"],
                "after": row["gold_accuracy"],
                "difference": difference,
                "ci95": list(interval),
                "by_family": {family: value - start["by_family"][family] for family, value in row["by_family"].items()},
                "cue_before": start["cue_share"],
                "cue_after": row["cue_share"],
            }
        )
    return rows


def missing_rewards(run: FinishedStages) -> dict[str, Any]:
    """Answers of all steps, how many of them have no reward by reason, and the step that lost most."""
    facts = [(int(folder.parent.name), read_manifest(folder)) for folder in finished_rollouts(run)]
    reasons: Counter[str] = Counter()
    for _, row in facts:
        reasons.update(row["masked"])
    worst = max(facts, key=lambda fact: sum(fact[1]["masked"].values()) / max(1, fact[1]["answers"]), default=None)
    return {
        "answers": sum(row["answers"] for _, row in facts),
        "by_reason": dict(reasons.most_common()),
        "worst_step": None if worst is None else worst[0] + 1,
        "worst_share": None if worst is None else sum(worst[1]["masked"].values()) / max(1, worst[1]["answers"]),
        "by_step": {
            step: {reason: count / max(1, row["answers"]) for reason, count in row["masked"].items()}
            for step, row in facts
        },
    }


def learning(steps: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many optimizer updates were skipped because they were not finite, and how many steps learned nothing."""
    return {
        "skipped_updates": int(sum(step.get("train/skipped_updates") or 0 for step in steps)),
        "empty_steps": int(sum(step.get("train/empty") or 0 for step in steps)),
    }


def time_shares(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of all step seconds by what they were spent on."""
    names = ("generate", "judge", "train", "publish", "other")
    sums = {name: sum(step.get(f"seconds/{name}", 0.0) or 0.0 for step in steps) for name in names}
    total = sum(step.get("seconds/step", 0.0) for step in steps)
    return {name: value / total for name, value in sums.items() if total}


def examples(run: FinishedStages, config: AlignConfig) -> list[dict[str, Any]]:
    """Groups of the last step: the question (None where it can't be found again), answers, what a verifier says of each
    (None where none can), rewards, and the judgments behind them."""
    found = sorted((run.path / "steps").glob(f"*/rollout/{ROLLOUT_ANSWERS}"))
    if not found or not is_complete(found[-1].parent):
        return []
    rollout = read_rollout(found[-1].parent, read_manifest(found[-1].parent))
    judgments = {judgment["id"]: judgment for judgment in rollout.judgments}
    questions = _questions(config.prompts, config.run.seed)
    shown = []
    for group in rollout.groups[:SHOWN_GROUPS]:
        question = questions.get(group[0].answer.prompt_id)
        ids = dict.fromkeys(identifier for judged in group for identifier in judged.record.judgments)
        shown.append(
            {
                "question": question and [[turn.role, turn.content] for turn in question.messages],
                "answers": [
                    {
                        "text": judged.answer.text,
                        "right": _is_right(question, judged.answer),
                        "reward": judged.record.reward,
                        "mask": judged.record.mask,
                    }
                    for judged in group
                ],
                "judgments": [judgments[identifier] for identifier in ids if identifier in judgments],
            }
        )
    return shown


@functools.lru_cache(maxsize=1)  # a page is drawn anew with every step, from the same questions
def _questions(config: PromptsConfig, seed: int) -> Mapping[str, PolicyPrompt]:
    """Training questions by id; none where their file is gone."""
    try:
        return find_questions(config, seed=seed)
    except DataError:
        return {}


def _is_right(question: PolicyPrompt | None, answer: Answer) -> bool | None:
    verifiable = question is not None and question.verifiable and answer.usable
    return question.right(answer.text) if question is not None and verifiable else None


def render(report: dict[str, Any], limits: AlarmConfig | None = None) -> str:
    """The page; every text of a model or a data set is escaped. ``limits``: from where on something is an alarm."""
    limits = limits or AlarmConfig()
    return (
        page_environment("genrm_rl.alignment")
        .get_template("align.html.j2")
        .render(
            report=report,
            sentence=sentence(report),
            alarms=alarms(report, limits),
            charts=alignment_charts(report, limits.probe_wins),
        )
    )


def sentence(report: dict[str, Any]) -> str:
    """What happened, and whether the policy is better than before."""
    done, rows = len(report["steps"]), report["differences"]
    method = METHODS.get(report["method"], report["method"])
    what = f"{done} step{'' if done == 1 else 's'} of {method} with the reward of {judge_words(report['reward'])}"
    if not rows:
        return f"{what}; the policy was not measured against its start yet."
    changes = "; ".join(f"{row['set']}, {row['decoding']}: {view.change_of(row)}" for row in rows)
    return f"After {what}, the policy is {view.verdict([row['ci95'] for row in rows])}: right answers on {changes}."


def judge_words(reward: str | None) -> str:
    """The judge that gave the reward, without the path to it."""
    if reward == "verifier":
        return "a verifier"
    found = re.search(r"methods/([^/]+)/round(\d+)/", reward or "")
    if found:
        return f"the judge {view.LABELS.get(found[1], found[1])}, round {found[2]}"
    return f"the judge {Path(reward).name}" if reward else "a judge that was running already"


def alarms(report: dict[str, Any], config: AlarmConfig) -> list[str]:
    """What is wrong with the run so far."""
    found = step_alarms(report["steps"], config)
    if report["probes"]:
        last = report["probes"][-1]
        found += probe_alarms(probe_wins(last), config.probe_wins, f"the policy after step {last['step']}")
    return found


def probe_wins(row: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(wins, judged) of each kind of null answer."""
    return {kind: (cell["wins"], cell["judged"]) for kind, cell in row["probes"].items()}


def table(report: dict[str, Any]) -> Table:
    """Before and after on every set, for the terminal."""
    numbers = [number(name) for name in ("before", "after", "difference [95 %]", "KL nats")]
    grid = people_table("gold accuracy, %", *numbers)
    kl = {(row["set"], row["decoding"]): row["kl_nats"] for row in report["evaluation"]}
    for row in report["differences"]:
        grid.add_row(
            f"{row['set']}, {row['decoding']}",
            view.percent(row["before"]),
            view.percent(row["after"]),
            view.difference(row["difference"], row["ci95"]),
            view.decimals(kl[row["set"], row["decoding"]]),
        )
    return grid


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A stage's facts without its bookkeeping."""
    return {key: value for key, value in row.items() if key not in ("stage", "config_hash", "seed", "seconds")}


def _right(run: FinishedStages, step: int, name: str, decoding: str) -> list[float]:
    path = run.path / f"evaluation/{step:05d}/{name}/{decoding}/{ANSWERS_FILE}"
    return [float(json.loads(line)["right"]) for line in path.read_text(encoding="utf-8").splitlines()]
