"""Proof that an engine computes what the learner computes: log-probabilities of fixed prompts, compared in nats."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from genrm_rl.errors import ModelError
from genrm_rl.rollout.settings import model_config_json
from genrm_rl.rollout.types import ParityProbe

DEFAULT_LIMIT_NATS = {"float32": 1e-3, "bfloat16": 0.1}
PROBE_PROMPTS = 4
PROBE_TOKENS = 24
PROBE_SEED = 20241018


@dataclass(frozen=True, slots=True)
class ProbeReference:
    """Fixed prompts and the learner's log-probability (nats) of every token after the first."""

    prompts: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]


def parity_limit(configured: float | None, dtype: str) -> float:
    """The limit in nats: what is configured, else 1e-3 in float32 and 0.1 in bfloat16.

    TRL measured 0.010-0.018 on healthy and 0.20 on broken bfloat16 synchronisation (its issue 5312).
    """
    return DEFAULT_LIMIT_NATS[dtype] if configured is None else configured


def probe_prompts(model_path: str | Path) -> tuple[tuple[int, ...], ...]:
    """Token ids drawn once with a fixed seed from the model's vocabulary, so that many embeddings take part."""
    vocabulary = model_config_json(model_path).get("vocab_size")
    if not isinstance(vocabulary, int):
        raise ModelError(f"{Path(model_path) / 'config.json'} has no vocab_size")
    source = random.Random(PROBE_SEED)
    return tuple(tuple(source.randrange(vocabulary) for _ in range(PROBE_TOKENS)) for _ in range(PROBE_PROMPTS))


@torch.no_grad()
def reference_logprobs(
    model_dir: str | Path, prompts: Sequence[Sequence[int]], dtype: str = "float32"
) -> ProbeReference:
    """Log-probabilities that plain ``transformers`` gives to ``prompts`` with the checkpoint in ``model_dir``.

    ``dtype`` is the engine's number format: the weights are converted to it before the forward pass.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        str(model_dir), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
    ).eval()
    return model_logprobs(model, prompts)


@torch.no_grad()
def model_logprobs(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> ProbeReference:
    """The same for a model in memory, for a learner that publishes without writing a checkpoint."""
    rows = []
    for prompt in prompts:
        ids_1T = torch.tensor([list(prompt)], device=next(model.parameters()).device)
        logp_TV = model(input_ids=ids_1T).logits[0, :-1].float().log_softmax(-1)
        rows.append(tuple(logp_TV.gather(-1, ids_1T[0, 1:, None])[:, 0].tolist()))
    return ProbeReference(tuple(tuple(prompt) for prompt in prompts), tuple(rows))


def compare(reference: ProbeReference, engine: Sequence[Sequence[float]], limit_nats: float) -> ParityProbe:
    """Mean and largest absolute difference; anything that is not a finite number makes both NaN, which fails."""
    differences = [
        abs(ours - theirs)
        for row, answer in zip(reference.logprobs, engine, strict=True)
        for ours, theirs in zip(row, answer, strict=True)
    ]
    usable = bool(differences) and all(math.isfinite(difference) for difference in differences)
    mean = sum(differences) / len(differences) if usable else math.nan
    largest = max(differences) if usable else math.nan
    return ParityProbe(len(reference.prompts), len(differences), mean, largest, limit_nats)
