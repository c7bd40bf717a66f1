"""Runs of `evaluate`, `benchmark` and `best-of`, which leave figures and no page: their front page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_rl.bootstrap.stage_rows import stage_rows
from genrm_rl.bootstrap.summary import KINDS, LABELS
from genrm_rl.evaluation.baselines import INFOS
from genrm_rl.evaluation.choosing import WINNERS, in_words
from genrm_rl.evaluation.headline import complete
from genrm_rl.evaluation.pages import page_environment
from genrm_rl.evaluation.schema import JudgeInfo, Report, RunInfo, TestSetInfo
from genrm_rl.evaluation.schema_results import ResultRow
from genrm_rl.evaluation.suites import SUITES, headline
from genrm_rl.runtime.results import settings_of
from genrm_rl.runtime.storage import MARKER, read_json, read_manifest

RESULTS = "results.json"
SHOWN_CHOICES = 12


def evaluated_report(run: Path) -> Report:
    """Of a run with ``results.json``: the judge that was measured last, beside what it has to beat."""
    found, provenance, config = read_json(run / RESULTS), read_json(run / "provenance.json"), settings_of(run)
    judge, rows = found["judge"], [ResultRow.model_validate(row) for row in found["results"]]
    baselines = [ResultRow.model_validate(row) for row in found.get("baselines", ())]
    beside = {row.judge for row in baselines}
    stages = tuple(stage_rows(run))
    report = complete(
        Report(
            title="Judge evaluation",
            run=RunInfo(
                id=provenance["run_id"],
                created=provenance["created"],
                command=provenance["command"],
                seed=provenance["seed"],
                seconds=sum(row.seconds for row in stages),
                code_revision=provenance["code_revision"],
            ),
            versions=provenance["versions"],
            config=config,
            baseline="",  # nobody was trained here, so there is no "before"
            judges=(_info(judge), *(info for info in INFOS if info.name in beside)),
            test_sets=tuple(
                TestSetInfo(name=name, pairs=pairs) for name, pairs in {row.test_set: row.n for row in rows}.items()
            ),
            results=(*rows, *baselines),
            differences=found.get("differences", ()),
            probes=found.get("probes", ()),
            stages=stages,
        )
    )
    return report.model_copy(update={"headline": "\n".join([*_benchmark(rows), report.headline])})


def _info(judge: Mapping[str, Any]) -> JudgeInfo:
    kind = KINDS.get(judge["kind"], "direct" if judge["form"] == "direct" else "generative")
    label = LABELS.get(judge["name"], judge["name"])
    return JudgeInfo(name=judge["name"], label=label, kind=kind, judge_version=judge["version"])  # type: ignore[arg-type]


def _benchmark(rows: Sequence[ResultRow]) -> Iterator[str]:
    """A published benchmark's own figure, a line for each decoding."""
    for decoding in dict.fromkeys(row.decoding for row in rows):
        scored = [row for row in rows if row.decoding == decoding and row.benchmark is not None]
        suite = next((suite for suite in SUITES.values() if scored and suite.scoring == scored[0].benchmark.rule), None)
        if suite is not None:
            yield f"{headline(suite, scored)} ({decoding})."


def chosen_folder(run: Path) -> Path | None:
    """Where the winners that were chosen last are, of a run of `best-of`."""
    markers = list(run.glob(f"best_of/*/*/winners/{MARKER}"))
    return max(markers, key=lambda marker: marker.stat().st_mtime).parent if markers else None


def best_of_report(run: Path, folder: Path) -> dict[str, Any]:
    """What was chosen, in numbers, and the first winners."""
    provenance = read_json(run / "provenance.json")
    with open(folder / WINNERS, encoding="utf-8") as lines:
        shown = [json.loads(line) for line in itertools.islice(lines, SHOWN_CHOICES)]
    return {
        "kind": "best_of",
        "run": {key: provenance[key] for key in ("run_id", "seed", "created", "command", "code_revision")},
        "versions": provenance["versions"],
        "config": settings_of(run),
        "facts": read_manifest(folder),
        "winners": shown,
    }


def render_best_of(report: Mapping[str, Any]) -> str:
    """The page."""
    template = page_environment("genrm_rl.pages").get_template("best_of.html.j2")
    return template.render(report=report, sentence=in_words(report["facts"]))
