"""Runs on an object store (``--run.root s3://bucket/runs``): the store holds the run, every machine a working copy.

The working copy is an ordinary directory whose path names the store (``~/.cache/genrm_rl/runs/s3/bucket/runs/ID``), so
any process on any node knows from a path alone whether it is backed by a store and where. What is made durable locally
(`storage`) is uploaded at once, completion markers last; whoever needs a path that another node wrote calls `fetch`.
For paths that are no working copy every function here does nothing. Credentials, region and endpoint come from where
the store's own tools look (AWS_* variables, instance roles, application default credentials).
"""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.console import people_console
from genrm_rl.runtime.store_paths import Stored, scratch, stored, working_path

if TYPE_CHECKING:
    from pyarrow import fs

DEADLINE_VARIABLE = "GENRM_RL_STORAGE_DEADLINE"
MARKER = "_COMPLETE.json"
WEIGHTS = (".safetensors", ".pt")  # brought only to those who load them
SMALL_BYTES = 2**20  # smaller files may be rewritten in place; larger ones never change
# A store tells times to the second: a file that was brought so long after it was written is the last of its second,
# also where the clocks differ a little.
SETTLED_SECONDS = 60.0
TEMPORARY = re.compile(r"\..+\.(partial|tmp|replaced)|\.lock")
# Logs that a process of this machine may have open: replaced only by a longer one.
GROWING = re.compile(r"events-\d+\.jsonl|events\.out\.tfevents.*")
# Waiting does not cure these; the words are those of Arrow's and of obstore's messages.
HOPELESS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "status 403")
HOPELESS += ("AccessDenied", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403 Forbidden")
LOCAL_PROBLEMS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT}
THREADS = 16

Result = TypeVar("Result")


def light(name: str, size: int) -> bool:
    """``wanted`` for `fetch`: everything but weights and optimizer states."""
    return not name.endswith(WEIGHTS)


def exists(path: str | Path) -> bool:
    """True if the store has this file."""
    place = stored(path)
    return place is not None and _is_file(place)


def upload(path: Path) -> None:
    """One durable file of a working copy to its store."""
    if not _is_temporary(path) and (place := stored(path)) is not None:
        _put(path, place)


def upload_tree(directory: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """All files of a directory that the store does not have, the completion marker last; ``wanted(name)`` chooses.

    Also for a directory that another node will complete: then what this node wrote in it is kept, without a marker.
    """
    place = stored(directory)
    if place is None:
        return
    sizes = _sizes(place)
    files = [file for file in sorted(directory.rglob("*")) if file.is_file() and not _is_temporary(file, directory)]
    files = [file for file in files if wanted(file.name)]
    files.sort(key=lambda file: file.name == MARKER)
    new = [file for file in files if sizes.get(_key(file, directory)) != file.stat().st_size or file.name == MARKER]
    plain, markers = ([f for f in new if (f.name == MARKER) is kind] for kind in (False, True))
    _all(plain, lambda file: _put(file, place / _key(file, directory)))
    for marker in sorted(markers, key=lambda file: -len(file.parts)):  # the outermost last
        _put(marker, place / _key(marker, directory))


def move_tree(directory: Path, wanted: Callable[[str], bool]) -> None:
    """Upload the files that ``wanted(name)`` chooses and let go of the local ones: what is only read again after a loss
    needs no disk on the node that wrote it."""
    if stored(directory) is None:
        return
    upload_tree(directory, wanted)
    for file in directory.rglob("*"):
        if file.is_file() and wanted(file.name):
            file.unlink()


def upload_missing(directory: Path) -> None:
    """What an earlier driver on this machine completed and could not upload any more; the store's own files stay."""
    place = stored(directory)
    if place is None:
        return
    known = _sizes(place)
    markers = [marker for marker in directory.rglob(MARKER) if not _is_temporary(marker, directory)]
    for marker in sorted(markers, key=lambda file: -len(file.parts)):
        if _key(marker, directory) not in known:
            upload_tree(marker.parent)
    known |= _sizes(place)
    loose = [file for file in directory.rglob("*") if file.is_file() and not _is_temporary(file, directory)]
    _all(
        [file for file in loose if _key(file, directory) not in known],
        lambda file: _put(file, place / _key(file, directory)),
    )


def fetch(path: str | Path, wanted: Callable[[str, int], bool] = lambda name, size: True) -> None:
    """Bring what the store has of a file or directory into the working copy; ``wanted(name, bytes)`` chooses.

    Files of the same size are not brought again unless they are small and may have been rewritten since. Times are the
    store's.
    """
    place, path = stored(path), Path(path)
    if place is None:
        return

    info = patiently(lambda: place.filesystem.get_file_info(place.path), place)
    found = [(path, info)] if info.is_file else [(path / name, each) for name, each in _listing(place).items()]

    def take(file: Path, info: fs.FileInfo) -> None:
        if file.is_file() and _is_current(file, info):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        source = Stored(place.filesystem, place.scheme, info.path)
        patiently(lambda: _copy(source.filesystem, info.path, None, str(temporary)), source)
        os.utime(temporary, (info.mtime.timestamp(),) * 2)
        os.replace(temporary, file)

    chosen = [(file, each) for file, each in found if wanted(file.name, each.size)]
    # Whoever looks at the working copy must not see a marker before what it marks.
    chosen.sort(key=lambda entry: entry[0].name == MARKER)
    marked = next((i for i, (file, _) in enumerate(chosen) if file.name == MARKER), len(chosen))
    _all(chosen[:marked], lambda entry: take(*entry))
    for entry in chosen[marked:]:
        take(*entry)


def remove(path: Path) -> None:
    """Delete a directory from the store, its marker first."""
    place = stored(path)
    if place is None:
        return
    marker = place / MARKER
    if exists(path / MARKER):
        patiently(lambda: place.filesystem.delete_file(marker.path), marker)
    if _listing(place):
        patiently(lambda: place.filesystem.delete_dir(place.path), place)


def runs_below(root: str) -> list[str]:
    """Names of the folders of a URI."""
    from pyarrow import fs

    place = stored(working_path(root))
    if place is None:
        return []
    select = fs.FileSelector(place.path, allow_not_found=True)
    found = patiently(lambda: place.filesystem.get_file_info(select), place)
    return sorted(each.base_name for each in found if each.type == fs.FileType.Directory)


def _listing(place: Stored) -> dict[str, fs.FileInfo]:
    from pyarrow import fs

    select = fs.FileSelector(place.path, recursive=True, allow_not_found=True)
    found = patiently(lambda: place.filesystem.get_file_info(select), place)
    return {each.path[len(place.path) + 1 :]: each for each in found if each.is_file}


def _is_file(place: Stored) -> bool:
    return patiently(lambda: place.filesystem.get_file_info(place.path).is_file, place)


def _sizes(place: Stored) -> dict[str, int]:
    return {name: info.size for name, info in _listing(place).items()}


def _put(file: Path, place: Stored) -> None:
    patiently(lambda: _copy(None, str(file), place.filesystem, place.path), place)


def _copy(source: fs.FileSystem | None, path: str, target: fs.FileSystem | None, to: str) -> None:
    from pyarrow import fs

    fs.copy_files(path, to, source_filesystem=source or fs.LocalFileSystem(), destination_filesystem=target)


def patiently(action: Callable[[], Result], place: Stored) -> Result:
    """Repeat while the store does not answer; a run neither loses what it has made nor goes on without keeping it.

    Raises RunDirectoryError at once if the store refuses, and after ``GENRM_RL_STORAGE_DEADLINE`` seconds (600).
    """
    deadline = time.monotonic() + float(os.environ.get(DEADLINE_VARIABLE) or 600)
    pause, said = 0.5, False
    while True:
        try:
            return action()
        except OSError as problem:
            if problem.errno in LOCAL_PROBLEMS:
                raise
            if any(word in str(problem) for word in HOPELESS):
                raise RunDirectoryError(
                    f"the store refuses {place.uri}: {problem}; choose another place or mend the credentials"
                ) from problem
            if time.monotonic() + pause > deadline:
                raise RunDirectoryError(
                    f"the store did not answer for {place.uri} ({problem}); what was made is in the working copy "
                    f"below {scratch()}, and the same command goes on from there"
                ) from problem
            if not said:
                people_console(stderr=True).print(
                    f"the store does not answer for {place.uri} ({problem}); waiting for it"
                )
                said = True
            time.sleep(pause * random.uniform(0.5, 1.5))  # workers must not come back all at once
            pause = min(2 * pause, 15.0)


def _is_current(file: Path, info: fs.FileInfo) -> bool:
    """False if the store's version of a local file may be another one."""
    here = file.stat()
    if GROWING.fullmatch(file.name):
        return here.st_size >= info.size
    same_time = abs(here.st_mtime - info.mtime.timestamp()) < 1e-3
    settled = same_time and here.st_ctime - here.st_mtime > SETTLED_SECONDS  # the change was that it was brought here
    return here.st_size == info.size and (info.size > SMALL_BYTES or settled)


def _is_temporary(path: Path, below: Path | None = None) -> bool:
    parts = path.relative_to(below).parts if below else path.parts
    return any(TEMPORARY.fullmatch(part) for part in parts)


def _key(file: Path, directory: Path) -> str:
    return file.relative_to(directory).as_posix()


def _all(entries: list[Result], action: Callable[[Result], None]) -> None:
    """``action`` on every entry, several at once; the first problem is raised."""
    if entries:
        with ThreadPoolExecutor(min(THREADS, len(entries))) as pool:
            list(pool.map(action, entries))
