"""Attention over packed rows, chosen by what the machine can do.

flash-attn reads the borders from the position ids by itself. Everywhere else a small attention function is registered
with transformers that splits the packed row at the borders and calls PyTorch's own causal kernel per sequence: exact,
no mask of T x T entries, and the cost is the sum of the squared lengths instead of the square of the sum.
"""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import torch
import torch.nn.functional as F

from genrm_rl.errors import EnvironmentProblem, ModelError
from genrm_rl.learners.branch_attention import branch_attention
from genrm_rl.learners.shared_prompts import Branches

VARLEN = "genrm_varlen"


def flash_attention_works() -> bool:
    """True if flash-attn is installed and the GPU is at least Ampere (compute capability 8)."""
    return (
        torch.cuda.is_available()
        and torch.cuda.get_device_capability()[0] >= 8
        and importlib.util.find_spec("flash_attn") is not None
    )


def choose_attention(requested: str, *, packed: bool, precision: str) -> str:
    """The transformers attention implementation to load a model with.

    Raises EnvironmentProblem if flash-attention is asked for and can't run here.
    """
    flash = flash_attention_works() and precision == "bfloat16"
    if requested == "flash_attention_2" and not flash:
        raise EnvironmentProblem(
            "learner.attention is flash_attention_2, which needs the package flash-attn, an NVIDIA GPU of compute "
            "capability 8 or more, and learner.precision bfloat16; use `auto`"
        )
    if requested == "flash_attention_2" or (requested == "auto" and flash):
        return "flash_attention_2"
    if packed and requested != "eager":
        register_varlen()
        return VARLEN
    return "eager" if requested == "eager" else "sdpa"


def register_varlen() -> None:
    """Make ``attn_implementation=VARLEN`` known to transformers (idempotent)."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(VARLEN, varlen_attention)
    AttentionMaskInterface.register(VARLEN, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """The borders travel as ``segment_lengths``; no mask is built."""
    return None


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    segment_lengths: tuple[int, ...] | None = None,
    segment_branches: Branches = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of one packed row, one kernel call per run of sequences of equal length; ``segment_branches``
    follow the sequences in the row (:mod:`genrm_rl.learners.shared_prompts`).

    ``query`` is [1, heads, T, width], ``key`` and ``value`` [1, key heads, T, width]; returns [1, T, heads, width].
    Raises ModelError for attention forms that it does not compute.
    """
    if softcap is not None:
        raise ModelError(
            "this model soft-caps its attention; set learner.attention to eager and learner.packing to off"
        )
    lengths = segment_lengths or (query.shape[2],)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    runs = equal_runs(lengths)
    sizes = [length * count for length, count in runs]
    parts = []
    # split has one cheap backward for all parts; slicing would fill a row of zeros for each of them.
    for (length, count), *qkv in zip(
        runs, *(tensor[0, :, : sum(sizes)].split(sizes, dim=1) for tensor in (query, key, value)), strict=True
    ):
        # Neighbours of equal length are one batch: [heads, count * length, width] -> [count, heads, length, width].
        q, k, v = (tensor.unflatten(1, (count, length)).transpose(0, 1) for tensor in qkv)
        out = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, **_pattern(length, sliding_window, q.device)
        )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    if segment_branches:
        parts += branch_attention(
            query[0], key[0], value[0], lengths, segment_branches, scale=scaling, dropout=dropout, window=sliding_window
        )
    return (parts[0] if len(parts) == 1 else torch.cat(parts))[None].contiguous(), None


def equal_runs(lengths: tuple[int, ...]) -> list[tuple[int, int]]:
    """(length, how many in a row): (3, 3, 5) -> [(3, 2), (5, 1)]."""
    return [(length, sum(1 for _ in group)) for length, group in itertools.groupby(lengths)]


def _pattern(length: int, window: int | None, device: torch.device) -> dict[str, Any]:
    """Plain causal, or a causal band when the sequence is longer than the model's sliding window."""
    if window is None or length <= window:
        return {"is_causal": True}
    row = torch.arange(length, device=device)
    distance = row[:, None] - row[None, :]
    return {"attn_mask": (distance >= 0) & (distance < window)}
