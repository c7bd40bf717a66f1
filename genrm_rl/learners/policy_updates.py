"""The learning half of a policy-gradient step, whoever gave the rewards: log-probabilities, advantages, updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrm_rl.algorithms.policy_objectives import kl_controller
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.learners.experience import SampledAnswer, minibatches, policy_examples
from genrm_rl.learners.group import Frozen, LearnerGroup
from genrm_rl.learners.policy import PolicyExample, PolicyGradient, ValueRegression
from genrm_rl.learners.schedule import warmed_up
from genrm_rl.learners.skips import Skips


@dataclass
class PolicyUpdates:
    """Learners of a policy and what is remembered between steps: the KL controller and skipped updates.

    ``temperature`` is that of the rollout: the policy that is learned is the one that was sampled from. ``critic`` is
    None without GAE.
    """

    policy: LearnerGroup
    reference: Frozen
    critic: LearnerGroup | None
    config: PPOConfig
    temperature: float
    seed: int
    controller: Any
    skips: Skips

    def learn(
        self, step: int, answers: Sequence[SampledAnswer], nothing: Callable[[], str], say: Callable[[str], None]
    ) -> dict[str, float]:
        """The optimizer steps of one step. Returns means over the step; ``nothing`` says why there are no answers."""
        skipped = self.skips.total
        examples = self.examples(answers) if answers else []
        if not examples:
            say(f"step {step + 1}: nothing is learned: {'the correction masks all' if answers else nothing()}")
        rows: list[dict[str, float]] = []
        for epoch in range(self.config.epochs if examples else 0):
            for part in minibatches(examples, self.config.minibatches, seed=f"{self.seed}/{step}/{epoch}"):
                rows.append(self.update(step, part))
        names = dict.fromkeys(name for row in rows for name in row)
        means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
        if "kl_reference" in means:
            self.controller.update(means["kl_reference"], len(examples))
        counts = {"answers": len(examples), "skipped_updates": self.skips.total - skipped, "empty": not examples}
        return means | {name: float(value) for name, value in counts.items()}

    def examples(self, answers: Sequence[SampledAnswer]) -> list[PolicyExample]:
        """Log-probabilities of learner and reference at the temperature of the rollout, values of the critic,
        advantages."""
        config, segments = self.config, [answer.segment() for answer in answers]
        values = None
        if self.critic is not None:
            values = self.critic.values([answer.states() for answer in answers])
        return policy_examples(
            answers,
            None if config.one_update else self.policy.logprobs(segments, temperature=self.temperature),
            self.reference.logprobs(segments, temperature=self.temperature),
            values,
            config,
            float(self.controller.value),
        )

    def update(self, step: int, batch: Sequence[PolicyExample]) -> dict[str, float]:
        """One optimizer step of the critic and, after its warm-up, of the policy. A skipped one has no numbers."""
        config, found = self.config, {}
        if self.critic is not None:
            objective = ValueRegression(config.value_clip)
            done = self.critic.step(batch, objective, learning_rate=config.critic_learning_rate)
            if self.skips.see(done, f"step {step + 1}: the critic's update"):
                found |= {"critic_loss": done.loss, "value": done.metrics["value"], "return": done.metrics["return"]}
            if step < config.critic_warmup:
                return found
        objective = PolicyGradient(
            clip=(config.clip_low, config.clip_high),
            dual_clip=config.dual_clip,
            ratio=config.ratio,
            kl_coefficient=float(self.controller.value) if config.kl_in == "loss" else 0.0,
            kl_estimator=config.kl_estimator,
            kl_gradient=config.kl_gradient,
            aggregation=config.aggregation,
            temperature=self.temperature,
            correction=(config.correction, config.correction_level, config.correction_range),
        )
        rate = warmed_up(config.learning_rate, step, config.warmup)
        done = self.policy.step(batch, objective, learning_rate=rate)
        if self.skips.see(done, f"step {step + 1}: the policy's update"):
            found |= {"loss": done.loss, "grad_norm": done.grad_norm, "learning_rate": rate, **done.metrics}
        return found


def new_updates(
    policy: LearnerGroup,
    reference: Frozen,
    critic: LearnerGroup | None,
    config: PPOConfig,
    *,
    temperature: float,
    seed: int,
    max_skipped: int,
) -> PolicyUpdates:
    """At the beginning of a run."""
    controller = kl_controller(config.kl_coefficient, config.kl_target, config.kl_horizon)
    return PolicyUpdates(policy, reference, critic, config, temperature, seed, controller, Skips(max_skipped))
