"""Headline figures of a run or a turn, each with its interval and with what it can be compared by, pair for pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from genrm_rl.agents.episodes import read_episodes
from genrm_rl.agents.playing import EPISODES_FILE
from genrm_rl.errors import DataError
from genrm_rl.evaluation.alarms import over_limit
from genrm_rl.evaluation.differences import compare
from genrm_rl.evaluation.intervals import bootstrap_interval, paired_difference
from genrm_rl.evaluation.records import RECORDS, JudgmentRecord, read_records
from genrm_rl.evaluation.view import LABELS, decimals, duration, percent, percent_interval, points, points_interval
from genrm_rl.runtime.results import AGENTS_FILE
from genrm_rl.runtime.storage import is_complete, read_json, read_json_lines

RESAMPLES, SEED = 2000, 0
Samples = Mapping[str, float] | Sequence[JudgmentRecord]


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` and ``interval`` as they are written; ``samples`` are what they come from, where the same questions
    (by their text) or pairs can be found in another run."""

    value: str
    interval: str = ""
    samples: Samples | None = None


def difference(figure: Figure, first: Figure) -> tuple[float, Sequence[float]] | None:
    """``figure`` minus ``first`` on what both were measured on, with its paired 95 % interval; None where that is
    nothing."""
    ours, theirs = figure.samples, first.samples
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        shared = [question for question in ours if question in theirs]
        if not shared:
            return None
        ones = [1.0] * len(shared)
        rights = [[side[question] for question in shared] for side in (ours, theirs)]
        return paired_difference(rights[0], ones, rights[1], ones, resamples=RESAMPLES, seed=SEED)
    if ours and theirs and not isinstance(ours, Mapping) and not isinstance(theirs, Mapping):
        try:
            row = compare(ours, theirs, resamples=RESAMPLES, seed=SEED)
        except DataError:  # no pair that both judged, or pairs whose labels changed
            return None
        return row and (row.difference, row.ci95)
    return None


def alignment_figures(path: Path, report: Mapping[str, Any], limit: float) -> dict[str, Figure]:
    """Right answers of the last measured policy, its gain, its distance, and what the steps were like."""
    rows = report["evaluation"]
    last = max((row["step"] for row in rows), default=0)
    figures = {}
    for row in rows:
        if row["step"] == last and row["gold_accuracy"] is not None:
            stage = path / f"evaluation/{last:05d}/{row['set']}/{row['decoding']}"
            name = f"{row['set']}, {row['decoding']}"
            interval = percent_interval(row["gold_ci95"])
            figures[f"right answers, {name}, %"] = Figure(percent(row["gold_accuracy"]), interval, _answers(stage))
            figures[f"KL to the start, {name}, nats per answer"] = Figure(decimals(row["kl_nats"]))
            figures[f"length, {name}, tokens"] = Figure(decimals(row["tokens_mean"], 1))
    figures |= _gains(report["differences"])
    for row in report["probes"][-1:]:
        wins = {kind: (cell["wins"], cell["judged"]) for kind, cell in row["probes"].items()}
        tried = sum(bool(judged) for _, judged in wins.values())
        figures["kinds of null answers that win too often"] = Figure(f"{len(over_limit(wins, limit))} of {tried}")
    return figures | _step_figures(report["steps"])


def agent_figures(path: Path, report: Mapping[str, Any]) -> dict[str, Figure]:
    """Successful episodes on held-out tasks, their gain, and what the steps were like; of `train-agent` the last
    measurement of each split, of `evaluate-agent` each environment's."""
    figures = {}
    for split, row in {row["split"]: row for row in report["measured"]}.items():  # the last one of each
        stage = path / f"evaluation/{split}/{row['step']:05d}"
        figures[f"successful episodes, {split}, %"] = _success(row, stage)
    played = read_json(path / AGENTS_FILE)["environments"] if (path / AGENTS_FILE).is_file() else {}
    for environment, splits in played.items():
        of = "" if len(played) == 1 else f"{environment} "
        for split, row in splits.items():
            stage = path / f"evaluation/{environment}/{split}"
            figures[f"successful episodes, {of}{split}, %"] = _success(row, stage)
    return figures | _gains(report["differences"]) | _step_figures(report["steps"])


def _success(row: Mapping[str, Any], stage: Path) -> Figure:
    """With each task's success where the episodes are there and none was masked."""
    interval = percent_interval(row["success_interval"])
    known = [each for each in read_episodes(stage / EPISODES_FILE) if not each.masked] if is_complete(stage) else []
    successes = {each.task_id: float(bool(each.success)) for each in known}
    return Figure(percent(row["success"]), interval, successes or None)


def bootstrap_figures(path: Path, report: Mapping[str, Any]) -> dict[str, Figure]:
    """Right judgments of every judge on every test set; of a run that goes on, at the gate."""
    if "results" not in report:
        return {
            f"right at the gate, {LABELS.get(row['method'], row['method'])}, round {row['iteration']}, %": Figure(
                percent(row["accuracy_strict"]), percent_interval(row["ci95"])
            )
            for row in report.get("learning_curve", ())
        }
    labels = {judge["name"]: judge["label"] or judge["name"] for judge in report["judges"]}
    return {
        f"right judgments, {labels[row['judge']]} on {row['test_set']}, {row['decoding']}, %": Figure(
            percent(row["accuracy_strict"]),
            percent_interval(row["ci95"]),
            _records(_suite(path, row)),
        )
        for row in report["results"]
    }


def turn_figures(root: Path, turn: Mapping[str, Any]) -> dict[str, Figure]:
    """Policy, judge and gate at the end of a turn of a loop."""
    figures = {}
    for row in turn["policy"]:
        name = f"{row['set']}, {row['decoding']}"
        stages = sorted((root / f"turn{turn['turn']}/align/evaluation").glob(f"*/{row['set']}/{row['decoding']}"))
        rights = _answers(stages[-1]) if stages else None
        figures[f"right answers, {name}, %"] = Figure(percent(row["after"]), _interval(rights), rights)
    figures |= _gains(turn["policy"])
    for row in turn["judge"]:
        made = turn["stages"]["gate"]["parents"]["candidate"]
        stage = root / made["run"] / "evaluation" / made["name"] / row["set"] / row["decoding"] / "judgments"
        figures[f"right judgments of the new judge, {row['set']}, {row['decoding']}, %"] = Figure(
            percent(row["after"]), percent_interval(row["intervals"][1]), _records(stage)
        )
    gate = turn["stages"].get("gate", {})
    if gate.get("accuracy"):
        figures["right judgments of the new judge at the gate, %"] = Figure(
            percent(gate["accuracy"][1]), percent_interval(gate["ci95"][1])
        )
        figures["new judge at the gate"] = Figure("served" if gate["promoted"] else "not served")
    return figures | _step_figures(turn["steps"])


def _gains(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    found = {}
    for row in rows:
        place = ", ".join(row[key] for key in ("set", "split", "decoding") if key in row)
        found[f"gain over the start, {place}, points"] = Figure(points(row["difference"]), points_interval(row["ci95"]))
    return found


def _step_figures(steps: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Of all steps: reward of the last, missing rewards, seconds."""
    if not steps:
        return {}
    masked = [row["reward/masked_share"] for row in steps if row.get("reward/masked_share") is not None]
    seconds = [row["seconds/step"] for row in steps if row.get("seconds/step") is not None]
    figures = {"steps": Figure(str(len(steps)))}
    if (reward := steps[-1].get("reward/mean")) is not None:
        figures["reward of the last step"] = Figure(decimals(reward))
    if masked:
        figures["answers without a reward, %"] = Figure(percent(sum(masked) / len(masked)))
    if seconds:
        figures["time of a step"] = Figure(duration(sum(seconds) / len(seconds)))
    return figures


def _answers(stage: Path) -> dict[str, float] | None:
    """Whether each question was answered rightly, by its words."""
    if not is_complete(stage):
        return None
    return {
        str(row["prompt"]): float(row["right"])
        for row in read_json_lines(stage / "answers.jsonl")
        if row["right"] is not None
    }


def _interval(rights: Mapping[str, float] | None) -> str:
    if not rights:
        return ""
    values = list(rights.values())
    return percent_interval(bootstrap_interval(values, [1.0] * len(values), resamples=RESAMPLES, seed=SEED))


def _suite(path: Path, row: Mapping[str, Any]) -> Path:
    """The judgments behind a row of results. `evaluate` keeps them apart by hashes of judge and pairs; where several
    have the same name, nothing says which are meant."""
    plain = path / f"evaluation/{row['judge']}/{row['test_set']}/{row['decoding']}/judgments"
    names = "/".join(f"{escape(row[key])}-*" for key in ("judge", "test_set"))
    apart = [] if is_complete(plain) else list(path.glob(f"evaluation/{names}/{row['decoding']}/judgments"))
    return apart[0] if len(apart) == 1 else plain


def _records(stage: Path) -> list[JudgmentRecord] | None:
    return read_records(stage / RECORDS) if is_complete(stage) else None
