"""Weight publication with proof: vLLM's four phases on every engine, then the same log-probabilities as the learner.

Order (the minimum that healthy RL systems share): pause, wake the weights of engines that slept, init, start, update,
finish with the version, wake keys and values, resume, probe. Requests may run meanwhile: they are kept, and the probe
goes before what waits for a place. If anything fails, the weights that were served before are published again and
probed; no engine is left with weights that nobody has checked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.actor import ActorHandle

from genrm_rl.errors import GenRMError, ModelError
from genrm_rl.rollout.errors import PublicationError
from genrm_rl.rollout.settings import EngineSettings
from genrm_rl.rollout.sync_client import RPC_SECONDS, EngineSyncClient, Payload, WeightHolder, in_phases
from genrm_rl.rollout.types import ParityProbe, SyncReceipt
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import write_json

if TYPE_CHECKING:
    import torch

    from genrm_rl.rollout.held_weights import HeldAdapter
    from genrm_rl.rollout.parity import ProbeReference


def keep_receipt(run: Path, receipt: SyncReceipt) -> None:
    """Write the receipt under ``sync/`` of a run directory, numbered in order."""
    folder = run / "sync"
    number = len(list(folder.glob("*.json"))) if folder.is_dir() else 0
    write_json(folder / f"{number:05d}-{receipt.version}.json", asdict(receipt) | {"passed": receipt.probe.passed})


class PublishedWeights:
    """One version that can be sent again: who holds it, and what a model with these weights answers to the probe."""

    def __init__(self, version: str, payload: Payload, reference: ProbeReference, seconds: float) -> None:
        self.version, self.payload, self.reference, self.prepare_seconds = version, payload, reference, seconds

    def close(self) -> None:
        """Let go of the weights."""
        self.payload.close()


class WeightPublisher:
    """Holds the last good version and moves engines from it to the next, or back.

    The last good weights stay in their holder's memory (one copy of the model) so that a failed publication can be
    undone and a restarted engine can catch up, even when the learner has trained on or the checkpoint is gone.
    """

    def __init__(self, settings: EngineSettings, parity_limit: float | None) -> None:
        self._settings = settings
        self._configured_limit = parity_limit
        self.good: PublishedWeights | None = None

    @contextmanager
    def prepared(
        self,
        version: str,
        source: str | Path | Mapping[str, torch.Tensor] | WeightHolder,
        reference: ProbeReference | None,
        actors: Sequence[ActorHandle],
    ) -> Iterator[PublishedWeights]:
        """Weights to `publish`; they are let go at the end unless they have become the good ones."""
        candidate = self.prepare(version, source, reference, actors)
        try:
            yield candidate
        finally:
            if self.good is not candidate:
                candidate.close()

    def publish(self, actors: Sequence[ActorHandle], candidate: PublishedWeights) -> SyncReceipt:
        """Move all engines to prepared weights; see `genrm_rl.rollout.pool.EnginePool.publish`."""
        receipt = self.send(actors, candidate)
        if self.good is not None:
            self.good.close()
        self.good = candidate
        return receipt

    def prepare(
        self,
        version: str,
        source: str | Path | Mapping[str, torch.Tensor] | WeightHolder,
        reference: ProbeReference | None,
        actors: Sequence[ActorHandle],
    ) -> PublishedWeights:
        """Read the weights and what they should answer; engines are not touched. What a learner that holds them raises,
        its own death above all, passes through as it is."""
        from genrm_rl.rollout.held_weights import HeldWeights
        from genrm_rl.rollout.parity import checkpoint_reference
        from genrm_rl.rollout.remote_weights import RemoteWeights, away_from
        from genrm_rl.rollout.shared_weights import weight_source

        begun = time.perf_counter()
        if reference is None and not isinstance(source, str | Path):
            raise PublicationError(
                "prepare", "weights in memory need a reference: pass `parity.model_logprobs(model, prompts)`"
            )
        if not isinstance(source, str | Path | Mapping):
            held = source.hold(self._settings.weight_backend)
            return PublishedWeights(version, held, reference, time.perf_counter() - begun)
        try:
            whole = not self._settings.lora_rank
            if isinstance(source, str | Path) and whole and away_from(actors):
                remote = RemoteWeights(source, self._settings, actors, wanted=reference is None)
                return PublishedWeights(version, remote, reference or remote.reference, time.perf_counter() - begun)
            if isinstance(source, str | Path):
                fetch(source)
                reference = reference or checkpoint_reference(source, self._settings)
            payload = HeldWeights(weight_source(source)) if whole else self._base(source)
            return PublishedWeights(version, payload, reference, time.perf_counter() - begun)
        except (GenRMError, OSError, ValueError, KeyError, RuntimeError) as error:
            raise PublicationError(
                "prepare", f"version {version} can't be published: {error}; the engines were not touched"
            ) from error

    def _base(self, source: str | Path | Mapping[str, torch.Tensor]) -> HeldAdapter:
        """For engines that are sent adapters: their own base, without one."""
        from genrm_rl.rollout.held_weights import HeldAdapter

        if not isinstance(source, str | Path) or Path(source).resolve() != Path(self._settings.model_path).resolve():
            raise ModelError("these engines serve LoRA adapters of their base, and these are whole weights")
        return HeldAdapter({})

    def send(self, actors: Sequence[ActorHandle], weights: PublishedWeights) -> SyncReceipt:
        """All phases and the probe, on these engines; does not undo anything.

        Raises:
            PublicationError: naming the phase; the caller rolls back. The death of an engine passes through as it is.
        """
        begun = time.perf_counter()
        marks: dict[str, float] = {}
        answers: list[list[list[float]]] = []

        def make_ready(client: EngineSyncClient) -> None:
            client.call("pause", "pause")
            if self._settings.sleep:
                client.call("wake", "wake", "weights")

        def prove(client: EngineSyncClient) -> None:
            if self._settings.sleep:  # not before: until now the learner may have needed the room
                client.call("wake", "wake", "kv_cache")
            client.call("resume", "resume")
            answers.extend(client.call("probe", "prompt_logprobs", weights.reference.prompts))

        in_phases(weights.version, actors, make_ready)
        marks["pause"] = time.perf_counter()
        weights.payload.send(weights.version, self._settings, actors)
        marks["transfer"] = time.perf_counter()
        in_phases(weights.version, actors, prove)
        marks["probe"] = time.perf_counter()
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

    def _judge(self, weights: PublishedWeights, answers: Sequence[Sequence[Sequence[float]]]) -> ParityProbe:
        """The worst engine's probe; `PublicationError` if it is beyond the limit."""
        from genrm_rl.rollout.parity import compare, parity_limit

        limit = parity_limit(self._configured_limit, self._settings.dtype, weights.reference.format)
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
            self.good = self.prepare("base", self._settings.model_path, None, actors)
        ray.get([actor.cancel_weight_update.remote() for actor in actors], timeout=RPC_SECONDS)
        self.send(actors, self.good)

    def close(self) -> None:
        """Release the last good version's memory."""
        if self.good is not None:
            self.good.close()
            self.good = None
