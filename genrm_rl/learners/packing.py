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

from genrm_rl.config.model import LearnerConfig
from genrm_rl.learners.shared_prompts import Branches, packed_row, sharing_units

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

    ``lengths`` are the sequence lengths in the single row, in row order, when packed and None when padded; ``branches``
    follow them where prompts are shared (:mod:`genrm_rl.learners.shared_prompts`). ``tokens`` are those that are
    computed; ``attention_mask_RT`` is None when packed. ``segment_N`` says which sequence a taken position belongs to.
    """

    input_ids_RT: torch.Tensor
    position_ids_RT: torch.Tensor
    attention_mask_RT: torch.Tensor | None
    lengths: tuple[int, ...] | None
    branches: Branches
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
            self.branches,
        )

    def to(self, device: torch.device | str) -> TokenBatch:
        """The same batch with its tensors on ``device``."""
        moved = {
            name: value.to(device, non_blocking=True) if hasattr(value, "to") else value
            for name, value in self.__dict__.items()
        }
        return TokenBatch(**moved)


def collate(segments: Sequence[Segment], *, packed: bool, pad_id: int = 0, share: bool = False) -> TokenBatch:
    """Lay segments out in one packed row, with ``share`` each prompt once, or in one right-padded row each.

    ``take_N`` indexes the flattened R x T grid and keeps the order of the segments.
    """
    import torch

    if packed:
        row = packed_row(segments, share=share)
        rows, width, pieces = 1, sum(len(ids) for _, ids, _ in row.pieces), row.pieces
        takes = [row.places(number, segment.take) for number, segment in enumerate(segments)]
    else:
        rows, width = len(segments), max(len(segment.token_ids) for segment in segments)
        pieces = [(number * width, segment.token_ids, 0) for number, segment in enumerate(segments)]
        takes = [number * width + segment.take for number, segment in enumerate(segments)]
    ids = np.full(rows * width, pad_id, dtype=np.int64)
    positions = np.tile(np.arange(width), rows)
    mask = np.zeros_like(ids)
    for start, tokens, first in pieces:
        part = slice(start, start + len(tokens))
        ids[part], positions[part], mask[part] = tokens, np.arange(first, first + len(tokens)), 1
    # The prediction after the last token of a sequence has no target; scores ignore the targets.
    targets = [np.asarray(s.token_ids)[np.minimum(s.take + 1, len(s.token_ids) - 1)] for s in segments]
    return TokenBatch(
        input_ids_RT=torch.from_numpy(ids.reshape(rows, width)),
        position_ids_RT=torch.from_numpy(positions.reshape(rows, width)),
        attention_mask_RT=None if packed else torch.from_numpy(mask.reshape(rows, width)),
        lengths=row.roots if packed else None,
        branches=row.branches if packed else (),
        take_N=torch.from_numpy(np.concatenate(takes)),
        targets_N=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        segment_N=torch.from_numpy(np.repeat(np.arange(len(segments)), [len(take) for take in takes])),
        segments=len(segments),
        tokens=int(mask.sum()),
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


def plan_examples(
    examples: Sequence[Sequence[Segment]], config: LearnerConfig, *, workers: int, shares_prompts: bool
) -> list[list[list[int]]]:
    """Microbatches of examples (each a list of sequences), by worker: with ``shares_prompts``, those of one prompt stay
    together."""
    budget = config.tokens_per_microbatch
    if shares_prompts:
        units = sharing_units(examples, budget)
        sizes = [[tokens] for _, tokens in units]
    else:
        units = [([index], 0) for index in range(len(examples))]
        sizes = [[len(segment.token_ids) for segment in parts] for parts in examples]
    plan = plan_microbatches(sizes, budget=budget, workers=workers, packed=config.packing)
    return [[[index for unit in batch for index in units[unit][0]] for batch in batches] for batches in plan]


def placeholder() -> Segment:
    """A sequence for a worker that has none: under ZeRO each joins every forward pass."""
    return Segment((0, 0), np.array([0]))


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
