"""Shards of a state on their way to an object store, each from the worker that wrote it.

What DeepSpeed has written on the worker's node is a copy that no step changes, so the worker goes on at once and a
thread of its process uploads it. Where runs are kept on a disk there is nothing to do.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from genrm_rl.learners.deepspeed_adapter import shard_rank
from genrm_rl.runtime.object_store import move_tree


def move_state(directory: Path, tag: str, rank: int) -> None:
    """What worker ``rank`` has written of the state ``tag`` goes to the store and leaves this node's disk.

    Files of other states in ``directory``, which others may be writing, are left alone. Raises RunDirectoryError if the
    store refuses them or stays away.
    """
    move_tree(directory / tag, lambda name: (shard_rank(name) or 0) == rank)


class StateUpload:
    """:func:`move_state` beside the worker's other work, one state at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-upload")
        self._moving: Future[None] | None = None

    def begin(self, directory: Path, tag: str, rank: int) -> None:
        """Start to move a state that is written."""
        self._moving = self._thread.submit(move_state, directory, tag, rank)

    def arrived(self, *, wait: bool) -> bool:
        """Whether the last state is in the store; ``wait`` until it is. Raises what its upload raised."""
        if self._moving is None or not (wait or self._moving.done()):
            return self._moving is None
        self._moving.result()
        return True
