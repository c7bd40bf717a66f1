"""Weights held once by the process that has them, the driver or a learner, and their way to every engine.

Engines on the holder's node map its memory. For each other node one engine copies the memory there first, in pieces
through Ray's object store, so the driver's node carries no weights that a learner publishes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle

from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.shared_weights import SharedWeights
from genrm_rl.rollout.sync_client import RPC_SECONDS, EngineSyncClient, in_phases

PIECE_BYTES = 256 * 2**20


class HeldWeights(SharedWeights):
    """Weights in the shared memory of this process's node: a payload."""

    def send(self, version: str, settings: EngineSettings, engines: Sequence[ActorHandle], rank: int = 0) -> None:
        """See :meth:`Payload.send`. ``nccl`` and ``ipc`` need a GPU in this process; with ``ipc`` every worker of a
        learner sends to the engines on its own GPU, and ``rank`` 0 speaks for all."""

        def from_memory(client: EngineSyncClient) -> None:
            client.init_weight_transfer_engine({})
            client.start_weight_update()
            with _segments(self._memory.buf, self.name, engines) as names:
                info = self.update_info()
                client.call_each("update", "update_weights", [(info | {"segment": name},) for name in names])
            client.finish_weight_update()

        def from_gpu(client: EngineSyncClient) -> None:
            from genrm_rl.rollout.vllm_adapter_sender import send_from_gpu

            send_from_gpu(settings, self.tensors(), client, engines=len(engines), rank=rank)

        work = from_memory if settings.weight_backend == "shared_memory" else from_gpu
        in_phases(version, engines, work, settings.tensor_parallel)


class HeldAdapter:
    """A LoRA adapter as the files that peft writes, in this process; without any, the base itself. A payload."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)
        self.nbytes = sum(map(len, self._files.values()))

    def send(self, version: str, settings: EngineSettings, engines: Sequence[ActorHandle], rank: int = 0) -> None:
        """See :meth:`Payload.send`: vLLM loads the adapter beside the base's weights, which stay as they are."""
        files = ray.put(self._files)
        in_phases(version, engines, lambda client: client.call("update", "serve_adapter", version, files))

    def close(self) -> None:
        """Nothing but memory of this process is held."""


@contextmanager
def _segments(memory: memoryview, name: str, engines: Sequence[ActorHandle]) -> Iterator[list[str]]:
    """Which segment each engine can map: the holder's own, or a copy on the engine's node for the time of the block."""
    own = ray.get_runtime_context().get_node_id()
    nodes = _all(engine.node.remote() for engine in engines)
    receivers = {node: engine for node, engine in zip(nodes, engines, strict=True) if node != own}  # one a node
    try:
        copies = _all(engine.open_segment.remote(len(memory)) for engine in receivers.values())
        for start in range(0, len(memory), PIECE_BYTES) if receivers else ():
            piece = ray.put(np.frombuffer(memory[start : start + PIECE_BYTES], dtype=np.uint8))
            _all(engine.fill_segment.remote(start, piece) for engine in receivers.values())
        names = {own: name} | dict(zip(receivers, copies, strict=True))
        yield [names[node] for node in nodes]
    finally:
        for engine in receivers.values():  # nobody waits: a receiver that is gone took its copy with it
            engine.close_segment.remote()


def _all(calls: Iterable[ray.ObjectRef]) -> list[Any]:
    return ray.get(list(calls), timeout=RPC_SECONDS)
