"""``genrm-rl benchmark``: a judge on the published files of one benchmark, by the benchmark's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.errors import ConfigError
from genrm_rl.evaluation import suites
from genrm_rl.evaluation.job import (
    Measured,
    benchmark_table,
    measure_judge,
    refuse_silence,
    result_table,
    unbeaten_baselines,
)
from genrm_rl.evaluation.preset import preset_config
from genrm_rl.evaluation.suites import SUITES, Suite
from genrm_rl.judging.types import Asked
from genrm_rl.runtime.storage import write_json

EVERY_PAIR = 10**9
LEADERBOARD = "leaderboard.json"


def suite_of(name: str) -> Suite:
    """Raises ConfigError for a benchmark that is not known."""
    if name not in SUITES:
        raise ConfigError(f"--suite {name} is no benchmark that is known here; choose one of {', '.join(SUITES)}")
    return SUITES[name]


def benchmark_config(
    name: str, checkpoint: str, paths: Sequence[Path], files: Sequence[Path] | None, words: Sequence[str]
) -> RunConfig:
    """The settings of a benchmark: greedy, every pair, and where no config is given those of the run that made the
    checkpoint. Raises ConfigError."""
    suite = suite_of(name)
    if not paths:
        raise ConfigError(f"give the published file of {suite.title} with --path")
    here = [path.expanduser() for path in paths]
    sources = [{"path": str(path.absolute() if path.exists() else path)} for path in here]  # else a glob, or a hub id
    if len(sources) == 1:
        sources[0]["name"] = name
    preset = {
        "data.test": sources,
        "data.ties": suite.ties,
        "evaluation.scoring": suite.scoring,
        "evaluation.pairs": EVERY_PAIR,
        "evaluation.decoding": ["greedy"],
        "run.id": f"benchmark-{name}",
    }
    return preset_config(preset, checkpoint, files, words)


def run_benchmark(config: RunConfig, name: str, checkpoint: str, form: Asked, console: Console) -> Path:
    """Measure, print the benchmark's own headline first, and write ``leaderboard.json`` beside ``results.json``.

    Returns its path. Raises as :func:`measure_judge`, and JudgeFailure if not one judgment is a verdict.
    """
    suite = suite_of(name)
    found = measure_judge(config, checkpoint, form, console)
    decodings = dict.fromkeys(row.decoding for row in found.rows)
    for decoding in decodings:
        rows = [row for row in found.rows if row.decoding == decoding]
        console.print(f"[bold]{suites.headline(suite, rows)}[/bold]", highlight=False)
        console.print(f"{decoding}: {suites.cost(rows)}", highlight=False)
    console.print(benchmark_table(found.rows))
    console.print(result_table([*found.rows, *found.baselines], console.width))
    for sentence in unbeaten_baselines(found):
        console.print(sentence, style="red", highlight=False, markup=False)
    written = write_leaderboard(suite, found)
    console.print(f"for the leaderboard: {written}; everything else: {found.folder / 'results.json'}", highlight=False)
    refuse_silence(found.judge.name, found.rows, found.folder)
    return written


def write_leaderboard(suite: Suite, found: Measured) -> Path:
    """The JSON of the first decoding that was measured, in the run directory and beside the judge's judgments; the
    latter's path."""
    first = found.rows[0].decoding
    rows = [row for row in found.rows if row.decoding == first]
    for folder in (found.run, found.folder):
        write_json(folder / LEADERBOARD, suites.leaderboard(suite, found.judge, rows))
    return found.folder / LEADERBOARD
