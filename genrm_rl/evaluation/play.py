"""``genrm-rl play``: one episode to read, or many with a table."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.catalogue import (
    SPECS,
    EnvironmentSpec,
    check_environment,
    environment_problem,
    find_environment,
)
from genrm_rl.environments.episodes import Episode, MakePolicy, Policy, gold, play_episode, uniform
from genrm_rl.environments.protocol import SPLITS, Environment, Observation, Task
from genrm_rl.errors import ConfigError
from genrm_rl.evaluation.intervals import bootstrap_interval

RESAMPLES = 2000
POLICIES = ("gold", "random", "human")


@dataclass(frozen=True)
class PlaySummary:
    """Figures of many episodes. Shares and scores are of the episodes with an outcome; None without any. ``masked``
    counts the others by what happened. Intervals are bootstrapped over episodes."""

    episodes: int
    scored: int
    success: float | None
    success_interval: tuple[float, float] | None
    score: float | None
    score_interval: tuple[float, float] | None
    turns: float | None
    steps: int
    seconds: float
    masked: dict[str, int]

    @property
    def steps_per_second(self) -> float:
        """Actions of all environments together, over the wall-clock time."""
        return self.steps / max(self.seconds, 1e-9)


def summarise(episodes: Sequence[Episode], seconds: float, seed: int = 0) -> PlaySummary:
    """Count ``episodes``, which took ``seconds`` of wall-clock time together."""
    outcomes = [episode.outcome for episode in episodes if episode.outcome is not None]
    scored = [episode for episode in episodes if episode.outcome is not None]
    ones = [1.0] * len(outcomes)
    wins, scores = [float(outcome.success) for outcome in outcomes], [outcome.score for outcome in outcomes]
    masked = Counter(episode.failure.partition(":")[0] for episode in episodes if episode.outcome is None)
    return PlaySummary(
        episodes=len(episodes),
        scored=len(scored),
        success=_mean(wins),
        success_interval=bootstrap_interval(wins, ones, resamples=RESAMPLES, seed=seed) if scored else None,
        score=_mean(scores),
        score_interval=bootstrap_interval(scores, ones, resamples=RESAMPLES, seed=seed) if scored else None,
        turns=_mean([float(len(episode.turns)) for episode in scored]),
        steps=sum(len(episode.turns) for episode in episodes),
        seconds=seconds,
        masked=dict(masked),
    )


def play(
    name: str,
    policy: str,
    config: EnvironmentConfig,
    console: Console,
    *,
    split: str,
    level: str,
    index: int,
    episodes: int,
    seed: int,
) -> None:
    """Play and show. One episode is played in this process, several in hosts.

    Raises ConfigError for a policy, environment, split or task that there is not, EnvironmentProblem for what the
    machine lacks.
    """
    if policy not in POLICIES:
        raise ConfigError(f"--policy {policy} is none that is known; choose {', '.join(POLICIES)}")
    if policy == "human" and episodes != 1:
        raise ConfigError("--policy human plays one episode at a time; leave out --episodes")
    spec = find_environment(name)
    if split not in SPLITS:
        raise ConfigError(f"--split {split} is none; choose {', '.join(SPLITS)}")
    tasks = spec.tasks(split, episodes, level, index)  # type: ignore[arg-type]
    check_environment(spec)
    makers: dict[str, MakePolicy] = {"gold": gold, "random": uniform, "human": human(console)}
    turns = config.max_turns or spec.max_turns
    if episodes == 1:
        show_episode(spec, makers[policy], tasks[0], config, seed, turns, console, quiet=policy == "human")
        return
    summary = play_tasks(spec, name, makers[policy], tasks, config, seed, turns)
    table = summary_table(f"{spec.name}, {split}")
    add_summary(table, policy, summary)
    console.print(table)


def play_tasks(
    spec: EnvironmentSpec,
    name: str,
    policy: MakePolicy,
    tasks: Sequence[Task],
    config: EnvironmentConfig,
    seed: int,
    turns: int,
) -> PlaySummary:
    """An episode of every task, in ``config.host.hosts`` actors at once or, with 0, in this process."""
    if not config.host.hosts:
        with closing(spec.make(config)) as environment:
            begun = time.monotonic()
            here = (play_episode(environment, policy, task, seed, turns) for task in tasks)
            return summarise(list(watched(here, len(tasks), spec.name)), time.monotonic() - begun, seed)
    from genrm_rl.rollout.environment_host import environment_hosts, play_many
    from genrm_rl.runtime.session import ray_session

    count = min(config.host.hosts, len(tasks))
    with ray_session(), environment_hosts(name, config, count) as hosts:
        begun = time.monotonic()
        found = list(watched(play_many(hosts, policy, [(task, seed) for task in tasks], turns), len(tasks), spec.name))
        return summarise(found, time.monotonic() - begun, seed)


def show_episode(
    spec: EnvironmentSpec,
    policy: MakePolicy,
    task: Task,
    config: EnvironmentConfig,
    seed: int,
    turns: int,
    console: Console,
    *,
    quiet: bool,
) -> None:
    """One episode turn by turn; ``quiet`` if the policy shows the turns itself."""
    with closing(spec.make(config)) as environment:
        episode = play_episode(environment, policy, task, seed, turns)
    if not quiet:
        if episode.last is not None:
            console.print(f"[bold]{escape(episode.last.goal)}[/]")
        for turn in episode.turns:
            console.print(f"\n{escape(turn.observation.text)}\n[bold cyan]> {escape(turn.action)}[/]", highlight=False)
    if episode.last is not None:
        console.print(f"\n{escape(episode.last.text)}", highlight=False)
    told = episode.failure or (
        f"{'success' if episode.outcome.success else 'no success'}, score {episode.outcome.score:.2f}"
        if episode.outcome is not None
        else ""
    )
    console.print(f"\n{task.task_id}: {escape(told)}, {len(episode.turns)} turns ({episode.end})", highlight=False)


def human(console: Console) -> MakePolicy:
    """A person at the terminal; an empty line or the end of the input stops."""

    def make(environment: Environment, task: Task, seed: int) -> Policy:
        first = True

        def act(observation: Observation) -> str | None:
            nonlocal first
            if first:
                console.print(f"[bold]{escape(observation.goal)}[/]\n")
                first = False
            console.print(escape(observation.text), highlight=False)
            if observation.admissible is not None:
                frames = [f"{before}...{behind}" for before, behind in observation.admissible.frames]
                console.print(f"[dim]{escape(', '.join([*frames, *observation.admissible.actions]))}[/]")
            try:
                return console.input("> ").strip() or None
            except EOFError:
                return None

        return act

    return make


def list_environments(console: Console) -> None:
    """All environments with the sizes of their splits, then what this machine lacks for some."""
    table = Table("environment", "levels", *SPLITS, "turns", "what")
    for spec in SPECS.values():
        sizes = [f"{spec.sizes(split):,}" for split in SPLITS]
        table.add_row(spec.name, str(len(spec.levels)), *sizes, str(spec.max_turns), spec.summary)
    console.print(table)
    for spec in SPECS.values():
        if problem := environment_problem(spec):
            console.print(problem, markup=False, highlight=False, soft_wrap=True)


def summary_table(title: str) -> Table:
    """The head of a table of summaries."""
    return Table(
        "policy", "episodes", "masked", "success", "score", "turns", "steps/s", title=title, title_justify="left"
    )


def add_summary(table: Table, label: str, summary: PlaySummary) -> None:
    """One row."""
    masked = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.masked.items())) or "0"
    table.add_row(
        label,
        str(summary.episodes),
        masked,
        share(summary.success, summary.success_interval),
        share(summary.score, summary.score_interval),
        "-" if summary.turns is None else f"{summary.turns:.1f}",
        f"{summary.steps_per_second:.1f}",
    )


def share(value: float | None, interval: tuple[float, float] | None) -> str:
    """In percent, with its interval."""
    if value is None or interval is None:
        return "-"
    return f"{100 * value:.1f} % ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def watched(episodes: Iterable[Episode], total: int, label: str) -> Iterator[Episode]:
    """``episodes`` as they come, with a progress bar."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(episodes, total=total, description=label)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
