"""The sending end on GPU: vLLM's own trainer-side engines (`nccl`, `ipc`), driven from a process that has a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import ray
import torch
from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.base import ParamMeta, TrainerInitInfo, VLLMWeightSyncClient, WeightSource
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo
from vllm.distributed.weight_transfer.packed_tensor import DEFAULT_PACKED_BUFFER_SIZE_BYTES

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.runtime.machine_checks import free_port


class DeviceSource(WeightSource):
    """Host tensors, moved to the GPU one by one as vLLM asks for them."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._tensors = tensors

    def metadata(self) -> list[ParamMeta]:
        """Names, dtypes and shapes."""
        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self._tensors.items()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self._tensors.items():
            yield name, tensor.to("cuda", non_blocking=True)


def send_from_gpu(
    settings: EngineSettings,
    tensors: Mapping[str, torch.Tensor],
    client: VLLMWeightSyncClient,
    *,
    engines: int,
    rank: int,
) -> None:
    """One update round over NCCL (from ``rank`` 0 alone), or over CUDA IPC, in which every worker of a learner takes
    part, because each shares its own GPU with an engine.

    Raises:
        EnvironmentProblem: this process has no GPU; `shared_memory` needs none.
    """
    if not torch.cuda.is_available():
        raise EnvironmentProblem(
            f"rollout.weight_backend {settings.weight_backend} sends from a GPU, and the publishing process has none; "
            "set rollout.weight_backend to auto or shared_memory"
        )
    info: TrainerInitInfo
    if settings.weight_backend == "ipc":
        # Every tensor must fit the buffer that the chunks pass through; an embedding of 8B models is above 1 GiB.
        buffer = max(DEFAULT_PACKED_BUFFER_SIZE_BYTES, *(tensor.nbytes for tensor in tensors.values()))
        info = IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=buffer)
    else:
        info = NCCLTrainerInitInfo(
            rank=rank,
            master_address=ray.util.get_node_ip_address(),
            master_port=free_port(""),
            world_size=1 + engines * settings.tensor_parallel,
        )
    trainer = WeightTransferTrainerFactory.trainer_init(info, client=client, source=DeviceSource(tensors))
    try:
        trainer.send_weights()
    finally:
        trainer.shutdown()
