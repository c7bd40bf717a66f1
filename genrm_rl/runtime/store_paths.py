"""Where a path is kept: working copies on this machine, and their places in an object store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from genrm_rl.errors import RunDirectoryError

if TYPE_CHECKING:
    from pyarrow import fs


SCHEMES = ("s3", "gs", "abfs")
URI = re.compile(r"([a-z0-9+]+)://(.*)")
SCRATCH_VARIABLE = "GENRM_RL_SCRATCH"
PARTIAL = re.compile(r"\.(.+)\.partial")


@dataclass(frozen=True)
class Stored:
    """A place in a store: ``path`` is bucket and key."""

    filesystem: fs.FileSystem
    scheme: str
    path: str

    @property
    def uri(self) -> str:
        """For people."""
        return f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Stored:
        return Stored(self.filesystem, self.scheme, f"{self.path}/{name}")


def scratch() -> Path:
    """The folder of all working copies on this machine (``GENRM_RL_SCRATCH``); the same path on every node."""
    return Path(os.environ.get(SCRATCH_VARIABLE) or "~/.cache/genrm_rl/runs").expanduser().absolute()


def working_path(root: str | Path) -> Path:
    """``root`` itself, or where the working copies of a URI's runs lie. Raises RunDirectoryError for other URIs."""
    found = URI.fullmatch(str(root))
    if found is None:
        return Path(root)
    scheme, rest = found.groups()
    if scheme == "file":
        return Path(rest)
    if scheme not in SCHEMES or not rest.strip("/") or "?" in rest:
        raise RunDirectoryError(
            f"{root} is no place for runs or models; give a directory, or {', '.join(f'{s}://' for s in SCHEMES)} with "
            "a bucket and a folder (region and endpoint come from AWS_REGION and AWS_ENDPOINT_URL)"
        )
    return scratch() / scheme / rest.strip("/")


def stored(path: str | Path) -> Stored | None:
    """Where a path of a working copy is kept, None for all other paths. A directory that is still being written
    (``.NAME.partial``) is kept under its final name: in a store the completion marker alone makes it whole."""
    try:
        scheme, *keys = Path(path).absolute().relative_to(scratch()).parts
    except ValueError:
        return None
    if not keys:
        return None
    names = [partial[1] if (partial := PARTIAL.fullmatch(key)) else key for key in keys]
    return Stored(_filesystem(scheme, names[0]), scheme, "/".join(names))


@cache
def _filesystem(scheme: str, bucket: str) -> fs.FileSystem:
    """Arrow's filesystem of a bucket; raises RunDirectoryError if this build of Arrow has none."""
    from pyarrow import ArrowException, fs

    try:
        return fs.FileSystem.from_uri(f"{scheme}://{bucket}")[0]
    except (ArrowException, OSError) as problem:
        raise RunDirectoryError(f"{scheme}://{bucket} can't be used for runs: {problem}") from problem
