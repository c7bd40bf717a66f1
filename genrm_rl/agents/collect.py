"""Episodes of a policy on training tasks without learning from them: what judges of agents are trained on."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from genrm_rl.agents.demonstrations import training_tasks
from genrm_rl.agents.episodes import AgentEpisode, read_episodes
from genrm_rl.agents.figures import figures
from genrm_rl.agents.playing import EPISODES_FILE, playing_stage
from genrm_rl.agents.rewards import tells_outcome
from genrm_rl.agents.training import play_step
from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import check_environment, find_environment
from genrm_rl.errors import DataError
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer, resolve_model
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.session import ray_session


def collect_episodes(config: AgentConfig, console: Console) -> Path:
    """``ppo.steps`` times ``ppo.prompts_per_step`` tasks with ``ppo.samples_per_prompt`` episodes each, by
    ``model.name``; the same run id goes on after a kill."""
    from genrm_rl.rollout.shared_pool import engine_pool

    spec = find_environment(config.tasks.environment)
    check_environment(spec)
    tasks = training_tasks(config, spec)
    model = resolve_model(config.model)
    chat = ChatEncoder(load_tokenizer(model.path))
    with RunDirectory(config) as run:
        run.claim()
        with (
            ray_session(),
            engine_pool(
                model.path, config.rollout, config.model, console=console, logprobs_of="sampling", role="policy"
            ) as pool,
            playing_stage(config, spec, chat, pool) as stage,
        ):
            for step in range(config.ppo.steps):
                found = figures(play_step(run, stage, tasks, step), resamples=100, seed=config.run.seed)
                success = "-" if found.success is None else f"{found.success:.1%}"
                line = f"{step + 1}/{config.ppo.steps}: {found.episodes} episodes, success {success}"
                console.print(line, highlight=False)
    return run.path


def told_episodes(runs: list[Path], config: AgentConfig) -> list[list[AgentEpisode]]:
    """Training episodes of ``runs`` whose outcomes are told (``parts.outcome_share``), step by step. Raises DataError
    for a run that has none."""
    found = []
    for run in runs:
        files = sorted(run.glob(f"steps/*/episodes/{EPISODES_FILE}"))
        if not files:
            raise DataError(
                f"{run} has no steps/*/episodes; give a run of `genrm-rl collect-episodes` or `train-agent`"
            )
        for file in files:
            episodes = read_episodes(file)
            found.append([each for each in episodes if tells_outcome(each.task_id, config.parts, config.run.seed)])
    return found
