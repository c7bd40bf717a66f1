"""Attention of what follows a shared prompt (:mod:`genrm_rl.learners.shared_prompts`)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from genrm_rl.learners.shared_prompts import Branches


@dataclass(frozen=True)
class _Run:
    """``count`` neighbouring branches of ``length`` tokens after prompts of ``prompt`` tokens; ``seen`` [length,
    prompt + length] is what each position of a branch attends to."""

    count: int
    prompt: int
    length: int
    seen: torch.Tensor


def branch_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    roots: tuple[int, ...],
    branches: Branches,
    *,
    scale: float | None,
    dropout: float,
    window: int | None,
) -> list[torch.Tensor]:
    """Each branch over its root and itself, one kernel call per run of equal shapes.

    ``query``, ``key`` and ``value`` are [heads, T, width] of the whole row, roots first; returns parts [tokens, heads,
    width] in row order.
    """
    runs, prompts_N = _runs(roots, branches, window, query.device)
    first = sum(roots)
    # One selection for all runs has one cheap backward; each of its own would fill a row of zeros.
    before = (
        tensor[:, :first].index_select(1, prompts_N).split([run.count * run.prompt for run in runs], dim=1)
        for tensor in (key, value)
    )
    own = (tensor[:, first:].split([run.count * run.length for run in runs], dim=1) for tensor in (query, key, value))
    parts = []
    for run, *tensors in zip(runs, *own, *before, strict=True):
        q, k, v, before_k, before_v = (each.unflatten(1, (run.count, -1)).transpose(0, 1) for each in tensors)
        out = F.scaled_dot_product_attention(
            q,
            torch.cat([before_k, k], dim=2),
            torch.cat([before_v, v], dim=2),
            attn_mask=run.seen,
            dropout_p=dropout,
            scale=scale,
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return parts


@lru_cache(maxsize=4)  # every layer asks for the same
def _runs(
    roots: tuple[int, ...], branches: Branches, window: int | None, device: torch.device
) -> tuple[list[_Run], torch.Tensor]:
    """Runs of equal shapes, and where in the row the prompts of all branches are, run by run."""
    starts = [0, *itertools.accumulate(roots)]
    runs, places = [], []
    for (prompt, length), group in itertools.groupby(branches, key=lambda branch: (roots[branch[0]], branch[1])):
        owners = torch.tensor([starts[root] for root, _ in group])
        places.append((owners[:, None] + torch.arange(prompt)).flatten())
        distance = torch.arange(prompt, prompt + length)[:, None] - torch.arange(prompt + length)
        seen = (distance >= 0) if window is None else (distance >= 0) & (distance < window)
        runs.append(_Run(len(owners), prompt, length, seen.to(device)))
    return runs, torch.cat(places).to(device)
