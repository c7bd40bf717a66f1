"""How much GPU memory a role takes: a written model, one function per role.

Bytes per parameter follow DeepSpeed's ZeRO paper (arXiv 1910.02054); activations follow Korthikanti et al.
(arXiv 2205.05198, 34 bytes per token and hidden unit in a layer without attention scores, which flash attention and
SDPA don't keep). All amounts are GiB per GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from genrm_rl.config.model import LearnerConfig, ModelConfig, RolloutConfig
from placement.shapes import ModelShape

GIB = 2**30
LAYER_BYTES = 34  # activations of one layer, per token and hidden unit, 2-byte numbers
LOGIT_BYTES = 16  # of one logit: the head's own copy, float32, and what the log-probabilities' backward pass keeps
LOGIT_PIECE = 1 << 26  # logits that a learner has at once
RUNTIME_GIB = 1.5  # CUDA context, NCCL buffers, allocator slack; all that a process keeps while others have its GPU
NUMBER_BYTES = {"float32": 4, "bfloat16": 2}
BUCKET_PARAMETERS = 200_000_000  # whose gradients ZeRO reduces in one go, at most
LIVE_PARAMETERS = 1e9  # that ZeRO-3 keeps gathered at most (DeepSpeed's stage3_max_live_parameters)


@dataclass(frozen=True)
class Memory:
    """What one GPU holds. ``parts`` in GiB; ``host`` is memory of the node per process, GiB."""

    parts: dict[str, float]
    host: float = 0.0

    @property
    def total(self) -> float:
        """GiB on the GPU."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        return " + ".join(f"{name} {amount:.1f}" for name, amount in self.parts.items() if amount >= 0.05)


def effective_stage(config: LearnerConfig, workers: int) -> int:
    """The ZeRO stage that DeepSpeed is given.

    In bfloat16 DeepSpeed without ZeRO accumulates gradients in bfloat16, and its first update was seen to differ from
    all other stages. So stages 0 and 1 become 2 with one worker (nothing is there to be sharded, the arithmetic is the
    same, and it starts 5 s sooner than 1), and stage 0 becomes 1 with several.
    """
    if config.compute_format == "float32" or config.zero_stage >= 2:
        return config.zero_stage
    return 2 if workers == 1 else 1


def trained_model(shape: ModelShape, config: LearnerConfig) -> Memory:
    """One worker of a model that learns: weights, float32 gradients, AdamW's moments, activations, and under ZeRO its
    master weights (also of float32 weights, which it copies) and the bucket in which it reduces gradients.

    ZeRO-3 shards the weights too, from loading on; ``gathered`` are the layers that are whole while they work, beside
    the shards, also with one worker. `genrm-rl selftest learner_memory` holds this against a machine.
    """
    parameters, number = shape.parameters, NUMBER_BYTES[config.compute_format]
    workers = config.workers
    stage = effective_stage(config, workers)
    optimizer_parameters = _lora_parameters(shape, config.lora_rank) if config.lora_rank else parameters
    states = optimizer_parameters * (12 if stage >= 1 or number == 2 else 8) / (workers if stage >= 1 else 1)
    gradients = optimizer_parameters * 4 / (workers if stage >= 2 else 1)
    offloaded = states if config.offload != "none" else 0.0
    parts = {
        **_weights(shape, config),
        "gradients": gradients,
        "optimizer": states - offloaded,
        "bucket": min(optimizer_parameters, BUCKET_PARAMETERS) * number if stage >= 1 else 0.0,
        "activations": _activations(shape, config, number),
    }
    return Memory({name: amount / GIB for name, amount in parts.items()}, host=offloaded / GIB)


def frozen_model(shape: ModelShape, config: LearnerConfig) -> Memory:
    """One worker of a reference: its weights, and one layer's activations with the logits."""
    number = NUMBER_BYTES[config.compute_format]
    layer = config.tokens_per_microbatch * shape.hidden * LAYER_BYTES * number / 2
    logits = _logits(shape, config) / 2
    parts = _weights(shape, config) | {"activations": layer + logits}
    return Memory({name: amount / GIB for name, amount in parts.items()})


def engine(shape: ModelShape, rollout: RolloutConfig, model: ModelConfig) -> Memory:
    """The least that an engine must hold on each of its GPUs: its part of the weights and one whole sequence."""
    number = NUMBER_BYTES[model.dtype]
    parts = {
        "weights": shape.parameters * number / rollout.tensor_parallel,
        "one sequence": shape.kv_bytes(number) * model.max_context / rollout.tensor_parallel,
    }
    return Memory({name: amount / GIB for name, amount in parts.items()}, host=shape.parameters * number / GIB)


def sequences(shape: ModelShape, rollout: RolloutConfig, model: ModelConfig, gpu_gib: float) -> int:
    """Sequences of full length whose keys and values fit beside the weights, within ``gpu_memory_utilization``."""
    need = engine(shape, rollout, model).parts
    return max(0, int(cache_gib(rollout.gpu_memory_utilization, gpu_gib, need["weights"]) / need["one sequence"]))


def cache_gib(utilization: float, gpu_gib: float, weights_gib: float) -> float:
    """Room for keys and values on a GPU of which an engine takes the share ``utilization``; negative if there is
    none."""
    return utilization * gpu_gib - RUNTIME_GIB - weights_gib


def _weights(shape: ModelShape, config: LearnerConfig) -> dict[str, float]:
    whole = shape.parameters * NUMBER_BYTES[config.compute_format]
    if config.zero_stage < 3:
        return {"weights": whole, "gathered": 0.0}
    live = min(LIVE_PARAMETERS, shape.parameters) * NUMBER_BYTES[config.compute_format]
    return {"weights": whole / config.workers, "gathered": live}


def _activations(shape: ModelShape, config: LearnerConfig, number: int) -> float:
    tokens = config.tokens_per_microbatch
    layer = tokens * shape.hidden * LAYER_BYTES * number / 2
    kept = (
        tokens * shape.hidden * number * shape.layers + layer if config.gradient_checkpointing else layer * shape.layers
    )
    return kept + _logits(shape, config)


def _logits(shape: ModelShape, config: LearnerConfig) -> float:
    return min(config.tokens_per_microbatch * shape.vocabulary, LOGIT_PIECE) * LOGIT_BYTES


def _lora_parameters(shape: ModelShape, rank: int) -> int:
    """Two factors for each of the seven projections of a layer."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    widths = 2 * (shape.hidden + q) + 2 * (shape.hidden + kv) + 3 * (shape.hidden + shape.intermediate)
    return shape.layers * rank * widths
