"""A handle of GPU memory goes through vLLM's own encoding as plain data, and is the same at the other end."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch.multiprocessing.reductions import rebuild_cuda_tensor

from genrm_rl.rollout.gpu_handles import plain_handle, plain_update, with_arguments
from genrm_rl.rollout.vllm_adapter_process import WEIGHT_ENGINES, WORKER_BACKENDS

# As torch gives them out for a uint8 buffer of 1 MiB on GPU 0 (with other bytes).
HANDLE = (
    torch.Tensor, torch.Size([2**20]), (1,), 0, torch.storage.TypedStorage, torch.uint8, 0, b"\x01h" * 32, 2**20, 512,
    False, b"/torch_1_2", 64, b"\x02e" * 32, True,
)  # fmt: skip


def test_a_handle_survives_as_plain_data():
    info = {"names": ["a"], "shapes": [[2**20]], "ipc_handles": {"GPU-1": HANDLE}, "tensor_sizes": [2**20]}
    carried = msgspec.msgpack.decode(msgspec.msgpack.encode(plain_update(info)))
    assert with_arguments(carried) == info
    assert len(HANDLE) == rebuild_cuda_tensor.__code__.co_argcount
    names = rebuild_cuda_tensor.__code__.co_varnames
    assert [names[place] for place in (0, 1, 2, 4, 5)] == [
        "tensor_cls", "tensor_size", "tensor_stride", "storage_cls", "dtype",
    ]  # fmt: skip


def test_a_handle_of_another_form_is_refused_and_other_updates_pass():
    with pytest.raises(ValueError, match="has another form"):
        plain_handle((*HANDLE, "more"))
    assert plain_update({"names": ["a"], "segment": "x"}) == {"names": ["a"], "segment": "x"}


def test_the_workers_end_is_the_one_that_reads_plain_handles():
    assert WORKER_BACKENDS["ipc"] in WEIGHT_ENGINES
