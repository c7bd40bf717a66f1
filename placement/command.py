"""``genrm-rl plan``: which job a configuration belongs to, its plan, the check, and on request a better split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from genrm_rl.config import RunConfig
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import Section
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.config.serving import ServeConfig
from genrm_rl.errors import ConfigError
from placement.check import check
from placement.cluster_file import ClusterFile, read_cluster
from placement.roles import JobConfig, plan
from placement.show import show_layouts, show_plan, show_times
from placement.suggest import ANY, LAYOUTS, compare, overlay
from placement.suggest import suggest as propose

# The first job of which a file has a section of its own.
OWN_SECTIONS: dict[type[Section], set[str]] = {
    AgentConfig: {"tasks", "environments", "acting", "clone", "parts", "step_judge"},
    LoopConfig: {"policy", "comparisons", "labels", "turns"},
    AlignConfig: {"ppo", "dpo", "prompts", "reward", "judge_model", "judge_rollout", "sampling"},
    RunConfig: {"bootstrap", "data"},
    ServeConfig: {"serving"},
}


def plan_job(
    files: Sequence[Path], overrides: Sequence[str], cluster_file: Path, *, suggest: str, console: Console
) -> bool:
    """Print the plan of a job. Returns False if the cluster can never hold it.

    Raises ConfigError for a bad configuration or cluster file, ModelError for a model whose sizes are not known.
    """
    config = load_job(files, overrides)
    cluster = read_cluster(cluster_file)
    if suggest:
        config = _suggested(config, cluster, suggest, console)
    planned = plan(config)
    verdict = check(planned, cluster)
    show_plan(planned, cluster, verdict, console)
    if isinstance(config, AlignConfig) and not verdict.problems:
        show_times(config, cluster, console)
    for problem in verdict.problems:
        console.print(f"[bold red]does not fit:[/] {problem}", highlight=False, soft_wrap=True)
    return not verdict.problems


def load_job(files: Sequence[Path], overrides: Sequence[str]) -> JobConfig:
    """The configuration of whichever job the files are for. Raises ConfigError."""
    keys: set[str] = set()
    for file in files:
        try:
            found = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            break  # load_config says what is wrong with it
        keys |= set(found) if isinstance(found, dict) else set()
    model = next((job for job, sections in OWN_SECTIONS.items() if keys & sections), RunConfig)
    return load_config(model, files, overrides)  # type: ignore[return-value]


def _suggested(config: JobConfig, cluster: ClusterFile, layout: str, console: Console) -> AlignConfig:
    if not isinstance(config, AlignConfig):
        raise ConfigError("--suggest sizes alignment jobs only; give the configuration of one")
    if layout not in (ANY, *LAYOUTS):
        raise ConfigError(f"--suggest {layout} is not a way to lay out a job; choose {', '.join((ANY, *LAYOUTS))}")
    if layout == ANY:
        show_layouts(compare(config, cluster), console)
    chosen, _ = propose(config, cluster, layout)
    text = yaml.safe_dump(overlay(chosen), sort_keys=False, default_flow_style=None, width=200)
    console.print("# lay this over the configuration with a second --config", highlight=False)
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    return chosen
