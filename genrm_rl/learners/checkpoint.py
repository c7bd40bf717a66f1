"""Checkpoints in HF layout: what is written beside the weights, and what is kept of the states inside a fit.

A checkpoint directory holds ``config.json``, ``model*.safetensors``, the tokenizer files of its parent, for scalar
models ``score_head.safetensors``, the fit's history, and the completion marker with its manifest. ``transformers`` and
vLLM load it directly. Where a LoRA adapter was trained, ``adapter/`` holds it as peft writes it, for the parent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_rl.preferences.types import content_hash
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import file_hash

if TYPE_CHECKING:
    import torch

SCORE_HEAD_FILE = "score_head.safetensors"
SCORE_HEAD_KEY = "score_head.weight"
# Everything else beside the weights is small and belongs to the tokenizer or the generation defaults.
_NOT_COPIED = {"config.json", "fit_history.jsonl", "README.md"}
_COPIED_SUFFIXES = {".json", ".txt", ".model", ".jinja"}


def write_hf_checkpoint(
    directory: Path,
    language: torch.nn.Module,
    weights: Iterable[tuple[str, torch.Tensor]],
    score_weight: torch.Tensor | None,
    parent_dir: str | Path,
) -> None:
    """Write weights, config and tokenizer files into ``directory`` (which exists).

    ``weights`` are full tensors under the model's HF names; tied ones appear once, as ``save_pretrained`` would do.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights}
    language.config.save_pretrained(directory)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_sharded(directory, tensors)
    if score_weight is not None:
        save_file({SCORE_HEAD_KEY: score_weight.detach().float().cpu().contiguous()}, directory / SCORE_HEAD_FILE)
    copy_tokenizer_files(Path(parent_dir), directory)


def save_sharded(directory: Path, tensors: dict[str, Any], max_shard_size: str = "5GB") -> None:
    """``model.safetensors``, or shards with their index when the model is larger than one shard."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    plan = split_torch_state_dict_into_shards(tensors, max_shard_size=max_shard_size)
    for file, names in plan.filename_to_tensors.items():
        save_file({name: tensors[name] for name in names}, directory / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def copy_tokenizer_files(parent: Path, directory: Path) -> None:
    """Copy the parent's tokenizer, chat template and generation defaults."""
    for file in sorted(parent.iterdir()):
        if (
            file.is_file()
            and file.suffix in _COPIED_SUFFIXES
            and file.name not in _NOT_COPIED
            and not file.name.startswith(("_", "."))
            and not file.name.endswith(".index.json")
        ):
            shutil.copyfile(file, directory / file.name)


def judge_hash(directory: str | Path) -> str:
    """Hash of all that decides what a model directory answers: weights, configuration, tokenizer and chat template."""
    fetch(directory)
    kept = {*_COPIED_SUFFIXES, ".json", ".safetensors"}
    files = (
        path for path in sorted(Path(directory).iterdir()) if path.suffix in kept and not path.name.startswith("_")
    )
    return content_hash([[path.name, file_hash(path)] for path in files if path.is_file()])


def weights_hash(directory: str | Path) -> str:
    """Hash of what the weight files of a checkpoint hold, wherever it lies."""
    fetch(directory)
    files = sorted(Path(directory).glob("*.safetensors"))
    return content_hash([[path.name, file_hash(path)] for path in files])
