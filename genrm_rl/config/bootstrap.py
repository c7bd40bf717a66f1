"""The bootstrap loop, the evaluation, and the run itself."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pydantic import field_validator, model_validator

from genrm_rl.config.base import Section, setting
from genrm_rl.config.data import DataConfig
from genrm_rl.config.model import FitConfig, JudgeConfig, LearnerConfig, ModelConfig, RolloutConfig
from genrm_rl.config.on_policy import OnPolicyConfig, SelfDistilledConfig, VerdictRLConfig
from genrm_rl.config.sharing import Placement, placement_setting, sharing_problem

Method = Literal[
    "llm_judge", "bradley_terry", "pairrm", "genrm_direct", "genrm_points",
    "star_sft", "star_dpo", "star_rationalizer", "star_rationalizer_dpo", "verdict_rl", "self_distilled",
]  # fmt: skip
Scoring = Literal[
    "pairs", "rewardbench", "rewardbench2", "rm_bench", "judgebench", "rmb", "ppe", "pandalm", "auto_j"
]  # fmt: skip
RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ITERATED: tuple[Method, ...] = ("star_sft", "star_dpo", "star_rationalizer", "star_rationalizer_dpo")
ON_POLICY: tuple[Method, ...] = ("verdict_rl", "self_distilled")
WRITERS: tuple[Method, ...] = (*ITERATED, *ON_POLICY, "genrm_direct")  # those from whose weights another can start


class SelectionConfig(Section):
    """Which traces a judge learns from."""

    max_kept_per_order: int = setting(2, "correct traces kept per comparison and order", unit="traces", ge=1)
    pairs_per_order: int = setting(1, "DPO pairs per comparison and order", unit="pairs", ge=1)
    balance: bool = setting(True, "equal numbers of verdict letters among what is kept")
    unparseable_as_rejected: bool = setting(True, "a non-verdict may be the rejected side of a DPO pair")
    both_orders: bool = setting(
        False, "a correct trace counts only if one is correct in the other order too, so that position teaches nothing"
    )
    on_all_wrong: Literal["skip", "rationalize"] = setting(
        "skip", "comparisons without a correct trace: leave them out, or ask again with the label as a hint (STaR)"
    )


class BootstrapConfig(Section):
    """STaR on preference pairs (the paper's section 4 and appendix A.3)."""

    methods: tuple[Method, ...] = setting(("llm_judge", "bradley_terry", "star_dpo"), "what is trained and compared")
    iterations: int = setting(3, "rounds, each on a fresh part of the training pairs; the paper uses 3", ge=1)
    samples_per_order: int = setting(4, "traces sampled per comparison and order", unit="traces", ge=1)
    temperature: float = setting(1.0, "sampling temperature of traces", gt=0, le=5.0)
    top_p: float = setting(0.95, "nucleus of traces", gt=0, le=1)
    selection: SelectionConfig = setting(SelectionConfig, "which traces are kept")
    warm_start: bool = setting(
        False,
        "before the first STaR round, train on what somebody wrote about training pairs (data.train[].rationales, "
        "HelpSteer, the reasons of null negatives) and on own right traces of the others, with the settings of `sft`",
    )
    start_from: Literal["latest", "base"] = setting(
        "latest", "weights that each round's fit starts from: the last promoted judge, or the base (warm, if it is)"
    )
    base_share: float = setting(
        0.0,
        "share of the base in a STaR judge's weights, the mean of base and fit: what no pair trains and a fit forgets "
        "comes back (WiSE-FT, arXiv 2109.01903)",
        unit="share",
        ge=0,
        lt=1,
    )
    gate_metric: Literal["accuracy_folded", "accuracy_strict", "right_in_both"] = setting(
        "accuracy_folded", "what a round must improve; folded: both orders as rewards use them, a tie is one half"
    )
    gate_confidence: float = setting(
        0.95,
        "confidence of the interval of the paired difference to the parent, whose lower bound decides",
        unit="share",
        gt=0,
        lt=1,
    )
    gate_margin: float = setting(0.0, "a round is promoted if that lower bound is above this", unit="share", ge=0)
    promote: Literal["gate", "always"] = setting(
        "gate", "`always`: every round is the next one's judge, as in the paper; the gate is then measured only"
    )
    gate_pairs: int = setting(200, "held-out pairs that a gate asks about, at most", unit="pairs", ge=1)
    sft: FitConfig = setting(lambda: FitConfig(learning_rate=2e-4, epochs=2, batch_size=64), "STaR-SFT fits")
    rationalizer: FitConfig = setting(
        lambda: FitConfig(learning_rate=2e-4, epochs=2, batch_size=64), "STaR-Rationalizer fits"
    )
    dpo: FitConfig = setting(
        lambda: FitConfig(learning_rate=1e-4, epochs=1, batch_size=32, nll_coefficient=0.1), "STaR-DPO fits"
    )
    direct: FitConfig = setting(lambda: FitConfig(learning_rate=3e-4, epochs=2, batch_size=32), "direct GenRM (Eq. 7)")
    bradley_terry: FitConfig = setting(lambda: FitConfig(learning_rate=3e-4, epochs=2, batch_size=32), "Bradley-Terry")
    pairrm: FitConfig = setting(
        lambda: FitConfig(learning_rate=3e-4, epochs=2, batch_size=32), "PairRM-style classifier"
    )
    points: FitConfig = setting(
        lambda: FitConfig(learning_rate=3e-4, epochs=2, batch_size=32), "GenRM by points, each answer by itself"
    )

    verdict_rl: VerdictRLConfig = setting(VerdictRLConfig, "RL on verdicts")
    self_distilled: SelfDistilledConfig = setting(SelfDistilledConfig, "self-distillation with the label as a hint")

    def on_policy(self, method: Method) -> OnPolicyConfig:
        """The settings of a method that learns from its own traces as they are sampled."""
        return getattr(self, method)

    @field_validator("methods")
    @classmethod
    def _some_once(cls, value: tuple[Method, ...]) -> tuple[Method, ...]:
        return _each_once(value, get_args(Method))

    @model_validator(mode="after")
    def _starts_from_what_is_there(self) -> BootstrapConfig:
        for method in (method for method in self.methods if method in ON_POLICY):
            start = self.on_policy(method).start_from
            before = [name for name in self.methods[: self.methods.index(method)] if name in WRITERS]
            if start not in ("base", *before):
                known = ", ".join(("base", *before))
                raise ValueError(
                    f"{method}.start_from {start!r} is no judge that is trained before {method}: {known}; choose one, "
                    f"or list a method of {', '.join(WRITERS)} before {method} in methods"
                )
        return self

    @model_validator(mode="after")
    def _only_what_the_loss_has(self) -> BootstrapConfig:
        for objective in ("sft", "dpo", "direct", "bradley_terry", "pairrm", "points"):
            unused = getattr(self, objective).unused_by(objective)
            if unused:
                raise ValueError(f"{objective}.{unused} would change nothing, that loss has no such term; set it to 0")
        return self


class EvaluationConfig(Section):
    """What is measured on each test set."""

    pairs: int = setting(500, "pairs per test set, each judged in both orders", unit="pairs", ge=1)
    decoding: tuple[Literal["sampled", "greedy"], ...] = setting(
        ("sampled", "greedy"), "report T = 1 and greedy side by side"
    )
    majority_votes: int = setting(1, "votes of the maj@k curve (1: no curve)", unit="traces", ge=1)
    majority_pairs: int = setting(100, "pairs of the maj@k curve", unit="pairs", ge=1)
    bootstrap_resamples: int = setting(2000, "resamples of the 95 % intervals", ge=100)
    scoring: Scoring = setting(
        "pairs", "scoring rule of the benchmark format; another one scores the same judgments again", free=True
    )
    probe_pairs: int = setting(
        40, "held-out pairs with which each probe of the probe gate is tried; 0: not measured", unit="pairs", ge=0
    )
    probe_limit: float = setting(
        0.05,
        "a judge passes the probe gate if no probe wins a larger share of greedy judgments",
        unit="share",
        ge=0,
        lt=1,
    )
    example_traces: int = setting(40, "traces per judge that the report shows", unit="traces", ge=0)

    @field_validator("decoding")
    @classmethod
    def _some_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each_once(value, ("sampled", "greedy"))


class TrackingConfig(Section):
    """Where metrics go besides the report."""

    tensorboard: bool = setting(True, "write TensorBoard event files")
    run_name: str | None = setting(None, "name of the run at such a service; None takes run.id")
    wandb_project: str | None = setting(None, "Weights & Biases project, if wandb is installed")
    mlflow_experiment: str | None = setting(None, "MLflow experiment, if mlflow is installed")


class RunSettings(Section):
    """Identity of a run."""

    id: str = setting("default", "name of the run directory; the same id continues the same run")
    root: str = setting(
        "runs", "folder of all run directories, or s3://, gs:// or abfs:// with bucket and folder", free=True
    )
    seed: int = setting(0, "every random choice comes from it", ge=0)
    cluster: str | None = setting(
        None, "cluster file against whose node types the job's plan is checked before anything starts", free=True
    )

    @field_validator("id")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if RUN_ID.fullmatch(value) is None:
            raise ValueError(
                f"{value!r} can't name a run directory; use letters, digits, `_`, `-` and `.`, and no dot or dash first"
            )
        return value


class RunConfig(Section):
    """Everything a bootstrap job needs. ``--dry-run`` prints it resolved."""

    run: RunSettings = setting(RunSettings, "identity")
    placement: Placement = placement_setting()
    model: ModelConfig = setting(ModelConfig, "base model")
    data: DataConfig = setting(DataConfig, "preference data")
    judge: JudgeConfig = setting(JudgeConfig, "judge format")
    rollout: RolloutConfig = setting(RolloutConfig, "vLLM engines", free=True)
    learner: LearnerConfig = setting(LearnerConfig, "DeepSpeed learners")
    bootstrap: BootstrapConfig = setting(BootstrapConfig, "STaR loop")
    evaluation: EvaluationConfig = setting(EvaluationConfig, "measurements")
    tracking: TrackingConfig = setting(TrackingConfig, "metric sinks", free=True)
    paper_differences: dict[str, str] | None = setting(
        None,
        "given where a config follows the paper: setting to the reason why it differs; `--dry-run` lists them",
        free=True,
    )

    @model_validator(mode="after")
    def _can_take_turns(self) -> RunConfig:
        if self.placement == "shared":
            living = any(method in ON_POLICY for method in self.bootstrap.methods)  # other fits end before engines work
            learner = self.learner.model_copy(update={"precision": self.model.dtype}) if living else self.learner
            problem = sharing_problem(learner, {"rollout": (self.rollout.engines, self.rollout)}, moves=living)
            if problem is not None:
                raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _ties_can_be_said(self) -> RunConfig:
        if self.data.ties == "learn" and not self.judge.ties:
            raise ValueError("data.ties learn needs a judge that may say tie; set judge.ties, or data.ties to test")
        return self

    @model_validator(mode="after")
    def _fits_context(self) -> RunConfig:
        if self.judge.max_rationale + 16 >= self.model.max_context:
            raise ValueError(
                f"judge.max_rationale {self.judge.max_rationale} leaves no room for a prompt in "
                f"model.max_context {self.model.max_context} tokens; lower judge.max_rationale or raise "
                "model.max_context"
            )
        return self


def _each_once(values: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse an empty list, and one that names something twice."""
    if not values:
        raise ValueError(f"it is empty; name at least one of {', '.join(known)}")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is listed {values.count(twice)} times; name each once")
    return values
