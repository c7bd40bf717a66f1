"""How a judge is served."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genrm_rl.choices import Rule
from genrm_rl.config.base import Section, setting
from genrm_rl.config.model import JudgeConfig, ModelConfig, RolloutConfig

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServingConfig(Section):
    """The service around the judge."""

    checkpoint: str = setting("base", "checkpoint directory of a run, or `base` for the untrained model")
    form: Literal["cot", "direct", "points"] = setting(
        "cot", "how a language model judges: a rationale and a verdict, the verdict alone, or points for each answer"
    )
    host: str = setting("127.0.0.1", "address to bind; anything but loopback needs a token", free=True)
    port: int = setting(8000, "HTTP port", free=True, ge=1, le=65535)
    host_names: tuple[str, ...] = setting(
        (),
        "names by which clients may call the service; on loopback besides its own, elsewhere none means any",
        free=True,
    )
    token_variable: str = setting("GENRM_RL_TOKEN", "environment variable that holds the bearer token", free=True)
    min_replicas: int = setting(1, "judge replicas when idle", unit="replicas", free=True, ge=1)
    max_replicas: int = setting(1, "judge replicas under load", unit="replicas", free=True, ge=1)
    target_ongoing: int = setting(
        32,
        "comparisons per replica that the autoscaler aims at; counted in batches of 16",
        unit="comparisons",
        free=True,
        ge=1,
    )
    max_pending: int = setting(
        1024, "accepted comparisons without an answer; more are refused with 503", free=True, ge=1
    )
    retry_after: float = setting(1.0, "what a refused client is told to wait", unit="seconds", free=True, gt=0)
    deadline: float = setting(
        120.0, "longest time for one call; what is judged by then is returned", unit="seconds", free=True
    )
    max_comparisons: int = setting(512, "comparisons that one call may cause", unit="comparisons", free=True, ge=1)
    max_body_mib: float = setting(
        8.0, "largest body of one call; refused before it is parsed", unit="MiB", free=True, gt=0
    )
    read_deadline: float = setting(
        20.0, "longest time until a call's headers have come, and then its body", unit="seconds", free=True, gt=0
    )
    calls_per_minute: int | None = setting(
        None, "calls that one client's address may make; None: any number", free=True, ge=1
    )
    max_characters: int = setting(200_000, "longest prompt or answer", unit="characters", free=True, ge=1)
    max_votes: int = setting(32, "most votes per order that a call may ask for", unit="votes", ge=1)
    recent_judgments: int = setting(1000, "judgments that can be looked up by id", unit="judgments", free=True, ge=0)
    log_path: str | None = setting(
        None, "file of one JSON line per call; None: standard error, which Ray keeps", free=True
    )
    log_texts: bool = setting(False, "log prompts and answers too", free=True)
    cohort_size: int = setting(
        8, "answers to one prompt that a trainer with one call per answer sends (its samples per prompt)", ge=1
    )
    cohort_wait: float = setting(20.0, "longest wait for the rest of a cohort", unit="seconds", gt=0)
    cohort_rule: Rule = setting("round_robin", "how a cohort's judgments become rewards")
    policy_tokenizer: str | None = setting(
        None, "model directory of the policy, whose chat template is taken off the prompts that trainers send"
    )
    cache_entries: int = setting(
        100_000, "verdicts kept in memory, for greedy and one-token judgments", free=True, ge=0
    )
    cache_path: str | None = setting(
        None, "SQLite file on a local disk that keeps these verdicts over restarts; None: in memory only", free=True
    )


class ServeConfig(Section):
    """Everything that ``serve`` needs."""

    model: ModelConfig = setting(ModelConfig, "base model")
    judge: JudgeConfig = setting(JudgeConfig, "judge format")
    rollout: RolloutConfig = setting(RolloutConfig, "vLLM engine of each replica")
    serving: ServingConfig = setting(ServingConfig, "service")
    seed: int = setting(0, "seed of sampled judgments", ge=0)

    @model_validator(mode="after")
    def _replicas_in_order(self) -> ServeConfig:
        if self.serving.max_replicas < self.serving.min_replicas:
            raise ValueError(
                f"serving.max_replicas {self.serving.max_replicas} is below serving.min_replicas "
                f"{self.serving.min_replicas}; raise it"
            )
        return self
