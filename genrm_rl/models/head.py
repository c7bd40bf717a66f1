"""Does a checkpoint have the output head that its config promises? Read from safetensors headers, in milliseconds.

An engine that is given a wrong head says nothing: it starts, and every log-probability that it returns is noise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrm_rl.errors import ModelError

EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight")
HEAD = re.compile(r"(?!mtp)([a-z_]+\.)*(lm_head|embed_out)\.")  # not those of a layer that predicts further tokens
BLOCK = 2**16  # bytes
BLOCKS = 64  # of the embedding that are compared with a second copy of it

Headers = Mapping[Path, Mapping[str, dict[str, Any]]]


def declared_tied(config: Mapping[str, Any]) -> bool | None:
    """What a config.json says about the head: it is the token embedding, or not. None if it is silent, or says both."""
    said = {bool(part["tie_word_embeddings"]) for part in _parts(config) if "tie_word_embeddings" in part}
    return said.pop() if len(said) == 1 else None


def check_head(path: Path, headers: Headers, tied: bool | None, vocab_size: int) -> None:
    """Raise ModelError if the embedding is missing or too small, if a tensor is empty, or if the head is not what
    ``tied`` says (None: unknown, so either is right)."""
    tensors = {name: (file, entry) for file, header in headers.items() for name, entry in header.items()}
    weights = (name for name in tensors if name.endswith(".weight"))
    empty = next((name for name in weights if 0 in tensors[name][1]["shape"]), None)
    if empty is not None:
        raise ModelError(
            f"{tensors[empty][0]} has no values for {empty} (shape {tensors[empty][1]['shape']}), as when the shards "
            "of ZeRO-3 are not gathered; save the checkpoint again"
        )
    embedding = next((name for name in tensors if name.endswith(EMBEDDINGS)), None)
    if embedding is None:
        return _refuse_without_embedding(path, tensors, vocab_size)
    shape = tensors[embedding][1]["shape"]
    if shape[0] < vocab_size:
        raise ModelError(
            f"{path / 'config.json'} says vocab_size {vocab_size} and {embedding} has {shape[0]} rows; copy the config "
            "that belongs to these weights"
        )
    heads = [name for name in tensors if HEAD.match(name)]
    alike = (name for name, (_, entry) in tensors.items() if entry["shape"] == shape and name != embedding)
    if tied is False and not heads and next(alike, None) is None:  # an architecture may call its head otherwise
        raise ModelError(
            f"{path / 'config.json'} says that the output head is a matrix of its own (tie_word_embeddings false) and "
            "the weights have none (lm_head.weight); copy the checkpoint again, or set tie_word_embeddings to true if "
            "its head is the token embedding"
        )
    matrices = [name for name in heads if name.endswith(".weight")]
    if tied and matrices and not _same_values(tensors[embedding], tensors[matrices[0]]):
        raise ModelError(
            f"{path / 'config.json'} says that the output head is the token embedding (tie_word_embeddings true) and "
            f"the weights have another one ({matrices[0]}); set tie_word_embeddings to false if that is the right "
            "head, or copy the checkpoint again"
        )


def _parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    text = config.get("text_config")
    return [config, text] if isinstance(text, Mapping) else [config]


def _refuse_without_embedding(path: Path, tensors: Mapping[str, Any], vocab_size: int) -> None:
    """Other architectures call their embedding otherwise; none does without a matrix of so many rows."""
    if not any(len(entry["shape"]) == 2 and entry["shape"][0] >= vocab_size for _, entry in tensors.values()):
        raise ModelError(
            f"{path} has no token embedding among its {len(tensors)} tensors, so it is no whole language model; copy "
            "or download it again"
        )


def _same_values(one: tuple[Path, dict[str, Any]], other: tuple[Path, dict[str, Any]]) -> bool:
    """Compares 64 blocks spread over both, or all: a copy of the embedding is no contradiction, and some tools keep
    one."""
    (file, entry), (other_file, other_entry) = one, other
    if (entry["dtype"], entry["shape"]) != (other_entry["dtype"], other_entry["shape"]):
        return False
    start, other_start = _begin(file, entry), _begin(other_file, other_entry)
    size = entry["data_offsets"][1] - entry["data_offsets"][0]
    step = max(BLOCK, size // BLOCKS)
    with open(file, "rb") as left, open(other_file, "rb") as right:
        for offset in range(0, size, step):
            left.seek(start + offset)
            right.seek(other_start + offset)
            length = min(BLOCK, size - offset)
            if left.read(length) != right.read(length):
                return False
    return True


def _begin(file: Path, entry: dict[str, Any]) -> int:
    with open(file, "rb") as handle:
        return 8 + int.from_bytes(handle.read(8), "little") + entry["data_offsets"][0]
