"""Attention over packed rows, chosen by what the machine can do.

Three ways, in the order of ``auto``: PyTorch's own variable-length kernel (``torch.nn.attention.varlen``, no flash-attn
build), flash-attn where only that is there, and everywhere else PyTorch's causal kernel per sequence: exact, no mask of
T x T entries, and the cost is the sum of the squared lengths instead of the square of the sum.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from genrm_rl.errors import EnvironmentProblem, ModelError
from genrm_rl.learners.branch_attention import branch_attention
from genrm_rl.learners.shared_prompts import Branches

# Names under which transformers knows them.
VARLEN = "genrm_varlen"
SPLIT = "genrm_split"
PACKED = (VARLEN, SPLIT)
WIDEST_HEAD = 256  # of the variable-length kernel; a head's width has to be a multiple of 8


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
    if requested == "auto" and packed and varlen_kernel_works() and precision == "bfloat16":
        register_packed()
        return VARLEN
    if requested == "flash_attention_2" or (requested == "auto" and flash):
        return "flash_attention_2"
    if packed and requested != "eager":
        register_packed()
        return SPLIT
    return "eager" if requested == "eager" else "sdpa"


def varlen_kernel_works() -> bool:
    """True if this PyTorch has its variable-length kernel and the GPU is at least Ampere (compute capability 8)."""
    return (
        _is_ampere()
        and torch.backends.cuda.is_flash_attention_available()
        and importlib.util.find_spec("torch.nn.attention.varlen") is not None
    )


def flash_attention_works() -> bool:
    """True if flash-attn is installed and the GPU is at least Ampere."""
    return _is_ampere() and importlib.util.find_spec("flash_attn") is not None


def _is_ampere() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8


def register_packed() -> None:
    """Make ``attn_implementation`` VARLEN and SPLIT known to transformers (idempotent)."""
    from transformers import AttentionInterface, AttentionMaskInterface

    for name, attention in ((VARLEN, varlen_attention), (SPLIT, split_attention)):
        AttentionInterface.register(name, attention)
        AttentionMaskInterface.register(name, _no_mask)


def _no_mask(*_: Any, **__: Any) -> None:
    """The borders travel as ``segment_lengths``; no mask is built."""
    return None


def segment_arguments(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What the attention of every layer is told about a packed row: the lengths, and their borders [S + 1] as the
    kernel reads them."""
    borders = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
    return {"segment_lengths": tuple(lengths), "segment_borders": borders}


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """:func:`split_attention` in one call of the variable-length kernel where it takes such heads, else that itself."""
    if dropout or not kernel_takes(query, value):
        return split_attention(module, query, key, value, attention_mask, dropout=dropout, **options)
    return kernel_attention(query, key, value, **options), None


def kernel_takes(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether the variable-length kernel computes heads of this form [1, heads, T, width]."""
    width = query.shape[-1]
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and width == value.shape[-1]
        and width % 8 == 0
        and width <= WIDEST_HEAD
    )


def kernel_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    segment_lengths: tuple[int, ...] | None = None,
    segment_borders: torch.Tensor | None = None,
    **others: Any,
) -> torch.Tensor:
    """Causal attention of one packed row [1, T, heads, width] in one call; keys may have fewer heads."""
    from torch.nn.attention.varlen import varlen_attn

    _refuse_others(others)
    if segment_lengths is None or segment_borders is None:
        segment_lengths, segment_borders = segment_arguments((query.shape[2],), query.device).values()
    longest = max(segment_lengths)
    # Its window counts the keys before a query; the model's counts the query too. Without one, -1 is all of them.
    before = -1 if sliding_window is None or sliding_window >= longest else sliding_window - 1
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    out = varlen_attn(
        q,
        k,
        v,
        segment_borders,
        segment_borders,
        longest,
        longest,
        scale=scaling,
        window_size=(before, 0),
        enable_gqa=True,
    )
    return out[None]


def split_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    segment_lengths: tuple[int, ...] | None = None,
    segment_borders: torch.Tensor | None = None,
    segment_branches: Branches = (),
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of one packed row, one kernel call per run of sequences of equal length; ``segment_branches``
    follow the sequences in the row (:mod:`genrm_rl.learners.shared_prompts`).

    ``query`` is [1, heads, T, width], ``key`` and ``value`` [1, key heads, T, width]; returns [1, T, heads, width].
    Raises ModelError for attention forms that it does not compute.
    """
    _refuse_others(others)
    lengths = segment_lengths or (query.shape[2],)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key = key.repeat_interleave(groups, dim=1)
        value = value.repeat_interleave(groups, dim=1)
    runs = equal_runs(lengths)
    sizes = [length * count for length, count in runs]
    rest = query.shape[2] - sum(sizes)  # branches
    parts = []
    # split has one cheap backward for all parts; slicing would fill a row of zeros for each of them.
    own = (tensor[0].split([*sizes, rest], dim=1)[:-1] for tensor in (query, key, value))
    for (length, count), *qkv in zip(runs, *own, strict=True):
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


def _refuse_others(options: dict[str, Any]) -> None:
    """Neither way caps scores (Gemma 2) or has attention sinks (gpt-oss)."""
    for name, what in (("softcap", "soft-caps its attention"), ("s_aux", "has attention sinks")):
        if options.get(name) is not None:
            raise ModelError(f"this model {what}; set learner.attention to eager and learner.packing to off")


def _pattern(length: int, window: int | None, device: torch.device) -> dict[str, Any]:
    """Plain causal, or a causal band when the sequence is longer than the model's sliding window."""
    if window is None or length <= window:
        return {"is_causal": True}
    row = torch.arange(length, device=device)
    distance = row[:, None] - row[None, :]
    return {"attn_mask": (distance >= 0) & (distance < window)}
