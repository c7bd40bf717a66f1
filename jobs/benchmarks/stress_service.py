"""A service of its own under malformed, oversized, slow and too many calls, and its end while calls are under way.

    python jobs/benchmarks/stress_service.py

Starts `genrm-rl serve` with the tiny judge on a free port of this machine, and prints what became of every kind of
call: how many were answered with 500, the longest that `GET /healthz` took meanwhile (asked by a process of its own),
the memory of all processes of the service before and after, and how many of the calls that were under way at SIGTERM
were answered.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from genrm_rl.runtime.machine_checks import free_port
from genrm_rl.runtime.provenance import machine
from genrm_rl.runtime.storage import write_json
from genrm_rl.simulation.bad_calls import MIB, PAIR, malformed, oversized

UNDER_WAY = 6
START_SECONDS = 600.0
PAUSE = 0.02  # seconds between two questions of the watcher
SETTLE_SECONDS = 5.0  # for memory that is given back late


@dataclass
class Phase:
    """What one kind of call came to: statuses (0: the connection was closed), the longest `/healthz` meanwhile, and the
    longest that the machine let a sleeping process wait: no service can answer sooner."""

    name: str
    statuses: Counter[int] = field(default_factory=Counter)
    healthz_longest: float = 0.0
    machine_longest: float = 0.0
    slowest_refusal: float = 0.0


class Service:
    """`genrm-rl serve` in a process of its own."""

    def __init__(self, log: Path, overrides: list[str]) -> None:
        self.token = secrets.token_urlsafe(16)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.headers = {"Authorization": f"Bearer {self.token}"}
        command = [sys.executable, "-m", "genrm_rl.cli", "serve", "--serving.port", str(self.port), *overrides]
        environment = os.environ | {"GENRM_RL_TOKEN": self.token}
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)

    def client(self, **options: object) -> httpx.AsyncClient:
        """A client with the token and any number of connections."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        return httpx.AsyncClient(base_url=self.address, headers=self.headers, timeout=300, limits=limits, **options)

    def memory(self) -> int:
        """Bytes that all of its processes hold for themselves."""
        own = psutil.Process(self.process.pid)
        total = 0
        for each in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_full_info().uss
        return total

    async def started(self) -> Counter[int]:
        """Wait until it answers; the statuses of `/healthz` until then."""
        seen: Counter[int] = Counter()
        async with self.client() as http, asyncio.timeout(START_SECONDS):
            while self.process.poll() is None:
                with suppress(httpx.TransportError):
                    seen[(await http.get("/healthz")).status_code] += 1
                if seen[200]:
                    return seen
                await asyncio.sleep(0.2)
        raise SystemExit(f"the service ended with status {self.process.returncode} before it answered; see its log")

    @contextmanager
    def watched(self, name: str) -> Iterator[Phase]:
        """A phase, in which another process asks `/healthz` all the time."""
        phase = Phase(name)
        spawn = multiprocessing.get_context("spawn")
        stop, begun, failed = spawn.Event(), spawn.Event(), spawn.Value("i", 0)
        longest, overslept = spawn.Value("d", 0.0), spawn.Value("d", 0.0)
        asking = spawn.Process(target=watch, args=(self.address, stop, begun, longest, overslept, failed))
        asking.start()
        begun.wait()
        try:
            yield phase
        finally:
            stop.set()
            asking.join()
            phase.healthz_longest, phase.machine_longest = longest.value, overslept.value
            phase.statuses[500] += failed.value


def watch(address: str, stop: Any, begun: Any, longest: Any, overslept: Any, failed: Any) -> None:
    """Ask `/healthz` until ``stop``; the longest that it took, how late this process woke up, and how often it
    failed."""
    with httpx.Client(base_url=address, timeout=60) as http:
        while not stop.is_set():
            started = time.perf_counter()
            status = http.get("/healthz").status_code
            longest.value = max(longest.value, time.perf_counter() - started)
            failed.value += status >= 500
            begun.set()
            ended = time.perf_counter()
            stop.wait(PAUSE)
            overslept.value = max(overslept.value, time.perf_counter() - ended - PAUSE)


async def status_of(call: Awaitable[httpx.Response]) -> int:
    """The status of a reply, 0 if the connection was closed without one."""
    try:
        return (await call).status_code
    except httpx.TransportError:
        return 0


async def send(service: Service, phase: Phase, calls: Iterable[tuple[str, bytes]]) -> None:
    """One after the other, so that each is seen in `/healthz` by itself."""
    async with service.client() as http:
        for path, body in calls:
            begun = time.perf_counter()
            status = await status_of(http.post(path, content=body, headers={"Content-Type": "application/json"}))
            if status != 200:
                phase.slowest_refusal = max(phase.slowest_refusal, time.perf_counter() - begun)
            phase.statuses[status] += 1


async def crawl(service: Service, phase: Phase, seconds: float, *, whole_head: bool) -> None:
    """A connection that sends a byte every half second; its status, 0 if it was closed, 1 if it is open after all."""
    head = f"POST /v1/judgments HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {service.token}\r\n"
    if whole_head:
        head += "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    answer = asyncio.create_task(reader.read())
    with suppress(ConnectionError):
        writer.write(head.encode())
        for _ in range(int(2 * seconds)):
            writer.write(b" " if whole_head else b"x")
            await writer.drain()
            done, _ = await asyncio.wait([answer], timeout=0.5)
            if done:
                break
    status = 1
    if answer.done():
        text = b"" if answer.exception() else answer.result()
        status = int(text.split()[1]) if text else 0
    answer.cancel()
    phase.statuses[status] += 1
    writer.close()


async def overload(service: Service, phase: Phase, seconds: float, admitted: int, times: int) -> None:
    """For ``seconds``, ``times`` as many comparisons under way as are admitted; who is refused asks again."""
    per_call = 16
    os.nice(19)  # callers live on other machines: here they would take the processors from the service (nice 15)
    ends = time.perf_counter() + seconds
    async with service.client() as http:

        async def keep_asking(number: int) -> None:
            turn = 0
            while time.perf_counter() < ends:
                pairs = [PAIR | {"prompt": f"sort {number} {turn} {place}"} for place in range(per_call)]
                phase.statuses[await status_of(http.post("/v1/judgments", json={"comparisons": pairs}))] += 1
                turn += 1
                await asyncio.sleep(0.2)

        await asyncio.gather(*(keep_asking(number) for number in range(times * admitted // per_call)))


async def stop_under_way(service: Service, number: signal.Signals) -> Phase:
    """End the service with calls under way."""
    phase = Phase(f"{number.name} with {UNDER_WAY} calls under way")
    async with service.client() as http:
        calls = []
        for call in range(UNDER_WAY):
            pairs = [PAIR | {"prompt": f"sort {call} under way {place}"} for place in range(8)]
            calls.append(
                asyncio.create_task(status_of(http.post("/v1/judgments", json={"comparisons": pairs, "votes": 8})))
            )
        while f"genrm_rl_open_calls {UNDER_WAY + 1}.0" not in (await http.get("/metrics")).text:
            await asyncio.sleep(0.05)
        service.process.send_signal(number)
        phase.statuses.update(await asyncio.gather(*calls))
    await asyncio.to_thread(service.process.wait)
    return phase


async def stress(service: Service, arguments: argparse.Namespace) -> tuple[list[Phase], dict[str, object]]:
    """All phases."""
    starting = Phase("/healthz while it starts", await service.started())
    async with service.client() as http:  # whatever is loaded at the first call of a kind is not what is measured
        for _ in range(3):
            (await http.post("/v1/judgments", json={"comparisons": [PAIR] * 16, "votes": 4})).raise_for_status()
    before, phases = service.memory(), [starting]
    with service.watched("malformed calls") as phase:
        await send(service, phase, malformed(arguments.malformed))
    phases.append(phase)
    with service.watched("oversized calls") as phase:
        await send(service, phase, oversized())
    phases.append(phase)
    with service.watched("slow connections") as phase:
        await asyncio.gather(
            *(crawl(service, phase, 3 * arguments.read_deadline, whole_head=n % 2 == 0) for n in range(arguments.slow))
        )
    phases.append(phase)
    with service.watched(f"{arguments.overload}x overload for {arguments.seconds:g} s") as phase:
        await overload(service, phase, arguments.seconds, arguments.max_pending, arguments.overload)
    phases.append(phase)
    await asyncio.sleep(SETTLE_SECONDS)
    after = service.memory()
    phases.append(await stop_under_way(service, signal.SIGTERM))
    return phases, {"memory_before_mib": round(before / MIB), "memory_after_mib": round(after / MIB)}


def main() -> None:
    """Start, stress, stop, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--malformed", type=int, default=100, help="malformed calls")
    parser.add_argument("--slow", type=int, default=50, help="slow connections, half of them slow with their headers")
    parser.add_argument(
        "--read-deadline", type=float, default=10.0, help="serving.read_deadline of the service, seconds"
    )
    parser.add_argument("--max-pending", type=int, default=256, help="serving.max_pending of the service, comparisons")
    parser.add_argument("--overload", type=int, default=4, help="times the admitted load that is sent")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the overload lasts")
    parser.add_argument("--output", type=Path, default=Path("runs/stress_service.json"), help="where figures go")
    arguments, overrides = parser.parse_known_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    limits = [
        "--serving.read-deadline",
        str(arguments.read_deadline),
        "--serving.max-pending",
        str(arguments.max_pending),
    ]
    service = Service(arguments.output.with_suffix(".log"), [*limits, *overrides])
    try:
        phases, found = asyncio.run(stress(service, arguments))
    finally:
        if service.process.poll() is None:
            service.process.terminate()
            service.process.wait()
    show(phases, found, service.process.returncode)
    rows = [asdict(phase) | {"statuses": dict(phase.statuses)} for phase in phases]
    write_json(arguments.output, {"machine": machine(), "phases": rows, **found, "exit": service.process.returncode})


def show(phases: list[Phase], found: dict[str, object], ended: int) -> None:
    """The table."""
    table = Table("calls", "statuses (0: closed)", "longest /healthz", "machine's own pause", "slowest refusal")
    for phase in phases:
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(phase.statuses.items()) if count)
        seconds = (phase.healthz_longest, phase.machine_longest, phase.slowest_refusal)
        table.add_row(phase.name, statuses, *(f"{each:.2f} s" if each else "" for each in seconds))
    Console().print(table)
    failed = sum(phase.statuses[500] for phase in phases)
    longest = max(phase.healthz_longest for phase in phases)
    answered = phases[-1].statuses[200]
    Console().print(
        f"answered with 500: {failed} (goal 0); longest /healthz: {longest:.2f} s (goal 0.5); memory "
        f"{found['memory_before_mib']} -> {found['memory_after_mib']} MiB; answered after SIGTERM: {answered} of "
        f"{UNDER_WAY}; exit status {ended}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
