"""A small page's own server: a bound socket, and uvicorn on it without a word in the log."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette

from genrm_rl.errors import EnvironmentProblem
from genrm_rl.serving.operations.proxy import PatientProtocol

FAREWELL_SECONDS = 5  # for calls that are under way when the server ends
EVERYWHERE = ("0.0.0.0", "::")


@contextlib.contextmanager
def listener(host: str, port: int, way_out: str) -> Iterator[socket.socket]:
    """The bound socket. Raises EnvironmentProblem if it can't be had; ``way_out`` names the settings."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as problem:
            raise EnvironmentProblem(
                f"{host}:{port} can't be listened on ({problem.strerror}); choose another port or host {way_out}"
            ) from problem
        yield bound


def address_of(host: str, bound: socket.socket) -> str:
    """What people type to come here."""
    name = socket.gethostname() if host in EVERYWHERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{bound.getsockname()[1]}"


def quiet_server(app: Starlette) -> uvicorn.Server:
    """A server for one page and its calls."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=FAREWELL_SECONDS,
        )
    )
