"""The sizes of a language model, from its config.json or from the list of well-known models (models.json)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.config import ModelConfig
from genrm_rl.errors import ModelError

KNOWN = Path(__file__).with_name("models.json")
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
TINY = Path(__file__).resolve().parents[1] / "genrm_rl" / "models" / "assets" / "tiny"


@dataclass(frozen=True)
class ModelShape:
    """What decides memory and arithmetic of a decoder with grouped-query attention and a gated MLP (Llama, Qwen2)."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def parameters(self) -> int:
        """Weights: embeddings, attention, MLP and norms (biases are left out)."""
        attention = 2 * self.hidden * self.heads * self.head_dim + 2 * self.hidden * self.kv_heads * self.head_dim
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def kv_bytes(self, bytes_per_number: int) -> int:
        """Bytes of keys and values per token of context."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_per_number


def shape_of(model: ModelConfig) -> ModelShape:
    """The shape of ``model``, without downloading or loading it.

    Raises ModelError if it is neither built in, a local directory, nor one of the well-known models.
    """
    known: Mapping[str, Mapping[str, Any]] = json.loads(KNOWN.read_text(encoding="utf-8"))
    name = SMOLLM2 if model.name == "smollm2" else model.name
    directory = TINY if model.name == "tiny" else Path(model.name).expanduser()
    if name in known:
        return _shape(model.name, known[name])
    file = directory / "config.json"
    if not file.is_file():
        raise ModelError(
            f"the sizes of {model.name} are not known here; give a local directory with its config.json, or one of "
            f"tiny, smollm2, {', '.join(known)}"
        )
    try:
        return _shape(model.name, json.loads(file.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError) as problem:
        raise ModelError(f"{file} does not give the sizes of a decoder ({type(problem).__name__}: {problem})") from None


def _shape(name: str, config: Mapping[str, Any]) -> ModelShape:
    heads = int(config["num_attention_heads"])
    return ModelShape(
        name=name,
        hidden=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        intermediate=int(config["intermediate_size"]),
        vocabulary=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
    )
