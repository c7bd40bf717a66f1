"""The Ray that a run works on: an own small one on this machine, or the cluster that RAY_ADDRESS names.

Whoever starts Ray stops it: a nested session, or one inside an already connected process, uses what is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.ray_access import access_to, own_access

GIB = 2**30
# Ray puts Unix sockets about 60 characters below its folder, and the kernel allows 107 in all.
LONGEST_TEMP_DIR = 40
TEMP_PREFIX = "genrm-ray-"
FOLDER = "ray"  # Ray opens its own folder to everybody, so it gets one within ours
START_ATTEMPTS = 3
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A worker that was given no GPU sees none, so that it can't take memory that is another one's.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}


@dataclass(frozen=True)
class RaySession:
    """A connected Ray. ``cpus`` and ``gpus`` are the cluster's totals now; ``started`` is True if it is our own."""

    address: str
    started: bool
    cpus: float
    gpus: float
    temp_dir: Path | None = None


@contextlib.contextmanager
def ray_session(
    address: str | None = None,
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    object_store_bytes: int | None = None,
    worker_output: bool = False,
) -> Iterator[RaySession]:
    """Yield a connected Ray and shut down what this call started, nothing else.

    ``address`` (default: RAY_ADDRESS) names a cluster to join; without one, or with ``local``, a Ray is started here:
    on the loopback interface, with a token of its own, no dashboard, and a folder in /tmp that nobody else can open.
    ``cpus`` and ``gpus`` are its logical totals, None takes :func:`logical_cpus` and what is found. ``worker_output``
    shows what workers print. Raises EnvironmentProblem if Ray can't be reached or started, or refuses the token.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # Ray announces on every start that a later version will have another default for the first of these.
    warnings.filterwarnings("ignore", message="Tip: In future versions of Ray", category=FutureWarning)
    import ray

    if ray.is_initialized():
        yield _describe(started=False)
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        with _local_ray(
            cpus or logical_cpus(), gpus, object_store_bytes or object_store_size(), worker_output
        ) as found:
            yield found
        return
    if address.startswith("ray://"):
        raise EnvironmentProblem(
            f"{address} is a Ray Client address, over which training can't run; "
            "start the job on the cluster with `ray job submit --address http://HEAD:8265 -- python jobs/...`"
        )
    with access_to(_head(address)):
        _join(address, worker_output)
        try:
            yield _describe(started=False)
        finally:
            ray.shutdown()


def logical_cpus() -> int:
    """CPUs that a Ray of our own may hand out: more than there are.

    Ray's CPUs are reservations. On one machine the stages take turns (an engine idles while a learner fits, and the
    other way round), so holding an engine must not keep a learner from being placed.
    """
    return 2 * len(os.sched_getaffinity(0)) + 4


def object_store_size() -> int:
    """Bytes for Ray's object store: a tenth of the memory that is free, 256 MiB to 8 GiB, and within /dev/shm."""
    wanted = min(max(psutil.virtual_memory().available // 10, GIB // 4), 8 * GIB)
    shared = Path("/dev/shm")
    if shared.is_dir():
        wanted = min(wanted, int(shutil.disk_usage(shared).free * 0.8))
    return max(
        wanted, 100 * 2**20
    )  # Ray takes no less than 75 MiB, and falls back to the disk where /dev/shm is smaller


@contextlib.contextmanager
def _local_ray(cpus: int, gpus: int | None, object_store_bytes: int, worker_output: bool) -> Iterator[RaySession]:
    import ray

    temp_dir = _make_temp_dir()
    with own_access(temp_dir):
        _start(temp_dir, cpus, gpus, object_store_bytes, worker_output)
        try:
            yield _describe(started=True, temp_dir=temp_dir)
        finally:
            ray.shutdown()
            shutil.rmtree(temp_dir, ignore_errors=True)


def _start(temp_dir: Path, cpus: int, gpus: int | None, object_store_bytes: int, worker_output: bool) -> None:
    import ray

    for attempt in range(START_ATTEMPTS):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                log_to_driver=worker_output,
                logging_level="WARNING",
                _temp_dir=str(temp_dir / FOLDER),
            )
            return
        except Exception as problem:  # Ray raises bare Exception when a process of its own does not come up
            ray.shutdown()
            if "timed out" in str(problem) and attempt + 1 < START_ATTEMPTS:
                continue  # Ray waits 30 s for its own processes, too short on a machine that is busy elsewhere
            raise EnvironmentProblem(
                f"Ray could not be started on this machine: {_first_line(problem)}; its logs are in {temp_dir}, "
                "and `genrm-rl doctor` looks at memory, disk and shared memory"
            ) from problem


def _join(address: str, worker_output: bool) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=worker_output, logging_level="WARNING")
    except Exception as problem:  # OSError, RuntimeError (other versions), ValueError: one cure for the user
        raise EnvironmentProblem(
            f"no Ray cluster can be joined at {address}: {_first_line(problem)}; "
            "check RAY_ADDRESS, or unset it to start Ray on this machine"
        ) from problem


def _head(address: str) -> str:
    """``host:port`` of the head; ``auto`` is the cluster that was started on this machine."""
    from ray._private.services import canonicalize_bootstrap_address

    found = canonicalize_bootstrap_address(address) if address == "auto" else address
    if not found:
        raise EnvironmentProblem("RAY_ADDRESS is `auto` and no Ray runs on this machine; unset it to start one")
    return found


def _describe(*, started: bool, temp_dir: Path | None = None) -> RaySession:
    import ray

    totals = ray.cluster_resources()
    address = ray.get_runtime_context().gcs_address
    return RaySession(address, started, totals.get("CPU", 0.0), totals.get("GPU", 0.0), temp_dir)


def _make_temp_dir() -> Path:
    """An own folder of mode 0700 with a short path; folders of processes that were killed are removed on the way."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent / f"{TEMP_PREFIX}1234567-abcdefgh" / FOLDER)) > LONGEST_TEMP_DIR:
        parent = Path("/tmp")
    for left in parent.glob(f"{TEMP_PREFIX}*-*"):
        owner = left.name.removeprefix(TEMP_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}{os.getpid()}-", dir=parent))


def _first_line(problem: BaseException) -> str:
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
