"""Whether a stranger gets into a running Ray: six kinds of entry, each without a token and with a wrong one."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.ray_access import MODE, SEVERAL_MACHINES, TOKEN

NOBODY = 65534
SECONDS = 10.0  # for one call
AT_ONCE = 32
Attempt = tuple[int, list[str]]  # how often it was refused, and where it got in
JOIN_SECONDS = 90.0
JOBS = ("/api/jobs/", "/api/job_agent/jobs/")
JOB = b'{"entrypoint": "true"}'
RUNTIME_ENV = "/get_or_create_runtime_env"
# One call of each service that Ray's processes offer; all but the refused ones would only read.
GCS_CALLS = (
    "ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "ray.rpc.InternalKVGcsService/GetInternalConfig",
    "ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "ray.rpc.ActorInfoGcsService/GetAllActorInfo",
    "ray.rpc.autoscaler.AutoscalerStateService/GetClusterStatus",
)
NODE_CALLS = (
    "ray.rpc.NodeManagerService/GetNodeStats",
    "ray.rpc.ObjectManagerService/FreeObjects",
    "ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "ray.rpc.ReporterService/HealthCheck",
    "ray.rpc.LogService/ListLogs",
    "ray.rpc.RayletDriver/ClusterInfo",
)
OPENER = f"""
import json, os, socket, stat, sys
paths = json.load(sys.stdin)
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
def opens(path):
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISSOCK(mode):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
        else:
            os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True
print(json.dumps([path for path in paths if opens(path)]))
"""
JOINER = "import sys, ray; ray.init(address=sys.argv[1], logging_level='ERROR'); print('JOINED')"


@dataclass(frozen=True)
class Door:
    """A port that a process listens on."""

    process: str
    host: str
    port: int

    @property
    def local(self) -> str:
        """Where this machine reaches it."""
        return f"{'127.0.0.1' if self.host in ('0.0.0.0', '::', '') else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.process} {self.host}:{self.port}"


@dataclass(frozen=True)
class Entry:
    """One kind of entry: how often it was refused, and where a stranger got in."""

    kind: str
    refused: int
    entered: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """The Ray that a process has started: its head, its session folder, and all its open ports."""

    head: str
    session: Path
    doors: tuple[Door, ...]


def target_of(pid: int) -> Target:
    """The Ray below this process. Raises EnvironmentProblem if there is none (yet)."""
    try:
        top = psutil.Process(pid)
        processes = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess as problem:
        raise EnvironmentProblem(f"there is no process {pid}") from problem
    options = next((found for each in processes if (found := _raylet_options(each))), None)
    if options is None:
        raise EnvironmentProblem(f"process {pid} has started no Ray; wait until it has, or give the process that did")
    doors = {door for process in processes for door in _doors(process)}
    return Target(options["gcs-address"], Path(options["session_dir"]), tuple(sorted(doors, key=lambda d: d.port)))


def try_entries(target: Target) -> tuple[Entry, ...]:
    """Try everything. Nothing that is tried changes the session, whether it succeeds or not, but for an empty job."""
    doors = target.doors
    with ThreadPoolExecutor(AT_ONCE) as pool:  # most doors say nothing to most callers, who wait for SECONDS

        def each(attempt: Callable[..., Attempt], *what: Iterable[object]) -> Iterator[Attempt]:
            return pool.map(lambda words: attempt(*words), product(*what))

        return (
            _entry("job over HTTP", each(_http, doors, (*JOBS, RUNTIME_ENV))),
            _entry("join with ray.init", _joins(target.head)),
            _entry("call to the GCS", each(_call, [("the GCS", target.head)], GCS_CALLS)),
            _entry(
                "call to a node, worker or agent",
                each(_call, [(str(door), door.local) for door in doors], NODE_CALLS),
            ),
            _entry("files and sockets", _files(target.session)),
            _entry("from the network", each(_from_network, doors, _addresses())),
        )


def _entry(kind: str, attempts: Iterable[Attempt]) -> Entry:
    found = list(attempts)
    return Entry(kind, sum(count for count, _ in found), tuple(where for _, entered in found for where in entered))


def _strangers() -> Iterator[tuple[str, str | None]]:
    yield "without a token", None
    yield "with a wrong token", secrets.token_hex(32)


def _http(door: Door, path: str) -> Attempt:
    refused, entered = 0, []
    for who, token in _strangers():
        header = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"http://{door.local}{path}", JOB, header)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:
                entered.append(f"{door}{path} {who}: {response.status}")
        except urllib.error.HTTPError as problem:
            refused += problem.code in (401, 403)
        except (OSError, ValueError, urllib.error.URLError):
            pass  # speaks no HTTP
        except Exception as problem:  # http.client has no common class for replies that are none
            if type(problem).__module__ != "http.client":
                raise
    return refused, entered


def _call(server: tuple[str, str], method: str) -> Attempt:
    import grpc

    name, address = server
    refused, entered = 0, []
    for who, token in _strangers():
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                channel.unary_unary(f"/{method}")(b"", metadata=metadata, timeout=SECONDS)
                entered.append(f"{name} {method} {who}")
            except grpc.RpcError as problem:
                refused += problem.code() == grpc.StatusCode.UNAUTHENTICATED
                # Anything but "no such service here" and "no gRPC here" is an answer of the service itself.
                absent = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if problem.code() not in (grpc.StatusCode.UNAUTHENTICATED, *absent):
                    entered.append(f"{name} {method} {who}: {problem.code().name}")
    return refused, entered


def _joins(head: str) -> Iterator[Attempt]:
    with tempfile.TemporaryDirectory() as home:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        tries = {}
        for who, token in _strangers():
            mine = {MODE: "token", TOKEN: token} if token else {}
            tries[who] = subprocess.Popen(
                [sys.executable, "-c", JOINER, head],
                env={**clean, **mine, "HOME": home, SEVERAL_MACHINES: "0"},
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        for who, process in tries.items():
            try:
                said, _ = process.communicate(timeout=JOIN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
            yield (0, [f"{head} {who}"]) if "JOINED" in said else (1, [])


def _files(session: Path) -> Iterator[Attempt]:
    """Another account opens each file and socket; without the right to become one, the folder's mode must forbid it."""
    folder = session.parent.parent
    if os.geteuid() != 0:
        closed = stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
        yield (1, []) if closed else (0, [f"{folder} is open to other accounts"])
        return
    paths = [str(path) for path in [folder, *folder.rglob("*")] if not path.is_symlink()]
    done = subprocess.run([sys.executable, "-c", OPENER], input=json.dumps(paths), capture_output=True, text=True)
    if done.returncode:
        raise EnvironmentProblem(f"another account could not be tried on {folder}: {done.stderr.strip()[-200:]}")
    opened = json.loads(done.stdout)
    yield len(paths) - len(opened), opened


def _from_network(door: Door, host: str) -> Attempt:
    try:
        socket.create_connection((host, door.port), timeout=SECONDS).close()
    except OSError:
        return 1, []
    return 0, [f"{door.process} at {host}:{door.port}"]


def _addresses() -> list[str]:
    """This machine's addresses in its networks."""
    kinds = (socket.AF_INET, socket.AF_INET6)
    found = {each.address for each in sum(psutil.net_if_addrs().values(), []) if each.family in kinds}
    return sorted(each for each in found if not each.startswith(("127.", "::1", "fe80")))


def _raylet_options(process: psutil.Process) -> dict[str, str] | None:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    if not words or Path(words[0]).name != "raylet":
        return None
    return dict(word.removeprefix("--").split("=", 1) for word in words if word.startswith("--") and "=" in word)


def _doors(process: psutil.Process) -> Iterator[Door]:
    try:
        for connection in process.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield Door(process.name(), connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
    except psutil.NoSuchProcess:
        return
