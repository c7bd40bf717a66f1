"""The mean of two checkpoints of one architecture, tensor by tensor."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from genrm_rl.errors import ModelError
from genrm_rl.learners.checkpoint import weights_hash
from genrm_rl.runtime.object_store import fetch
from genrm_rl.runtime.storage import read_manifest


def average_checkpoint(base: Path, trained: Path, share: float, directory: Path) -> dict[str, Any]:
    """Write ``share`` of ``base`` and the rest of ``trained`` into ``directory`` (which exists), in the files, names
    and dtypes of ``trained``; returns its manifest, that of ``trained`` with a version of its own (WiSE-FT, arXiv
    2109.01903).

    One file of weights is in memory at a time. Raises ModelError if the two don't hold the same tensors.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    fetch(base)
    fetch(trained)
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, "pt")) for path in sorted(base.glob("*.safetensors"))]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (not a mapping)
        for path in sorted(trained.iterdir()):
            if path.suffix == ".safetensors":
                mean = {}
                with safe_open(path, "pt") as weights:
                    for name in weights.keys():  # noqa: SIM118
                        tensor = weights.get_tensor(name)
                        other = where[name].get_tensor(name) if name in where else None
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
