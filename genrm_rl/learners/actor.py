"""One worker of a group of learners, as a Ray actor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.objective import Objective
from genrm_rl.learners.packing import Segment
from genrm_rl.runtime.imports import without_collections
from genrm_rl.runtime.stalls import Whereabouts, stand_by_for_stacks

if TYPE_CHECKING:
    import numpy as np
    from ray.actor import ActorHandle

    from genrm_rl.learners.learner import StepMetrics
    from genrm_rl.learners.network import HeadKind
    from genrm_rl.rollout.held_weights import HeldAdapter, HeldWeights
    from genrm_rl.rollout.settings import EngineSettings, WeightBackend


@ray.remote(max_restarts=0)
class LearnerActor:
    """One worker of a group: a :class:`~genrm_rl.learners.learner.Learner` behind Ray calls."""

    def whereabouts(self) -> Whereabouts:
        """Its process, ready to show its stacks."""
        return stand_by_for_stacks()

    def address(self) -> tuple[str, int]:
        """Where the workers of the group can meet."""
        from ray.train._internal.utils import get_address_and_port

        return get_address_and_port()

    def setup(
        self,
        rank: int,
        size: int,
        meeting: tuple[str, int],
        model_dir: str,
        config: LearnerConfig,
        head: HeadKind,
        seed: int,
        trainable: bool,
    ) -> None:
        """Join the process group and load the model."""
        import os

        from genrm_rl.learners.process_group import join

        if size > 1:
            os.environ["LOCAL_RANK"] = "0"  # Ray shows each worker its own GPU only
            join(rank, size, *meeting, "nccl" if config.gpus_per_worker else "gloo", config.startup_deadline)
        with without_collections():
            from genrm_rl.learners.learner import Learner
            from genrm_rl.learners.state_upload import StateUpload

        self._upload = StateUpload()
        self._learner = Learner(model_dir, config, head=head, seed=seed, trainable=trainable)
        self._model_dir = model_dir
        self._held: dict[int, HeldWeights | HeldAdapter] = {}

    def logprobs(self, segments: Sequence[Segment], temperature: float, adapter: bool) -> list[np.ndarray]:
        """Log-probabilities of the taken tokens, one float32 array per segment."""
        with self._with(adapter):
            return [values.numpy() for values in self._learner.logprobs(segments, temperature=temperature)]

    def summed_logprobs(self, segments: Sequence[Segment], adapter: bool) -> np.ndarray | None:
        """Their sums by segment; worker 0 speaks for all."""
        with self._with(adapter):
            sums_S = self._learner.summed_logprobs(segments)
        return sums_S if self._learner.rank == 0 else None

    def values(self, segments: Sequence[Segment]) -> list[np.ndarray]:
        """Scalars of the taken positions, one float32 array per segment."""
        return [values.numpy() for values in self._learner.values(segments)]

    def most_likely(
        self, segments: Sequence[Segment], top_k: int, adapter: bool
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The most likely tokens of the taken positions and their log-probabilities."""
        with self._with(adapter):
            return self._learner.most_likely(segments, top_k)

    def _with(self, adapter: bool) -> AbstractContextManager[None]:
        return nullcontext() if adapter else self._learner.network.without_adapter()

    def step(self, batch: Sequence[Any], objective: Objective, learning_rate: float) -> StepMetrics:
        """One optimizer step on the global batch."""
        return self._learner.step(batch, objective, learning_rate=learning_rate)

    def hold_weights(self, number: int, backend: WeightBackend) -> int:
        """Keep a copy of the weights, or of the ``adapter`` alone, under ``number`` in worker 0's host memory (``ipc``:
        in every worker's); returns its bytes, 0 where none is kept."""
        from genrm_rl.rollout.held_weights import HeldAdapter, HeldWeights

        if backend == "adapter":
            self._held[number] = HeldAdapter(self._learner.adapter_files(self._model_dir))
            return self._held[number].nbytes
        weights = self._learner.weights()
        if backend == "ipc" or self._learner.rank == 0:
            self._held[number] = HeldWeights(weights)
            return self._held[number].nbytes
        for _ in weights:  # gathering is work of all
            pass
        return 0

    def send_weights(self, number: int, version: str, settings: EngineSettings, engines: list[ActorHandle]) -> None:
        """Send a copy to the engines."""
        self._held[number].send(version, settings, engines, rank=self._learner.rank)

    def drop_weights(self, number: int) -> None:
        """Let go of a copy, if this worker has it."""
        held = self._held.pop(number, None)
        if held is not None:
            held.close()

    def offload(self) -> None:
        """Weights and optimizer to the host."""
        self._learner.offload()

    def reload(self) -> None:
        """And back."""
        self._learner.reload()

    def save(self, directory: str) -> None:
        """Write an HF checkpoint into an existing directory."""
        self._learner.save(Path(directory), self._model_dir)

    def save_state(self, directory: str, tag: str) -> None:
        """Weights and optimizer; an object store gets this worker's shard while other calls go on."""
        self._learner.save_state(Path(directory), tag, {})
        self._upload.begin(Path(directory), tag, self._learner.rank)

    def uploaded(self, wait: bool) -> bool:
        """Whether that shard has arrived; ``wait`` until it has."""
        return self._upload.arrived(wait=wait)

    def load_state(self, directory: str, tag: str) -> None:
        """Go on from :meth:`save_state`."""
        self._learner.load_state(Path(directory), tag)
