"""A model for every node: kept once in an object store, and fetched by whoever loads it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from genrm_rl.preferences.types import content_hash
from genrm_rl.runtime.storage import file_hash, is_complete, publish_directory
from genrm_rl.runtime.store_paths import stored, working_path


def placed(path: Path, name: str, cache_dir: str) -> Path:
    """``path`` itself, or where all nodes find that model if ``cache_dir`` is a URI and no store holds it yet.

    The folder's name holds a hash of the files, so a model is kept once however often it is resolved.
    """
    cache = working_path(cache_dir)
    if stored(cache) is None or stored(path) is not None:
        return path
    files = sorted(file for file in path.iterdir() if file.is_file())
    digest = content_hash([[file.name, file_hash(file)] for file in files])
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")
    target = cache / f"{slug}-{digest[:12]}"
    if not is_complete(target):
        with publish_directory(target, {"model": name, "from": str(path)}) as folder:
            for file in files:
                _link(file.resolve(), folder / file.name)  # a hub's snapshot is links to its blobs
    return target


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another disk
        shutil.copyfile(file, target)
