"""Everything one engine process needs to know, resolved once from the configuration; no vLLM in here."""

from __future__ import annotations

import glob
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.errors import ModelError
from genrm_rl.models.inspection import inspect_directory
from placement.memory import GIB, NUMBER_BYTES, cache_gib

Device = Literal["cpu", "cuda"]
WeightBackend = Literal["nccl", "ipc", "shared_memory", "adapter"]
Distribution = Literal["model", "sampling"]
SleepLevel = Literal[1, 2]  # vLLM's: weights go to the host, or are dropped because others will be published


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Resolved settings of one engine. Sizes in tokens, memory in GiB.

    ``logprobs_of`` says which distribution the log-probabilities of generated tokens belong to: the model's own, or the
    one that was sampled from, after temperature and top-p. ``beside_others``: other processes have memory of its GPU.
    With a ``lora_rank`` the engine keeps the base's weights and is sent LoRA adapters of at most that rank
    (``weight_backend`` adapter).
    """

    model_path: str
    device: Device
    dtype: str
    max_context: int
    max_sequences: int
    tensor_parallel: int
    enforce_eager: bool
    kv_cache_gib: float
    gpu_memory_utilization: float
    weight_backend: WeightBackend
    sleep: bool
    cpu_threads: int
    logprobs_of: Distribution = "model"
    beside_others: bool = False
    lora_rank: int = 0


def engine_settings(
    model_path: str | Path,
    rollout: RolloutConfig,
    model: ModelConfig,
    device: Device,
    logprobs_of: Distribution = "model",
    lora_rank: int = 0,
) -> EngineSettings:
    """Resolve the settings of every engine of a pool.

    Raises:
        ModelError: the directory has no ``config.json``, or the model's own context is shorter than the configured one.
    """
    config = model_config_json(model_path)
    longest = config.get("max_position_embeddings")
    if isinstance(longest, int) and longest < model.max_context:
        raise ModelError(
            f"model.max_context is {model.max_context} tokens, but {model_path} was made for {longest}; "
            f"set model.max_context to {longest} or less"
        )
    # A checkpoint on disk needs no GPU process to be sent; a learner that publishes from its GPU sets nccl or ipc.
    adapters = lora_rank > 0 and rollout.weight_backend == "auto"
    backend = "shared_memory" if rollout.weight_backend == "auto" else rollout.weight_backend
    return EngineSettings(
        model_path=str(model_path),
        device=device,
        dtype=model.dtype,
        max_context=model.max_context,
        # The other half waits in vLLM's own queue, so a finished sequence is replaced in the same step.
        max_sequences=(rollout.max_in_flight + 1) // 2,
        tensor_parallel=1 if device == "cpu" else rollout.tensor_parallel,
        enforce_eager=device == "cpu" if rollout.enforce_eager is None else rollout.enforce_eager,
        kv_cache_gib=rollout.kv_cache_gib,
        gpu_memory_utilization=rollout.gpu_memory_utilization,
        weight_backend="adapter" if adapters else backend,
        sleep=rollout.sleep and device == "cuda",
        cpu_threads=max(1, math.ceil(rollout.cpus_per_engine)),
        logprobs_of=logprobs_of,
        beside_others=device == "cuda" and (rollout.gpu_share < 1 or rollout.sleep),
        lora_rank=lora_rank if adapters else 0,
    )


def cache_bytes(settings: EngineSettings, gpu_bytes: int) -> int:
    """Room for keys and values on a GPU of ``gpu_bytes``, from the settings alone: vLLM would measure what is free, and
    so count what others take or give back meanwhile. Raises ModelError if the weights leave none."""
    weights = inspect_directory(Path(settings.model_path)).parameters * NUMBER_BYTES[settings.dtype]
    room = cache_gib(settings.gpu_memory_utilization, gpu_bytes / GIB, weights / settings.tensor_parallel / GIB)
    if room <= 0:
        raise ModelError(
            f"an engine may take {settings.gpu_memory_utilization:g} of a GPU of {gpu_bytes / GIB:.0f} GiB, and the "
            f"weights of {settings.model_path} leave nothing of it for keys and values; raise gpu_memory_utilization"
        )
    return int(room * GIB)


def model_config_json(model_path: str | Path) -> dict[str, object]:
    """The model directory's ``config.json``; `ModelError` if there is none."""
    path = Path(model_path) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{model_path} is not a model directory: it has no config.json") from error
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is not valid JSON: {error}") from error


def engine_environment(settings: EngineSettings) -> dict[str, str]:
    """Environment variables that must be set before vLLM is imported; its own processes inherit them.

    On CPU vLLM reads the thread binding and the preloaded OpenMP library from the environment only.
    """
    environment = {
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if settings.device == "cuda" and settings.dtype == "float32":
        # Left to itself, Triton's attention multiplies float32 in TF32, which the parity probe's limit refuses.
        environment["TRITON_F32_DEFAULT"] = "ieee"
    if settings.device == "cpu":
        threads = str(settings.cpu_threads)
        environment |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # Engine, learner and driver share cores: a thread that waits must sleep, not spin. With spinning threads two
        # cores gave half the tokens/s at twice the CPU time.
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "1", "KMP_TPAUSE": "0"}
        library = intel_openmp() if settings.cpu_threads > 1 else None
        preloaded = os.environ.get("LD_PRELOAD", "")
        if library is not None and "libiomp" not in preloaded:
            environment["LD_PRELOAD"] = f"{library}:{preloaded}".rstrip(":")
    return environment


def intel_openmp() -> str | None:
    """Path of ``libiomp5.so`` if the package intel-openmp is installed beside this interpreter."""
    found = glob.glob(os.path.join(sys.prefix, "lib", "libiomp5.so"))
    return found[0] if found else None
