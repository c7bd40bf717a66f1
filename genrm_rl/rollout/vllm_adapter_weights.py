"""The receiving end of `shared_memory` and `ipc` weight updates, inside vLLM's worker (vLLM's own engine interface)."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.ipc_engine import IPCWeightTransferEngine
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.mtp_validation import disable_mtp_completeness_check
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from genrm_rl.rollout.gpu_handles import with_arguments
from genrm_rl.rollout.segments import map_segment
from genrm_rl.rollout.shared_weights import view_tensor


@dataclass
class SharedMemoryInitInfo(WeightTransferInitInfo):
    """Nothing to agree on beforehand."""


@dataclass
class SharedMemoryUpdateInfo(WeightTransferUpdateInfo):
    """Where each tensor lies in the segment; see `genrm_rl.rollout.shared_weights.SharedWeights.update_info`."""

    segment: str
    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    offsets: list[int]


class SharedMemoryWeightTransferEngine(WeightTransferEngine[SharedMemoryInitInfo, SharedMemoryUpdateInfo]):
    """Loads checkpoint-named tensors from shared memory through vLLM's layer-wise reload, on CPU or GPU."""

    init_info_cls = SharedMemoryInitInfo
    update_info_cls = SharedMemoryUpdateInfo

    def init_transfer_engine(self, init_info: SharedMemoryInitInfo) -> None:
        """No rendezvous is needed."""
        logging.getLogger("vllm.model_executor.model_loader.reload.layerwise").addFilter(_not_about_derived_layers)

    def start_weight_update(self) -> None:
        """Take the packed weights aside and wait for checkpoint tensors."""
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict) -> None:
        """Load one update; on failure the layers are closed again, so that another update can start cleanly."""
        try:
            self.receive_weights(self.parse_update_info(update_info))
        except BaseException:
            finalize_layerwise_reload(self.model, self.model_config)
            raise
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: SharedMemoryUpdateInfo) -> None:
        """Hand views of the segment to the model's own loader, which copies, converts and shards them."""
        memory = map_segment(update_info.segment)
        places = zip(update_info.names, update_info.dtype_names, update_info.shapes, update_info.offsets, strict=True)
        with disable_mtp_completeness_check():
            self.model.load_weights(
                (name, view_tensor(memory, getattr(torch, dtype), shape, offset))
                for name, dtype, shape, offset in places
            )

    def finish_weight_update(self) -> None:
        """Pack the new weights, and the output head that shares the embedding's.

        On CPU vLLM 0.29 keeps a packed copy of the head. A checkpoint with tied embeddings names no head, so nothing
        packs it again, and without the last line the engine would answer with the old head and raise no error.
        """
        finalize_layerwise_reload(self.model, self.model_config)
        if self.device.type == "cpu":
            for head in tied_heads(self.model):
                head.quant_method.process_weights_after_loading(head)

    def shutdown(self) -> None:
        """Nothing is held between updates."""


class PlainHandlesWeightTransferEngine(IPCWeightTransferEngine):
    """vLLM's own, for handles that came as plain data (:mod:`genrm_rl.rollout.gpu_handles`)."""

    def update_weights(self, update_info: dict) -> None:
        """Load one chunk."""
        super().update_weights(with_arguments(update_info))


def tied_heads(model: torch.nn.Module) -> list[ParallelLMHead]:
    """Output heads whose weight is the memory of an input embedding."""
    embeddings = {
        module.weight.data_ptr()
        for module in model.modules()
        if isinstance(module, VocabParallelEmbedding) and not isinstance(module, ParallelLMHead)
    }
    heads = (module for module in model.modules() if isinstance(module, ParallelLMHead))
    return [head for head in heads if head.weight.data_ptr() in embeddings]


def _not_about_derived_layers(record: logging.LogRecord) -> bool:
    """Drop vLLM's warnings about layers that are never in a checkpoint: a tied head, and rotary tables."""
    message = record.getMessage()
    return not message.startswith(("ParallelLMHead: Failed to load", "RotaryEmbedding: Failed to load"))
