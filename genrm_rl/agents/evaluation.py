"""`genrm-rl evaluate-agent`: one checkpoint in several environments, validation and test, with its format rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from genrm_rl.agents.job import measure_split
from genrm_rl.agents.playing import playing_stage
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.environments.catalogue import EnvironmentSpec, check_environment, find_environment
from genrm_rl.evaluation.play import share
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.preferences.types import content_hash
from genrm_rl.runtime.console import people_table
from genrm_rl.runtime.results import AGENTS_FILE
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import write_json

Split = dict[str, Any]


def evaluation_config(checkpoint: str, files: Sequence[Path] | None, words: Sequence[str]) -> AgentConfig:
    """Settings of the run that made the checkpoint, or of ``files``, with ``checkpoint`` as the policy and a run of its
    own. Raises ConfigError."""
    made = Path(checkpoint).absolute().parent / "config.yaml"
    found = list(files) if files else [made] if made.is_file() else []
    own = ["--run.id", f"agent-{content_hash(str(Path(checkpoint).absolute()), length=8)}", "--model.name", checkpoint]
    return load_config(AgentConfig, found or None, [*own, *words])


def evaluate_agent(config: AgentConfig, environments: Sequence[str], console: Console) -> dict[str, dict[str, Split]]:
    """Play validation and test tasks of each environment with ``model.name`` and print the table: success with its 95 %
    interval by split, and the format rate over all turns. The same run id goes on after a kill."""
    names = list(environments) or [config.tasks.environment]
    specs = {name: find_environment(name) for name in names}
    for spec in specs.values():
        check_environment(spec)
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path))
    with RunDirectory(config) as run:
        run.claim()
        found = _play(config, run, console, specs, chat, model.path)
        write_json(run.path / AGENTS_FILE, {"model": str(model.path), "environments": found})
    console.print(table_of(found, title=f"{model.name}, {config.evaluation.decoding}"))
    console.print(f"episodes and figures: {run.path}", highlight=False)
    return found


def table_of(found: Mapping[str, Mapping[str, Split]], title: str) -> Table:
    """One row per environment, as the page of GenRM on agents has them."""
    table = people_table("environment", "validation: success", "test: success", "format", "masked", title=title)
    for name, splits in found.items():
        masked = sum(sum(figures["masked"].values()) for figures in splits.values())
        rates = [figures["format_rate"] for figures in splits.values() if figures["format_rate"] is not None]
        table.add_row(
            name,
            *(share(figures["success"], figures["success_interval"]) for figures in splits.values()),
            f"{100 * sum(rates) / len(rates):.1f} %" if rates else "-",
            str(masked),
        )
    return table


def _play(
    config: AgentConfig,
    run: RunDirectory,
    console: Console,
    specs: Mapping[str, EnvironmentSpec],
    chat: ChatEncoder,
    model_path: Path,
) -> dict[str, dict[str, Split]]:
    from genrm_rl.rollout.shared_pool import engine_pool

    def say(line: str) -> None:
        console.print(line, highlight=False)

    found: dict[str, dict[str, Split]] = {}
    with ray_session(), engine_pool(model_path, config.rollout, config.model, console=console, role="policy") as pool:
        for name, spec in specs.items():
            tasks = config.tasks.model_copy(update={"environment": name})
            own = config.model_copy(update={"tasks": tasks})
            with playing_stage(own, spec, chat, pool) as stage:
                found[name] = {
                    split: measure_split(own, run, stage, split, f"evaluation/{spec.name}/{split}", say)
                    for split in ("validation", "test")
                }
    return found
