"""CUDA IPC handles as plain data.

What torch gives out to open another process's GPU memory (`torch.multiprocessing.reductions.reduce_tensor`) holds
classes and a dtype, which vLLM's own encoding carries as pickles only, and unpickling is running code. The classes are
always the same; so only names, numbers and bytes travel, and the engine's RPC stays closed to pickles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

# Arguments of `torch.multiprocessing.reductions.rebuild_cuda_tensor` after the tensor's class, in order; the storage's
# class stands between the third and the fourth.
SIZE, STRIDE, STORAGE, DTYPE = 1, 2, 4, 5
ARGUMENTS = 15
Plain = list[Any]


def plain_handle(arguments: Sequence[Any]) -> Plain:
    """What :func:`handle_arguments` makes the same arguments of again. Raises ValueError for those of another torch."""
    if len(arguments) != ARGUMENTS or arguments[0] is not torch.Tensor:
        raise ValueError(f"a CUDA IPC handle of torch {torch.__version__} has another form than the one known here")
    found = list(arguments)
    found[SIZE], found[STRIDE], found[DTYPE] = (
        list(found[SIZE]),
        list(found[STRIDE]),
        str(found[DTYPE])[len("torch.") :],
    )
    del found[STORAGE], found[0]
    return found


def handle_arguments(plain: Plain) -> tuple[Any, ...]:
    """Arguments of ``rebuild_cuda_tensor``."""
    found = [torch.Tensor, *plain]
    found.insert(STORAGE, torch.storage.TypedStorage)
    found[SIZE], found[STRIDE] = torch.Size(found[SIZE]), tuple(found[STRIDE])
    found[DTYPE] = getattr(torch, found[DTYPE])
    return tuple(found)


def plain_update(info: Mapping[str, Any]) -> dict[str, Any]:
    """An update of vLLM's ``ipc`` engine with plain handles; others as they are. ``ipc_handles`` maps a GPU's UUID to
    the handle of the packed buffer."""
    if "ipc_handles" not in info:
        return dict(info)
    return {**info, "ipc_handles": {gpu: plain_handle(each) for gpu, each in info["ipc_handles"].items()}}


def with_arguments(info: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`plain_update` was made of."""
    return {**info, "ipc_handles": {gpu: handle_arguments(each) for gpu, each in info["ipc_handles"].items()}}
