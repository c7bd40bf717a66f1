"""What people said, line by line: a label is on the disk before its sender hears that it is kept.

Append-only JSON lines. A line without its end is one that a kill or a full disk cut off; nobody was told that it was
kept, and it is removed when the journal is opened next.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from genrm_rl.errors import RunDirectoryError
from genrm_rl.labelling.types import CHOICES
from genrm_rl.runtime import object_store
from genrm_rl.runtime.storage import fsync_directory

KINDS = ("shown", "label", "undo")


class Journal:
    """One process writes to it; a second is refused while the first lives. Raises RunDirectoryError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise RunDirectoryError(f"people label at {path.parent} already; use that desk, or end it") from None
        self.events, whole = read_events(path)
        os.ftruncate(self._file, whole)
        os.fsync(self._file)
        fsync_directory(path.parent)
        self._size = self._stored = whole

    def append(self, event: dict[str, Any], *, durable: bool = True) -> None:
        """Write one event; ``durable`` ones are on the disk when this returns. Raises RunDirectoryError if it can't be
        written; nothing of it is kept then."""
        line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError("only a part was written")
            if durable:
                os.fsync(self._file)
        except OSError as problem:
            os.ftruncate(self._file, self._size)
            raise RunDirectoryError(
                f"{self.path} can't be written ({problem.strerror or 'the disk is full'}); the label was not kept"
            ) from problem
        self._size += len(line)

    def store(self) -> None:
        """Bring what was written since the last time to the store of the run, if it has one."""
        if self._stored < self._size:
            object_store.upload(self.path)
            self._stored = self._size

    def close(self) -> None:
        """Let another process write."""
        os.close(self._file)


def read_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The events of a journal, and the bytes of its whole lines. Raises RunDirectoryError for a line that is none."""
    data = path.read_bytes() if path.is_file() else b""
    whole = data.rfind(b"\n") + 1
    events = []
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        event = _event(line)
        if event is None:
            raise RunDirectoryError(
                f"{path}:{number} is no event of a labelling desk; restore the file, or remove the line and lose what "
                "it said"
            )
        events.append(event)
    return events, whole


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or not {"event", "task", "annotator", "at"} <= set(event):
        return None
    is_known = event["event"] in KINDS and (event["event"] != "label" or event.get("choice") in CHOICES)
    return event if is_known else None
