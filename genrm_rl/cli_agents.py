"""Commands of ``genrm-rl`` about agents: clone, train, evaluate, and pairs for a judge of trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genrm_rl.cli_options import CONFIGS, OVERRIDES, ConfigOption, console
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.dry_run import preview
from genrm_rl.settings_help import epilog

AGENTS = CONFIGS / "agents_tiny.yaml"
agents = typer.Typer()
# An option: an argument that takes several words would take the overrides, too.
EpisodesOption = Annotated[
    list[Path],
    typer.Option(help="a run of collect-episodes or train-agent, whose training episodes are used; given again: more"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what differs from the defaults, then stop")]
All = Annotated[bool, typer.Option("--all", help="with --dry-run: every setting")]


@agents.command("clone-agent", context_settings=OVERRIDES, epilog=epilog("clone-agent"))
def clone_agent(
    context: typer.Context, config: ConfigOption = None, dry_run: DryRun = False, every: All = False
) -> None:
    """Clone the known solutions of an environment's training tasks into a policy (--clone.base new: from scratch)."""
    settings = load_config(AgentConfig, config or AGENTS, context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.agents.cloning import clone_agent as clone

    clone(settings, console)


@agents.command("train-agent", context_settings=OVERRIDES, epilog=epilog("train-agent"))
def train_agent(
    context: typer.Context,
    config: ConfigOption = None,
    dry_run: DryRun = False,
    every: All = False,
    resume: Annotated[bool, typer.Option("--resume", help="insist that the run exists already")] = False,
) -> None:
    """Train a policy of many turns by reward: outcome, trajectory judge, step judge, format. The same --run.id
    continues it."""
    settings = load_config(AgentConfig, config or AGENTS, context.args)
    if dry_run:
        return preview(settings, console, every=every)
    from genrm_rl.agents.job import train_agent as train

    train(settings, console, must_exist=resume)


@agents.command("evaluate-agent", context_settings=OVERRIDES, epilog=epilog("evaluate-agent"))
def evaluate_agent(
    context: typer.Context,
    checkpoint: Annotated[str, typer.Argument(help="a policy's directory, or a model's name")],
    environment: Annotated[
        list[str] | None, typer.Option(help="an environment; given again: several. None: as in the config")
    ] = None,
    config: ConfigOption = None,
    dry_run: DryRun = False,
    every: All = False,
) -> None:
    """Success by environment, validation and test, and the format rate, of one policy. Without --config it acts as in
    the run that made it."""
    from genrm_rl.agents.evaluation import evaluate_agent as evaluate
    from genrm_rl.agents.evaluation import evaluation_config

    settings = evaluation_config(checkpoint, config, context.args)
    if dry_run:
        return preview(settings, console, every=every)
    evaluate(settings, environment or [], console)


@agents.command("collect-episodes", context_settings=OVERRIDES, epilog=epilog("collect-episodes"))
def collect_episodes(context: typer.Context, config: ConfigOption = None) -> None:
    """Play training tasks with a policy and keep the episodes, for judges to learn from: ppo.steps times
    ppo.prompts-per-step tasks, ppo.samples-per-prompt episodes of each."""
    from genrm_rl.agents.collect import collect_episodes as collect

    collect(load_config(AgentConfig, config or AGENTS, context.args), console)


@agents.command("agent-pairs", context_settings=OVERRIDES, epilog=epilog("agent-pairs"))
def agent_pairs(
    context: typer.Context,
    episodes: EpisodesOption,
    out: Annotated[Path, typer.Option(help="preference file to write, for `genrm-rl bootstrap`")],
    most: Annotated[int, typer.Option(help="pairs of one task in one step, at most", min=1)] = 4,
    margin: Annotated[float, typer.Option(help="least difference of success plus score")] = 0.2,
    held_out: Annotated[
        float, typer.Option(help="share of the tasks whose pairs go to a test file", min=0, max=0.9)
    ] = 0.0,
    config: ConfigOption = None,
) -> None:
    """Pairs of episodes of one task, the one with the better outcome chosen: what a trajectory judge learns from."""
    from genrm_rl.agents.pairs import keep_pairs

    settings = load_config(AgentConfig, config or AGENTS, context.args)
    keep_pairs(settings, episodes, out, most=most, margin=margin, held_out=held_out, console=console)


@agents.command("train-step-judge", context_settings=OVERRIDES, epilog=epilog("train-step-judge"))
def train_step_judge(context: typer.Context, episodes: EpisodesOption, config: ConfigOption = None) -> None:
    """Train a judge that marks each step of an episode as helpful, neutral or harmful, from outcomes alone."""
    from genrm_rl.agents.pairs import train_step_judge as train

    train(load_config(AgentConfig, config or AGENTS, context.args), episodes, console)
