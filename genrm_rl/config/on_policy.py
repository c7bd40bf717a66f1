"""Judges that learn from their own traces as they are sampled: by reinforcement learning, or from themselves told the
answer."""

from __future__ import annotations

from typing import Literal

from genrm_rl.config.base import Section, setting

GroupedAdvantage = Literal["group_norm", "dr_grpo", "rloo"]


class OnPolicyConfig(Section):
    """What both have: sample in both orders, learn, publish, again."""

    start_from: str = setting("base", "weights to start from: `base`, or a method of the run that stands before it")
    steps: int = setting(32, "sample, learn, publish", unit="steps", ge=1)
    pairs_per_step: int = setting(32, "training pairs per step, each in both orders", unit="pairs", ge=1)
    samples_per_order: int = setting(4, "traces per pair and order", unit="traces", ge=1)
    learning_rate: float = setting(1e-4, "learning rate", gt=0, le=1)
    warmup: int = setting(2, "steps with rising learning rate before the full one", unit="steps", ge=0)
    minibatches: int = setting(1, "optimizer steps per step, of about equal numbers of tokens", ge=1)
    checkpoint_every: int = setting(5, "steps between checkpoints", unit="steps", free=True, ge=1)


class VerdictRLConfig(OnPolicyConfig):
    """Policy gradient on verdicts; what is not named here is as in an alignment (`ppo`), with its defaults."""

    samples_per_order: int = setting(4, "traces per pair and order, which are compared", unit="traces", ge=2)
    advantage: GroupedAdvantage = setting("dr_grpo", "group_norm (GRPO), dr_grpo (Dr. GRPO) or rloo")
    kl_coefficient: float = setting(0.02, "weight of the KL to the weights that it started from", ge=0)
    format_penalty: float = setting(0.5, "taken off the reward of a trace without a verdict", ge=0)
    length_penalty: float = setting(
        0.0, "taken off the reward of a trace of the greatest length (judge.max_rationale); shorter ones pay less", ge=0
    )


class SelfDistilledConfig(OnPolicyConfig):
    """On-policy self-distillation: the teacher is the judge itself with the label in its prompt."""

    samples_per_order: int = setting(2, "traces per pair and order", unit="traces", ge=1)
    learning_rate: float = setting(2e-5, "learning rate", gt=0, le=1)
    teacher: Literal["start", "current"] = setting(
        "current", "weights of the teacher: those that the student started from, or those of the student now"
    )
    top_k: int = setting(20, "tokens of the teacher's distribution that are matched; the rest is one more", ge=1)
