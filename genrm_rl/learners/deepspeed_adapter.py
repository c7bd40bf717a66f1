"""Every use of DeepSpeed: the engine's configuration, its step, gathering sharded weights, optimizer checkpoints."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from genrm_rl.config.model import LearnerConfig
from placement.memory import BUCKET_PARAMETERS, effective_stage

# DeepSpeed warns on every import when it has to find out by itself that there is no GPU.
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")

import deepspeed  # noqa: E402
import deepspeed.ops  # noqa: E402
from deepspeed.utils import logger as deepspeed_logger  # noqa: E402

SHARD = re.compile(r"zero_pp_rank_(\d+)_")
deepspeed_logger.setLevel(logging.WARNING)
MOVED_STAGES = (1, 2)  # of which DeepSpeed moves all states to the host; see genrm_rl/config/sharing.py
# On CPU DeepSpeed would compile its shared-memory all-reduce for 40 s at first use. Only its inference calls it.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _gather_one_by_one(init: Any, params: list[Any], hierarchy: int = 0, quantize: bool = False) -> None:
    """ZeRO-3's blocking gather of several parameters, waiting for each.

    DeepSpeed waits for the last gather only: right for NCCL, which works in order, wrong for Gloo, whose two threads
    may still be filling an earlier parameter.
    """
    init._allgather_params_sequential(params, hierarchy=hierarchy)


if not torch.cuda.is_available():
    deepspeed.zero.Init._allgather_params_coalesced = _gather_one_by_one


def ensure_process_group(device: torch.device) -> None:
    """Join the process group that a launcher (Ray Train) made, or make one of a single process on ``device``."""
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        os.environ.setdefault("LOCAL_RANK", "0")
    deepspeed.init_distributed(dist_backend=dist.get_backend(), dist_init_required=False, verbose=False)


def engine_config(config: LearnerConfig, parameters: int, workers: int) -> dict[str, Any]:
    """DeepSpeed's configuration for ``config``; ``parameters`` sizes the communication buffers.

    Accumulation is not managed by DeepSpeed: a step has as many microbatches as its tokens need, each backward only
    accumulates, and ``step()`` reduces and updates. Losses arrive already divided by the global batch's totals.
    Gradients are accumulated in float32 whatever the compute format.
    """
    stage = effective_stage(config, workers)
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": stage >= 2 and config.gpus_per_worker > 0}
    if stage:
        bucket = max(1, min(parameters, BUCKET_PARAMETERS))
        zero |= {"reduce_bucket_size": bucket, "allgather_bucket_size": bucket}
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if config.offload == "optimizer_and_parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.max_grad_norm,
        # Whether a step is finite is seen by GuardedAdamW at every stage; DeepSpeed looks at some of them only.
        "bf16": {"enabled": config.compute_format == "bfloat16", "check_grad_overflow": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def _parameters(network: torch.nn.Module) -> int:
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in network.parameters())


def _to_host(network: torch.nn.Module) -> None:
    """Whatever of the network is on a GPU to pinned memory of the host."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.device.type != "cpu":
            tensor.data = torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor.data)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _Surface:
    """What both engines share: calling the network, and seeing whole parameters."""

    config: LearnerConfig
    engine: Any

    def forward(self, *args: Any) -> Any:
        return self.engine(*args)

    @contextlib.contextmanager
    def gathered(self, parameters: list[torch.nn.Parameter]) -> Iterator[None]:
        """Inside, the parameters hold their full values on every worker (ZeRO-3 shards them otherwise)."""
        if self.config.zero_stage == 3:
            with deepspeed.zero.GatheredParameters(parameters):
                yield
        else:
            yield


def shard_rank(file: str) -> int | None:
    """The worker that alone writes and reads a file of a state, which DeepSpeed names after it; None for a file of
    worker 0 that all read."""
    found = SHARD.search(file)
    return int(found[1]) if found else None


class GuardedAdamW(torch.optim.AdamW):
    """AdamW that does nothing while ``skip`` is set, so that weights and moments stay as they are."""

    skip = False

    def step(self, closure: Any = None) -> Any:
        """One update, or none."""
        return None if self.skip else super().step(closure)


class DeepSpeedEngine(_Surface):
    """A thin, typed surface over ``deepspeed.initialize``: what the learner calls, and nothing else."""

    def __init__(self, network: torch.nn.Module, groups: list[dict[str, Any]], config: LearnerConfig) -> None:
        self.config = config
        # PyTorch's fused AdamW: starts at once, where DeepSpeed's own Adam compiles for a minute at first use.
        self._adam = GuardedAdamW(groups, lr=0.0, betas=config.adam_betas, eps=1e-8, fused=True)
        self.engine, *_ = deepspeed.initialize(
            model=network,
            optimizer=self._adam,
            config=engine_config(config, _parameters(network), dist.get_world_size()),
            dist_init_required=False,
        )
        self._norm: float | None = None
        if self.engine.zero_optimization_stage():
            zero = self.engine.optimizer
            for name in ("get_grad_norm_direct", "complete_grad_norm_calculation_for_cpu_offload"):
                setattr(zero, name, self._watched(getattr(zero, name)))
        else:  # float32: DeepSpeed clips but forgets the norm
            self.engine.clip_fp32_gradients = self._clip_and_keep_norm

    def _watched(self, norm_of_group: Any) -> Any:
        """ZeRO's norm of one group of parameters, known before anything is updated and the same on all workers.

        It is -1 where a gradient is not finite. DeepSpeed would go on: the norm over all groups hides the sign.
        """

        def watched(*arguments: Any, **options: Any) -> Any:
            norm = norm_of_group(*arguments, **options)
            self._adam.skip |= not 0 <= float(norm) < math.inf
            return norm

        return watched

    def _clip_and_keep_norm(self) -> None:
        parameters = self.module.parameters()
        self._norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        self._adam.skip |= not math.isfinite(self._norm)

    @property
    def module(self) -> torch.nn.Module:
        """The wrapped network; call the engine instead for a forward pass."""
        return self.engine.module

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate the gradients of an already scaled loss."""
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, learning_rate: float, *, skip: bool = False) -> float:
        """Reduce, clip, update, zero. Returns the gradient norm before clipping, NaN if the gradient is not finite.

        Then, or if ``skip`` is set, nothing is updated, on no worker.
        """
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._adam.skip = skip
        self.engine.step()
        if self._adam.skip:
            return math.nan
        norm = self.engine.get_global_grad_norm()
        return float(norm if norm is not None else self._norm)

    def offload(self) -> None:
        """Weights, master weights and moments to the host. ZeRO's own are moved by DeepSpeed, at the stages at which it
        can; what does not learn (LoRA's base) is moved beside them."""
        if self._moves_states:
            self.engine.offload_states()
        _to_host(self.module)

    def reload(self) -> None:
        """Back to the device."""
        if self._moves_states:
            self.engine.reload_states()
        self.module.to(self.engine.device)

    @property
    def _moves_states(self) -> bool:
        return self.engine.zero_optimization_stage() in MOVED_STAGES

    def save_state(self, directory: Path, tag: str, client_state: dict[str, Any]) -> None:
        """Weights, optimizer and ``client_state``; every worker must call it, each writes its shard."""
        self.engine.save_checkpoint(str(directory), tag=tag, client_state=client_state, save_latest=False)

    def load_state(self, directory: Path, tag: str) -> dict[str, Any]:
        """Restore what :meth:`save_state` wrote; returns the client state."""
        path, client_state = self.engine.load_checkpoint(str(directory), tag=tag)
        if path is None:
            raise FileNotFoundError(f"{directory}/{tag} holds no DeepSpeed state")
        return client_state

    def destroy(self) -> None:
        """Drop hooks and buffers, so that another engine can be built in this process."""
        self.engine.destroy()


class FrozenEngine(_Surface):
    """The evaluating part of :class:`DeepSpeedEngine`: no gradients, no optimizer. Shards of the weights under ZeRO-3
    (ZeRO-Inference, as OpenRLHF keeps its reference), a plain network otherwise."""

    def __init__(self, network: torch.nn.Module, config: LearnerConfig) -> None:
        self.config = config
        self._network = network.requires_grad_(False).eval()
        self._device = next(network.parameters()).device
        self.engine: Any = self._network
        if config.zero_stage == 3:
            settings = engine_config(config, _parameters(network), dist.get_world_size())
            settings["zero_optimization"].pop("offload_optimizer", None)
            self.engine, *_ = deepspeed.initialize(model=network, config=settings, dist_init_required=False)

    @property
    def module(self) -> torch.nn.Module:
        """The network itself."""
        return self._network

    def offload(self) -> None:
        """The weights to the host, but for shards of ZeRO-3."""
        if self.engine is self._network:
            _to_host(self._network)

    def reload(self) -> None:
        """Back to the device."""
        self._network.to(self._device)

    def destroy(self) -> None:
        """Drop ZeRO-3's hooks."""
        if self.engine is not self._network:
            self.engine.destroy()
