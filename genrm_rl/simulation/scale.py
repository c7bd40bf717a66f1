"""One simulated alignment run: the real loop over sleeping engines, judge and learners, and what the driver cost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from genrm_rl.alignment.answers import answer_requests
from genrm_rl.alignment.hosts import turns_of
from genrm_rl.alignment.ppo import PPO, new_ppo
from genrm_rl.alignment.prompts import load_prompts
from genrm_rl.alignment.rewarding import ServiceRewarder
from genrm_rl.alignment.rollouts import RolloutStages
from genrm_rl.alignment.sampler import PolicySampler
from genrm_rl.alignment.step_log import StepLog
from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.judging.chat import ChatEncoder
from genrm_rl.models import load_tokenizer
from genrm_rl.models.resolve import TINY
from genrm_rl.rewards.client import RewardClient
from genrm_rl.runtime.run_directory import RunDirectory
from genrm_rl.runtime.storage import read_json
from genrm_rl.runtime.tracking import FanOut
from genrm_rl.simulation.engines import SimulatedPool
from genrm_rl.simulation.judge import SimulatedJudge
from genrm_rl.simulation.learners import SimulatedLearners
from genrm_rl.simulation.workload import Workload
from genrm_rl.stories.align_ppo import by_policy_gradient

ENGINES_PER_HOST = 128


@dataclass(frozen=True)
class StepCost:
    """One step. ``ideal`` is what the sleeping takes if the driver is infinitely fast; ``outside`` what the loop itself
    books outside generate, judge, train and publish; ``driver_cpu`` the CPU time of the driver's process; all in
    seconds. ``events`` are finished answers and judged groups. ``staleness`` is how many updates the tokens' weights
    were behind, mean and largest, ``carried`` the share of the answers that went on across a publication."""

    seconds: float
    ideal: float
    generate: float
    judge: float
    train: float
    publish: float
    outside: float
    driver_cpu: float
    events: int
    staleness: tuple[float, float] = (0.0, 0.0)
    carried: float = 0.0

    @property
    def overhead(self) -> float:
        """Seconds that the step takes beyond the ideal."""
        return self.seconds - self.ideal


class SimulatedWeights(PolicyWeights):
    """Publication without weights and without a parity probe."""

    def publish(self, version: str) -> float:
        """Seconds of the publication."""
        return self.pool.publish(version)  # type: ignore[return-value,call-arg,arg-type]


def simulate(config: AlignConfig, workload: Workload, console: Console) -> list[StepCost]:
    """Run ``config.ppo.steps`` steps and return the cost of each. Needs a Ray session."""
    chat = ChatEncoder(load_tokenizer(TINY))
    prompts = load_prompts(config.prompts, chat, room=config.model.max_context, seed=config.run.seed)
    with RunDirectory(config) as run, ExitStack() as stack:
        run.claim()
        policy, reference = SimulatedLearners(workload), SimulatedLearners(workload)
        for learner in (policy, reference):
            stack.callback(learner.close)
        client = stack.enter_context(simulated_service(config, workload))
        alphabet = chat.tokenizer.encode("0123456789abcdef ", add_special_tokens=False)
        hosts = -(-config.rollout.engines // ENGINES_PER_HOST)
        pool = stack.enter_context(SimulatedPool(TINY, config.rollout, workload, alphabet, hosts))
        learners = {"policy": policy, "reference": reference}
        weights = SimulatedWeights(run, config.learner, learners, pool, turns_of(config, pool, learners, client))  # type: ignore[arg-type]
        sampler = PolicySampler(pool, chat, config.sampling, config.run.seed)  # type: ignore[arg-type]
        log = StepLog(run.path, FanOut(()), Console(quiet=True))
        loop = new_ppo(config, prompts, RolloutStages(run, sampler, ServiceRewarder(client)), weights, log)
        clock = Clock(loop, console)
        by_policy_gradient(loop, clock.measure)
        return [cost_of(run.path, loop, workload, step, cpu) for step, cpu in enumerate(clock.cpu)]


class Clock:
    """CPU time of the driver's process by step; called by the loop where it would measure the policy."""

    def __init__(self, loop: PPO, console: Console) -> None:
        self._console, self._loop = console, loop
        self._last = 0.0
        self.cpu: list[float] = []

    def measure(self, step: int) -> None:
        """After a step (0: before the first)."""
        now = time.process_time()
        if step:
            self.cpu.append(now - self._last)
            engines = self._loop.config.rollout.engines
            self._console.print(f"{engines} engines: step {step} done, driver {self.cpu[-1]:.1f} s of CPU")
        self._last = now


@contextmanager
def simulated_service(config: AlignConfig, workload: Workload) -> Iterator[RewardClient]:
    """The real client, connected to a judge that sleeps."""
    judge = SimulatedJudge.options(max_concurrency=100_000).remote(workload.judge)  # type: ignore[attr-defined]
    try:
        with RewardClient(ray.get(judge.serve.remote()), config.reward, seed=config.run.seed) as client:
            yield client
    finally:
        ray.kill(judge, no_restart=True)


def cost_of(run: Path, loop: PPO, workload: Workload, step: int, cpu: float) -> StepCost:
    """From the step's own record."""
    row: dict[str, Any] = read_json(run / "steps" / f"{step:05d}" / "metrics.json")
    prompts = loop.questions(step)
    return StepCost(
        seconds=row["seconds/step"],
        ideal=ideal_seconds(loop, workload, step),
        **{name: row[f"seconds/{name}"] for name in ("generate", "judge", "train", "publish")},
        outside=row["seconds/other"],
        driver_cpu=cpu,
        events=len(prompts) * (workload.samples + 1),
        staleness=(row["rollout/staleness_steps"], row["rollout/staleness_max_steps"]),
        carried=row["rollout/carried_share"],
    )


def ideal_seconds(loop: PPO, workload: Workload, step: int) -> float:
    """All answers start at once, each group is judged when its longest is there, then update and publication."""
    sampler = loop.rollouts.sampler
    requests = answer_requests(
        loop.questions(step), sampler.chat, sampler.sampling,
        purpose=f"step{step}", seed=sampler.seed, samples=workload.samples,
    )  # fmt: skip
    longest = max(workload.length(request.seed) for request in requests)
    return longest * workload.token + workload.judge + workload.train + workload.publish


def check_records(run: Path, config: AlignConfig) -> int:
    """Number of answers on disk; raises ValueError unless every step has all of its answers, each once, rewarded."""
    import pyarrow.parquet as pq

    total = 0
    expected = config.ppo.prompts_per_step * config.ppo.samples_per_prompt
    for step in range(config.ppo.steps):
        rows = pq.read_table(run / f"steps/{step:05d}/rollout/answers.parquet").to_pylist()
        keys = {(row["group"], row["index"]) for row in rows}
        if len(rows) != expected or len(keys) != expected or any(row["reward"] is None for row in rows):
            raise ValueError(
                f"step {step} of {run} has {len(rows)} answers, {len(keys)} different; {expected} expected"
            )
        judgments = (run / f"steps/{step:05d}/rollout/judgments.jsonl").read_text(encoding="utf-8").splitlines()
        if len({json.loads(line)["id"] for line in judgments}) != config.ppo.prompts_per_step:
            raise ValueError(f"step {step} of {run} has not one judgment per group")
        total += len(rows)
    return total
