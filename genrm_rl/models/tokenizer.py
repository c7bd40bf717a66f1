"""The tokenizer of a resolved model, always with a pad token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genrm_rl.errors import ModelError
from genrm_rl.models.inspection import in_one_line
from genrm_rl.runtime.object_store import fetch, light

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens that families keep for padding without declaring it, best first. Padding with the end token works too (the
# masks say what is padding), but hides whether a model really ended.
SPARE_PAD_TOKENS = ("<pad>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endoftext|>")


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer in ``path`` (a local directory). Raises ModelError if it can't be loaded or has no end token."""
    from transformers import AutoTokenizer

    fetch(path, light)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # the tokenizers library raises bare Exception for a file that it can't parse
        reason = in_one_line(problem).partition(". ")[0]
        raise ModelError(
            f"the tokenizer in {path} can't be loaded ({reason}); copy it from the base model again"
        ) from problem
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer in {path} has no end token (eos_token), so no answer could ever end")
    ensure_pad_token(tokenizer)
    return tokenizer


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give ``tokenizer`` a pad token that is in its vocabulary already; the end token only where nothing else is."""
    if tokenizer.pad_token_id is not None:
        return
    vocabulary = tokenizer.get_vocab()
    spare = [token for token in SPARE_PAD_TOKENS if token in vocabulary and token != tokenizer.eos_token]
    tokenizer.pad_token = spare[0] if spare else tokenizer.eos_token
