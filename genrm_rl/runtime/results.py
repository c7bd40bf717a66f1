"""What kind of run a directory holds, and what it leaves when it has finished, read from the directory alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.storage import MARKER

CONFIG = "config.yaml"
Kind = Literal["loop", "alignment", "agent", "bootstrap"]
# A section that only the settings of this kind have, most telling first.
SECTIONS: dict[str, Kind] = {"turns": "loop", "tasks": "agent", "ppo": "alignment", "bootstrap": "bootstrap"}
AGENTS_FILE = "agents.json"  # of evaluate-agent: figures of every environment
# What a kind of run writes last, most telling first.
RESULTS = ("report.html", "results.json", AGENTS_FILE)
STAGES = ("*/winners", "**/winners", "judge", "policy")  # of best-of, train-step-judge, clone-agent


def settings_of(run: Path) -> dict[str, Any]:
    """The resolved settings; empty where there are none, as in a folder within a run. Raises RunDirectoryError for a
    file that is no YAML."""
    file = run / CONFIG
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    except yaml.YAMLError as problem:
        raise RunDirectoryError(
            f"{file} can't be read ({type(problem).__name__}); give the directory of a run"
        ) from problem
    return found if isinstance(found, dict) else {}


def kind_of(settings: dict[str, Any]) -> Kind | None:
    """Which job made a run with these settings; None for settings of no such job."""
    return next((kind for section, kind in SECTIONS.items() if section in settings), None)


def result_of(run: Path) -> str | None:
    """What to look at in a finished run, relative to it; None while it is not finished."""
    settings = settings_of(run)
    kind = kind_of(settings)
    if kind == "loop":  # a loop writes its page also while it waits for people
        last = run / f"turn{settings['turns']}/stages/gate" / MARKER
        return "report.html" if last.is_file() and (run / "report.html").is_file() else None
    for name in RESULTS:
        if (run / name).is_file():
            return name
    steps = list(run.glob("steps/*"))
    if steps:  # of what is played to be learned from, all steps; of what learns, the page
        played = len(list(run.glob(f"steps/*/episodes/{MARKER}")))
        learns = any((step / "metrics.json").is_file() for step in steps)
        done = kind == "agent" and not learns and played >= settings["ppo"]["steps"]
        return "steps" if done else None
    for pattern in STAGES:
        for folder in sorted(run.glob(pattern)):
            if (folder / MARKER).is_file():
                return str(folder.relative_to(run))
    return None
