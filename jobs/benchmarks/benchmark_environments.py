"""Environments for agents, measured: do the known solutions solve the tasks, how fast and how large are many
environments at once, and what becomes of episodes whose environment is killed or hangs.

    python jobs/benchmarks/benchmark_environments.py                    # everything, into runs/environments
    python jobs/benchmarks/benchmark_environments.py --parts faults     # some of it

``gold``: the known solutions of ``--tasks`` test tasks of each environment (of ScienceWorld one of each kind), beside
random actions. ``speed``: ``--at-once`` environments of each kind play random actions. ``faults``: ``--faults``
environments, dealt over the kinds, are killed or stopped while they play (their actor, or their Java process); each
episode has to come back masked, no process may be left, and the next episode of the same host has to succeed.

Prints tables and writes environments.json; exits with 1 if a gold path failed, an episode was lost or scored that
should not be, or a process was left. What the json of an interrupted run holds is not measured again. Other options are
settings of ``play``.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.environments.catalogue import SPECS, EnvironmentSpec, check_environment
from genrm_rl.environments.episodes import Episode, MakePolicy, Policy, gold, uniform
from genrm_rl.environments.protocol import Environment, EnvironmentFailure, Observation, Task
from genrm_rl.evaluation.play import PlaySummary, add_summary, summarise, summary_table
from genrm_rl.rollout.environment_host import HostedEnvironment, environment_hosts, play_many
from genrm_rl.runtime.provenance import code_revision, machine
from genrm_rl.runtime.session import ray_session
from genrm_rl.runtime.storage import read_json, write_json

GIB = 2**30
PARTS = ("gold", "speed", "faults")
PLAYED = [name for name in SPECS if name != "webshop"]  # which nobody can measure without a copy
FAULT_AFTER = (0.2, 2.0)  # seconds into an episode
FAULT_CONFIG = {"step_deadline": 5.0}  # how long a stopped environment is waited for


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--environments", nargs="+", choices=PLAYED, default=PLAYED)
    parser.add_argument("--tasks", type=int, default=50, help="test tasks of each environment")
    parser.add_argument("--at-once", type=int, default=16, help="environments of one kind at once")
    parser.add_argument("--faults", type=int, default=20, help="environments that are killed or stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/environments"))
    arguments, overrides = parser.parse_known_args()
    config = load_config(EnvironmentConfig, None, overrides)
    specs = [SPECS[name] for name in arguments.environments]
    for spec in specs:
        check_environment(spec)
    console = Console()
    file = arguments.out / "environments.json"
    found: dict[str, Any] = read_json(file) if file.is_file() else {"machine": machine(), "code": code_revision()}
    measures = {"gold": measure_gold, "speed": measure_speed, "faults": measure_faults}
    with ray_session():
        for part in arguments.parts:
            for spec in specs:
                key = f"{part} {spec.name}"
                if key not in found:
                    console.print(f"{key} ...")
                    found[key] = measures[part](spec, config, arguments)
                    write_json(file, found)
    show(found, arguments.parts, arguments.environments, console)
    if not all(found[f"{part} {name}"]["good"] for part in arguments.parts for name in arguments.environments):
        sys.exit(1)


def measure_gold(spec: EnvironmentSpec, config: EnvironmentConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    """Gold and random policy on the same test tasks."""
    count = len(spec.levels) if spec.name == "scienceworld" else arguments.tasks
    tasks = spec.tasks("test", count)
    found: dict[str, Any] = {}
    with environment_hosts(spec.name, config, config.host.hosts) as hosts:
        for policy in (gold, uniform):
            begun = time.monotonic()
            episodes = list(
                play_many(hosts, policy, [(task, arguments.seed) for task in tasks], config.max_turns or spec.max_turns)
            )
            found[policy.__name__] = asdict(summarise(episodes, time.monotonic() - begun, arguments.seed))
            found[f"{policy.__name__} episodes"] = {
                episode.task.task_id: describe_episode(episode)
                for episode in sorted(episodes, key=lambda episode: episode.task.task_id)
            }
    return found | {"good": found["gold"]["success"] == 1.0 and not found["gold"]["masked"]}


def measure_speed(spec: EnvironmentSpec, config: EnvironmentConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    """Random actions in many environments at once, two episodes in each; memory at the end."""
    tasks = [spec.tasks("test", 1)[0]] * (2 * arguments.at_once)  # one task: nothing has to be made meanwhile
    with environment_hosts(spec.name, config, arguments.at_once) as hosts:
        begun = time.monotonic()
        start_all(hosts)
        started = time.monotonic()
        episodes = list(
            play_many(hosts, uniform, [(task, arguments.seed) for task in tasks], config.max_turns or spec.max_turns)
        )
        ended = time.monotonic()
        memory = [host.memory() for host in hosts]
    summary = summarise(episodes, ended - started)
    return {
        "environments": arguments.at_once,
        "start_seconds": started - begun,
        "steps": summary.steps,
        "steps_per_second": summary.steps_per_second,
        "memory_gib": sum(memory) / GIB,
        "largest_gib": max(memory) / GIB,
        "masked": summary.masked,
        "good": not summary.masked,
    }


def measure_faults(spec: EnvironmentSpec, config: EnvironmentConfig, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill or stop the environment of each of this kind's share of ``--faults`` episodes, then play one without."""
    config = config.model_copy(update={"host": config.host.model_copy(update=FAULT_CONFIG)})
    hit, left, wrong = 0, [], []
    kinds: dict[str, int] = {}
    draw = random.Random(arguments.seed)
    task = spec.tasks("test", 1)[0]
    with environment_hosts(spec.name, config, 1) as (host,):
        while hit < math.ceil(arguments.faults / len(arguments.environments)):
            host.start()
            host_processes = host.process_ids()
            victim = host_processes[hit % len(host_processes)]
            how = signal.SIGKILL if (hit // len(host_processes)) % 2 else signal.SIGSTOP
            (episode,) = play_many(
                [host], idle_until_hit(victim, how, draw.uniform(*FAULT_AFTER)), [(task, hit)], 10**6
            )
            hit += 1
            kinds[episode.failure.partition(":")[0]] = kinds.get(episode.failure.partition(":")[0], 0) + 1
            if episode.end != "environment_failed" or episode.outcome is not None:
                wrong.append(describe_episode(episode))
            left += [pid for pid in host_processes if alive(pid)]
        (after,) = play_many([host], gold, [(task, 0)], config.max_turns or spec.max_turns)
    good = not wrong and not left and after.outcome is not None and after.outcome.success
    return {
        "faults": hit,
        "masked": kinds,
        "lost_or_scored": len(wrong),
        "processes_left": len(left),
        "next_episode": describe_episode(after),
        "good": good,
    }


def idle_until_hit(victim: int, how: signal.Signals, delay: float) -> MakePolicy:
    """A policy that plays an action which changes little, for as long as the environment answers, while ``victim`` is
    killed or stopped ``delay`` seconds after the first turn."""

    def make(environment: Environment, task: Task, seed: int) -> Policy:
        fault = threading.Timer(delay, lambda: psutil.Process(victim).send_signal(how))

        def act(observation: Observation) -> str:
            if not fault.is_alive() and not fault.finished.is_set():
                fault.start()
            return "inventory"

        return act

    return make


def start_all(hosts: Sequence[HostedEnvironment]) -> None:
    """Start many hosts at once. Raises EnvironmentFailure if one does not start."""
    problems: list[EnvironmentFailure] = []

    def start(host: HostedEnvironment) -> None:
        try:
            host.start()
        except EnvironmentFailure as failure:
            problems.append(failure)

    threads = [threading.Thread(target=start, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def alive(pid: int, patience: float = 10.0) -> bool:
    """True if the process is still there after ``patience`` seconds; what is dead and not yet reaped is not."""
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.1)
    return True


def describe_episode(episode: Episode) -> dict[str, Any]:
    """What the json says of one episode."""
    outcome = episode.outcome
    return {
        "end": episode.end,
        "turns": len(episode.turns),
        "success": None if outcome is None else outcome.success,
        "score": None if outcome is None else outcome.score,
        "failure": episode.failure,
    }


def show(found: dict[str, Any], parts: Sequence[str], names: Sequence[str], console: Console) -> None:
    """The tables."""
    console.print(f"{found['machine']['cpu']}, {found['machine']['cores']} cores; code {found['code']}")
    for name in names if "gold" in parts else ():
        table = summary_table(f"{name}, test")
        for policy, label in (("gold", "gold"), ("uniform", "random")):
            add_summary(table, label, PlaySummary(**found[f"gold {name}"][policy]))
        console.print(table)
    if "speed" in parts:
        table = Table("environment", "at once", "ready after", "steps/s", "memory", "largest", title="many at once")
        for name in names:
            row = found[f"speed {name}"]
            sizes = (f"{row['memory_gib']:.2f} GiB", f"{row['largest_gib']:.2f} GiB")
            ready = f"{row['start_seconds']:.0f} s"
            table.add_row(name, str(row["environments"]), ready, f"{row['steps_per_second']:.0f}", *sizes)
        console.print(table)
    if "faults" in parts:
        table = Table("environment", "faults", "masked", "lost or scored", "processes left", title="killed and stopped")
        for name in names:
            row = found[f"faults {name}"]
            masked = ", ".join(f"{count} {kind}" for kind, count in sorted(row["masked"].items()))
            table.add_row(name, str(row["faults"]), masked, str(row["lost_or_scored"]), str(row["processes_left"]))
        console.print(table)


if __name__ == "__main__":
    main()
