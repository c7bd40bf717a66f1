"""Proof that an engine computes what the learner computes: log-probabilities of fixed prompts, compared in nats."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from genrm_rl.errors import ModelError
from genrm_rl.rollout.settings import EngineSettings, model_config_json
from genrm_rl.rollout.types import ParityProbe

DEFAULT_LIMIT_NATS = {"float32": 1e-3, "bfloat16": 0.1}
PROBE_PROMPTS = 4
PROBE_TOKENS = 24
PROBE_SEED = 20241018
PROBE_TEXT = (
    "which of the two answers is better? the first one adds 17 and 25 and gets 42, because 17 + 20 = 37 and 37 + "
    "5 = 42. the second one says that the sum is 32, and does not show any steps. sort these words by length: "
    "pear, fig, banana, kiwi, apple. a short answer that is right is better than a long one that is wrong. in "
    "1969 two people walked on the moon; a third stayed in orbit and listened to them on the radio. water boils "
    "at 100 degrees, or less on a mountain."
)


@dataclass(frozen=True, slots=True)
class ProbeReference:
    """Fixed prompts and the learner's log-probability (nats) of every token after the first, computed in ``format``."""

    prompts: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]
    format: str = "float32"


def parity_limit(configured: float | None, *formats: str) -> float:
    """The limit in nats: what is configured, else that of the coarser of ``formats``: 1e-3 in float32, 0.1 in bfloat16.

    TRL measured 0.010-0.018 on healthy and 0.20 on broken bfloat16 synchronisation (its issue 5312).
    """
    return max(DEFAULT_LIMIT_NATS[each] for each in formats) if configured is None else configured


def probe_prompts(model_path: str | Path) -> tuple[tuple[int, ...], ...]:
    """Four windows of 24 tokens from a fixed text, in the model's own tokens.

    Plausible text is used because the rounding noise of bfloat16 grows with the surprise: 0.04 nats here, 0.09 on
    random tokens. A tokenizer that can't spell the text gets token ids drawn with a fixed seed instead.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model_path), local_files_only=True)
    ids = tokenizer(PROBE_TEXT, add_special_tokens=False)["input_ids"]
    if ids.count(tokenizer.unk_token_id) > len(ids) // 4 or len(ids) < PROBE_TOKENS:
        vocabulary = model_config_json(model_path).get("vocab_size")
        if not isinstance(vocabulary, int):
            raise ModelError(f"{Path(model_path) / 'config.json'} has no vocab_size")
        source = random.Random(PROBE_SEED)
        ids = [source.randrange(vocabulary) for _ in range(PROBE_PROMPTS * PROBE_TOKENS)]
    ids = list(itertools.islice(itertools.cycle(ids), PROBE_PROMPTS * PROBE_TOKENS))
    return tuple(tuple(ids[start : start + PROBE_TOKENS]) for start in range(0, len(ids), PROBE_TOKENS))


@torch.no_grad()
def reference_logprobs(
    model_dir: str | Path, prompts: Sequence[Sequence[int]], dtype: str = "float32"
) -> ProbeReference:
    """Log-probabilities that plain ``transformers`` gives to ``prompts`` with the checkpoint in ``model_dir``.

    ``dtype`` is the engine's number format: the weights are converted to it before the forward pass.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(model_dir), dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    return model_logprobs(model.eval(), prompts)


def checkpoint_reference(model_dir: str | Path, settings: EngineSettings) -> ProbeReference:
    """What the checkpoint in ``model_dir`` answers to the probe of an engine with these settings."""
    return reference_logprobs(model_dir, probe_prompts(settings.model_path), settings.dtype)


@torch.no_grad()
def model_logprobs(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> ProbeReference:
    """The same for a model in memory, for a learner that publishes without writing a checkpoint."""
    device = next(model.parameters()).device
    rows: list[tuple[float, ...]] = []
    # Prompts of one length go through the model together.
    for _, group in itertools.groupby(prompts, key=len):
        ids_BT = torch.tensor([list(prompt) for prompt in group], device=device)
        logp_BTV = model(input_ids=ids_BT).logits[:, :-1].float().log_softmax(-1)
        rows += [tuple(row) for row in logp_BTV.gather(-1, ids_BT[:, 1:, None])[..., 0].tolist()]
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
