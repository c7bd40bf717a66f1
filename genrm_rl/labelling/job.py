"""Open the desk, show its links, and stay until enough is there or somebody ends it."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import uvicorn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from genrm_rl.labelling.book import Book
from genrm_rl.labelling.desk import Desk, counted
from genrm_rl.labelling.formats import for_tasks, read_tasks
from genrm_rl.labelling.server import DeskService
from genrm_rl.serving.listening import address_of, listener, quiet_server

LOOK_SECONDS = 0.2
WAY_OUT = "for the desk (--desk.port; in a loop --labels.desk.port)"


def hold_desk(book: Book, console: Console, again: str) -> None:
    """Keep the desk open until enough is settled, and for ``linger`` seconds after the last label. Ctrl-C ends it
    earlier, by KeyboardInterrupt; ``again`` is the command that then goes on.

    Raises EnvironmentProblem if the port is taken.
    """
    desk = book.desk
    if desk.enough:
        return
    with listener(desk.config.host, desk.config.port, WAY_OUT) as bound:
        say_links(book, bound, console)
        try:
            asyncio.run(_serve(book, bound, console))
            if not desk.enough:  # the signal went nowhere: whoever started this process lets it ignore Ctrl-C
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            console.print(
                f"the desk is closed: {desk.settled_count} of {desk.needed} comparisons are settled, every label is "
                f"kept; the links work again after: {again}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
            raise


def say_links(book: Book, bound: socket.socket, console: Console) -> None:
    """One link for each person. What stands behind # is their secret, and is not sent to servers when they open it."""
    address = address_of(book.desk.config.host, bound)
    console.print(f"labelling: {len(book.desk.tasks)} comparisons; give each person a link:", highlight=False)
    for name, token in book.tokens().items():
        console.print(f"  {name}  {address}/#token={token}", highlight=False, markup=False, soft_wrap=True)


def show_counts(desk: Desk, console: Console) -> None:
    """What came of it: outcomes, who labelled how much, and how far they agree."""
    found = counted(desk)
    words = ", ".join(f"{count} {word}" for word, count in found["outcomes"].items())
    console.print(f"labels of {found['comparisons']} comparisons: {words}", highlight=False)
    if desk.unknown:
        console.print(f"  {desk.unknown} more are of comparisons that are not here any more: kept, and not used")
    for name, row in found["annotators"].items():
        took = "" if row["median_seconds"] is None else f", usually {row['median_seconds']:g} s each"
        console.print(f"  {name}: {row['labels']}{took}", highlight=False, markup=False)
    both = found["agreement"]
    if both["comparisons"]:
        kappa, alpha = (
            "undefined" if both[key] is None else f"{both[key]:.3f}" for key in ("cohen_mean", "krippendorff_alpha")
        )
        console.print(
            f"agreement on {both['comparisons']} that two people labelled: {both['agree']} the same, Cohen's kappa "
            f"{kappa} (mean), Krippendorff's alpha {alpha}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip


def take_labels(book: Book, path: Path) -> int:
    """Bring labels that were given elsewhere to the desk; how many were new. Raises DataError."""
    theirs, labels = read_tasks(path)
    return book.add(for_tasks(labels, theirs, list(book.desk.tasks.values()), path))


async def _serve(book: Book, bound: socket.socket, console: Console) -> None:
    service = DeskService(book, book.tokens())
    server = quiet_server(service.app())
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_close_when_enough(book.desk, service, server, console))
        await server.serve(sockets=[bound])
        watching.cancel()


async def _close_when_enough(desk: Desk, service: DeskService, server: uvicorn.Server, console: Console) -> None:
    """Show how far it is, and end the server when enough is settled and nobody undoes anything any more."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("settled", total=desk.needed)
        while not (desk.enough and time.time() - service.changed >= desk.config.linger):
            progress.update(bar, completed=min(desk.settled_count, desk.needed))
            await asyncio.sleep(LOOK_SECONDS)
        progress.update(bar, completed=desk.needed)
    server.should_exit = True
