"""What a machine must offer: processors, memory, disk, shared memory, a compiler. Pure look-ups, each one check."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

GIB = 2**30
COMPILERS = ("c++", "g++", "clang++")
Status = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``missing`` stops a run, ``warning`` does not; ``cure`` says what to do."""

    area: str
    name: str
    status: Status
    detail: str
    cure: str = ""


def check_python() -> Check:
    """The pins of the locks fit three Pythons."""
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("machine", "Python", "ok", f"{found} in {sys.prefix}")
    return Check("machine", "Python", "missing", found, "use Python 3.11: make setup PYTHON=/path/to/python3.11")


def check_cpus() -> Check:
    """Processors that this process may use."""
    count = len(os.sched_getaffinity(0))
    quota = _cgroup_cpus()
    detail = f"{count}" if quota is None else f"{count}, of which the container may use {quota:.1f}"
    if min(count, quota or count) < 2:
        return Check(
            "machine", "CPUs", "warning", detail, "with fewer than two, engines and learners slow each other down"
        )
    return Check("machine", "CPUs", "ok", detail)


def check_memory() -> Check:
    """Memory that is free now, within the limit of the container."""
    memory = psutil.virtual_memory()
    limit = cgroup_memory_limit()
    total = min(memory.total, limit or memory.total)
    free = min(memory.available, total)
    detail = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if free < 3 * GIB:
        return Check("machine", "memory", "missing", detail, "end other programs or take a larger machine")
    if free < 6 * GIB:
        return Check("machine", "memory", "warning", detail, "enough for the tiny model only; SmolLM2 needs 10 GiB")
    return Check("machine", "memory", "ok", detail)


def check_disk(name: str, path: Path) -> Check:
    """Room and permission to write at ``path`` or, where it does not exist yet, at its nearest parent."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        return Check(
            "machine", name, "missing", f"{path} can't be written", "choose another folder or mend its permissions"
        )
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free at {path}"
    if free < GIB:
        return Check("machine", name, "missing", detail, "free some space: 1 GiB is the least")
    if free < 5 * GIB:
        return Check("machine", name, "warning", detail, "checkpoints of larger models need more")
    return Check("machine", name, "ok", detail)


def check_shared_memory(path: Path = Path("/dev/shm")) -> Check:
    """Ray's object store and torch's workers use shared memory; containers often have 64 MiB of it."""
    cure = "start the container with --shm-size=2g; until then Ray works from the disk, slowly"
    if not path.is_dir():
        return Check("machine", "shared memory", "warning", f"no {path}", cure)
    size = shutil.disk_usage(path)
    detail = f"{size.free / GIB:.1f} of {size.total / GIB:.1f} GiB free"
    return Check("machine", "shared memory", *(("ok", detail) if size.free >= GIB // 2 else ("warning", detail, cure)))


def check_compiler() -> Check:
    """A C++ compiler and Python's headers, tried together: torch compiles kernels with both at vLLM's first use."""
    candidates = (os.environ["CXX"],) if os.environ.get("CXX") else COMPILERS
    compiler = next((found for found in map(shutil.which, candidates) if found), None)
    if compiler is None:
        cure = "install one (on Debian and Ubuntu: apt-get install g++)"
        return Check("machine", "C++ compiler", "missing", f"none of {', '.join(candidates)} is on the PATH", cure)
    include = sysconfig.get_path("include")
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-x", "c++", "-", "-shared", "-fPIC", f"-I{include}", "-o", f"{folder}/probe.so"]
        done = subprocess.run(
            command, input="#include <Python.h>\n#include <vector>\n", capture_output=True, text=True, errors="replace"
        )
    if done.returncode == 0:
        return Check("machine", "C++ compiler", "ok", compiler)
    error = next((line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}")
    package = "python3.11-dev" if "Python.h" in error else "g++"
    cure = f"mend it (on Debian and Ubuntu: apt-get install {package})"
    return Check("machine", "C++ compiler", "missing", f"{compiler} compiles nothing here: {error}", cure)


def cgroup_memory_limit() -> int | None:
    """Bytes that the container may use, None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read_cgroup(name)
        if text is not None and text.isdigit() and int(text) < 2**60:  # version 1 says "no limit" by a huge number
            return int(text)
    return None


def _cgroup_cpus() -> float | None:
    quota, _, period = (_read_cgroup("cpu.max") or "max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read_cgroup(name: str) -> str | None:
    file = Path("/sys/fs/cgroup") / name
    return file.read_text().strip() if file.is_file() else None


def free_port(host: str = "127.0.0.1") -> int:
    """A port of ``host`` (empty: of all addresses) that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
