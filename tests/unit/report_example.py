"""A small but complete report for tests, computed from judgment rows."""

from __future__ import annotations

from typing import Any

from genrm_rl.evaluation.differences import compare_all
from genrm_rl.evaluation.metrics import summarise
from genrm_rl.evaluation.schema import (
    DataRow,
    ExampleTrace,
    FitCurve,
    GateRow,
    JudgeInfo,
    Machine,
    PaperRow,
    Report,
    RunInfo,
    SelectionRow,
    StageRow,
    SyncRow,
    TestSetInfo,
)
from tests.unit.evaluation_rows import row, votes

PAIRS = 24


def suite(judge: str, test_set: str, decoding: str, pattern: str) -> list[Any]:
    """``PAIRS`` rows from letters: R right twice, F flips, W wrong twice, N no verdict, B right without an order."""
    rows = []
    for i in range(PAIRS):
        label = "AB"[i % 2]
        other = "BA"[i % 2]
        letter = pattern[i % len(pattern)]
        verdicts = {"R": label * 2, "F": label + other, "W": other * 2, "N": "??", "B": label + "-"}[letter]
        p_right = {"R": 0.9, "F": 0.5, "W": 0.2, "N": None, "B": 0.8}[letter]
        p_a = p_right if p_right is None or label == "A" else 1 - p_right
        voted = {"votes_ab": votes("AABA"), "votes_ba": votes("ABAA")} if decoding == "sampled" else {}
        rows.append(
            row(
                f"p{i}",
                label,
                verdicts,
                p_a,
                judge=judge,
                test_set=test_set,
                decoding=decoding,
                order_free=letter == "B",
                category=["add", "sort"][i % 2],
                chars_chosen=5 + i % 3,
                completion_tokens=40,
                **voted,
            )
        )
    return rows


def trace(outcome: str = "right", text: str = "work: 1+1=2\nverdict: A", **changes: Any) -> ExampleTrace:
    fields: dict[str, Any] = {
        "trace_id": "t1",
        "judge": "star_dpo",
        "test_set": "id",
        "decoding": "sampled",
        "outcome": outcome,
        "pair_id": "p1",
        "prompt": "add 1 1",
        "response_a": "2",
        "response_b": "3",
        "label": "A",
        "verdict": "prefers_a",
        "p_a": 0.9,
        "text": text,
    }
    return ExampleTrace(**(fields | changes))


def gate(iteration: int, accuracy: float, *, promoted: bool) -> GateRow:
    return GateRow(
        method="star_dpo",
        iteration=iteration,
        n=20,
        accuracy_strict=accuracy,
        ci95=(accuracy - 0.1, accuracy + 0.1),
        promoted=promoted,
        reason="measured",
    )


def small_report(hostile: str = "", **changes: Any) -> Report:
    """One report with every section filled; ``hostile`` is appended to every text that comes from data or models."""
    suites = [
        suite("llm_judge", "id", "sampled", "RFWFN"),
        suite("llm_judge", "id", "greedy", "RRWF"),
        suite("bradley_terry", "id", "deterministic", "B"),
        suite("star_dpo", "id", "sampled", "RRRRF"),
        suite("star_dpo", "id", "greedy", "RRRF"),
        suite("llm_judge", "hard", "greedy", "RRRR"),
        suite("star_dpo", "hard", "greedy", "WWRW"),
    ]
    shown = trace(
        "wrong", text=f"because{hostile}", prompt=f"q{hostile}", response_a=f"a{hostile}", category=f"c{hostile}"
    )
    fields: dict[str, Any] = {
        "run": RunInfo(
            id="small", created="2026-01-01T00:00:00Z", command=f"genrm-rl bootstrap{hostile}", seed=0, seconds=75.0
        ),
        "versions": {"python": "3.11"},
        "machine": Machine(platform="Linux", cpus=2, memory_gib=24, gpus=("GPU",)),
        "config": {"model": {"name": f"tiny{hostile}"}},
        "baseline": "llm_judge",
        "judges": (
            JudgeInfo(name="llm_judge"),
            JudgeInfo(name="bradley_terry", kind="scalar"),
            JudgeInfo(name="star_dpo", note=f"note{hostile}", iteration=1),
        ),
        "test_sets": (
            TestSetInfo(name="id", pairs=PAIRS, distribution="in", note=f"note{hostile}"),
            TestSetInfo(name="hard", label=f"harder{hostile}", pairs=PAIRS, distribution="out"),
        ),
        "results": tuple(summarise(rows, resamples=100) for rows in suites),
        "differences": compare_all(suites, resamples=100),
        "fit_curves": (
            FitCurve(
                method="bradley_terry",
                steps=(10, 20, 30),
                train_loss=(0.69, 0.4, None),
                held_out_loss=(0.66, 0.6, None),
                best_step=20,
            ),
        ),
        "learning_curve": (gate(0, 0.5, promoted=True), gate(1, 0.8, promoted=True), gate(2, 0.7, promoted=False)),
        "selection": (
            SelectionRow(
                method="star_dpo",
                iteration=1,
                traces=10,
                reasons={"kept": 6, f"wrong_verdict{hostile}": 4},
                examples={"kept": (shown,)},
            ),
        ),
        "stages": (
            StageRow(name="start engines", seconds=12.0),
            StageRow(
                name="methods/star_dpo/round1/fit",
                method="star_dpo",
                iteration=1,
                seconds=30.0,
                trained_tokens=5000,
                steps=8,
            ),
            StageRow(
                name="methods/star_dpo/round2/fit",
                method="star_dpo",
                iteration=2,
                seconds=31.0,
                trained_tokens=6000,
                steps=9,
            ),
        ),
        "data": (DataRow(name=f"train{hostile}", split="train", read=100, pairs=90, rejected={f"tie{hostile}": 10}),),
        "sync": (
            SyncRow(
                version="v1",
                backend="shared_memory",
                megabytes=12.9,
                seconds=0.2,
                mean_abs_difference_nats=2e-6,
                limit_nats=1e-3,
                passed=True,
            ),
        ),
        "traces": (trace(), shown, trace("non_verdict", p_a=None, verdict="unparseable")),
        "paper": (PaperRow(method="STaR-DPO", setting="UltraFeedback", value=73.9),),
        "notes": (f"one seed{hostile}",),
    }
    return Report(**(fields | changes))
