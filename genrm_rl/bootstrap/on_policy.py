"""A judge that learns from its own traces as they are sampled: sample in both orders, learn, publish, again.

It is sampled at temperature 1 without a nucleus, so that what is learned is what was sampled from. Traces of a step are
on disk before anything is learned from them; a run killed anywhere goes on from its last checkpoint, and steps that
were sampled since then are learned from again as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from genrm_rl.bootstrap.own_traces import Numbers, step_pairs
from genrm_rl.bootstrap.star import NothingToLearn
from genrm_rl.config import Method, OnPolicyConfig
from genrm_rl.judging.judge import Judge
from genrm_rl.judging.requests import both_orders, judge_requests
from genrm_rl.judging.types import Trace
from genrm_rl.preferences.types import PreferencePair
from genrm_rl.rollout.judge_engine import JudgeEngine
from genrm_rl.runtime.console import say_on, worth_a_line
from genrm_rl.runtime.storage import read_json, remove_tree, write_json
from genrm_rl.runtime.tracking import MetricSink

if TYPE_CHECKING:
    from genrm_rl.learners.group import LearnerGroup

    Groups = Mapping[str, LearnerGroup]


class Lesson(Protocol):
    """How a step's traces change the policy."""

    def learn(self, step: int, traces: Sequence[Trace]) -> Numbers:
        """The step's updates. Returns its numbers; among them ``train/empty`` and ``train/tokens``."""
        ...

    def describe(self, row: Numbers) -> str:
        """A step's numbers for the person who watches."""
        ...


@dataclass(frozen=True)
class OwnTraces:
    """A method that learns from its own traces. ``models`` live beside the engines (role -> whether it learns),
    ``policy`` among them; ``lesson_of`` makes the lesson once they do. ``empty`` is why no step learned anything, where
    none did."""

    method: Method
    config: OnPolicyConfig
    models: Mapping[str, bool]
    lesson_of: Callable[[Groups], Lesson]
    empty: str


def learn_on_policy(
    how: OwnTraces, start: Judge, pairs: Sequence[PreferencePair], engine: JudgeEngine, sink: MetricSink
) -> Judge:
    """Train from ``start``'s weights on ``pairs`` and keep the checkpoint. Raises NothingToLearn if no step learned
    anything."""
    from genrm_rl.learners.group import LearnerLostError, learner_groups, work_until_done

    folder, config, say = f"methods/{how.method}/round1", engine.config, say_on(engine.console)
    # Engine and learner have to compute alike, or the probe refuses the weights.
    learner = config.learner.model_copy(update={"precision": config.model.dtype})

    def work() -> None:
        engine.make_way()
        with (
            learner_groups(how.models, start.path, learner, seed=config.run.seed, say=say) as groups,
            engine.in_turn_with(groups.values()),
        ):
            loop = OnPolicyLoop(how, start, pairs, engine, sink, groups["policy"], how.lesson_of(groups))
            try:
                loop.run()
            except LearnerLostError:
                engine.let_go()
                raise
            engine.let_go()

    if not engine.run.done(f"{folder}/checkpoint"):
        work_until_done(work, config.learner, say)
    remove_tree(engine.run.path / folder / "state")
    checkpoint = engine.run.path / folder / "checkpoint"
    return Judge(how.method, "generative", checkpoint, f"{how.method}-1", "cot", 1)


@dataclass
class OnPolicyLoop:
    """One run of the loop over living learners."""

    how: OwnTraces
    start: Judge
    pairs: Sequence[PreferencePair]
    engine: JudgeEngine
    sink: MetricSink
    policy: LearnerGroup
    lesson: Lesson

    def __post_init__(self) -> None:
        self.method, self.config = self.how.method, self.how.config
        self.folder = f"methods/{self.method}/round1"
        self.say = say_on(self.engine.console)

    def run(self) -> None:
        """All steps from the last checkpoint on, then the trained judge's checkpoint."""
        from genrm_rl.learners.run_state import Checkpoints

        learning, learner = {"policy": self.policy}, self.engine.config.learner
        checkpoints = Checkpoints(self.engine.run, f"{self.folder}/state", learning, learner)
        found, first = checkpoints.latest(), 0
        if found is not None:
            first = checkpoints.load(found)["step"]
            self.say(f"{self.method}: continuing after step {first}")
        for step in range(first, self.config.steps):
            self.step(step)
            checkpoints.look()
            if (step + 1) % self.config.checkpoint_every == 0 or step + 1 == self.config.steps:
                checkpoints.save(step + 1, {})
        checkpoints.settle()
        self.keep()

    def step(self, step: int) -> None:
        """Sample (or read what was sampled), learn, and note the numbers."""
        began = time.perf_counter()
        traces = self.sample(step)
        sampled = time.perf_counter()
        self.engine.make_way()
        row = self.lesson.learn(step, traces)
        row |= {
            "seconds/sample": round(sampled - began, 3),
            "seconds/learn": round(time.perf_counter() - sampled, 3),
        }
        write_json(self.engine.run.path / self.folder / "steps" / f"{step:05d}" / "metrics.json", row)
        self.sink.log({f"{self.method}/{name}": value for name, value in row.items() if value is not None}, step)
        if worth_a_line(step + 1, self.config.steps, self.engine.console):
            self.say(
                f"{self.method} step {step + 1}/{self.config.steps}: {self.lesson.describe(row)}, "
                f"sampled in {row['seconds/sample']:.1f} s, learned in {row['seconds/learn']:.1f} s"
            )

    def sample(self, step: int) -> list[Trace]:
        """Traces of the step's pairs in both orders, by the weights after ``step`` steps; a stage of the run."""
        config, seed = self.config, self.engine.config.run.seed
        judge = replace(self.start, version=f"{self.method}-step{step}") if step else self.start
        pairs = step_pairs(self.pairs, step, config.pairs_per_step, seed)
        requests = judge_requests(
            both_orders(pair.comparison() for pair in pairs),
            self.engine.encoder,
            form="cot",
            judge_version=judge.version,
            purpose=self.method,
            run_seed=seed,
            temperature=1.0,
            top_p=1.0,
            samples=config.samples_per_order,
            sampled_logprobs=True,
        )
        name = f"{self.folder}/steps/{step:05d}/traces"
        title = f"{self.method}, step {step + 1} of {config.steps}"
        return self.engine.sample_stage(name, judge, requests, title, weights=self.policy if step else None)

    def keep(self) -> None:
        """The trained judge as a checkpoint in HF layout. Raises NothingToLearn if no step learned anything."""
        run = self.engine.run
        folder = run.path / self.folder / "steps"
        rows = [read_json(folder / f"{step:05d}" / "metrics.json") for step in range(self.config.steps)]
        if all(row["train/empty"] for row in rows):
            raise NothingToLearn(f"{self.method} has nothing to learn from in {len(rows)} steps: {self.how.empty}")

        def compute(directory: Path) -> dict[str, Any]:
            self.policy.save(directory)
            return {
                "objective": self.method,
                "version": f"{self.method}-{run.hash}",
                "parent": {"version": self.start.version, "path": str(self.start.path)},
                "steps": len(rows),
                "trained_tokens": int(sum(row["train/tokens"] for row in rows)),
                "generated_tokens": int(sum(row["tokens"] for row in rows)),
                "final_loss": next((row["train/loss"] for row in reversed(rows) if "train/loss" in row), None),
            }

        run.stage(f"{self.folder}/checkpoint", compute)
