"""``genrm-rl watch``: open the live page of a run, and stay until somebody ends it."""

from __future__ import annotations

import asyncio
import os
import secrets

from rich.console import Console

from genrm_rl.config.watching import WatchConfig
from genrm_rl.pages.live import Watcher
from genrm_rl.pages.server import watch_app
from genrm_rl.runtime.object_store import DEADLINE_VARIABLE
from genrm_rl.serving.listening import address_of, listener, quiet_server

STORE_SECONDS = "15"  # a page says that the store does not answer, and asks again, where a job would wait for it


def watch_run(run: str, root: str, config: WatchConfig, console: Console) -> None:
    """Serve the page until ctrl-C. Raises RunDirectoryError if there is no such run, EnvironmentProblem if the port is
    taken."""
    os.environ.setdefault(DEADLINE_VARIABLE, STORE_SECONDS)
    watcher = Watcher(run, root, config)
    token = secrets.token_urlsafe(16)
    page = config.page
    with listener(page.host, page.port, "for the page (--page.port, --page.host)") as bound:
        console.print(f"watching {watcher.path}, read only; ctrl-C ends it", highlight=False, markup=False)
        console.print(f"  {address_of(page.host, bound)}/#token={token}", highlight=False, markup=False, soft_wrap=True)
        asyncio.run(quiet_server(watch_app(watcher, token)).serve(sockets=[bound]))
