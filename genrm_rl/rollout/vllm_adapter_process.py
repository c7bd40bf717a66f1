"""What runs inside vLLM's own processes: the executor, the weight engine's registration, and the orphan watch."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import psutil
from vllm.distributed.weight_transfer import WeightTransferEngineFactory
from vllm.v1.executor.abstract import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from genrm_rl.rollout.settings import EngineSettings

WORKER_EXTENSION = "genrm_rl.rollout.vllm_adapter_process.WorkerExtension"
# Engines of this project by the name under which vLLM's workers know them.
WEIGHT_ENGINES = {
    "shared_memory": "SharedMemoryWeightTransferEngine",
    "plain_ipc": "PlainHandlesWeightTransferEngine",
}
WORKER_BACKENDS = {"ipc": "plain_ipc"}  # of `rollout.weight_backend`, where the worker's end has another name

for name, engine in WEIGHT_ENGINES.items():
    if name not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(name, "genrm_rl.rollout.vllm_adapter_weights", engine)


class WorkerExtension:
    """Mixed into vLLM's worker; importing it registers the weight engine in the worker's process."""

    def close_weight_update(self) -> None:
        """Finish an update that was started and never finished; the next one replaces whatever it left."""
        if self._weight_update_active:
            self.finish_weight_update()


def watch_parent(parent: int) -> None:
    """End this process when ``parent`` is gone: a killed actor must not leave an engine behind.

    A thread that asks for the parent's id is used rather than ``PR_SET_PDEATHSIG``, which fires when the *thread* that
    started this process ends.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="genrm-parent-watch").start()


class InProcessExecutor(UniProcExecutor):
    """The worker lives in vLLM's engine process: no message queue and no second process that spins for a core."""

    def _init_executor(self) -> None:
        watch_parent(os.getppid())
        super()._init_executor()


class WorkerProcessExecutor(MultiprocExecutor):
    """One process per GPU, as vLLM does by default; the workers end with the engine process."""

    def _init_executor(self) -> None:
        watch_parent(os.getppid())
        super()._init_executor()


def executor_class(settings: EngineSettings) -> type[Executor]:
    """The executor for these settings."""
    return InProcessExecutor if settings.tensor_parallel == 1 else WorkerProcessExecutor


def process_tree(pid: int) -> tuple[int, ...]:
    """Process ids of all descendants of ``pid``."""
    return tuple(child.pid for child in psutil.Process(pid).children(recursive=True))


def end_children() -> None:
    """Kill what this process has started; a process of vLLM that still imports would outlive it by minutes."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
