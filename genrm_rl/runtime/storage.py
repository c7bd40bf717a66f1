"""Durable writes: temporary name, fsync, rename, and a completion marker that is written last.

A file or directory without its marker is unfinished by definition and never read, so a kill at any point loses at most
the piece that was being written. Paths in the working copy of a run on an object store are uploaded as they become
durable (`object_store`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime import object_store
from genrm_rl.runtime.lease import check_lease
from genrm_rl.runtime.object_store import MARKER


def fsync_directory(path: Path) -> None:
    """Make renames inside ``path`` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: str | Path, data: str | bytes) -> Path:
    """Write ``data`` to ``path`` so that a reader sees either the old file or the whole new one.

    Raises RunDirectoryError if the disk is full.
    """
    with atomic_file(path) as handle:
        handle.write(data.encode("utf-8") if isinstance(data, str) else data)
    return Path(path)


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """:func:`write_atomic` for what is written piece by piece: nothing appears at ``path`` if the body raises."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunDirectoryError(
            f"the disk of {path} is full; free some space and give the same command again: it goes on from what is kept"
        ) from problem
    os.replace(temporary, path)
    fsync_directory(path.parent)
    object_store.upload(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically. NaN is refused: a failure never becomes a number."""
    return write_atomic(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=False, allow_nan=False) + "\n")


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> Path:
    """Write one JSON text a line, atomically."""
    return write_atomic(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def read_json_lines(path: str | Path) -> list[Any]:
    """What :func:`write_json_lines` wrote; a text may hold U+2028, which ends no line here."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_json(path: str | Path) -> Any:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextlib.contextmanager
def publish_directory(path: str | Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """Yield a temporary sibling directory; on success mark it complete and rename it to ``path``.

    ``manifest`` (which the body may still extend) becomes the completion marker. An unfinished directory of an earlier
    attempt at the same ``path`` is replaced; a complete one is replaced only after the new one is complete (in an
    object store it is removed first). Raises RunDirectoryError if another driver has taken the run meanwhile.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    object_store.remove(path)
    yield temporary
    check_lease(path)
    sync_tree(temporary)
    write_json(temporary / MARKER, manifest)
    if path.exists():
        discarded = path.with_name(f".{path.name}.replaced")
        shutil.rmtree(discarded, ignore_errors=True)
        os.replace(path, discarded)
        os.replace(temporary, path)
        shutil.rmtree(discarded)
    else:
        os.replace(temporary, path)
    fsync_directory(path.parent)
    object_store.upload_tree(path)


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, for manifests."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remove_tree(path: Path) -> None:
    """Delete a directory of a run for good, also from its object store; nothing happens if there is none."""
    object_store.remove(path)
    shutil.rmtree(path, ignore_errors=True)


def sync_tree(path: Path) -> None:
    """fsync every file below ``path``."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def is_complete(path: str | Path) -> bool:
    """True if the directory carries its completion marker; one that another node completed is brought here."""
    path = Path(path)
    if (path / MARKER).is_file():
        return True
    if not object_store.exists(path / MARKER):
        return False
    object_store.fetch(path, object_store.light)
    return True


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest that :func:`publish_directory` wrote last. Raises FileNotFoundError for an unfinished directory."""
    return read_json(Path(path) / MARKER)
