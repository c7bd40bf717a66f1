"""The process group of a fit's workers, set up under Ray Train without torch in Ray Train's controller.

Ray's own ``TorchConfig`` imports torch wherever it is unpickled, so the controller, which computes nothing, spends two
seconds on it before any worker is started. This one does the same work and imports torch in the workers only.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Any

from ray.train.backend import Backend, BackendConfig


@dataclass
class ProcessGroupConfig(BackendConfig):
    """``backend`` is gloo or nccl; ``timeout`` in seconds is how long a collective waits for a missing worker."""

    backend: str = "gloo"
    timeout: float = 1800.0

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray Train's controller drives."""
        return ProcessGroupBackend


class ProcessGroupBackend(Backend):
    """Sets the usual ``torchrun`` variables and joins the group on every worker."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """All workers meet at a port of worker 0."""
        import ray
        from ray.train._internal.utils import get_address_and_port

        address, port = worker_group.execute_single(0, get_address_and_port)
        size = len(worker_group)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, join, rank, size, address, port, backend_config.backend, backend_config.timeout
                )
                for rank in range(size)
            ]
        )

    def on_training_start(self, worker_group: Any, backend_config: ProcessGroupConfig) -> None:
        """Ranks within a node are known once the Train context is there."""
        worker_group.execute(set_local_rank)


def join(rank: int, size: int, address: str, port: int, backend: str, timeout: float) -> None:
    """Join the process group in this worker; the workers meet at ``address`` of worker 0, and nowhere else."""
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(size)}
    keep_to_loopback(address)
    from datetime import timedelta

    import torch.distributed as dist

    patience = timedelta(seconds=timeout)
    # Left to itself, torch's store listens on all interfaces, and it asks nobody for a password.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=2 * size).detach() if rank == 0 else None
    store = dist.TCPStore(address, port, size, rank == 0, patience, master_listen_fd=listener)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)


def keep_to_loopback(address: str) -> None:
    """Where the workers meet on the loopback interface, what they exchange stays there too."""
    if address == "127.0.0.1":
        os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def set_local_rank() -> None:
    """Set LOCAL_RANK, and the GPU that Ray gave to this worker as the current one."""
    import ray.train
    import torch

    context = ray.train.get_context()
    os.environ |= {
        "LOCAL_RANK": str(context.get_local_rank()),
        "LOCAL_WORLD_SIZE": str(context.get_local_world_size()),
        "NODE_RANK": str(context.get_node_rank()),
    }
    if torch.cuda.is_available():
        torch.cuda.set_device(context.get_local_rank() % torch.cuda.device_count())
