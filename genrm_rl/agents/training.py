"""The agents' loop: play episodes, reward them, learn, publish, measure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from genrm_rl.agents.episodes import AgentEpisode
from genrm_rl.agents.playing import Stage, play_stage
from genrm_rl.agents.rewards import EarnedEpisode, outcome_part, turn_advantages
from genrm_rl.agents.transcript import stretches
from genrm_rl.algorithms.advantages import has_spread, shape_group
from genrm_rl.alignment.statistics import mean
from genrm_rl.choices import GROUPED
from genrm_rl.config.agents import AgentConfig
from genrm_rl.environments.protocol import Task
from genrm_rl.judging.requests import derive_seed
from genrm_rl.learners.experience import SampledAnswer
from genrm_rl.learners.group import LearnerGroup
from genrm_rl.learners.policy_updates import PolicyUpdates
from genrm_rl.learners.run_state import Checkpoints
from genrm_rl.rollout.publication import keep_receipt
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import write_json
from genrm_rl.runtime.tracking import MetricSink

CHECKPOINTS = "checkpoints"
Judge = Callable[[int, Sequence[AgentEpisode]], list[EarnedEpisode]]  # what a step's episodes earned


@dataclass
class AgentLoop:
    """State of the loop beside the weights. ``judge`` gives what the environment does not."""

    config: AgentConfig
    run_directory: RunDirectory
    sink: MetricSink
    say: Callable[[str], None]
    stage: Stage
    learning: dict[str, LearnerGroup]
    updates: PolicyUpdates
    judge: Judge
    tasks: list[Task]

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.run_directory, CHECKPOINTS, self.learning, self.config.learner)

    def run(self, measure: Callable[[int], None]) -> None:
        """All steps from the last checkpoint on; ``measure(step)`` after each publication."""
        config = self.config
        first = self.restore()
        if first:
            self.publish(first)
        measure(first)
        for step in range(first, config.ppo.steps):
            began = time.perf_counter()
            episodes = play_step(self.run_directory, self.stage, self.tasks, step)
            played = time.perf_counter()
            earned = self.judge(step, episodes)
            judged = time.perf_counter()
            metrics = self.learn(step, earned)
            learned = time.perf_counter()
            self.publish(step + 1)
            seconds = {
                "play": played - began,
                "judge": judged - played,
                "train": learned - judged,
                "publish": time.perf_counter() - learned,
            }
            self.report(step, earned, metrics, seconds)
            self.checkpoints.look()
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.ppo.steps:
                memory = {"kl_coefficient": float(self.updates.controller.value)}
                self.checkpoints.save(step + 1, memory)
            measure(step + 1)
        self.checkpoints.settle()

    def restore(self) -> int:
        """The last checkpoint's number of finished steps."""
        found = self.checkpoints.latest()
        if found is None:
            return 0
        facts = self.checkpoints.load(found)
        self.updates.controller.value = facts["kl_coefficient"]
        self.say(f"continuing after step {facts['step']}")
        return facts["step"]

    def publish(self, step: int) -> None:
        """The policy's weights to its engines, proved by the parity probe."""
        policy = self.learning["policy"]
        receipt = self.stage.pool.publish(f"step-{step:05d}", policy, policy.probe_reference())
        keep_receipt(self.run_directory.path, receipt)

    def learn(self, step: int, earned: Sequence[EarnedEpisode]) -> dict[str, float]:
        """Advantages within each task's group, then the optimizer steps. Means over the step."""
        answers = [answer for group in groups_of(earned) for answer in learned_from(group, self.config)]
        rewarded = sum(each.reward(self.config.parts) is not None for each in earned)
        why = f"no task has episodes with different rewards ({rewarded} of {len(earned)} episodes have one)"
        return self.updates.learn(step, answers, lambda: why, self.say)

    def report(
        self, step: int, earned: Sequence[EarnedEpisode], metrics: dict[str, float], seconds: dict[str, float]
    ) -> None:
        """The step's row in ``steps/``, the metric sinks, and one line."""
        row: dict[str, Any] = step_figures(earned, self.config) | {
            **{f"train/{name}": value for name, value in metrics.items()},
            **{f"seconds/{name}": round(value, 3) for name, value in seconds.items()},
        }
        write_json(self.run_directory.path / "steps" / f"{step:05d}" / "metrics.json", {"step": step, **row})
        self.sink.log({name: value for name, value in row.items() if value is not None}, step)
        self.say(
            f"step {step + 1}/{self.config.ppo.steps}: success {_percent(row['rollout/success'])}, "
            f"reward {row['reward/mean'] if row['reward/mean'] is None else round(row['reward/mean'], 3)}, "
            f"format {_percent(row['rollout/format'])}, masked {row['reward/masked']}, "
            f"KL {metrics.get('kl_reference', 0.0):.4f}, "
            f"{sum(seconds.values()):.1f} s ({', '.join(f'{name} {value:.1f}' for name, value in seconds.items())})"
        )


def play_step(run: RunDirectory, stage: Stage, tasks: Sequence[Task], step: int) -> list[AgentEpisode]:
    """``ppo.samples_per_prompt`` episodes of each of the step's tasks; a stage of the run."""
    config = stage.config
    seed = config.run.seed
    plays = [
        (task, derive_seed(seed, step, task.task_id, sample))
        for task in tasks_of(tasks, step, config.ppo.prompts_per_step, seed)
        for sample in range(config.ppo.samples_per_prompt)
    ]
    return play_stage(run, f"steps/{step:05d}/episodes", stage, plays, purpose=f"step{step}")


def tasks_of(tasks: Sequence[Task], step: int, size: int, seed: int) -> list[Task]:
    """The tasks of a step: passes over all of them, each in an order of its own."""
    size = min(size, len(tasks))
    found: list[Task] = []
    for place in range(step * size, (step + 1) * size):
        order = list(range(len(tasks)))
        random.Random(f"{seed}/tasks/{place // len(order)}").shuffle(order)
        found.append(tasks[order[place % len(order)]])
    return list(dict.fromkeys(found))  # where a pass ends within a step a task may come twice


def groups_of(earned: Sequence[EarnedEpisode]) -> list[list[EarnedEpisode]]:
    """Episodes of each task."""
    found: dict[str, list[EarnedEpisode]] = {}
    for each in earned:
        found.setdefault(each.episode.task_id, []).append(each)
    return list(found.values())


def learned_from(group: Sequence[EarnedEpisode], config: AgentConfig) -> list[SampledAnswer]:
    """What a learner gets of one task's episodes: every stretch with the episode's advantage, and its turns' own.

    Episodes of equal reward still differ by their turns' marks, if these have a weight.
    """
    rewards = [each.reward(config.parts) for each in group]
    shaped = shape_group(rewards, config.ppo.advantage)
    marks = turn_advantages(
        [each for each, reward in zip(group, rewards, strict=True) if reward is not None], config.parts.steps
    )
    by_turn = iter(marks)
    found = []
    for each, reward, value in zip(group, rewards, shaped, strict=True):
        if reward is None:
            continue
        turns = next(by_turn)
        if value is None:
            if config.ppo.advantage not in GROUPED or not any(turns):
                continue
            value = 0.0
        tokens = [turn.tokens for turn in each.episode.turns]
        found += [stretch.sampled(value, turns) for stretch in stretches(tokens)] if tokens else []
    return found


def step_figures(earned: Sequence[EarnedEpisode], config: AgentConfig) -> dict[str, float | int | None]:
    """What a step's episodes came to: gold, reward and its parts, format, lengths."""
    known = [each.episode for each in earned if not each.episode.masked]
    rewards = [each.reward(config.parts) for each in earned]
    given = [reward for reward in rewards if reward is not None]
    groups = [[each.reward(config.parts) for each in group] for group in groups_of(earned)]
    return {
        "rollout/episodes": len(earned),
        "rollout/success": mean([float(bool(episode.success)) for episode in known]),
        "rollout/score": mean([float(episode.score or 0.0) for episode in known]),
        "rollout/format": mean([rate for episode in known if (rate := episode.format_rate) is not None]),
        "rollout/turns": mean([float(len(episode.turns)) for episode in known]),
        "rollout/tokens": mean([float(episode.tokens) for episode in known]),
        "reward/mean": mean(given),
        "reward/masked": len(rewards) - len(given),
        "reward/groups_with_spread": mean([float(has_spread(group)) for group in groups]),
        "reward/outcome": mean([each.outcome for each in earned if each.outcome is not None]),
        "reward/judge": mean([each.judge for each in earned if each.judge is not None]),
        "reward/steps": mean([mark for each in earned for mark in each.marks]),
    }


def without_judge(config: AgentConfig) -> Judge:
    """Outcome and format only."""

    def earn(step: int, episodes: Sequence[AgentEpisode]) -> list[EarnedEpisode]:
        return [plain(episode, config) for episode in episodes]

    return earn


def plain(episode: AgentEpisode, config: AgentConfig) -> EarnedEpisode:
    """An episode with what needs no judge."""
    return EarnedEpisode(
        episode, outcome=outcome_part(episode, config.parts, config.run.seed), format=episode.format_rate
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
