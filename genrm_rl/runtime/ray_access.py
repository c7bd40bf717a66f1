"""Who may talk to a Ray: the token of a session of our own, and the token that a cluster asks for.

Ray runs whatever it is sent, so whoever reaches one of its ports owns the account that it runs under. With
RAY_AUTH_MODE=token they refuse a call without the cluster's token; SECURITY.md lists each port.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.runtime.console import people_console

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
USERS_TOKEN = Path("~/.ray/auth_token")
# Ray 2.55 on Linux replaces 127.0.0.1 by the machine's address in the network and then listens on all interfaces; this
# is its own switch for one-machine sessions on other systems, and does the same here.
SEVERAL_MACHINES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
CONNECT_TIMEOUT = 15.0  # seconds until a head node that does not answer counts as absent
HOW = (
    f"keep the cluster's token in a file of mode 0600 and name it with {TOKEN_PATH} (or put it into {USERS_TOKEN}), as "
    "docs/cluster.md shows"
)

Answer = Literal["open", "welcome", "no token", "wrong token"]


@contextlib.contextmanager
def own_access(folder: Path) -> Iterator[None]:
    """What Ray starts within asks for a new token, kept in ``folder``, and listens on the loopback interface alone.

    Processes that are started within inherit both. The environment is as before afterwards.
    """
    file = folder / "token"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(secrets.token_hex(32))
    with _environment({MODE: "token", TOKEN_PATH: str(file), TOKEN: None, SEVERAL_MACHINES: "0"}):
        yield


@contextlib.contextmanager
def access_to(address: str) -> Iterator[None]:
    """Show the user's token to the cluster at ``host:port`` within.

    Raises EnvironmentProblem if nobody answers there, or if the cluster asks for a token that this process does not
    have. A cluster that lets in everybody is said on the error console.
    """
    try:
        answer = knock(address)
    except OSError as problem:
        raise EnvironmentProblem(
            f"no Ray cluster can be joined at {address}: {problem}; "
            "check RAY_ADDRESS, or unset it to start Ray on this machine"
        ) from problem
    if answer == "no token":
        raise EnvironmentProblem(f"the Ray cluster at {address} asks for a token and this process has none; {HOW}")
    if answer == "wrong token":
        raise EnvironmentProblem(
            f"the Ray cluster at {address} refuses the token from {token_source()}, which is another cluster's; {HOW}"
        )
    if answer == "open":
        people_console(stderr=True).print(
            f"the Ray cluster at {address} asks for no token: whoever reaches it can run commands on it; start it with "
            f"{MODE}=token (docs/cluster.md)",
            highlight=False,
            soft_wrap=True,
        )
    changes = {MODE: "token"} if token_source() else {}
    if address.rpartition(":")[0] in ("127.0.0.1", "localhost") and not _listens_beyond_loopback(address):
        changes[SEVERAL_MACHINES] = "0"  # else Ray would look for it at the machine's address in the network
    with _environment(changes):
        yield


def knock(address: str) -> Answer:
    """What the head at ``host:port`` says to a harmless call without the user's token, and then with it.

    Raises OSError if nobody answers.
    """
    if _admits(address, ()):
        return "open"
    token = users_token()
    if token is None:
        return "no token"
    return "welcome" if _admits(address, (("authorization", f"Bearer {token}"),)) else "wrong token"


def users_token() -> str | None:
    """The token that this process would show, from where Ray looks for it."""
    if os.environ.get(TOKEN):
        return os.environ[TOKEN].strip()
    source = token_source()
    return Path(source).expanduser().read_text(encoding="utf-8").strip() if source else None


def token_source() -> str | None:
    """Where the token comes from: a variable or a file. Raises EnvironmentProblem for a file that can't be read."""
    if os.environ.get(TOKEN):
        return TOKEN
    named = os.environ.get(TOKEN_PATH)
    if named:
        if not (os.access(named, os.R_OK) and Path(named).read_text(encoding="utf-8").strip()):
            raise EnvironmentProblem(f"{TOKEN_PATH} names {named}, which can't be read or is empty; {HOW}")
        return named
    file = USERS_TOKEN.expanduser()
    return str(USERS_TOKEN) if os.access(file, os.R_OK) and file.read_text(encoding="utf-8").strip() else None


def _admits(address: str, metadata: tuple[tuple[str, str], ...]) -> bool:
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            head.CheckAlive(gcs_service_pb2.CheckAliveRequest(), metadata=metadata, timeout=CONNECT_TIMEOUT)
        except grpc.RpcError as problem:
            if problem.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ConnectionError(problem.details() or problem.code().name) from problem
    return True


def _listens_beyond_loopback(address: str) -> bool:
    from ray.util import get_node_ip_address

    try:
        _admits(f"{get_node_ip_address()}:{address.rpartition(':')[2]}", ())
    except ConnectionError:
        return False
    return True


@contextlib.contextmanager
def _environment(changes: dict[str, str | None]) -> Iterator[None]:
    """These variables (None: without them), in the environment and in what Ray has read from it already."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config

    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(SEVERAL_MACHINES, "1") not in ("0", "false")
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")
