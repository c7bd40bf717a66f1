"""Look at a model directory before anything expensive starts: is it complete, and safe to load?

Reads JSON and safetensors headers only, so it takes milliseconds for a model of any size.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_rl.errors import ModelError
from genrm_rl.models.head import check_head, declared_tied
from genrm_rl.runtime.object_store import fetch

ADAPTER = "adapter_config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format


@dataclass(frozen=True)
class ModelFacts:
    """What the files of a model directory say. ``max_position`` is None where the architecture has no limit."""

    architecture: str
    parameters: int
    bytes: int
    vocab_size: int
    max_position: int | None
    tied_embeddings: bool
    has_chat_template: bool


def inspect_directory(path: Path) -> ModelFacts:
    """Check that ``path`` holds a whole, safetensors-only model with its tokenizer and no code of its own.

    Raises ModelError with one sentence that names the file.
    """
    fetch(path)
    try:
        return _inspect(path)
    except PermissionError as problem:
        raise ModelError(f"{problem.filename or path} can't be read by this user; mend its permissions") from problem


def check_architecture(path: Path) -> None:
    """Raise ModelError if transformers does not know the architecture in ``path`` or refuses its settings, and if the
    head that the architecture has where config.json says nothing is not in the weights.

    Imports transformers, so it is not part of :func:`inspect_directory`.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # configs raise whatever their own checks raise
        reason = in_one_line(problem).partition(". ")[0]
        raise ModelError(
            f"{path / 'config.json'} is not usable ({reason}); choose a model whose architecture transformers knows"
        ) from problem
    if declared_tied(read_object(path / "config.json")) is None:
        text = config.get_text_config()
        headers = {file: read_safetensors_header(file) for file in weight_files(path, os.listdir(path))}
        check_head(path, headers, bool(getattr(text, "tie_word_embeddings", True)), text.vocab_size)


def refuse_remote_code(settings: dict[str, Any], where: str) -> None:
    """Raise ModelError if a config or tokenizer config asks for Python code from its repository."""
    if "auto_map" in settings:
        raise ModelError(
            f"{where} asks for code of its own (auto_map), which is never run here; "
            "choose a model whose architecture transformers knows"
        )


def refuse_adapter(path: Path, names: Iterable[str]) -> None:
    """Raise ModelError for a folder that holds a LoRA adapter, alone or beside a model: engines would not apply it."""
    base = read_object(path / ADAPTER).get("base_model_name_or_path")
    adapter = f"a LoRA adapter of {base}" if base else "a LoRA adapter"
    if "config.json" not in names:
        raise ModelError(f"{path} has no config.json; it is {adapter}, merge it into its base first")
    raise ModelError(f"{path} holds {adapter} ({ADAPTER}), which is not loaded; merge it into its base first")


def _inspect(path: Path) -> ModelFacts:
    if not path.is_dir():
        raise ModelError(f"{path} is not a model directory" + ("" if path.exists() else ": it does not exist"))
    names = set(os.listdir(path))
    if ADAPTER in names:
        refuse_adapter(path, names)
    if "config.json" not in names:
        raise ModelError(f"{path} has no config.json, so it is not a model directory")
    config = read_object(path / "config.json")
    refuse_remote_code(config, f"{path / 'config.json'}")
    if not names & set(TOKENIZER_FILES):
        raise ModelError(f"{path} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); copy it from the base model")
    tokenizer = read_object(path / "tokenizer_config.json") if "tokenizer_config.json" in names else {}
    refuse_remote_code(tokenizer, f"{path / 'tokenizer_config.json'}")

    files = weight_files(path, names)
    headers = {file: read_safetensors_header(file) for file in files}
    tensors = {name: entry for header in headers.values() for name, entry in header.items()}
    text = config.get("text_config") or config
    vocab_size = text.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise ModelError(f"{path / 'config.json'} has no vocab_size, so it is not a language model")
    tied = declared_tied(config)
    check_head(path, headers, tied, vocab_size)
    return ModelFacts(
        architecture=next(iter(config.get("architectures") or []), str(config.get("model_type", "unknown"))),
        parameters=sum(math.prod(entry["shape"]) for entry in tensors.values()),
        bytes=sum(file.stat().st_size for file in files),
        vocab_size=vocab_size,
        max_position=text.get("max_position_embeddings") or text.get("n_positions"),
        tied_embeddings="lm_head.weight" not in tensors if tied is None else tied,
        has_chat_template="chat_template" in tokenizer or "chat_template.jinja" in names,
    )


def weight_files(path: Path, names: Iterable[str]) -> list[Path]:
    """The safetensors files of a model directory; every shard that the index names must be there. Raises ModelError."""
    names = set(names)
    if WEIGHTS_INDEX in names:
        shards = sorted(set(read_object(path / WEIGHTS_INDEX).get("weight_map", {}).values()))
        missing = [shard for shard in shards if shard not in names]
        if missing or not shards:
            raise ModelError(
                f"{path} lacks {len(missing)} of the {len(shards)} weight files that {WEIGHTS_INDEX} names"
                + (f" (first: {missing[0]})" if missing else "")
                + "; copy or download it again"
            )
        return [path / shard for shard in shards]
    found = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("consolidated"))
    if found:
        return [path / name for name in found]
    unsafe = sorted(name for name in names if name.endswith(UNSAFE_SUFFIXES))
    if unsafe:
        raise ModelError(
            f"{path} has weights only as {unsafe[0]}, a format that can run code when it is loaded; "
            "convert it to safetensors where you trust it: model.save_pretrained(directory)"
        )
    raise ModelError(f"{path} has no weights (no *.safetensors file); copy or download it again")


def read_safetensors_header(file: Path) -> dict[str, dict[str, Any]]:
    """Tensor name to ``{"dtype", "shape", "data_offsets"}``; raises ModelError if the file is cut off or is none.

    Layout: 8 bytes little-endian header length, JSON header, data; the last offset must be the end of the file.
    """
    size = file.stat().st_size
    with open(file, "rb") as handle:
        start = handle.read(8)
        length = int.from_bytes(start, "little")
        if start.startswith(b"version "):
            raise ModelError(f"{file} is a Git LFS pointer, not the weights; run `git lfs pull` in its repository")
        if len(start) < 8 or length > LONGEST_HEADER or (size >= 8 and handle.read(1) != b"{"):
            raise ModelError(f"{file} is not a safetensors file")
        handle.seek(8)
        raw = handle.read(length)
    cut_off = ModelError(f"{file} is cut off ({size:,} bytes); copy or download it again")
    if len(raw) < length:
        raise cut_off
    try:
        header = json.loads(raw)
    except ValueError:
        raise ModelError(f"{file} is not a safetensors file: its header is not JSON") from None
    if not isinstance(header, dict):
        raise ModelError(f"{file} is not a safetensors file: its header is no JSON object")
    header.pop("__metadata__", None)
    try:
        ends = [entry["data_offsets"][1] for entry in header.values() if math.prod(entry["shape"]) >= 0]
    except (KeyError, IndexError, TypeError):
        raise ModelError(f"{file} is not a safetensors file: its header lacks shapes or offsets") from None
    if size < 8 + length + max(ends, default=0):
        raise cut_off
    return header


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file that must hold an object. Raises ModelError."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ModelError(f"{file} is not valid JSON ({problem}); copy or download it again") from None
    if not isinstance(value, dict):
        raise ModelError(f"{file} does not hold a JSON object")
    return value


def describe_size(parameters: int, size: int) -> str:
    """``3.2 M parameters, 6 MB``."""
    scale, letter = (1e9, "B") if parameters >= 1e9 else (1e6, "M")
    return f"{parameters / scale:.3g} {letter} parameters, {describe_bytes(size)}"


def describe_bytes(size: int) -> str:
    """``6.4 MB``."""
    scale, unit = (1e9, "GB") if size >= 1e9 else (1e6, "MB")
    return f"{size / scale:.3g} {unit}"


def in_one_line(problem: BaseException, longest: int = 300) -> str:
    """The message of a library's error for the inside of a sentence: one line, no longer than it helps."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return text if len(text) <= longest else text[:longest] + "..."
