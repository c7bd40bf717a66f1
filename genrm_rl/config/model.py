"""Which language model, and which judge format it speaks."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from genrm_rl.config.base import Section, setting
from genrm_rl.config.rubric import Rubric

MOST_POINTS = 1000
PLACEMENT_DEADLINE = 1800.0  # cloud nodes with GPUs take minutes to come and to be set up


class ModelConfig(Section):
    """Where the base model comes from."""

    name: str = setting(
        "tiny", "`tiny`, `smollm2`, a hub id, a local directory with safetensors and a tokenizer, or a GGUF file"
    )
    revision: str | None = setting(None, "revision of a hub id; None takes the default branch")
    cache_dir: str = setting(
        "~/.cache/genrm_rl",
        "where de-quantised and downloaded models are kept; a URI (s3://bucket/models) keeps every model that is not "
        "part of the package in that store, and each node fetches it",
        free=True,
    )
    max_context: int = setting(512, "prompt and completion together", unit="tokens", ge=32)
    dtype: Literal["float32", "bfloat16"] = setting("float32", "number format of the engines' weights and arithmetic")


class JudgeConfig(Section):
    """How the judge is asked and how its verdicts are folded."""

    template: Literal["compact", "mt_bench", "chat_compact", "plain"] = setting(
        "compact",
        "prompt family; for any chat model `mt_bench`, `chat_compact` (at most 40 tokens beside the texts) or `plain` "
        "(the texts and the letters alone, without the model's chat template)",
    )
    chat_template_kwargs: dict[str, bool | int | float | str] = setting(
        dict, "arguments of the model's chat template, e.g. {enable_thinking: false}"
    )
    answer_thoughts: Literal["hide", "show"] = setting(
        "hide", "`<think>...</think>` of an answer: left out of what is judged, or shown to the judge"
    )
    rubric: Rubric = setting(
        (),
        "criteria that the judge is shown with every question ({name, description, choices from worst to best}); a "
        "question's own rubric takes their place",
    )
    show_reference: bool = setting(
        False, "show the judge the known answer of a question that has one (`known_answer`), as MT-Bench does"
    )
    max_rationale: int = setting(96, "longest rationale before the verdict", unit="tokens", ge=1)
    max_thinking: int = setting(
        0,
        "room for `<think>...</think>` before the rationale, beside max_rationale; 0: the judge does not think",
        unit="tokens",
        ge=0,
    )
    ties: bool = setting(
        False,
        "a judge that writes may say `Verdict: tie`: half a vote for each answer; the verdict of one letter has no tie",
    )
    scale: str = setting(
        "1-9",
        "numbers, worst to best, of a judge that rates each answer by itself (form points, method genrm_points)",
    )
    force_verdict: bool = setting(
        False, "ask for the verdict line when a rationale ended, or was cut off, without one (small models forget it)"
    )
    votes: int = setting(1, "traces per order in an evaluation", unit="traces", ge=1)
    orders: Literal["both", "one"] = setting(
        "both",
        "`both`: no judgment without a verdict in both orders; `one`: each comparison in one order only, which "
        "the seed draws",
    )
    aggregate: Literal["mean_probability", "mean_log_odds", "majority"] = setting(
        "mean_probability",
        "P(A) of both orders: mean of the probabilities, of the log-odds, or of the shares of votes; orders that "
        "contradict each other are always one half",
    )
    temperature: float = setting(1.0, "sampling temperature; the paper uses 1.0", ge=0.0, le=5.0)
    top_p: float = setting(0.95, "nucleus; the paper uses 0.95", gt=0.0, le=1.0)

    @field_validator("scale")
    @classmethod
    def _is_a_range(cls, value: str) -> str:
        low, dash, high = value.partition("-")
        if not (dash and low.isdecimal() and high.isdecimal() and int(low) < int(high) < MOST_POINTS):
            raise ValueError(f"{value!r} is no scale; write the worst and the best number, e.g. 1-9")
        return value


class RolloutConfig(Section):
    """The vLLM engines. Nothing here may decide what is computed: jobs leave this section out of a run's identity."""

    engines: int = setting(1, "engine actors", unit="actors", ge=1)
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto",
        "`auto` is cuda if the cluster has a GPU now; say `cuda` where GPU nodes only come when they are asked for",
    )
    pool: str | None = setting(None, "runs on nodes with this label `pool`; None: on any node")
    gpu_share: float = setting(
        1.0,
        "share of a GPU that an engine without tensor parallelism occupies; below 1 other roles live beside it",
        unit="GPUs",
        gt=0,
        le=1,
    )
    tensor_parallel: int = setting(1, "GPUs per engine (ignored on CPU)", unit="GPUs", ge=1)
    cpus_per_engine: float = setting(1.0, "CPUs reserved per engine on a CPU machine", unit="CPUs", gt=0)
    max_in_flight: int = setting(
        256, "unfinished requests per engine; half of them decode, the others stand ready", unit="requests", ge=1
    )
    deadline: float = setting(600.0, "longest time from dispatch to result of one request", unit="seconds", gt=0)
    placement_deadline: float = setting(
        PLACEMENT_DEADLINE, "longest wait for nodes that have room for the engines", unit="seconds", gt=0
    )
    startup_deadline: float = setting(600.0, "longest time until an engine answers first", unit="seconds", gt=0)
    stall_deadline: float = setting(
        300.0, "an engine whose process has not reacted for so long is replaced", unit="seconds", gt=0
    )
    kv_cache_gib: float = setting(
        1.0,
        "memory for keys and values per engine on CPU; on a GPU it follows from gpu_memory_utilization",
        unit="GiB",
        gt=0,
    )
    gpu_memory_utilization: float = setting(0.85, "share of GPU memory an engine may take", gt=0, le=1)
    sleep: bool = setting(
        False,
        "engines free their GPU memory while a learner on the same GPUs works (nothing happens on CPU); `placement: "
        "shared` sets it",
    )
    enforce_eager: bool | None = setting(None, "skip compilation; None means yes on CPU, no on GPU")
    max_restarts: int = setting(3, "restarts of one engine, without an answer in between, before the run stops", ge=0)
    weight_backend: Literal["auto", "nccl", "ipc", "shared_memory"] = setting(
        "auto",
        "how weights reach engines: `auto` is `shared_memory` (across nodes through Ray's object store); `nccl` and "
        "`ipc` go from GPU to GPU and need a learner with GPUs; `ipc` needs it on the engines' own GPUs. Where an "
        "alignment learns a LoRA adapter, `auto` sends that alone, and the others send it merged into the weights",
    )
    parity_limit: float | None = setting(
        None,
        "largest mean log-probability difference that a publication may show; None: 1e-3 where engines and "
        "learner compute in float32, else 0.1",
        unit="nats",
    )

    @model_validator(mode="after")
    def _fits_its_share(self) -> RolloutConfig:
        if self.gpu_share < 1 and self.tensor_parallel > 1:
            raise ValueError(f"gpu_share {self.gpu_share} can't be combined with tensor_parallel; set one of them to 1")
        if self.gpu_memory_utilization > self.gpu_share and not self.sleep:
            raise ValueError(
                f"gpu_memory_utilization {self.gpu_memory_utilization} is above gpu_share {self.gpu_share}; lower it"
            )
        return self


class LearnerConfig(Section):
    """DeepSpeed and optimizer settings that all fits share."""

    workers: int = setting(1, "Ray Train workers", unit="workers", free=True, ge=1)
    cpus_per_worker: float = setting(
        2.0, "CPUs per worker, also the number of torch threads on CPU", unit="CPUs", free=True, gt=0
    )
    gpus_per_worker: float = setting(
        0.0,
        "GPUs per worker; 0 runs on CPU with gloo; below 1 other roles live beside it",
        unit="GPUs",
        free=True,
        ge=0,
    )
    pool: str | None = setting(None, "runs on nodes with this label `pool`; None: on any node", free=True)
    placement_deadline: float = setting(
        PLACEMENT_DEADLINE, "longest wait for nodes that have room for the workers", unit="seconds", free=True, gt=0
    )
    zero_stage: Literal[0, 1, 2, 3] = setting(0, "DeepSpeed ZeRO stage", free=True)
    offload: Literal["none", "optimizer", "optimizer_and_parameters"] = setting(
        "none", "what ZeRO keeps on the CPU", free=True
    )
    precision: Literal["auto", "bfloat16", "float32"] = setting(
        "auto",
        "compute format; master weights are float32. auto: bfloat16 on GPUs, float32 on CPUs, many of which have no "
        "bfloat16 instructions",
    )
    gradient_checkpointing: bool = setting(False, "recompute activations instead of keeping them", free=True)
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = setting(
        "auto",
        "`auto`: PyTorch's variable-length kernel (packed, bfloat16, NVIDIA GPU of compute capability 8 or more), else "
        "flash-attn where it is installed, else `sdpa`, which takes packed sequences one by one",
        free=True,
    )
    lora_rank: int = setting(
        0,
        "LoRA rank through peft; 0 trains all weights. A reference is then the base with the adapter off",
        ge=0,
        le=512,
    )
    lora_alpha: float = setting(32.0, "LoRA scale: the update is alpha / rank * B A", gt=0)
    tokens_per_microbatch: int = setting(
        4096, "token budget of one forward pass per worker", unit="tokens", free=True, ge=32
    )
    packing: bool = setting(
        True, "pack sequences into rows without padding; off: pad inside the token budget", free=True
    )
    adam_betas: tuple[float, float] = setting((0.9, 0.95), "AdamW; the paper uses (0.9, 0.95)")
    weight_decay: float = setting(0.1, "AdamW; the paper uses 0.1", ge=0)
    max_grad_norm: float = setting(1.0, "gradient clipping", gt=0)
    max_skipped: int = setting(
        3,
        "optimizer steps in a row without a finite loss and gradient after which the run stops; each is skipped",
        unit="steps",
        free=True,
        ge=1,
    )
    warmup_ratio: float = setting(0.1, "share of the steps with rising learning rate; the paper says 0.1", ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = setting("cosine", "learning-rate schedule after the warm-up")
    startup_deadline: float = setting(
        1800.0, "longest time until the workers of a model have loaded it", unit="seconds", free=True, gt=0
    )
    stall_deadline: float = setting(
        1800.0,
        "longest time for one call of a learner that lives as long as the run, such as a step",
        unit="seconds",
        free=True,
        gt=0,
    )
    max_failures: int = setting(
        2, "restarts of a fit or an alignment from its last checkpoint when a worker dies", free=True, ge=0
    )
    checkpoint_every: int = setting(
        0, "optimizer steps between checkpoints inside a fit; 0: only at the end", unit="steps", free=True, ge=0
    )
    keep_checkpoints: int = setting(2, "checkpoints inside a fit that are kept", free=True, ge=1)

    @property
    def compute_format(self) -> Literal["bfloat16", "float32"]:
        """``precision``, with `auto` decided by the settings alone: the same on every machine that reads them."""
        if self.precision == "auto":
            return "bfloat16" if self.gpus_per_worker else "float32"
        return self.precision


class FitConfig(Section):
    """One kind of fit: the settings that differ between objectives."""

    learning_rate: float = setting(1e-4, "peak learning rate", gt=0)
    epochs: float = setting(1.0, "passes over the examples", unit="epochs", gt=0)
    batch_size: int = setting(
        32, "examples per optimizer step over all workers (pairs for DPO, direct and BT)", unit="examples", ge=1
    )
    beta: float = setting(0.1, "DPO temperature; the paper uses 1.0, neighbours 0.1", gt=0)
    label_smoothing: float = setting(0.0, "label smoothing of DPO, direct, BT and PairRM", ge=0, lt=0.5)
    folded_margin: float = setting(
        0.0, "share of the folded margin's logistic loss in direct GenRM; the rest is Eq. 7", unit="share", ge=0, le=1
    )
    nll_coefficient: float = setting(0.0, "weight of the NLL anchor on the chosen trace in DPO", ge=0)
    evaluate_every: int = setting(
        0,
        "optimizer steps between measurements of the loss on the gate's pairs; the best weights are the result (judges "
        "that learn from pairs, not from traces). 0: the last weights, nothing is measured",
        unit="steps",
        ge=0,
    )

    def unused_by(self, objective: str) -> str | None:
        """The setting that is not 0 although the loss of ``objective`` has no such term, if there is one."""
        if self.label_smoothing and objective == "sft":
            return "label_smoothing"
        if self.evaluate_every and objective in ("sft", "dpo"):
            return "evaluate_every"
        if self.folded_margin and objective != "direct":
            return "folded_margin"
        return "nll_coefficient" if self.nll_coefficient and objective != "dpo" else None

    @model_validator(mode="after")
    def _finite(self) -> FitConfig:
        if self.learning_rate > 1:
            raise ValueError(f"learning_rate {self.learning_rate} is above 1; peak rates are around 1e-6 to 1e-3")
        return self
