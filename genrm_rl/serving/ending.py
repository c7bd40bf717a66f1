"""How Serve is ended, so that nothing waits for its controller when that goes.

`serve.shutdown` itself waits in a call to the controller until the controller is killed, and the routers of this
process's handles keep a second one open. Ray would call both again without end, and says so on every driver:
"Task ServeController.graceful_shutdown failed. There are infinite retries remaining".
"""

from __future__ import annotations

import contextlib
import logging
import time

import ray
from ray.exceptions import RayActorError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.router import SharedRouterLongPollClient, SingletonThreadRouter
from ray.serve.context import _get_global_client, _set_global_client

LONGEST_SECONDS = 30.0  # as long as `serve.shutdown` waits
LOOK_SECONDS = 0.1
_log = logging.getLogger(__name__)


def end_serve() -> None:
    """Delete all applications, end Serve's processes, and forget the connection, as `serve.shutdown` does."""
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    controller = client._controller
    client.shutdown_cached_handles()
    loop = SingletonThreadRouter._asyncio_loop
    if loop is not None:  # it hears that its deployments are deleted, and does not ask again
        SharedRouterLongPollClient.get_or_create(controller, loop).long_poll_client.stop()
    with contextlib.suppress(RayActorError):  # it is gone already
        ray.get(controller.graceful_shutdown.remote(wait=False), timeout=LONGEST_SECONDS)
    if not _gone(SERVE_CONTROLLER_NAME):
        _log.warning("Serve has not ended within %g s; its logs are in Ray's session folder", LONGEST_SECONDS)
    _set_global_client(None)


def _gone(name: str) -> bool:
    """Wait until the actor ``name`` of Serve does not exist any more; False if it still does."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        try:
            ray.get_actor(name, namespace=SERVE_NAMESPACE)
        except ValueError:
            return True
        time.sleep(LOOK_SECONDS)
    return False
