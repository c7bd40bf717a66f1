"""Random language models of a given shape, with the tokenizer of the tiny model: speed and memory ask for no more."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from placement.shapes import TINY, ModelShape

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
CONTEXT = 4096
# name, hidden, layers, heads, key-value heads, head dimension, intermediate, vocabulary, tied
SMALL = ModelShape("30M", 512, 8, 8, 4, 64, 1408, 4096, tied=False)
WIDE_VOCABULARY = ModelShape("wide", 64, 1, 1, 1, 64, 128, 128256, tied=True)
LLAMA_1B = ModelShape("1B", 2048, 16, 32, 8, 64, 8192, 32000, tied=False)
LLAMA_8B = ModelShape("8B", 4096, 32, 32, 8, 128, 14336, 128256, tied=False)


def random_model(folder: Path, shape: ModelShape, dtype: torch.dtype, device: str) -> Path:
    """Directory of a model with random weights in HF layout; made once."""
    from transformers import LlamaConfig, LlamaForCausalLM

    target = folder / f"random_{shape.name}"
    if target.is_dir():
        return target
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-6,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # made in its format: in float32, 8B would not fit everywhere
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    for name in TOKENIZER_FILES:
        if (TINY / name).is_file():
            shutil.copy(TINY / name, part / name)
    part.rename(target)
    return target


def flops_per_token(shape: ModelShape, length: int) -> float:
    """Arithmetic of forward and backward pass per token: 6 for each weight of a matrix (looking an embedding up is
    none), and half of 12 L T h for causal attention (Narayanan et al., arXiv 2104.04473)."""
    embedding = 0 if shape.tied else shape.vocabulary * shape.hidden
    return 6 * (shape.parameters - embedding) + 6 * shape.layers * length * shape.heads * shape.head_dim
