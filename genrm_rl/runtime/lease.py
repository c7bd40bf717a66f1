"""Who drives a run that is kept in an object store: one driver at a time, and a late one can't overwrite.

A driver renews ``lease.json`` in the store every ``RENEW_SECONDS``. Another one takes the run over only after it has
seen no renewal for ``EXPIRES_SECONDS`` of its own clock (clocks of two machines are never compared), or at once when it
follows a dead driver on the same machine. Every write of the lease is conditional on the version that was read before
(`conditional`), so of two drivers that start in the very same moment exactly one wins, and a late one can't renew what
another has taken. Each owner has a higher ``fence`` than the one before; before a completion marker is written the
lease is read again, and whoever has lost it stops (fencing as in Kleppmann, "How to do distributed locking", 2016).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.conditional import Version, read_version, write_version
from genrm_rl.runtime.console import people_console
from genrm_rl.runtime.store_paths import Stored, stored

LEASE = "lease.json"
RENEW_SECONDS = 5.0
EXPIRES_SECONDS = 30.0

_held: dict[Path, Lease] = {}


class Lease:
    """The right to write to the run at ``path``, from :meth:`acquire` to :meth:`release`.

    ``meanwhile`` is called with every renewal, from a thread; what it raises ends up in :meth:`check`.
    """

    def __init__(self, path: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._run = path.absolute()
        self._file = _place(path)
        self._owner = owner()
        self._meanwhile = meanwhile
        self._nonce = uuid.uuid4().hex
        self._stop = threading.Event()
        self._problem: RunDirectoryError | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._ours: Version | None = None
        self.fence = 0

    def acquire(self) -> None:
        """Take the run. Raises RunDirectoryError if another driver is alive, saying where."""
        before = read_version(self._file)
        if before is not None and _facts(before)["owner"] and not self._follows(_facts(before)):
            before = self._see_it_expire(before)
        self.fence = (_facts(before)["fence"] if before else 0) + 1
        self._ours = self._write(self._owner, before)
        if self._ours is None:
            raise self._driven_by(read_version(self._file))
        _held[self._run] = self
        self._thread.start()

    def check(self) -> None:
        """Raise RunDirectoryError if the run has another driver by now."""
        if self._problem is not None:
            raise self._problem
        now = read_version(self._file)
        if now is None or _facts(now)["nonce"] != self._nonce:
            self._lose(now)

    def release(self) -> None:
        """Let another driver take the run at once, if it is still ours."""
        self._stop.set()
        self._thread.join()
        _held.pop(self._run, None)
        self._write("", self._ours)

    def _follows(self, before: dict[str, Any]) -> bool:
        """The caller holds the local lock of this working copy, so an owner on this machine is dead."""
        return before["owner"].rpartition(":")[0] == self._owner.rpartition(":")[0]

    def _see_it_expire(self, before: Version) -> Version | None:
        people_console(stderr=True).print(
            f"run {self._run.name!r} was last driven by {_facts(before)['owner']}; waiting {EXPIRES_SECONDS:g} s "
            "to see if it is alive",
            highlight=False,
        )
        end = time.monotonic() + EXPIRES_SECONDS
        while time.monotonic() < end:
            time.sleep(min(RENEW_SECONDS, EXPIRES_SECONDS / 4))
            now = read_version(self._file)
            if now is None or not _facts(now)["owner"]:
                return now
            if now.data != before.data:
                raise self._driven_by(now)
        return before

    def _driven_by(self, now: Version | None) -> RunDirectoryError:
        other = _facts(now)["owner"] if now else ""
        return RunDirectoryError(
            f"run {self._run.name!r} is being driven by {other or 'another process'}; wait for it or choose another "
            "--run.id"
        )

    def _lose(self, now: Version | None) -> NoReturn:
        other = _facts(now)["owner"] if now else "nobody (the lease was deleted)"
        self._problem = RunDirectoryError(
            f"run {self._run.name!r} was taken over by {other}; this driver stops, what it completed is kept"
        )
        raise self._problem

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                self._meanwhile()
                renewed = self._write(self._owner, self._ours)
                if renewed is None:
                    self._lose(read_version(self._file))
                self._ours = renewed
            except RunDirectoryError as problem:
                self._problem = problem
                return

    def _write(self, holder: str, seen: Version | None) -> Version | None:
        facts = {"owner": holder, "nonce": self._nonce, "fence": self.fence, "renewed": time.time()}
        return write_version(self._file, json.dumps(facts).encode(), seen)


def _facts(version: Version) -> dict[str, Any]:
    return json.loads(version.data)


def owner() -> str:
    """This process, for people and for its successor: host, boot, process."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{socket.gethostname()}/{boot.read_text()[:8] if boot.is_file() else ''}:{os.getpid()}"


def read_lease(run: Path) -> dict[str, Any] | None:
    """The lease of a run in an object store, None if there is none."""
    found = read_version(_place(run))
    return None if found is None else _facts(found)


def _place(run: Path) -> Stored:
    kept = stored(run)
    if kept is None:
        raise ValueError(f"{run} is not kept in an object store")
    return kept / LEASE


def check_lease(path: Path) -> None:
    """Raise RunDirectoryError if ``path`` belongs to a run that this process drove and has lost."""
    lease = lease_above(path)
    if lease is not None:
        lease.check()


def lease_above(path: Path) -> Lease | None:
    """The lease of this process on the run that ``path`` lies in."""
    path = path.absolute()
    return next((_held[each] for each in (path, *path.parents) if each in _held), None)
