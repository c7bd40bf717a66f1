"""From token sequences to the tensors of one forward pass, with no or little padding.

Packed: all sequences of a microbatch stand one after another in a single row; position ids restart at each of them and
attention never crosses a border (:mod:`genrm_rl.learners.attention`). Padded: one row per sequence inside the token
budget, sequences of similar length together. Both give the same losses; the tests hold them against each other.

The plan of a global batch is a pure function of the example sizes and the number of workers. Every worker computes it
for itself and takes its share; all workers run the same number of microbatches, as ZeRO's collectives require.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Segment:
    """One sequence and the positions whose output is wanted.

    ``take`` holds positions of ``token_ids``. For log-probabilities a position p stands for the prediction of token
    p + 1; for scores it is the last position. ``support`` [len(take), K] are tokens whose log-probabilities are wanted
    at each of them besides (distillation); all segments of a batch have it, or none.
    """

    token_ids: Sequence[int]
    take: np.ndarray
    support: np.ndarray | None = None


@dataclass(frozen=True)
class TokenBatch:
    """Tensors of one forward pass: R rows of T tokens, N taken positions.

    ``lengths`` are the sequence lengths in the single row, in row order, when packed and None when padded;
    ``attention_mask_RT`` is None when packed. ``segment_N`` says which sequence a taken position belongs to.
    """

    input_ids_RT: torch.Tensor
    position_ids_RT: torch.Tensor
    attention_mask_RT: torch.Tensor | None
    lengths: tuple[int, ...] | None
    take_N: torch.Tensor
    targets_N: torch.Tensor
    segment_N: torch.Tensor
    segments: int
    tokens: int
    support_NK: torch.Tensor | None = None

    def network_inputs(self) -> tuple[Any, ...]:
        """The arguments of ``TrainedNetwork.forward``, in order."""
        return (
            self.input_ids_RT,
            self.position_ids_RT,
            self.attention_mask_RT,
            self.take_N,
            self.targets_N,
            self.lengths,
        )

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch with its tensors on ``device``."""
        moved = {
            name: value.to(device, non_blocking=True) if hasattr(value, "to") else value
            for name, value in self.__dict__.items()
        }
        return TokenBatch(**moved)


def collate(segments: Sequence[Segment], *, packed: bool, pad_id: int = 0) -> TokenBatch:
    """Lay segments out in one packed row, or in one right-padded row each.

    A packed row holds the shortest sequence first, so that sequences of equal length stand side by side and attention
    can treat them as one batch. ``take_N`` indexes the flattened R x T grid and keeps the order of the segments.
    """
    import torch

    lengths = np.array([len(segment.token_ids) for segment in segments], dtype=np.int64)
    places = np.argsort(lengths, kind="stable") if packed else np.arange(len(segments))
    width = int(lengths.sum() if packed else lengths.max())
    starts = np.empty_like(lengths)
    starts[places] = np.cumsum(lengths[places]) - lengths[places] if packed else places * width
    ids = np.full(width if packed else width * len(segments), pad_id, dtype=np.int64)
    positions = np.zeros_like(ids) if packed else np.tile(np.arange(width), len(segments))
    mask = np.zeros_like(ids)
    for segment, start, length in zip(segments, starts, lengths, strict=True):
        ids[start : start + length] = segment.token_ids
        positions[start : start + length] = np.arange(length)
        mask[start : start + length] = 1
    counts = np.array([len(segment.take) for segment in segments])
    take_N = np.concatenate([start + segment.take for start, segment in zip(starts, segments, strict=True)])
    # The prediction after the last token of a sequence has no target; scores ignore the targets.
    targets_N = ids[np.minimum(take_N + 1, ids.size - 1)]
    rows = 1 if packed else len(segments)
    return TokenBatch(
        input_ids_RT=torch.from_numpy(ids.reshape(rows, width)),
        position_ids_RT=torch.from_numpy(positions.reshape(rows, width)),
        attention_mask_RT=None if packed else torch.from_numpy(mask.reshape(rows, width)),
        lengths=tuple(int(length) for length in lengths[places]) if packed else None,
        take_N=torch.from_numpy(take_N),
        targets_N=torch.from_numpy(targets_N),
        segment_N=torch.from_numpy(np.repeat(np.arange(len(segments)), counts)),
        segments=len(segments),
        tokens=int(lengths.sum()),
        support_NK=None if segments[0].support is None else torch.from_numpy(_supports(segments)),
    )


def _supports(segments: Sequence[Segment]) -> np.ndarray:
    return np.concatenate([np.asarray(segment.support, dtype=np.int64) for segment in segments])


def plan_microbatches(
    sizes: Sequence[Sequence[int]], *, budget: int, workers: int, packed: bool
) -> list[list[list[int]]]:
    """Share the examples of one global batch out: ``plan[worker][microbatch]`` is a list of example indices.

    ``sizes[i]`` are the sequence lengths of example i; its sequences stay in one microbatch. No microbatch exceeds
    ``budget`` tokens (padding included when not packed), except for a single example that is larger by itself. All
    workers get the same number of microbatches; some may be empty.
    """
    if not sizes:
        raise ValueError("a batch needs at least one example")
    bins = _pack_bins(sizes, budget, workers) if packed else _pad_bins(sizes, budget, workers)
    # Heaviest microbatches are dealt first, so that workers that run in step have like amounts of work.
    bins.sort(key=lambda bin_: -sum(sum(sizes[index]) for index in bin_))
    return [bins[worker::workers] for worker in range(workers)]


def _pack_bins(sizes: Sequence[Sequence[int]], budget: int, workers: int) -> list[list[int]]:
    """Longest first into the emptiest of k bins, with the smallest k (a multiple of workers) that keeps the budget."""
    totals = [sum(size) for size in sizes]
    order = sorted(range(len(totals)), key=lambda index: (-totals[index], index))
    count = workers * max(1, -(-sum(totals) // (budget * workers)))
    while True:
        bins: list[list[int]] = [[] for _ in range(count)]
        heap = [(0, number) for number in range(count)]
        fits = True
        for index in order:
            load, number = heapq.heappop(heap)
            fits &= load == 0 or load + totals[index] <= budget
            bins[number].append(index)
            heapq.heappush(heap, (load + totals[index], number))
        if fits or count >= len(totals) + workers:
            return bins
        count += workers


def _pad_bins(sizes: Sequence[Sequence[int]], budget: int, workers: int) -> list[list[int]]:
    """Sorted by longest sequence, cut where rows x longest would exceed the budget."""
    order = sorted(range(len(sizes)), key=lambda index: (-max(sizes[index]), index))
    bins: list[list[int]] = []
    rows = widest = 0
    for index in order:
        rows += len(sizes[index])
        widest = max(widest, *sizes[index])
        if not bins or rows * widest > budget:
            bins.append([])
            rows, widest = len(sizes[index]), max(sizes[index])
        bins[-1].append(index)
    bins.extend([] for _ in range(-len(bins) % workers))
    return bins
