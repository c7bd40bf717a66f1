"""Small run directories of every kind, written as the jobs leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from genrm_rl.agents.episodes import AgentEpisode, write_episodes
from genrm_rl.agents.figures import figures
from genrm_rl.agents.playing import EPISODES_FILE
from genrm_rl.alignment.report import build_align_report
from genrm_rl.config import RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section
from genrm_rl.config.loop import LoopConfig
from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.job import write_results
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.records import RECORDS, write_records
from genrm_rl.evaluation.report import write_report
from genrm_rl.evaluation.schema_results import BenchmarkScore
from genrm_rl.judging.judge import Judge
from genrm_rl.preferences.nulls import NULLS
from genrm_rl.runtime.results import AGENTS_FILE
from genrm_rl.runtime.run_directory import FinishedStages
from genrm_rl.runtime.storage import publish_directory, write_json
from tests.unit.report_example import small_report, suite

QUESTIONS = [f"add {n} 1" for n in range(24)]
HOSTILE = "<img src=x onerror=alert(1)>"
JUDGE = {"run": "turn1/bootstrap", "checkpoint": None, "version": "base", "name": "llm_judge", "gate": "base"}


def begin(path: Path, config: Section) -> Path:
    """What every run has from its first moment."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    facts = {"run_id": path.name, "seed": 0, "created": "2026-01-01T00:00:00Z", "command": f"genrm-rl {HOSTILE}"}
    more = {"code_revision": "abc", "versions": {"python": "3.11"}, "machine": {"cpu": "c", "cores": 2}}
    write_json(path / "provenance.json", facts | more)
    return path


def stage(path: Path, facts: dict[str, Any], **files: str) -> None:
    """A finished stage."""
    with publish_directory(path, {"seconds": 1.5, "stage": path.name, **facts}) as folder:
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def step(number: int, **changes: float | None) -> dict[str, float | None]:
    """The metrics of an alignment's step."""
    return {
        "step": number, "reward/mean": 0.5 + 0.01 * number, "reward/masked_share": 0.25 * (number == 1),
        "rollout/gold_accuracy": 0.6, "rollout/tokens_mean": 5.0, "rollout/inconsistent_share": 0.4,
        "train/kl_reference": 0.01 * number, "train/entropy": 0.5, "seconds/generate": 2.0, "seconds/judge": 1.0,
        "seconds/step": 3.5, "reward/length_correlation": None, **changes,
    }  # fmt: skip


def add_step(run: Path, number: int, **changes: float | None) -> None:
    """One more step of an alignment."""
    masked = {"busy": 6} if number == 1 else {}
    stage(run / f"steps/{number:05d}/rollout", {"answers": 24, "masked": masked})
    write_json(run / f"steps/{number:05d}/metrics.json", step(number, **changes))


def measured(run: Path, number: int, right: int) -> None:
    """The held-out questions after a step, the first ``right`` of them answered rightly; and the probes."""
    rows = [{"prompt": [{"content": q}], "text": "1", "right": i < right} for i, q in enumerate(QUESTIONS)]
    share = right / len(QUESTIONS)
    facts = {
        "step": number, "set": "test_short", "decoding": "sampled", "n": len(QUESTIONS), "gold_accuracy": share,
        "gold_ci95": [share - 0.1, share + 0.1], "by_family": {"add": share}, "cue_share": 0.5, "tokens_mean": 5.0,
        "truncated_share": 0.0, "kl_nats": 0.1 * number, "proxy_win_rate": 0.6 if number else None,
    }  # fmt: skip
    text = "".join(json.dumps(row) + "\n" for row in rows)
    stage(run / f"evaluation/{number:05d}/test_short/sampled", facts, answers__jsonl=text)
    tally = {"judged": 20, "refused": 0, "masked": 0, "ties": 5, "mean_p": 0.4}
    wins = {kind: 6 if kind == "opener" else 0 for kind in NULLS}
    probes = {kind: tally | {"wins": count, "losses": 15 - count} for kind, count in wins.items()}
    stage(run / f"evaluation/{number:05d}/probes", {"step": number, "set": "test_short", "probes": probes})


def alignment(path: Path, words: dict[str, Any] | None = None, right: int = 20) -> Path:
    """Three steps, measured before and after."""
    run = begin(path, AlignConfig(**(words or {})))
    measured(run, 0, 10)
    for number in range(3):
        add_step(run, number)
    measured(run, 3, right)
    return run


def agent(path: Path) -> Path:
    """Two steps in a shop, measured before and after."""
    run = begin(path, AgentConfig())
    for number, share in ((0, 0.25), (2, 0.5)):
        row = {
            "episodes": 8, "success": share, "success_interval": [share - 0.2, share + 0.2], "score": share,
            "score_interval": [0.0, 1.0], "format_rate": 0.9, "turns": 4.0, "tokens": 40.0, "turns_to_success": 3.0,
            "ends": {"done": 8}, "masked": {}, "levels": {"easy": {"success": share}, "hard": {"success": 0.0}},
        }  # fmt: skip
        write_json(run / f"evaluation/validation/{number:05d}.json", row)
    for number in range(2):
        row = {"step": number, "reward/mean": 0.2, "rollout/success": 0.3, "rollout/turns": 4.0, "rollout/tokens": 40.0}
        seconds = {"reward/masked": 1, "rollout/episodes": 8, "seconds/play": 2.0, "seconds/train": 1.0}
        write_json(run / f"steps/{number:05d}/metrics.json", row | seconds)
    return run


def agents_evaluated(path: Path, successes: str) -> Path:
    """What ``genrm-rl evaluate-agent`` leaves: an episode of each task, S succeeded, F failed, M was masked."""
    run = begin(path, AgentConfig())
    known = {"S": True, "F": False, "M": None}
    episodes = [
        AgentEpisode(f"shop/test/{index}", "", 0, "buy", (), "", "done", known[mark], known[mark] and 1.0)
        for index, mark in enumerate(successes)
    ]
    with publish_directory(run / "evaluation/shop/test", {}) as partial:
        write_episodes(partial / EPISODES_FILE, episodes)
    found = figures(episodes, resamples=100, seed=0).as_dict()
    write_json(run / AGENTS_FILE, {"model": "policy", "environments": {"shop": {"test": found}}})
    return run


def bootstrap(path: Path) -> Path:
    """Finished, with a report in which every section is filled."""
    run = begin(path, RunConfig())
    write_report(run, small_report(HOSTILE))
    return run


def evaluated(path: Path, scored: str = "") -> Path:
    """What ``genrm-rl evaluate`` leaves; ``scored`` by the rule of a benchmark."""
    run = begin(path, RunConfig())
    judge = Judge("star_dpo", "generative", Path("checkpoint"), "star_dpo-1", weights="abc")
    mine, other = suite("star_dpo", "id", "greedy", "RRRF"), suite("longer_answer", "id", "deterministic", "B")
    rows = [summarise(mine, resamples=100)]
    if scored:
        score = BenchmarkScore(rule=scored, overall=0.75, sections={"chat": 0.75})
        rows = [row.model_copy(update={"benchmark": score}) for row in rows]
    for folder, records in (("star_dpo-abc/id-1/greedy", mine), ("longer_answer-0/id-1/deterministic", other)):
        with publish_directory(run / f"evaluation/{folder}/judgments", {}) as partial:
            write_records(partial / RECORDS, records)
    write_results(run, judge, rows, [summarise(other, resamples=100)], compare_all([other, mine], resamples=100), None)
    return run


def best_of(path: Path) -> Path:
    """What ``genrm-rl best-of`` leaves: one of two prompts has a best answer."""
    run = begin(path, RunConfig())
    rows = [
        {
            "prompt": [{"role": "user", "content": f"which {HOSTILE}"}],
            "best": best,
            "margin": None if best is None else 0.25,
            "responses": ["one", HOSTILE],
            "rewards": [None, None] if best is None else [0.25, 0.5],
            "masks": ["not_judged"] * 2 if best is None else [None, None],
        }
        for best in (1, None)
    ]
    facts = {"judge_version": "star_dpo-1", "prompts": 2, "chosen": 1, "shared": 0, "masked": 2, "responses": 4}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    stage(run / "best_of/star_dpo-abc/what/winners", facts | {"mean_margin": 0.25, "rounds": 1}, winners__jsonl=text)
    return run


def unfinished_bootstrap(path: Path) -> Path:
    """One stage is done."""
    run = begin(path, RunConfig())
    stage(run / "traces/base-part1", {"completion_tokens": 100})
    return run


def loop(path: Path) -> Path:
    """One turn: judges, an aligned policy, and a gate that a new judge passed."""
    run = begin(path, LoopConfig())
    bootstrap(run / "turn1/bootstrap")
    stage(run / "turn1/stages/bootstrap", {"run": "turn1/bootstrap", "judge": JUDGE})
    inner = alignment(run / "turn1/align")
    stage(inner / "policy", {})
    write_json(inner / "report.json", build_align_report(FinishedStages(inner), AlignConfig()))
    stage(run / "turn1/stages/align", {"run": "turn1/align", "version": "align-3", "parents": {"judge": JUDGE}})
    figures = {"accuracy": [0.8, 0.9], "ci95": [[0.7, 0.9], [0.85, 0.95]], "difference": 0.1, "pairs": 40}
    decision = {"promoted": True, "reason": "better", "difference_ci95": [0.02, 0.18], "served": JUDGE}
    stage(run / "turn1/stages/gate", figures | decision | {"parents": {"current": JUDGE, "candidate": None}})
    return run
