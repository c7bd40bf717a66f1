"""Named POSIX shared-memory segments of one node: made by a holder of weights, mapped by the engines beside it."""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import shutil
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from genrm_rl.errors import EnvironmentProblem

SHM_DIRECTORY = Path("/dev/shm")
PREFIX = "genrm_weights_"


def new_segment(size: int) -> SharedMemory:
    """An empty segment of at least ``size`` bytes, whose name holds this process's id. Raises EnvironmentProblem if
    /dev/shm has no room for it."""
    _check_room(size)
    return SharedMemory(f"{PREFIX}{os.getpid()}_{secrets.token_hex(8)}", create=True, size=max(size, 1))


def remove_segment(memory: SharedMemory) -> None:
    """Remove the segment's name; its memory goes when nobody maps it any more."""
    memory.unlink()
    # With a view still alive the name is gone at once, and the memory follows with the last view.
    with contextlib.suppress(BufferError):
        memory.close()


def map_segment(name: str) -> mmap.mmap:
    """The reader's side: map an existing segment without making this process its owner.

    `SharedMemory(name=...)` of Python 3.11 would have this process's resource tracker remove the segment at its exit.
    """
    try:
        descriptor = os.open(SHM_DIRECTORY / name.lstrip("/"), os.O_RDWR)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{SHM_DIRECTORY / name.lstrip('/')} is gone: the process that held these weights on this node has ended"
        ) from error
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)


def _check_room(size: int) -> None:
    free = shutil.disk_usage(SHM_DIRECTORY).free
    if size > free:
        raise EnvironmentProblem(
            f"the weights need {size / 2**20:.0f} MiB of shared memory, {SHM_DIRECTORY} has {free / 2**20:.0f} MiB; "
            "enlarge it (in a container: --shm-size)"
        )
