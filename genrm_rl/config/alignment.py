"""Policy alignment: prompts, where rewards come from, PPO and DPO, and what is measured on the way."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genrm_rl.choices import AGAINST_REFERENCE, GROUPED, Estimator
from genrm_rl.config.base import Section, setting
from genrm_rl.config.bootstrap import RunSettings, TrackingConfig
from genrm_rl.config.model import JudgeConfig, LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.config.prompts import PromptsConfig
from genrm_rl.config.reward import RewardConfig
from genrm_rl.config.serving import ServingConfig
from genrm_rl.config.sharing import Placement, placement_setting, sharing_problem


class PPOConfig(Section):
    """Policy gradient on judged groups: PPO with a critic, or a critic-free advantage."""

    advantage: Estimator = setting(
        "dr_grpo",
        "`gae` trains a critic (PPO); without one: group_norm (GRPO), dr_grpo, rloo, reinforce, reinforce_baseline",
    )
    steps: int = setting(16, "rollout-and-update steps", unit="steps", ge=1)
    prompts_per_step: int = setting(40, "questions per step", unit="prompts", ge=1)
    samples_per_prompt: int = setting(6, "answers per question", unit="answers", ge=1)
    epochs: int = setting(1, "passes over a step's answers", ge=1)
    minibatches: int = setting(1, "optimizer steps per pass, of about equal numbers of answers", ge=1)
    learning_rate: float = setting(1e-4, "policy learning rate", gt=0, le=1)
    critic_learning_rate: float = setting(3e-4, "critic learning rate", gt=0, le=1)
    critic_warmup: int = setting(2, "steps in which only the critic learns", unit="steps", ge=0)
    warmup: int = setting(0, "optimizer steps with rising learning rate", unit="steps", ge=0)
    clip_low: float = setting(0.2, "PPO clip below 1", gt=0, lt=1)
    clip_high: float = setting(0.2, "PPO clip above 1", gt=0)
    dual_clip: float | None = setting(None, "dual-clip bound (arXiv 1912.09729); None: off", gt=1)
    value_clip: float | None = setting(0.5, "value clip; None: off", gt=0)
    gamma: float = setting(1.0, "discount per token", gt=0, le=1)
    gae_lambda: float = setting(0.95, "GAE lambda", ge=0, le=1)
    aggregation: Literal["token", "sequence"] = setting("token", "loss mean over tokens, or over answers (GRPO)")
    kl_coefficient: float = setting(0.02, "weight of the KL to the starting policy", ge=0)
    kl_in: Literal["loss", "reward"] = setting("loss", "KL as a loss term (GRPO) or as a per-token reward (PPO)")
    kl_estimator: Literal["k1", "k2", "k3"] = setting("k3", "KL estimator (OpenRLHF, Schulman)")
    kl_gradient: Literal["estimator", "unbiased"] = setting(
        "estimator",
        "gradient of the KL in the loss: `estimator` differentiates the estimator's formula, which for k1 and k3 is "
        "not the gradient of the KL; `unbiased` takes that one, with importance weights (OpenRLHF `unbiased_gradient`)",
    )
    kl_target: float | None = setting(None, "adaptive KL controller's target; None: fixed coefficient", unit="nats")
    kl_horizon: int = setting(10_000, "adaptive KL controller's horizon", unit="answers", ge=1)
    ratio: Literal["token", "sequence"] = setting(
        "token",
        "what PPO clips: the ratio of each token, or its geometric mean over the answer (GSPO, arXiv 2507.18071, which "
        "clips at 3e-4 and 4e-4)",
    )
    correction: Literal["off", "truncate", "mask"] = setting(
        "truncate",
        "importance weight learner / engine: `truncate` takes the upper end of correction_range where it is larger and "
        "nothing else; `mask` leaves out what is outside of the range",
    )
    correction_level: Literal["token", "sequence"] = setting(
        "token", "one weight for each token, or one for the answer: the geometric mean over its tokens"
    )
    correction_range: tuple[float, float] = setting((0.5, 2.0), "smallest (mask only) and largest importance weight")
    refills: int = setting(
        0,
        "dynamic sampling (DAPO, arXiv 2503.14476): at most so many times in a step further questions are asked, until "
        "prompts_per_step groups have answers with different rewards",
        unit="refills",
        ge=0,
    )
    staleness: int = setting(
        0,
        "how many updates may come between the weights that begin an answer and the step that learns from it; the "
        "answers of so many steps ahead are generated and judged while a step learns, and go on with the weights that "
        "are published meanwhile. 0: a step generates, then learns",
        unit="updates",
        ge=0,
    )

    @property
    def one_update(self) -> bool:
        """Whether the only update of a step finds the old log-probabilities in its own forward pass: nothing before it
        needs them."""
        return self.epochs == self.minibatches == 1 and self.kl_in == "loss" and self.correction != "mask"

    @model_validator(mode="after")
    def _groups(self) -> PPOConfig:
        if self.advantage in GROUPED and self.samples_per_prompt < 2:
            raise ValueError(f"advantage {self.advantage} compares answers to one question: samples_per_prompt >= 2")
        if self.refills and self.advantage not in GROUPED:
            raise ValueError(
                f"refills looks for groups with different rewards, and advantage {self.advantage} compares no group; "
                "set refills to 0"
            )
        if self.kl_gradient == "unbiased" and self.kl_in == "reward":
            raise ValueError("kl_gradient unbiased is for the KL in the loss; set kl_in to loss")
        low, high = self.correction_range
        if not 0 <= low <= 1 <= high:
            raise ValueError(f"correction_range {low}, {high} must hold 1, the weight of a token that both agree on")
        return self


class DPOConfig(Section):
    """Direct preference optimisation on pairs that the judge chose, or on a pair file."""

    rounds: int = setting(2, "sample, judge, fit, publish", unit="rounds", ge=1)
    prompts_per_round: int = setting(400, "questions per round", unit="prompts", ge=1)
    samples_per_prompt: int = setting(4, "answers per question", unit="answers", ge=2)
    min_margin: float = setting(0.3, "smallest difference of reward between chosen and rejected", gt=0)
    choose: Literal["any", "extremes"] = setting(
        "any",
        "one pair of each group: `any` of those with the margin, at random; `extremes`: the best and the worst answer, "
        "which also teaches what the judge likes among answers that are equally right",
    )
    pairs: str | None = setting(None, "offline: a preference pair file (JSONL or Parquet) instead of sampling")
    loss: Literal["dpo", "ipo"] = setting("dpo", "DPO, or IPO (arXiv 2310.12036)")
    beta: float = setting(0.1, "temperature", gt=0)
    label_smoothing: float = setting(0.0, "conservative DPO", ge=0, lt=0.5)
    nll_coefficient: float = setting(0.1, "weight of the NLL anchor on the chosen answer", ge=0)
    learning_rate: float = setting(2e-5, "policy learning rate", gt=0, le=1)
    epochs: int = setting(1, "passes over a round's pairs", ge=1)
    batch_size: int = setting(32, "pairs per optimizer step", unit="pairs", ge=1)


class SamplingConfig(Section):
    """How the policy answers."""

    chat_template_kwargs: dict[str, bool | int | float | str] = setting(
        dict, "arguments of the policy's chat template, e.g. {enable_thinking: false}"
    )
    max_tokens: int = setting(32, "longest answer", unit="tokens", ge=1)
    temperature: float = setting(
        1.0, "rollout temperature; the policy that is learned is the one at this temperature", gt=0, le=5
    )
    top_p: float = setting(1.0, "rollout nucleus; below 1 only with method dpo", gt=0, le=1)
    truncated: Literal["mask", "penalise", "keep"] = setting(
        "mask",
        "an answer that max_tokens cut off: `mask`: not judged, not learned from, in no baseline; `penalise`: judged, "
        "and its reward lowered; `keep`: judged and learned from like the others, but with gae not taken as ended",
    )
    truncated_penalty: float = setting(1.0, "taken off the reward of a truncated answer (penalise)", ge=0)


class PolicyEvaluationConfig(Section):
    """What is measured on held-out questions during and after the run."""

    every: int = setting(0, "steps (rounds) between measurements; 0: before and after only", unit="steps", ge=0)
    prompts: int = setting(300, "questions per test set", unit="prompts", ge=1)
    decoding: tuple[Literal["sampled", "greedy"], ...] = setting(
        ("sampled", "greedy"), "at sampling.temperature, and greedy"
    )
    probes: int = setting(20, "questions with which each hacking probe is tried; 0: none", unit="prompts", ge=0)
    second_judge_url: str | None = setting(
        None, "a service that gave no reward; it compares the policy with the starting policy (win rate)"
    )
    bootstrap_resamples: int = setting(2000, "resamples of the 95 % intervals", ge=100)


class AlignConfig(Section):
    """Everything that an alignment job needs."""

    run: RunSettings = setting(RunSettings, "identity")
    method: Literal["ppo", "dpo"] = setting("ppo", "policy gradient, or direct preference optimisation")
    placement: Placement = placement_setting()
    model: ModelConfig = setting(ModelConfig, "starting policy")
    prompts: PromptsConfig = setting(PromptsConfig, "questions")
    sampling: SamplingConfig = setting(SamplingConfig, "how the policy answers")
    rollout: RolloutConfig = setting(RolloutConfig, "vLLM engines of the policy", free=True)
    learner: LearnerConfig = setting(LearnerConfig, "DeepSpeed learners")
    reward: RewardConfig = setting(RewardConfig, "reward source")
    judge_model: ModelConfig = setting(ModelConfig, "base model of a judge that this job serves")
    judge: JudgeConfig = setting(JudgeConfig, "format of a judge that this job serves")
    judge_rollout: RolloutConfig = setting(RolloutConfig, "vLLM engines of a judge that this job serves", free=True)
    serving: ServingConfig = setting(ServingConfig, "service of a judge that this job serves")
    ppo: PPOConfig = setting(PPOConfig, "policy gradient")
    dpo: DPOConfig = setting(DPOConfig, "direct preference optimisation")
    evaluation: PolicyEvaluationConfig = setting(PolicyEvaluationConfig, "measurements")
    checkpoint_every: int = setting(5, "steps between checkpoints", unit="steps", free=True, ge=1)
    tracking: TrackingConfig = setting(TrackingConfig, "metric sinks", free=True)

    @property
    def serves_judge(self) -> bool:
        """Whether the job serves the judge that gives its rewards."""
        return self.reward.source == "service" and self.reward.url is None

    @property
    def needs_reference(self) -> bool:
        """Whether answers are compared with a reference answer."""
        judged = self.reward.source == "service" and not (self.method == "dpo" and self.dpo.pairs)
        return judged and self.reward.rule in AGAINST_REFERENCE

    @model_validator(mode="after")
    def _references(self) -> AlignConfig:
        if self.needs_reference and self.reward.reference is None:
            raise ValueError(
                f"reward.rule {self.reward.rule} compares answers with a reference answer; set reward.reference to "
                "policy (the starting policy's greedy answers) or column"
            )
        if self.needs_reference and self.reward.reference == "policy" and self.method == "ppo" and self.ppo.refills:
            raise ValueError(
                "ppo.refills asks questions that the starting policy has not answered (reward.reference policy); set "
                "ppo.refills to 0, or reward.reference to column"
            )
        if self.needs_reference and self.reward.reference == "column":
            for number, source in enumerate(self.prompts.train):
                if source.reference is None:
                    way = "set reward.reference to policy" if source.world else "name it"
                    raise ValueError(f"reward.reference column: prompts.train.{number} names no `reference`; {way}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> AlignConfig:
        if self.sampling.max_tokens + 8 >= self.model.max_context:
            raise ValueError(
                f"sampling.max_tokens {self.sampling.max_tokens} leaves no room for a question in model.max_context "
                f"{self.model.max_context} tokens; lower it or raise model.max_context"
            )
        backend = self.rollout.weight_backend
        if backend in ("nccl", "ipc") and not self.learner.gpus_per_worker:
            raise ValueError(
                f"rollout.weight_backend {backend} sends from the learner's GPUs and learner.gpus_per_worker is 0; set "
                "it to auto or shared_memory"
            )
        if self.method == "ppo" and self.sampling.top_p < 1:
            raise ValueError(
                f"sampling.top_p {self.sampling.top_p} samples from another distribution than the policy gradient is "
                "taken of; set it to 1, or use method dpo"
            )
        if self.method == "ppo" and self.ppo.staleness and (self.rollout.sleep or self.placement == "shared"):
            what = "rollout.sleep" if self.rollout.sleep else "placement shared"
            raise ValueError(f"{what} needs engines that rest during an update; set ppo.staleness to 0")
        adapters = self.learner.lora_rank and self.rollout.weight_backend == "auto"
        if self.method == "ppo" and self.ppo.staleness and adapters:
            raise ValueError(
                "ppo.staleness changes the weights under running answers, and an adapter that answers use can't be "
                "changed; set ppo.staleness to 0, or rollout.weight_backend to shared_memory (merged weights)"
            )
        if self.placement == "shared":
            engines = {"rollout": (self.rollout.engines, self.rollout)}
            if self.serves_judge:
                engines["judge_rollout"] = (self.serving.max_replicas, self.judge_rollout)
            problem = sharing_problem(self.learner, engines, moves=True)
            if problem is not None:
                raise ValueError(problem)
        asked = [f"prompts.train.{i}" for i, source in enumerate(self.prompts.train) if not source.verifiable]
        verifier = "reward.source verifier" if self.reward.source == "verifier" else "reward.verifier_weight"
        if asked and (self.reward.source == "verifier" or self.reward.verifier_weight):
            raise ValueError(f"{verifier} has nothing to check {asked[0]} against; name its column `known_answer`")
        if self.reward.source == "verifier" and self.reward.verifier_weight:
            raise ValueError("reward.source verifier is the verifier alone; set reward.verifier_weight to 0")
        return self
