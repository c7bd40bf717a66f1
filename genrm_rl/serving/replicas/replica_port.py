"""The port that Ray Serve 2.55 opens in every replica, for calls between deployments that are not made here.

It listens on all interfaces, asks for no token, and unpickles what it is sent: whoever reaches it runs code.
"""

from __future__ import annotations

from typing import Any


def close_replica_port() -> None:
    """In a replica's constructor, before Serve opens the port: it offers nothing, on the loopback interface alone."""
    from ray.serve._private import replica

    replica.add_ASGIServiceServicer_to_server = _offer_nothing


def _offer_nothing(servicer: Any, server: Any) -> None:
    bind = server.add_insecure_port
    server.add_insecure_port = lambda address: bind("127.0.0.1:0")
