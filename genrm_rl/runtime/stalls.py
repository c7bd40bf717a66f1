"""Calls to many workers that may hang: who has not answered is said, and at a deadline the stacks are kept.

A worker whose peer died waits for it inside a collective for ever. What counts is therefore an answer, not that a
process lives, and the first worker that fails ends the wait for all.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from genrm_rl.errors import StallError

SAY_EVERY_SECONDS = 30.0
DUMP_SECONDS = 1.0  # from the signal to the whole file
REACH_SECONDS = 20.0  # for the node of a worker to answer at all


@dataclass(frozen=True)
class Whereabouts:
    """Where a worker lives, and the file into which it writes its stacks on SIGUSR1."""

    node_id: str
    pid: int
    file: str


def stand_by_for_stacks() -> Whereabouts:
    """Called in a worker: from now on SIGUSR1 writes the Python stacks of all its threads, whatever it is stuck in."""
    handle = tempfile.TemporaryFile("w")  # noqa: SIM115 - without a name, so that a killed worker leaves nothing behind
    faulthandler.register(signal.SIGUSR1, file=handle, all_threads=True)
    seen_by_others = f"/proc/{os.getpid()}/fd/{handle.fileno()}"
    return Whereabouts(ray.get_runtime_context().get_node_id(), os.getpid(), seen_by_others)


def answers(
    calls: Sequence[ray.ObjectRef],
    what: str,
    *,
    deadline: float,
    setting: str,
    workers: Sequence[Whereabouts] = (),
    say: Callable[[str], None],
) -> list[Any]:
    """The results of one call to every worker, in order.

    Raises what the first failing worker raised, at once; StallError after ``deadline`` seconds (the value of
    ``setting``), with the file that holds the stacks of those that did not answer.
    """
    begun = time.monotonic()
    left = list(calls)
    said = 0.0
    while left:
        done, left = ray.wait(left, num_returns=1, timeout=min(1.0, deadline))
        ray.get(done)
        waited = time.monotonic() - begun
        if left and waited > deadline:
            silent = [index for index, call in enumerate(calls) if call in left]
            kept = keep_stacks(what, [workers[index] for index in silent] if workers else [])
            raise StallError(
                f"{what} did not come back within {waited:.0f} s ({setting}): {len(silent)} of {len(calls)} workers "
                f"are silent{kept}; submit the job again with the same --run.id to go on from what is on disk"
            )
        if left and waited - said >= SAY_EVERY_SECONDS:
            said = waited
            say(f"waiting for {what}, {waited:.0f} s: {len(left)} of {len(calls)} workers have not answered")
    return ray.get(list(calls))


def stacks_of(worker: Whereabouts) -> str:
    """The stacks of a worker, or why they can't be had."""
    on_its_node = NodeAffinitySchedulingStrategy(worker.node_id, soft=False)
    asked = _dump.options(scheduling_strategy=on_its_node).remote(worker)
    try:
        return ray.get(asked, timeout=REACH_SECONDS)
    except (RayError, TimeoutError) as problem:
        ray.cancel(asked, force=True)
        return f"process {worker.pid} can't be reached ({type(problem).__name__})\n"


@ray.remote(num_cpus=0, max_retries=0)
def _dump(worker: Whereabouts) -> str:
    try:
        os.kill(worker.pid, signal.SIGUSR1)
    except ProcessLookupError:
        return f"process {worker.pid} is gone\n"
    time.sleep(DUMP_SECONDS)
    text = Path(worker.file).read_text(encoding="utf-8")
    return text or f"process {worker.pid} does not react to signals\n"


def keep_stacks(what: str, workers: Sequence[Whereabouts]) -> str:
    """Write the stacks beside each other; the end of a sentence that says where they are ("" without workers)."""
    if not workers:
        return ""
    name = "".join(letter if letter.isalnum() else "-" for letter in what)
    path = Path(tempfile.gettempdir()) / f"genrm-stalled-{name}-{os.getpid()}.txt"
    path.write_text(
        "\n".join(f"process {worker.pid} on node {worker.node_id}\n{stacks_of(worker)}" for worker in workers),
        encoding="utf-8",
    )
    return f", their stacks are in {path}"
