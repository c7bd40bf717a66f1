"""Episodes of the served policy: hosts, engines, and the records of what was played."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from genrm_rl.agents.episodes import AgentEpisode, episode_record, read_episodes, write_episodes
from genrm_rl.agents.player import Player
from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.catalogue import EnvironmentSpec
from genrm_rl.environments.protocol import Task
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.rollout.environment_host import HostedEnvironment, environment_hosts, play_many
from genrm_rl.runtime.run_directory import RunDirectory

if TYPE_CHECKING:
    from genrm_rl.rollout.pool import EnginePool

EPISODES_FILE = "episodes.parquet"


@dataclass
class Stage:
    """Where episodes are played: one environment's hosts and the policy's engines."""

    config: AgentConfig
    spec: EnvironmentSpec
    chat: ChatEncoder
    pool: EnginePool
    hosts: list[HostedEnvironment]

    def play(
        self, plays: Sequence[tuple[Task, int]], *, purpose: str, greedy: bool = False, label: str = ""
    ) -> list[AgentEpisode]:
        """An episode of each (task, seed), in their order. With a ``label`` progress is shown."""
        player = Player(
            self._generate, self.chat, self.config.acting, self.config.model.max_context, purpose, greedy=greedy
        )
        turns = self.config.environments.max_turns or self.spec.max_turns
        found = {}
        with Progress(console=Console(stderr=True), transient=True, disable=not label) as progress:
            bar = progress.add_task(label, total=len(plays))
            for episode in play_many(self.hosts[: len(plays)], player.maker(), plays, turns):
                key = (episode.task.task_id, episode.seed)
                found[key] = episode_record(episode, player.played[key])
                progress.advance(bar)
        return [found[task.task_id, seed] for task, seed in plays]

    def _generate(self, request: GenerationRequest) -> GenerationResult:
        (result,) = self.pool.generate([request])
        return result


@contextmanager
def playing_stage(config: AgentConfig, spec: EnvironmentSpec, chat: ChatEncoder, pool: EnginePool) -> Iterator[Stage]:
    """Hosts of the environment beside the engines of ``pool``."""
    count = max(1, config.environments.host.hosts)
    with environment_hosts(config.tasks.environment, config.environments, count) as hosts:
        yield Stage(config, spec, chat, pool, hosts)


def play_stage(
    run: RunDirectory, name: str, stage: Stage, plays: Sequence[tuple[Task, int]], **how: Any
) -> list[AgentEpisode]:
    """The episodes as a stage of the run: on disk before anything is made of them. ``how`` as of :meth:`Stage.play`."""
    found: list[AgentEpisode] = []

    def compute(directory: Path) -> dict[str, Any]:
        found.extend(stage.play(plays, **how))
        write_episodes(directory / EPISODES_FILE, found)
        masked = sum(episode.masked for episode in found)
        return {"episodes": len(found), "masked": masked, "tokens": sum(episode.tokens for episode in found)}

    path = run.stage(name, compute)
    return found or read_episodes(path / EPISODES_FILE)
