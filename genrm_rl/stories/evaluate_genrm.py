"""Evaluate a judge: read the test sets, let it judge them, measure beside what it has to beat, and say what came out.

``genrm-rl evaluate`` and ``jobs/evaluate_genrm.py``. One level down: ``genrm_rl/evaluation/``.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.evaluation.job import benchmark_table, measure_judge, refuse_silence, result_table, unbeaten_baselines
from genrm_rl.judging.types import Asked
from genrm_rl.learners.probe_record import NOT_MEASURED


def evaluate_judge(config: RunConfig, judge_name: str, form: Asked, console: Console) -> Path:
    """:func:`measure_judge`, then print what came out. Returns the run directory. Raises JudgeFailure at the end if not
    one judgment is a verdict."""
    found = measure_judge(config, judge_name, form, console, probe=True)
    console.print(result_table([*found.rows, *found.baselines], console.width))
    for note in found.notes:
        console.print(note, highlight=False, markup=False)
    for sentence in unbeaten_baselines(found):
        console.print(sentence, style="red", highlight=False, markup=False)
    style = "red" if found.probes is not None and not found.probes.passed else None
    words = NOT_MEASURED if found.probes is None else found.probes.sentence()
    console.print(words, style=style, highlight=False, markup=False)
    if any(row.benchmark for row in found.rows):
        console.print(benchmark_table(found.rows))
    console.print(f"judgments and results: {found.folder}", highlight=False)
    refuse_silence(found.judge.name, found.rows, found.folder)
    return found.run
