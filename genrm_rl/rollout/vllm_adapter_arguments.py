"""vLLM's arguments for an engine, and its sampling parameters for a request, from the settings of this project."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open
from vllm import SamplingParams
from vllm.config import WeightTransferConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind

from genrm_rl.generation import GenerationRequest
from genrm_rl.rollout.settings import EngineSettings, cache_bytes
from genrm_rl.rollout.vllm_adapter_process import WORKER_BACKENDS, WORKER_EXTENSION, executor_class
from placement.memory import GIB

CPU_BLOCK = 32  # tokens
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM makes room for


def engine_arguments(settings: EngineSettings) -> AsyncEngineArgs:
    """vLLM's arguments for these settings.

    Prompts are prefilled whole (no chunked prefill) on CPU: vLLM 0.29 rewinds the random generator of a half-prefilled
    seeded request, which a CPU generator can't do, and the engine dies. Prefixes are shared by whole blocks, by default
    128 tokens on CPU, longer than most prompts of a small judge. 32 is the least that the CPU kernels take; it costs no
    throughput. With scheduling by priority the parity probe goes before what waits; all else has the same priority and
    is taken in order.
    """
    on_cpu = settings.device == "cpu"
    return AsyncEngineArgs(
        model=settings.model_path,
        dtype=settings.dtype,
        max_model_len=settings.max_context,
        max_num_seqs=settings.max_sequences,
        scheduling_policy="priority",
        tensor_parallel_size=settings.tensor_parallel,
        enforce_eager=settings.enforce_eager,
        enable_prefix_caching=True,
        block_size=CPU_BLOCK if on_cpu else None,
        distributed_executor_backend=executor_class(settings),
        worker_extension_cls=WORKER_EXTENSION,
        weight_transfer_config=None
        if settings.lora_rank
        else WeightTransferConfig(backend=WORKER_BACKENDS.get(settings.weight_backend, settings.weight_backend)),
        enable_lora=settings.lora_rank > 0,
        max_lora_rank=next(rank for rank in RANKS if rank >= settings.lora_rank),
        max_loras=1,
        lora_target_modules=block_layers(settings.model_path) if settings.lora_rank else None,
        logprobs_mode="raw_logprobs" if settings.logprobs_of == "model" else "processed_logprobs",
        enable_chunked_prefill=False if on_cpu else None,
        max_num_batched_tokens=max(4096, settings.max_context) if on_cpu else None,
        kv_cache_memory_bytes=_cache_memory(settings),
        gpu_memory_utilization=settings.gpu_memory_utilization,
        enable_sleep_mode=settings.sleep,
        disable_log_stats=True,
        seed=0,
    )


def _cache_memory(settings: EngineSettings) -> int | None:
    """Bytes for keys and values; None lets vLLM measure a GPU that the engine has for itself."""
    if settings.device == "cpu":
        return int(settings.kv_cache_gib * GIB)
    if not settings.beside_others:
        return None
    return cache_bytes(settings, current_platform.get_device_total_memory())


def block_layers(model_path: str) -> list[str]:
    """Names of the linear layers inside the blocks (``q_proj``, ...), from the headers of the checkpoint: where a
    learner puts LoRA. Left to itself, vLLM 0.29 wraps the output head too, and dies when it is asked for
    log-probabilities of a prompt: the head's LoRA knows of sampled positions alone."""
    found: set[str] = set()
    for file in Path(model_path).glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                block, _, layer = name.removesuffix(".weight").rpartition(".")
                in_block = any(part.isdecimal() for part in block.split("."))
                if in_block and name.endswith(".weight") and len(tensors.get_slice(name).get_shape()) == 2:
                    found.add(layer)
    return sorted(found)


def sampling_params(request: GenerationRequest) -> SamplingParams:
    """Sampling parameters of one request; text is decoded once at the end unless stop strings need it on the way."""
    return SamplingParams(
        n=1,
        temperature=request.temperature,
        top_p=request.top_p if request.temperature > 0 else 1.0,
        max_tokens=request.max_tokens,
        seed=request.seed,
        stop=list(request.stop) or None,
        stop_token_ids=list(request.stop_token_ids) or None,
        logprobs=0 if request.sampled_logprobs and not request.logprob_token_ids else None,
        logprob_token_ids=list(request.logprob_token_ids) or None,
        flat_logprobs=True,
        detokenize=bool(request.stop),
        skip_special_tokens=True,
        skip_clone=True,  # made for this one request, so vLLM may change it
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
