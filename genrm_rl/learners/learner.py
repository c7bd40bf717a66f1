"""One learner: a network under DeepSpeed, and what loops ask of it.

``step(batch, objective)`` takes the *global* batch on every worker. Each worker computes the same plan, runs its share
in microbatches of at most ``tokens_per_microbatch`` tokens, and the gradients are those of one big batch: losses are
divided by totals of the global batch before they are accumulated, so neither the number of workers nor the number of
microbatches changes the result beyond floating-point noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from genrm_rl.config.model import LearnerConfig
from genrm_rl.judging.scale import PointTokens
from genrm_rl.learners.deepspeed_adapter import DeepSpeedEngine, FrozenEngine, ensure_process_group, shard_rank
from genrm_rl.learners.device import device_of
from genrm_rl.learners.network import HeadKind, TrainedNetwork, load_network, parameter_groups
from genrm_rl.learners.objective import Objective, Outputs, Reading
from genrm_rl.learners.packing import Segment, collate, placeholder, plan_examples
from genrm_rl.learners.sharding import load_sharded_network
from genrm_rl.learners.weights import LearnerWeights, adapter_files
from genrm_rl.runtime.object_store import fetch, upload_tree


@dataclass(frozen=True)
class StepMetrics:
    """One optimizer step. ``loss`` and ``metrics`` are means over the global batch; ``tokens`` is its size.

    If the loss or the gradient was not finite, the step was not ``applied``: weights and optimizer are as before.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)
    applied: bool = True


class Learner:
    """A language model (or scalar model) that can be trained, asked for log-probabilities or scores, and saved."""

    def __init__(
        self,
        model_dir: str | Path,
        config: LearnerConfig,
        *,
        head: HeadKind = "language",
        seed: int = 0,
        trainable: bool = True,
        points: PointTokens | None = None,
    ):
        """Load ``model_dir`` and hand it to DeepSpeed. Raises ModelError if the checkpoint is incomplete.

        One that is not ``trainable`` (a frozen reference) has no optimizer state and can't step.
        """
        self.config = config
        self.device = device_of(config)
        ensure_process_group(self.device)
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, int(config.cpus_per_worker)))
        self.rank, self.workers = dist.get_rank(), dist.get_world_size()
        torch.manual_seed(seed)
        load = load_sharded_network if config.zero_stage == 3 else load_network
        network = load(model_dir, config, head=head, seed=seed, points=points)
        network.to(self.device)
        self.engine: DeepSpeedEngine | FrozenEngine = (
            DeepSpeedEngine(network, parameter_groups(network, config.weight_decay), config)
            if trainable
            else FrozenEngine(network, config)
        )

    @property
    def network(self) -> TrainedNetwork:
        """The wrapped network (its parameters are sharded under ZeRO-3)."""
        return self.engine.module

    def step(self, batch: Sequence[Any], objective: Objective, *, learning_rate: float) -> StepMetrics:
        """One optimizer update on the global ``batch``; every worker passes the same one.

        It is skipped, by all workers alike, if the loss or the gradient of the global batch is not finite.
        """
        started = time.perf_counter()
        self.engine.module.train()
        loss, metrics, tokens = self._losses(batch, objective, self.engine.backward)
        grad_norm = self.engine.step(learning_rate, skip=not math.isfinite(loss))
        return StepMetrics(
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=learning_rate,
            tokens=tokens,
            seconds=time.perf_counter() - started,
            metrics=metrics,
            applied=math.isfinite(loss) and math.isfinite(grad_norm),
        )

    @torch.no_grad()
    def evaluate(self, batch: Sequence[Any], objective: Objective) -> tuple[float, dict[str, float]]:
        """Loss and metrics of ``batch`` as :meth:`step` would find them; nothing is learned from it."""
        self.engine.module.eval()
        loss, metrics, _ = self._losses(batch, objective, lambda _: None)
        return loss, metrics

    def _losses(
        self, batch: Sequence[Any], objective: Objective, learn: Callable[[torch.Tensor], None]
    ) -> tuple[float, dict[str, float], int]:
        """Loss and metrics of the global batch, and its tokens; ``learn`` gets the loss of every microbatch."""
        segments = [objective.segments(example) for example in batch]
        totals = objective.totals(batch)
        sums = torch.zeros(1 + len(objective.metrics), dtype=torch.float64)
        for indices in self._share(segments):
            if indices:
                examples = [batch[index] for index in indices]
                outputs = self._forward(
                    [segment for index in indices for segment in segments[index]], objective.reading
                )
                loss, values = objective.loss(outputs, examples, totals, self.workers)
                sums += torch.stack([loss.detach(), *(values[name] for name in objective.metrics)]).double().cpu()
            else:
                loss = self._empty_loss()
            learn(loss)
        loss_sum, *metric_sums = self._reduce(sums)
        metrics = {
            name: value / totals[total]
            for (name, total), value in zip(objective.metrics.items(), metric_sums, strict=True)
        }
        tokens = sum(len(segment.token_ids) for parts in segments for segment in parts)
        return loss_sum / self.workers, metrics, tokens

    @torch.no_grad()
    def logprobs(
        self,
        segments: Sequence[Segment],
        progress: Callable[[int], None] | None = None,
        *,
        temperature: float = 1.0,
    ) -> list[torch.Tensor]:
        """Log-probability of each taken token: one float32 CPU tensor per segment, on worker 0; others get none.

        ``progress`` is called with the number of tokens done by this worker's microbatches.
        """
        return self._evaluate(segments, progress, Reading(temperature))

    @torch.no_grad()
    def summed_logprobs(self, segments: Sequence[Segment]) -> np.ndarray:
        """Sum of each segment's log-probabilities, float64 [S], the same on every worker."""
        sums_S = torch.zeros(len(segments), dtype=torch.float64)
        for index, logp_T in self._share_of(segments, None, Reading()).items():
            sums_S[index] = logp_T.double().sum()
        return np.array(self._reduce(sums_S))

    @torch.no_grad()
    def scores(self, segments: Sequence[Segment], progress: Callable[[int], None] | None = None) -> list[float]:
        """Scalar score of each sequence (its last token). Needs ``head="score"``."""
        return [float(values[-1]) for values in self.values(segments, progress)]

    @torch.no_grad()
    def values(self, segments: Sequence[Segment], progress: Callable[[int], None] | None = None) -> list[torch.Tensor]:
        """Scalar of each taken position: one float32 CPU tensor per segment, on worker 0. Needs ``head="score"``."""
        if self.network.score_head is None and self.network.points is None:
            raise ValueError("this learner has a language head; build it with head='score' or 'points' to get scores")
        return self._evaluate(segments, progress, Reading())

    @torch.no_grad()
    def most_likely(self, segments: Sequence[Segment], top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The ``top_k`` most likely tokens at each taken position and their log-probabilities: int64 and float32 arrays
        [T, K] per segment."""

        def taken(outputs: Outputs) -> torch.Tensor:
            return torch.stack([outputs.likely_NK.double(), outputs.support_NK.double()], dim=1)

        found = self._evaluate(segments, None, Reading(top_k=top_k), taken)
        return [(rows[:, 0].numpy().astype(np.int64), rows[:, 1].numpy()) for rows in found]

    def weights(self) -> LearnerWeights:
        """Full weights under their HF names; every worker must iterate to the end."""
        return LearnerWeights(self.network, self.engine.gathered)

    def adapter_files(self, base: str) -> dict[str, bytes]:
        """The LoRA adapter of the model ``base``, see :func:`adapter_files`; every worker must call."""
        return adapter_files(self.network, self.engine.gathered, base)

    def save(self, directory: Path, parent_dir: str | Path) -> None:
        """Write an HF checkpoint into the existing ``directory`` (worker 0 writes, all must call); of a LoRA adapter
        merged, with the adapter itself in a folder of that name."""
        from genrm_rl.learners.checkpoint import write_hf_checkpoint

        weights = {name: tensor.detach().cpu().clone() if self.rank == 0 else None for name, tensor in self.weights()}
        score_weight = None
        if self.network.score_head is not None:
            with self.engine.gathered([self.network.score_head.weight]):
                score_weight = self.network.score_head.weight.detach().cpu().clone()
        adapter = self.adapter_files(str(parent_dir)) if self.config.lora_rank else {}
        if self.rank == 0:
            (directory / "adapter" if adapter else directory).mkdir(parents=True, exist_ok=True)  # maybe another node
            for name, content in adapter.items():
                (directory / "adapter" / name).write_bytes(content)
            write_hf_checkpoint(directory, self.network.language, weights.items(), score_weight, parent_dir)
            upload_tree(directory)

    def save_state(self, directory: Path, tag: str, client_state: dict[str, Any]) -> None:
        """Weights and optimizer, to go on training from (every worker must call); `move_state` brings the shard that
        each worker writes to an object store."""
        directory.mkdir(parents=True, exist_ok=True)
        self.engine.save_state(directory, tag, client_state)

    def load_state(self, directory: Path, tag: str) -> dict[str, Any]:
        """Go on from :meth:`save_state`; returns its ``client_state``."""
        fetch(directory, lambda name, size: shard_rank(name) in (None, self.rank))
        return self.engine.load_state(directory, tag)

    def offload(self) -> None:
        """Weights and optimizer to the host, so that others can have the GPU until :meth:`reload`; meanwhile only
        :meth:`weights` works."""
        self.engine.offload()

    def reload(self) -> None:
        """Back to the GPU."""
        self.engine.reload()

    def close(self) -> None:
        """Release DeepSpeed's hooks and buffers."""
        self.engine.destroy()

    def _share(self, examples: Sequence[Sequence[Segment]]) -> list[list[int]]:
        """This worker's microbatches of examples, each a list of sequences."""
        shares = self.network.shares_prompts
        return plan_examples(examples, self.config, workers=self.workers, shares_prompts=shares)[self.rank]

    def _forward(self, segments: Sequence[Segment], reading: Reading) -> Outputs:
        batch = collate(segments, packed=self.config.packing, share=self.network.shares_prompts).to(self.device)
        values_N, correct_N, entropy_N, support_NK, likely_NK = self.engine.forward(
            *batch.network_inputs(),
            reading.temperature,
            reading.entropy,
            batch.support_NK,
            reading.top_k,
            reading.exact,
        )
        return Outputs(values_N, correct_N, batch.segment_N, batch.segments, entropy_N, support_NK, likely_NK)

    def _empty_loss(self) -> torch.Tensor:
        """A forward pass without weight: under ZeRO every worker must join every collective."""
        return self._forward([placeholder()], Reading()).values_N.sum() * 0.0

    def _evaluate(
        self,
        segments: Sequence[Segment],
        progress: Callable[[int], None] | None,
        reading: Reading,
        taken: Callable[[Outputs], torch.Tensor] = lambda outputs: outputs.values_N,
    ) -> list[torch.Tensor]:
        """``taken`` of each position, one float32 CPU tensor per segment; they travel to worker 0 alone."""
        mine = self._share_of(segments, progress, reading, taken)
        shares: list[Any] | None = [mine]
        if self.workers > 1:
            shares = [None] * self.workers if self.rank == 0 else None
            dist.gather_object(mine, shares)
        merged = {index: part for share in shares or [] for index, part in share.items()}
        return [merged[index] for index in range(len(merged))]

    def _share_of(
        self,
        segments: Sequence[Segment],
        progress: Callable[[int], None] | None,
        reading: Reading,
        taken: Callable[[Outputs], torch.Tensor] = lambda outputs: outputs.values_N,
    ) -> dict[int, torch.Tensor]:
        """``taken`` of the segments that this worker runs, by their index."""
        self.engine.module.eval()
        mine: dict[int, torch.Tensor] = {}
        for indices in self._share([[segment] for segment in segments]):
            if not indices:
                self._forward([placeholder()], reading)
                continue
            chosen = [segments[index] for index in indices]
            values = taken(self._forward(chosen, reading)).float().cpu()
            for index, part in zip(indices, values.split([len(segment.take) for segment in chosen]), strict=True):
                mine[index] = part
            if progress is not None:
                progress(sum(len(segment.token_ids) for segment in chosen))
        return mine

    def _reduce(self, sums: torch.Tensor) -> list[float]:
        if self.workers > 1:
            sums = sums.to(self.device)
            dist.all_reduce(sums)
        return sums.tolist()
