"""The mean of two checkpoints of one architecture, tensor by tensor."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from genrm_rl.errors import ModelError
from genrm_rl.learners.checkpoint import weights_hash
from genrm_rl.rollout.shared_weights import CheckpointWeights
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import read_manifest


def average_checkpoint(base: Path, trained: Path, share: float, directory: Path) -> dict[str, Any]:
    """Write ``share`` of ``base`` and the rest of ``trained`` into ``directory`` (which exists), in the files, names
    and dtypes of ``trained``; returns its manifest, that of ``trained`` with a version of its own (WiSE-FT, arXiv
    2109.01903).

    One file of weights is in memory at a time (the base's are mapped). Raises ModelError if the two don't hold the same
    tensors, or the base's files can't be read.
    """
    from safetensors.torch import load_file, save_file

    fetch(base)
    fetch(trained)
    others = dict(CheckpointWeights(base))
    for path in sorted(trained.iterdir()):
        if path.suffix == ".safetensors":
            mean = {}
            for name, tensor in load_file(path).items():
                other = others.get(name)
                if other is None or other.shape != tensor.shape:
                    raise ModelError(
                        f"{trained} can't be averaged with {base}, which has no {name} of shape "
                        f"{tuple(tensor.shape)}; set bootstrap.base_share to 0"
                    )
                mean[name] = tensor.float().lerp(other.float(), share).to(tensor.dtype)
            save_file(mean, directory / path.name, metadata={"format": "pt"})
        elif path.is_file() and not path.name.startswith("_"):
            shutil.copyfile(path, directory / path.name)
    facts = read_manifest(trained)
    return facts | {"version": f"{facts['objective']}-{weights_hash(directory)[:12]}", "base_share": share}
