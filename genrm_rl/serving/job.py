"""What a serving job looks at before it starts, and waits for when it runs."""

from __future__ import annotations

import signal
import socket
import threading

from genrm_rl.config.serving import ServingConfig
from genrm_rl.errors import EnvironmentProblem


def wait_for_a_signal() -> None:
    """Return at the first SIGINT or SIGTERM. The handlers are set here, after ``ray.init``, which sets its own."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_port(serving: ServingConfig) -> None:
    """Raise EnvironmentProblem if the port can't be bound."""
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((serving.host, serving.port))
        except OSError as problem:
            raise EnvironmentProblem(
                f"{serving.host}:{serving.port} can't be listened on ({problem.strerror}); choose another "
                "--serving.port or --serving.host"
            ) from problem
