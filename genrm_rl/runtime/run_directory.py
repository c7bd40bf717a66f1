"""A run is a directory: who it is, what it has finished, and who may write to it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from genrm_rl.config import RunConfig, RunSettings
from genrm_rl.config.agents import AgentConfig
from genrm_rl.config.alignment import AlignConfig
from genrm_rl.config.base import free_settings, identity
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import RunDirectoryError
from genrm_rl.runtime.lease import Lease, lease_above
from genrm_rl.runtime.object_store import exists, fetch, light, runs_below, upload, upload_missing
from genrm_rl.runtime.provenance import code_revision, command_line, machine, versions
from genrm_rl.runtime.storage import is_complete, publish_directory, read_json, read_manifest, write_atomic, write_json
from genrm_rl.runtime.store_paths import stored, working_path

Result = TypeVar("Result")
PROVENANCE = "provenance.json"
LOCK = ".lock"
FULL_BYTES = 32 * 2**20  # less than this left counts as a full disk
# Where Ray keeps the copy of a job's working_dir, which it deletes when the job is over.
RAY_COPIES = "working_dir_files"
JobConfig = RunConfig | AlignConfig | LoopConfig | AgentConfig


def config_hash(config: JobConfig) -> str:
    """Hash of everything in the configuration that can change a result."""
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:16]


class FinishedStages:
    """The stages of a run directory, for whoever only reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def done(self, name: str) -> bool:
        """True if the stage is complete."""
        return is_complete(self.path / name)

    def manifest(self, name: str) -> dict[str, Any]:
        """Facts of a complete stage."""
        return read_manifest(self.path / name)


class RunDirectory(FinishedStages):
    """``runs/<id>``: resolved config, provenance, one folder per finished stage, one driver at a time.

    Opening an existing directory resumes it, provided that the configuration computes the same thing; a second driver
    is refused while the first lives (the lock dies with its process). A new directory belongs to its settings from
    :meth:`claim` on, which the first stage calls if nobody did: a job whose input turns out to be bad leaves nothing
    that would bind its next attempt. Raises RunDirectoryError.
    """

    def __init__(self, config: JobConfig) -> None:
        self.config = config
        self._logs: dict[Path, int] = {}
        super().__init__(working_path(config.run.root) / config.run.id)
        if RAY_COPIES in self.path.absolute().parts:
            raise RunDirectoryError(
                f"run.root {config.run.root} is inside Ray's copy of the working directory, which is deleted when the "
                "job ends; give an absolute --run.root that all nodes reach"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._acquire_lock()
            self._lease = self._acquire_lease()
        except OSError as problem:
            raise RunDirectoryError(
                f"the run directory {self.path} can't be made or written ({problem.strerror}); "
                "choose another --run.root"
            ) from problem
        self.hash = config_hash(config)
        self.resumed = self._is_ours()
        self._claimed = self.resumed

    def close(self) -> None:
        """Let another driver take the run."""
        if self._lease is not None:
            self._store_logs()
            self._lease.release()
        self._lock.close()

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def stage(self, name: str, compute: Callable[[Path], dict[str, Any]]) -> Path:
        """Run ``compute(directory)`` once: its folder is published with the returned facts as manifest.

        If the stage is complete already, nothing is computed. Seconds are recorded in the manifest.
        """
        path = self.path / name
        return path if is_complete(path) else self.replace_stage(name, compute)

    def stage_facts(self, name: str, compute: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """As :meth:`stage`; returns the manifest."""
        self.stage(name, compute)
        return self.manifest(name)

    def replace_stage(self, name: str, compute: Callable[[Path], dict[str, Any]]) -> Path:
        """As :meth:`stage`, for one that may be complete: it stays until the new one is."""
        started = time.perf_counter()
        with self.open_stage(name) as (partial, manifest):
            manifest |= compute(partial)
            manifest["seconds"] = round(time.perf_counter() - started, 3)
        return self.path / name

    @contextmanager
    def open_stage(self, name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """As :meth:`replace_stage`, for one that is written by and by: its folder, and its manifest to be extended. The
        stage is complete when the body ends."""
        self.claim()
        manifest: dict[str, Any] = {"stage": name, "config_hash": self.hash, "seed": self.config.run.seed}
        try:
            with publish_directory(self.path / name, manifest) as partial:
                yield partial, manifest
        except Exception as problem:  # whichever library or worker it was that could not write
            self._explain_full_disk(name, problem)
            raise

    def _explain_full_disk(self, stage: str, problem: Exception) -> None:
        """Raise RunDirectoryError if that is why a stage failed."""
        free = shutil.disk_usage(self.path).free
        if free < FULL_BYTES:
            raise RunDirectoryError(
                f"the disk of {self.path} is full ({free / 2**20:.0f} MiB left) and the stage {stage} could not be "
                "written; free some space and give the same command again: it goes on with this stage"
            ) from problem

    def _acquire_lock(self) -> Any:
        handle = open(self.path / LOCK, "a+")  # noqa: SIM115 - held for the life of the run
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise RunDirectoryError(
                f"run {self.config.run.id!r} in {self.path} is being driven by process {owner}; "
                "wait for it or choose another --run.id"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        return handle

    def _acquire_lease(self) -> Lease | None:
        """Of a run on an object store, whose working copy is brought up to date; a run inside one that this process
        drives needs none."""
        place = stored(self.path)
        if place is None or lease_above(self.path) is not None:
            return None
        lease = Lease(self.path, meanwhile=self._store_logs)
        try:
            lease.acquire()
            if exists(self.path / PROVENANCE):
                upload_missing(self.path)
                fetch(self.path, light)
            else:
                self._discard_working_copy()
        except RunDirectoryError:
            self._lock.close()
            raise
        return lease

    def _discard_working_copy(self) -> None:
        """Somebody deleted the run in the store: its working copy must not bring it back."""
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()

    def _store_logs(self) -> None:
        """TensorBoard's event files, which grow in place."""
        for file in self.path.rglob("events.out.tfevents*"):
            size = file.stat().st_size
            if self._logs.get(file) != size:
                upload(file)
                self._logs[file] = size

    def _is_ours(self) -> bool:
        """True if the run exists with these settings, False if there is none yet."""
        provenance = self.path / PROVENANCE
        if not provenance.is_file():
            return False
        try:
            recorded = read_json(provenance)["config_hash"]
        except (ValueError, KeyError, TypeError) as problem:
            self.close()
            raise RunDirectoryError(
                f"{provenance} is not the record of a run ({type(problem).__name__}: {problem}); "
                "restore it, or start another --run.id"
            ) from problem
        if recorded != self.hash:
            changed = changed_settings(self.path / "config.yaml", self.config)
            if changed == []:  # all that differs are settings that are newer than the run, at their defaults
                self.hash = recorded
                return True
            self.close()
            raise RunDirectoryError(
                f"run {self.config.run.id!r} was started with other settings "
                f"({', '.join(changed or ['config.yaml is missing'])}); "
                f"give the new settings another --run.id or delete {self.path}"
            )
        return True

    def claim(self) -> None:
        """Write ``config.yaml`` and ``provenance.json`` of a new run: from now on only these settings continue it."""
        if self._claimed:
            return
        write_atomic(self.path / "config.yaml", yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False))
        write_json(
            self.path / PROVENANCE,
            {
                "run_id": self.config.run.id,
                "config_hash": self.hash,
                "seed": self.config.run.seed,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "command": command_line(),
                "code_revision": code_revision(),
                "versions": versions(),
                "machine": machine(),
            },
        )
        self._claimed = True


def check_exists(settings: RunSettings) -> None:
    """Raise RunDirectoryError, naming the runs that there are, if this one was never started."""
    record = working_path(settings.root) / settings.id / PROVENANCE
    if not record.is_file() and not exists(record):
        raise RunDirectoryError(f"{no_such_run(settings.root, settings.id)} to resume; leave out --resume to start it")


def no_such_run(root: str, run_id: str) -> str:
    """The start of a sentence that names the runs that there are."""
    local = {path.parent.name for path in working_path(root).glob(f"*/{PROVENANCE}")}
    found = sorted(local | set(runs_below(root)))
    there = f" (there are: {', '.join(found[:8])}{', ...' if len(found) > 8 else ''})" if found else ""
    return f"there is no run {run_id!r} in {root}{there}"


def changed_settings(recorded: Path, config: JobConfig) -> list[str] | None:
    """Dotted names of the settings in which ``config`` differs from a recorded config file, None without a file.

    A setting that the file does not know, because it is newer, differs if it is not at its default.
    """
    if not recorded.is_file():
        return None
    after, defaults = (flatten(each.model_dump(mode="json")) for each in (config, type(config)()))
    before = flatten(yaml.safe_load(recorded.read_text(encoding="utf-8")))
    before = {key: defaults[key] for key in after if key in defaults} | before
    keys = sorted(set(before) | set(after))
    free = tuple(free_settings(type(config)))
    return [key for key in keys if before.get(key) != after.get(key) and not _is_below(key, free)][:5]


def _is_below(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in flatten(inner, f"{prefix}{key}.").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {k: v for key, inner in enumerate(value) for k, v in flatten(inner, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}
