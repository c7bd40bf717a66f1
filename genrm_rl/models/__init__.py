"""Where a model comes from: the shipped tiny one, SmolLM2 from its package, a GGUF file, a hub id, a local folder."""

from genrm_rl.models.listing import ListedModel, list_models
from genrm_rl.models.resolve import ResolvedModel, resolve_model
from genrm_rl.models.tokenizer import load_tokenizer

__all__ = ["ListedModel", "ResolvedModel", "list_models", "load_tokenizer", "resolve_model"]
