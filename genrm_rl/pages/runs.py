"""A run of any kind, finished or not, as its page: read from its directory, nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.watching import AlarmConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.object_store import fetch, light, stored
from genrm_rl.runtime.results import CONFIG, Kind, kind_of, settings_of
from genrm_rl.runtime.run_directory import PROVENANCE, FinishedStages
from genrm_rl.runtime.status import run_path
from genrm_rl.runtime.storage import read_json


@dataclass(frozen=True, slots=True)
class RunPage:
    """``html`` is the whole page, ``alarms`` what it warns of."""

    html: str
    alarms: list[str]


def find_run(run: str, root: str) -> Path:
    """The directory of a run, or of a run within one. Of a run in an object store, everything but weights is brought
    here. Raises RunDirectoryError."""
    path = run_path(run, root)
    if stored(path):
        fetch(path, light)
    try:
        read_json(path / PROVENANCE)
    except ValueError as problem:
        raise RunDirectoryError(
            f"{path / PROVENANCE} is not the record of a run ({problem}); give another run"
        ) from problem
    return path


def known_kind(path: Path) -> Kind:
    """What made a run. Raises RunDirectoryError."""
    kind = kind_of(settings_of(path))
    if kind is None:
        raise RunDirectoryError(f"{path / CONFIG} is not the settings of a run; give the directory of a job")
    return kind


def report_of(path: Path) -> tuple[Kind, dict[str, Any]]:
    """Kind and report of a run as it stands now; for an unfinished bootstrap or measurement, its rounds and stages."""
    kind = known_kind(path)
    return kind, _BUILD[kind](path)


def page_of(path: Path, limits: AlarmConfig) -> RunPage:
    """The page of a run as it stands now. Raises GenRMError for a directory that is none."""
    kind, report = report_of(path)
    return _RENDER[kind](path, report, limits)


def _loop(path: Path) -> dict[str, Any]:
    from genrm_rl.closed_loop.report import build_loop_report

    return build_loop_report(FinishedStages(path), load_config(LoopConfig, path / CONFIG, []))


def _loop_page(path: Path, report: dict[str, Any], limits: AlarmConfig) -> RunPage:
    from genrm_rl.closed_loop.report import alarms, first_comparison, render

    return RunPage(render(report, first_comparison(FinishedStages(path)), limits), alarms(report, limits))


def _alignment(path: Path) -> dict[str, Any]:
    from genrm_rl.alignment.report import build_align_report

    return build_align_report(FinishedStages(path), load_config(AlignConfig, path / CONFIG, []))


def _alignment_page(path: Path, report: dict[str, Any], limits: AlarmConfig) -> RunPage:
    from genrm_rl.alignment.report import alarms, render

    return RunPage(render(report, limits), alarms(report, limits))


def _agent(path: Path) -> dict[str, Any]:
    from genrm_rl.agents.report import build_agent_report

    return build_agent_report(path, load_config(AgentConfig, path / CONFIG, []))


def _agent_page(path: Path, report: dict[str, Any], limits: AlarmConfig) -> RunPage:
    from genrm_rl.agents.report import alarms, render

    return RunPage(render(report, limits), alarms(report, limits))


def _bootstrap(path: Path) -> dict[str, Any]:
    from genrm_rl.evaluation.report import REPORT_JSON, load_report
    from genrm_rl.pages.evaluated import RESULTS, best_of_report, chosen_folder, evaluated_report
    from genrm_rl.pages.progress import progress_report

    if (path / REPORT_JSON).is_file():
        return load_report(path).model_dump(mode="json")
    if (path / RESULTS).is_file():
        return evaluated_report(path).model_dump(mode="json")
    chosen = chosen_folder(path)
    return progress_report(path) if chosen is None else best_of_report(path, chosen)


def _bootstrap_page(path: Path, report: dict[str, Any], limits: AlarmConfig) -> RunPage:
    from genrm_rl.evaluation.headline import failed_probes
    from genrm_rl.evaluation.html import render_html
    from genrm_rl.evaluation.schema import Report
    from genrm_rl.pages.evaluated import render_best_of
    from genrm_rl.pages.progress import progress_alarms, render_progress

    if report.get("kind") == "progress":
        return RunPage(render_progress(report), progress_alarms(report))
    if report.get("kind") == "best_of":
        return RunPage(render_best_of(report), [])
    finished = Report.model_validate(report)
    return RunPage(render_html(finished), list(failed_probes(finished)))


_BUILD: Mapping[Kind, Callable[[Path], dict[str, Any]]] = {
    "loop": _loop,
    "alignment": _alignment,
    "agent": _agent,
    "bootstrap": _bootstrap,
}
_RENDER: Mapping[Kind, Callable[[Path, dict[str, Any], AlarmConfig], RunPage]] = {
    "loop": _loop_page,
    "alignment": _alignment_page,
    "agent": _agent_page,
    "bootstrap": _bootstrap_page,
}


def label_of(path: Path) -> str:
    """The id of a run; of one within another run, with the way to it."""
    above = [folder for folder in path.parents if (folder / PROVENANCE).is_file()]
    return str(path.relative_to(above[-1].parent)) if above else path.name
