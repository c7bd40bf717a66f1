"""Agents: which tasks, how a policy acts in them, what earns a reward, how it is cloned, trained and measured."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genrm_rl.choices import GROUPED
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.config.base import Section, setting
from genrm_rl.config.bootstrap import RunSettings, TrackingConfig
from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.model import FitConfig, JudgeConfig, LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.config.reward import RewardConfig
from genrm_rl.config.serving import ServingConfig

PARTS = ("outcome", "judge", "steps", "format")  # of an episode's reward


class AgentTasks(Section):
    """Tasks of one environment; train, validation and test are its own splits."""

    environment: str = setting("shop", "an environment of `genrm-rl play list`, or your own as module:SPEC")
    level: str | tuple[str, ...] = setting("", "one level, a list of them in turn, or empty: all of them")
    train: int = setting(400, "training tasks", unit="tasks", ge=1)
    first: int = setting(
        0,
        "number of the first training task of each level; with the number of cloned ones a policy is trained where it "
        "knows no solution",
        ge=0,
    )


class ActingConfig(Section):
    """How a policy acts: what it is shown and how it answers."""

    style: Literal["action", "react"] = setting(
        "action", "grammar of a turn: `Action: ...` on one line; react: `Thought: ...` before it (arXiv 2210.03629)"
    )
    show_actions: int = setting(0, "admissible actions listed under each observation, at most; 0: none", ge=0)
    max_tokens: int = setting(48, "longest turn", unit="tokens", ge=1)
    max_observation: int = setting(2000, "longer observations are cut here, and say so", unit="characters", ge=50)
    temperature: float = setting(1.0, "of the rollout", gt=0, le=5)
    thoughts: Literal["keep", "drop"] = setting(
        "keep", "thoughts of earlier turns: `keep`: the conversation as it was sampled; `drop`: only actions stay"
    )


class CloneConfig(Section):
    """Behaviour cloning of the known solutions: the policy that reinforcement learning starts from."""

    base: Literal["model", "new"] = setting(
        "model",
        "`model`: fine-tune `model.name`; `new`: a small model from scratch, with a tokenizer of the tasks' own",
    )
    vocabulary: int = setting(1024, "tokens of a new model's byte-level BPE", unit="tokens", ge=300)
    hidden: int = setting(256, "width of a new model", ge=64)
    layers: int = setting(4, "layers of a new model", ge=1)
    observations: bool = setting(
        False,
        "a first fit (`reading`) on what is observed too, beside the turns: a new model learns there to copy names",
    )
    demonstrations: int = setting(1000, "training tasks whose solutions are cloned", unit="tasks", ge=1)
    slips: float = setting(
        0.0,
        "probability of a refused action before a turn of a solution, with names of another task; it is seen and not "
        "learned, so that the policy goes on after its own",
        unit="share",
        ge=0,
        lt=0.9,
    )
    episodes: tuple[str, ...] = setting(
        (),
        "runs of collect-episodes or train-agent whose shortest successful episode of each task is cloned beside the "
        "known solutions (rejection-sampled fine-tuning, as STaR's traces)",
    )
    reading: FitConfig = setting(
        lambda: FitConfig(learning_rate=2e-3, epochs=12.0, batch_size=16), "the first fit, with `observations`"
    )
    fit: FitConfig = setting(lambda: FitConfig(learning_rate=1e-3, epochs=2.0, batch_size=16), "the fit on the turns")


class EpisodeReward(Section):
    """What an episode earns: a weighted sum of parts, of which each is None where nobody gave it."""

    outcome: float = setting(1.0, "weight of the environment's own word", ge=0)
    outcome_is: Literal["success", "score"] = setting("success", "which word: 0 or 1, or the score from 0 to 1")
    outcome_share: float = setting(1.0, "share of the tasks whose outcome is told to the learner", gt=0, le=1)
    judge: float = setting(0.0, "weight of the trajectory judge's reward", ge=0)
    steps: float = setting(0.0, "weight of the step judge's marks, as advantages of turns", ge=0)
    format: float = setting(0.0, "weight of the share of turns that follow the grammar", ge=0)


class StepJudgeConfig(Section):
    """Who marks the steps of an episode in hindsight, and how such a judge is trained."""

    source: Literal["checkpoint", "policy"] = setting(
        "checkpoint", "`checkpoint`: a judge of `genrm-rl train-step-judge`; `policy`: the policy marks its own steps"
    )
    checkpoint: str | None = setting(None, "directory of the step judge")
    threshold: float = setting(
        0.05, "difference of mean score above which a step counts as helpful or harmful in training", ge=0, lt=1
    )
    fit: FitConfig = setting(lambda: FitConfig(learning_rate=1e-3, epochs=3.0, batch_size=16), "training")


class AgentEvaluation(Section):
    """What is measured on the environment's validation and test tasks."""

    every: int = setting(0, "steps between measurements on validation tasks; 0: before and after only", ge=0)
    validation: int = setting(100, "validation tasks", unit="tasks", ge=1)
    test: int = setting(100, "test tasks, played at the end", unit="tasks", ge=1)
    decoding: Literal["greedy", "sampled"] = setting("greedy", "how the policy plays them")
    bootstrap_resamples: int = setting(2000, "resamples of the 95 % intervals", ge=100)


class AgentConfig(Section):
    """Everything that an agent job needs."""

    run: RunSettings = setting(RunSettings, "identity")
    model: ModelConfig = setting(ModelConfig, "starting policy")
    tasks: AgentTasks = setting(AgentTasks, "tasks")
    environments: EnvironmentConfig = setting(EnvironmentConfig, "environments and their processes")
    acting: ActingConfig = setting(ActingConfig, "how the policy acts")
    clone: CloneConfig = setting(CloneConfig, "behaviour cloning")
    rollout: RolloutConfig = setting(RolloutConfig, "vLLM engines of the policy", free=True)
    learner: LearnerConfig = setting(LearnerConfig, "DeepSpeed learners")
    ppo: PPOConfig = setting(PPOConfig, "policy gradient; prompts are tasks, and answers episodes")
    parts: EpisodeReward = setting(EpisodeReward, "what an episode earns")
    reward: RewardConfig = setting(RewardConfig, "how the trajectory judge is asked (with `parts.judge`)")
    judge_model: ModelConfig = setting(ModelConfig, "base model of a judge that this job serves")
    judge: JudgeConfig = setting(JudgeConfig, "format of a judge that this job serves")
    judge_rollout: RolloutConfig = setting(RolloutConfig, "vLLM engines of a judge that this job serves", free=True)
    serving: ServingConfig = setting(ServingConfig, "service of a judge that this job serves")
    step_judge: StepJudgeConfig = setting(StepJudgeConfig, "who marks steps (with `parts.steps`)")
    evaluation: AgentEvaluation = setting(AgentEvaluation, "measurements")
    checkpoint_every: int = setting(5, "steps between checkpoints", unit="steps", free=True, ge=1)
    tracking: TrackingConfig = setting(TrackingConfig, "metric sinks", free=True)

    @property
    def method(self) -> Literal["ppo"]:
        """Agents learn by policy gradient."""
        return "ppo"

    @property
    def serves_judge(self) -> bool:
        """Whether the job serves the judge that gives its rewards."""
        return self.parts.judge > 0 and self.reward.url is None

    @model_validator(mode="after")
    def _consistent(self) -> AgentConfig:
        if not any(getattr(self.parts, part) for part in PARTS):
            raise ValueError("parts: every weight is 0, so nothing earns a reward; set parts.outcome or another one")
        if self.ppo.staleness or self.ppo.refills:
            name = "staleness" if self.ppo.staleness else "refills"
            raise ValueError(f"ppo.{name} is for answers of one turn; set it to 0 for agents")
        if self.reward.source == "verifier":
            raise ValueError("reward.source verifier is parts.outcome here; leave reward.source at service")
        if self.parts.judge and self.ppo.advantage not in GROUPED:
            raise ValueError(f"a judge compares episodes of one task; ppo.advantage {self.ppo.advantage} does not")
        if self.parts.steps and self.step_judge.source == "checkpoint" and self.step_judge.checkpoint is None:
            raise ValueError(
                "parts.steps needs a step judge: set step_judge.checkpoint (genrm-rl train-step-judge makes one), or "
                "step_judge.source to policy"
            )
        if self.acting.max_tokens * 2 >= self.model.max_context:
            raise ValueError(
                f"acting.max_tokens {self.acting.max_tokens} leaves no room for an episode in model.max_context "
                f"{self.model.max_context}; lower it or raise model.max_context"
            )
        return self
