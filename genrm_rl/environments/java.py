"""A Java program behind py4j: on loopback, with a token, with a bounded heap, and never longer than this process."""

from __future__ import annotations

import ctypes
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.protocol import EnvironmentFailure
from genrm_rl.errors import EnvironmentProblem

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

JAVA_VERSION = 17
CURE = "install Java 17 (on Debian and Ubuntu: apt-get install openjdk-17-jre-headless)"
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
ENTRY = "py4j.GatewayServer"


def java_problem() -> str | None:
    """What is wrong with this machine's Java in one sentence, None if it will do."""
    java = shutil.which("java")
    if java is None:
        return f"there is no `java` on the PATH; {CURE}"
    told = subprocess.run([java, "-version"], capture_output=True, text=True, errors="replace").stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < JAVA_VERSION:
        return f"{java} is no Java {JAVA_VERSION} ({told.splitlines()[0] if told else 'it says nothing'}); {CURE}"
    return None


class JavaProgram:
    """A running jar. ``call`` reaches its classes; ``close`` ends it.

    It ends with this process in three ways: the gateway notices that its standard input closes; the kernel kills it
    when the *thread* that started it is gone, so that thread has to live as long as the program is needed; and
    :meth:`close` kills it.
    Raises EnvironmentProblem without a suitable Java, EnvironmentFailure if the program does not start.
    """

    def __init__(self, jar: Path, heap_mib: int, options: tuple[str, ...] = ()) -> None:
        from py4j.java_gateway import find_jar_path

        if problem := java_problem():
            raise EnvironmentProblem(problem)
        command = ["java", f"-Xmx{heap_mib}m", "-XX:+UseSerialGC", *options]
        command += ["-cp", f"{find_jar_path()}:{jar}", ENTRY, "--die-on-broken-pipe", "--enable-auth", "0"]
        with tempfile.TemporaryFile("w+", errors="replace") as complaints:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=jar.parent,  # data files lie beside it
                text=True,
                preexec_fn=die_with_parent,
            )
            assert self._process.stdout is not None
            port, token = self._process.stdout.readline().strip(), self._process.stdout.readline().strip()
            if not port.isdigit() or not token:
                self._process.kill()
                self._process.wait()
                complaints.seek(0)
                raise EnvironmentFailure("died", f"Java ended at its start: {complaints.read(500).strip() or port}")
        # Whatever the program prints later must not fill the pipe and stop it.
        threading.Thread(target=_drain, args=(self._process.stdout,), daemon=True, name="java-output").start()
        self._gateway = _connect(int(port), token)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def jvm(self) -> Any:
        """Packages and classes of the program."""
        return self._gateway.jvm

    def close(self) -> None:
        """Kill it; it keeps nothing that would be lost."""
        self._gateway.close(keep_callback_server=True, close_callback_server_connections=False)
        self._process.kill()
        self._process.wait()


class JavaGame:
    """What environments in the jar of an installed package share: the program, and its end."""

    def __init__(self, package: str, jar: str, config: EnvironmentConfig) -> None:
        self._java = JavaProgram(jar_of(package, jar), config.host.java_heap)

    def process_ids(self) -> tuple[int, ...]:
        """The Java process."""
        return (self._java.pid,)

    def close(self) -> None:
        """End the Java process."""
        self._java.close()


def jar_of(package: str, name: str) -> Path:
    """A jar inside an installed package, found without importing the package."""
    found = find_spec(package)
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / name


def _connect(port: int, token: str) -> JavaGateway:
    from py4j.java_gateway import GatewayParameters, JavaGateway

    return JavaGateway(gateway_parameters=GatewayParameters(port=port, auth_token=token, auto_field=True))


def _drain(stream: Any) -> None:
    while stream.read(1 << 16):
        pass


def die_with_parent() -> None:
    """For ``preexec_fn``: the kernel kills the new process when the thread that starts it is gone."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
