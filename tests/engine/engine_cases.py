"""Tiny random models, requests, and how to sample them: shared by the engine tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from genrm_rl.config import ModelConfig, RolloutConfig
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.preferences.world.vocabulary import build_tokenizer
from genrm_rl.rollout.pool import EnginePool

CONTEXT = 256
MODEL = ModelConfig(max_context=CONTEXT, dtype="float32")


@dataclass(frozen=True)
class TinyModels:
    """Directories of random Llamas, all of one shape: 2 layers of width 64 and the task world's tokenizer."""

    base: Path
    other: Path
    untied: Path
    other_untied: Path


def save_random_llama(directory: Path, seed: int, tied: bool) -> Path:
    """Weights are spread wide (0.3), so that different seeds disagree by whole nats."""
    tokenizer = build_tokenizer(CONTEXT)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def rollout_config(**changes: object) -> RolloutConfig:
    """Small engines; generous limits, because nothing here tests speed."""
    settings = {"max_in_flight": 32, "kv_cache_gib": 0.25, "startup_deadline": 900.0, "max_restarts": 5}
    return RolloutConfig(**(settings | changes))


def request(number: int, **changes: object) -> GenerationRequest:
    """A sampled request with its own prompt and seed."""
    prompt = tuple(6 + (number * 7 + position * 3) % 100 for position in range(5 + number % 11))
    settings = {
        "request_id": f"r{number}", "prompt_token_ids": prompt, "max_tokens": 16,
        "temperature": 1.0, "top_p": 0.95, "seed": number,
    }  # fmt: skip
    return GenerationRequest(**(settings | changes))


def sample(pool: EnginePool, requests: list[GenerationRequest]) -> dict[str, GenerationResult]:
    """All results by request id; fails if one comes twice."""
    results: dict[str, GenerationResult] = {}
    for result in pool.generate(requests):
        assert result.request_id not in results, f"{result.request_id} was delivered twice"
        results[result.request_id] = result
    return results
