"""Weight publication with proof: vLLM's four phases on every engine, then the same log-probabilities as the learner.

Order (the minimum that healthy RL systems share): pause, init, start, update, finish with the version, forget cached
prefixes, resume, probe. If anything fails, the weights that were served before are published again and probed; no
engine is left with weights that nobody has checked.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError

from genrm_rl.errors import GenRMError
from genrm_rl.rollout.errors import EngineProcessDied, PublicationError
from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.types import ParityProbe, SyncReceipt
from genrm_rl.runtime.object_store import fetch

if TYPE_CHECKING:
    import torch

    from genrm_rl.rollout.parity import ProbeReference
    from genrm_rl.rollout.shared_weights import SharedWeights

RPC_SECONDS = 300.0
ENGINE_GONE = (RayActorError, EngineProcessDied, ObjectLostError)  # a large answer is lost with its node


class EngineSyncClient:
    """vLLM's control-plane client (four methods) over all engines at once; remembers the phase for error messages."""

    def __init__(self, actors: Sequence[ActorHandle], version: str) -> None:
        self._actors, self._version = list(actors), version
        self.phase = "pause"

    def call(self, phase: str, method: str, *arguments: Any) -> list[Any]:
        """Run one method on every engine and wait for all."""
        self.phase = phase
        return ray.get([getattr(actor, method).remote(*arguments) for actor in self._actors], timeout=RPC_SECONDS)

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Phase 1."""
        self.call("init", "init_weight_transfer_engine", init_info)

    def start_weight_update(self) -> None:
        """Phase 2."""
        self.call("start", "start_weight_update")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Phase 3."""
        self.call("update", "update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Phase 4."""
        self.call("finish", "finish_weight_update", weight_version or self._version)


class PublishedWeights:
    """One version that can be sent again: its tensors, and what a model with these weights answers to the probe."""

    def __init__(self, version: str, payload: SharedWeights, reference: ProbeReference, seconds: float) -> None:
        self.version, self.payload, self.reference, self.prepare_seconds = version, payload, reference, seconds

    def close(self) -> None:
        """Release the memory segment."""
        self.payload.close()


class WeightPublisher:
    """Holds the last good version and moves engines from it to the next, or back.

    The last good weights stay in shared memory (one copy of the model) so that a failed publication can be undone and a
    restarted engine can catch up, even when the learner has trained on or the checkpoint is gone.
    """

    def __init__(self, settings: EngineSettings, parity_limit: float | None) -> None:
        self._settings = settings
        self._configured_limit = parity_limit
        self.good: PublishedWeights | None = None

    def publish(
        self,
        actors: Sequence[ActorHandle],
        version: str,
        source: str | Path | Mapping[str, torch.Tensor],
        reference: ProbeReference | None,
    ) -> SyncReceipt:
        """Move all engines to ``version``; see `genrm_rl.rollout.pool.EnginePool.publish`."""
        candidate = self.prepare(version, source, reference)
        try:
            receipt = self.send(actors, candidate)
        except BaseException:
            candidate.close()
            raise
        if self.good is not None:
            self.good.close()
        self.good = candidate
        return receipt

    def prepare(
        self, version: str, source: str | Path | Mapping[str, torch.Tensor], reference: ProbeReference | None
    ) -> PublishedWeights:
        """Read the weights and what they should answer; engines are not touched."""
        from genrm_rl.rollout.parity import probe_prompts, reference_logprobs
        from genrm_rl.rollout.shared_weights import SharedWeights, weight_source

        if isinstance(source, str | Path):
            fetch(source)
        begun = time.perf_counter()
        try:
            if reference is None:
                if not isinstance(source, str | Path):
                    raise PublicationError(
                        "prepare", "tensors in memory need a reference: pass `parity.model_logprobs(model, prompts)`"
                    )
                reference = reference_logprobs(source, probe_prompts(self._settings.model_path), self._settings.dtype)
            payload = SharedWeights(weight_source(source))
            return PublishedWeights(version, payload, reference, time.perf_counter() - begun)
        except PublicationError:
            raise
        except (GenRMError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise PublicationError(
                "prepare", f"version {version} can't be published: {error}; the engines were not touched"
            ) from error

    def send(self, actors: Sequence[ActorHandle], weights: PublishedWeights) -> SyncReceipt:
        """All phases and the probe, on these engines; does not undo anything.

        Raises:
            PublicationError: naming the phase; the caller rolls back. The death of an engine passes through as it is.
        """
        begun = time.perf_counter()
        client = EngineSyncClient(actors, weights.version)
        marks: dict[str, float] = {}
        try:
            client.call("pause", "pause")
            marks["pause"] = time.perf_counter()
            self._transfer(client, weights, len(actors))
            marks["transfer"] = time.perf_counter()
            client.call("resume", "resume")
            answers = client.call("probe", "prompt_logprobs", weights.reference.prompts)
            marks["probe"] = time.perf_counter()
        except ENGINE_GONE:
            raise
        except Exception as error:
            raise PublicationError(
                client.phase, f"weights {weights.version} failed in phase {client.phase!r}: {last_line(error)}"
            ) from error
        probe = self._judge(weights, answers)
        return SyncReceipt(
            version=weights.version,
            bytes=weights.payload.nbytes,
            seconds=time.perf_counter() - begun,
            engines=len(actors),
            backend=self._settings.weight_backend,
            probe=probe,
            transfer_seconds=marks["transfer"] - marks["pause"],
            prepare_seconds=weights.prepare_seconds,
            probe_seconds=marks["probe"] - marks["transfer"],
        )

    def _transfer(self, client: EngineSyncClient, weights: PublishedWeights, engines: int) -> None:
        """Send through the configured backend."""
        if self._settings.weight_backend == "shared_memory":
            client.init_weight_transfer_engine({})
            client.start_weight_update()
            client.update_weights(weights.payload.update_info())
            client.finish_weight_update()
            return
        from genrm_rl.rollout.vllm_adapter_sender import send_from_gpu

        send_from_gpu(self._settings, weights.payload.tensors(), client, engines)

    def _judge(self, weights: PublishedWeights, answers: Sequence[Sequence[Sequence[float]]]) -> ParityProbe:
        """The worst engine's probe; `PublicationError` if it is beyond the limit."""
        from genrm_rl.rollout.parity import compare, parity_limit

        limit = parity_limit(self._configured_limit, self._settings.dtype)
        probes = [compare(weights.reference, answer, limit) for answer in answers]
        for index, probe in enumerate(probes):
            if not probe.passed:
                raise PublicationError(
                    "probe",
                    f"weights {weights.version} were refused: engine {index} differs from the learner by "
                    f"{probe.mean_abs_difference_nats:.3g} nats on average (limit {probe.limit_nats:g}, largest "
                    f"{probe.max_abs_difference_nats:.3g}, {probe.tokens} tokens)",
                )
        return max(probes, key=lambda probe: probe.mean_abs_difference_nats)

    def roll_back(self, actors: Sequence[ActorHandle]) -> None:
        """Send the last good version again and probe it. Raises `PublicationError` or an engine's death."""
        if self.good is None:
            self.good = self.prepare("base", self._settings.model_path, None)
        ray.get([actor.cancel_weight_update.remote() for actor in actors], timeout=RPC_SECONDS)
        self.send(actors, self.good)

    def close(self) -> None:
        """Release the last good version's memory."""
        if self.good is not None:
            self.good.close()
            self.good = None


def last_line(error: BaseException) -> str:
    """The last line of an error's text: Ray and vLLM put the cause there, under their tracebacks."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
