"""Steps of the policy-gradient loop (PPO, GRPO, RLOO, REINFORCE++); their order is in ``stories/align_ppo.py``."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from genrm_rl.algorithms.advantages import has_spread
from genrm_rl.alignment.experience import nothing_learned, rewarded_answers
from genrm_rl.alignment.lost import LossWatch
from genrm_rl.alignment.prompts import PolicyPrompt, PromptSets
from genrm_rl.alignment.rollouts import Rollout, RolloutStages
from genrm_rl.alignment.statistics import mean, rollout_metrics
from genrm_rl.alignment.step_log import StepLog
from genrm_rl.alignment.weights import PolicyWeights
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.learners.policy_updates import PolicyUpdates, new_updates
from genrm_rl.runtime.console import worth_a_line


@dataclass
class PPO:
    """State of the loop beside the weights: that of its updates, and the clock of the current step."""

    config: AlignConfig
    prompts: PromptSets
    rollouts: RolloutStages
    weights: PolicyWeights
    updates: PolicyUpdates
    losses: LossWatch
    log: StepLog
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """How many there are."""
        return self.config.ppo.steps

    def waited(self, rollout: Rollout, seconds: float) -> dict[str, float]:
        """What a step's answers cost it: all of their seconds, or those that nothing else was done in."""
        if self.config.ppo.staleness:
            return {"generate": seconds, "judge": 0.0}
        return {"generate": rollout.generate_seconds, "judge": rollout.judge_seconds}

    def restore(self) -> int:
        """Weights, optimizers and controller of the last checkpoint, the weights published. Returns the number of
        finished steps."""
        facts = self.weights.restore()
        if facts is None:
            return 0
        self.updates.controller.value = facts["kl_coefficient"]
        self.log.say(f"continuing after step {facts['step']}")
        if facts["step"]:
            self.weights.publish(version_of(facts["step"]))
        return facts["step"]

    def keep(self, step: int) -> None:
        """A checkpoint after ``step`` steps, if one is due; the one before is complete as soon as it has arrived."""
        self.weights.checkpoints.look()
        if step % self.config.checkpoint_every == 0 or step == self.steps:
            self.weights.keep(step, {"kl_coefficient": float(self.updates.controller.value)})

    def rollout(self, step: int) -> tuple[Rollout, bool]:
        """Judged answers of a step, as a stage of the run; also whether they were judged now."""
        return self.rollouts.stage(step, lambda: self.collect(step))

    def collect(self, step: int) -> Rollout:
        """Judged answers to a step's questions, and to further ones while groups with spread are missing."""
        settings = self.config.ppo

        def ask(prompts: Sequence[PolicyPrompt], purpose: str) -> Rollout:  # answers of an earlier step go first
            return self.rollouts.collect(prompts, purpose, samples=settings.samples_per_prompt, priority=step)

        rollout = ask(self.questions(step), f"step{step}")
        for number in range(1, settings.refills + 1):
            more = refill(self.config, self.prompts, rollout, f"step{step}/refill{number}")
            if not more:
                break
            rollout = rollout.and_then(ask(more, f"step{step}/refill{number}"))
        return rollout

    def asked(self, rollout: Rollout) -> list[PolicyPrompt]:
        """The questions of a rollout's groups, in order."""
        return [self.prompts.by_id[group[0].answer.prompt_id] for group in rollout.groups]

    def questions(self, step: int) -> list[PolicyPrompt]:
        """The questions that a step begins with."""
        return self.prompts.batch(step, self.config.ppo.prompts_per_step, self.config.run.seed)

    def learn(self, step: int, rollout: Rollout) -> dict[str, float]:
        """Advantages from what was not masked, then the optimizer steps. Returns means over the step."""
        self.weights.checkpoints.look()  # while the answers were sampled it may have arrived
        began, settings, sampling = time.perf_counter(), self.config.ppo, self.config.sampling
        answers = rewarded_answers(self.asked(rollout), rollout.groups, settings, sampling)
        metrics = self.updates.learn(
            step,
            [answer.sampled() for answer in answers],
            lambda: nothing_learned(rollout.groups, settings, sampling),
            self.log.say,
        )
        self.seconds["train"] = time.perf_counter() - began
        return metrics

    def report(self, step: int, rollout: Rollout, metrics: dict[str, float], seconds: float) -> None:
        """The step's row in ``steps/``, the metric sinks, and one line."""
        shares = self.seconds | {"other": max(0.0, seconds - sum(self.seconds.values()))}
        row = rollout_metrics(self.asked(rollout), rollout, self.config.sampling) | {
            **{f"train/{name}": value for name, value in metrics.items()},
            **{f"seconds/{name}": round(value, 3) for name, value in shares.items()},
            "seconds/step": round(seconds, 3),
            "train/kl_coefficient": float(self.updates.controller.value),
            **staleness(rollout, step),
        }
        self.log.step(step, row)
        if not worth_a_line(step + 1, self.steps, self.log.console):
            return
        gold = f", gold {row['rollout/gold_accuracy']:.3f}" if row.get("rollout/gold_accuracy") is not None else ""
        reward = f"{row['reward/mean']:.3f}" if row["reward/mean"] is not None else "none"
        self.log.say(
            f"step {step + 1}/{self.steps}: reward {reward}{gold}, masked {row['reward/masked_share']:.1%}, "
            f"KL {metrics.get('kl_reference', 0.0):.4f}, {row['rollout/tokens_mean']:.1f} tokens, {seconds:.1f} s "
            f"({', '.join(f'{name} {value:.1f}' for name, value in shares.items())})"
        )


def new_ppo(
    config: AlignConfig, prompts: PromptSets, rollouts: RolloutStages, weights: PolicyWeights, log: StepLog
) -> PPO:
    """The loop at its beginning."""
    updates = new_updates(
        weights.policy,
        weights.reference,
        weights.models.get("critic"),
        config.ppo,
        temperature=config.sampling.temperature,
        seed=config.run.seed,
        max_skipped=config.learner.max_skipped,
    )
    return PPO(config, prompts, rollouts, weights, updates, LossWatch(config.reward), log)


def refill(config: AlignConfig, prompts: PromptSets, rollout: Rollout, purpose: str) -> list[PolicyPrompt]:
    """Further questions of a step whose groups with spread are not enough: as many as should do at the share of such
    groups so far, at most ``ppo.prompts_per_step``. Empty if nothing is missing."""
    size = config.ppo.prompts_per_step
    found = sum(has_spread([judged.earned(config.sampling) for judged in group]) for group in rollout.groups)
    missing = size - found
    if missing <= 0:
        return []
    wanted = min(size, math.ceil(missing * len(rollout.groups) / found)) if found else size
    asked = {group[0].answer.prompt_id for group in rollout.groups}
    return prompts.others(asked, wanted, f"prompts/{config.run.seed}/{purpose}")


def version_of(step: int) -> str:
    """Name of the weights after ``step`` steps."""
    return f"step-{step:05d}" if step else "base"


def steps_of(version: str) -> int:
    """The number of steps behind a name that :func:`version_of` gave."""
    return 0 if version == "base" else int(version.removeprefix("step-"))


def staleness(rollout: Rollout, step: int) -> dict[str, float | None]:
    """How many updates the weights that sampled the tokens were behind, mean and largest, and the share of the answers
    that were carried over a publication."""
    answers = [judged.answer for group in rollout.groups for judged in group if judged.answer.usable]
    counts: Counter[int] = Counter()
    for answer in answers:
        for version, tokens in answer.tokens_by_version():
            counts[step - steps_of(version)] += tokens
    return {
        "rollout/staleness_steps": sum(age * n for age, n in counts.items()) / counts.total() if counts else None,
        "rollout/staleness_max_steps": float(max(counts)) if counts else None,
        "rollout/carried_share": mean([bool(answer.later_versions) for answer in answers]),
    }
