"""Environments in Ray actors: what is killed, hangs or grows costs its own episode only, and leaves no process."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.config.loading import load_config
from genrm_rl.environments.catalogue import SPECS, environment_problem
from genrm_rl.environments.episodes import gold, play_episode
from genrm_rl.errors import EnvironmentProblem
from genrm_rl.rollout.environment_host import HostedEnvironment, environment_hosts, play_many

ROOT = Path(__file__).parents[2]
JAVA = environment_problem(SPECS["textworld-express"])
needs_java = pytest.mark.skipif(JAVA is not None, reason=JAVA or "")


def config(*overrides: str) -> EnvironmentConfig:
    return load_config(EnvironmentConfig, None, overrides)


def wait_until_gone(pid: int) -> None:
    """Returns when the process is gone; the test run's own limit ends a wait in vain."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)


def test_every_task_gets_one_episode_and_the_killed_environment_costs_only_its_own(ray_cluster):
    tasks = SPECS["shop"].tasks("test", 12)
    with environment_hosts("shop", config(), 2) as hosts:
        for host in hosts:
            host.start()
        psutil.Process(hosts[0].process_ids()[0]).kill()
        episodes = list(play_many(hosts, gold, [(task, 0) for task in tasks], 15))
        pids = [pid for host in hosts for pid in host.process_ids()]
    assert sorted(episode.task.index for episode in episodes) == list(range(12))
    masked = [episode for episode in episodes if episode.end == "environment_failed"]
    assert [episode.outcome for episode in masked] == [None] and masked[0].failure.startswith("died")
    assert all(episode.outcome.success for episode in episodes if episode not in masked)
    for pid in pids:
        wait_until_gone(pid)


@needs_java
@pytest.mark.parametrize(
    ("victim", "how", "kinds"),
    [
        pytest.param(0, signal.SIGSTOP, {"hung"}, id="actor stopped", marks=pytest.mark.drill),
        pytest.param(1, signal.SIGSTOP, {"hung"}, id="java stopped"),
        pytest.param(1, signal.SIGKILL, {"broke", "died"}, id="java killed", marks=pytest.mark.drill),
    ],
)
def test_an_environment_that_stops_in_an_episode_is_ended_with_its_java(ray_cluster, victim, how, kinds):
    settings = config("--host.step-deadline", "3")
    task = SPECS["textworld-express"].task("test", "coin", 0)
    with environment_hosts("textworld-express", settings, 1) as (host,):
        host.start()
        pids = host.process_ids()

        def make_policy(environment, task, seed):
            turns = itertools.count()

            def act(observation):
                if next(turns) == 3:
                    psutil.Process(pids[victim]).send_signal(how)
                return "inventory"

            return act

        episode = play_episode(host, make_policy, task, 0, 10**6)
        assert episode.end == "environment_failed" and episode.outcome is None
        assert episode.failure.partition(":")[0] in kinds
        for pid in pids:
            wait_until_gone(pid)
        assert play_episode(host, gold, task, 0, 100).outcome.success  # in a new actor


def test_an_environment_above_its_memory_limit_is_ended(ray_cluster):
    with environment_hosts("shop", config("--host.memory-limit", "0.01"), 1) as (host,):
        episode = play_episode(host, gold, SPECS["shop"].task("test", "all", 0), 0, 15)
    assert (episode.outcome, episode.failure.partition(":")[0]) == (None, "leaked")


def test_an_environment_that_can_not_be_made_is_told_and_not_masked(ray_cluster):
    with environment_hosts("webshop", config("--host.failed-starts", "1"), 1) as (host,):
        assert isinstance(host, HostedEnvironment)
        with pytest.raises(EnvironmentProblem, match="web_agent_site"):
            play_episode(host, gold, SPECS["webshop"].task("test", "all", 0), 0, 15)


@pytest.mark.drill
@needs_java
def test_twenty_killed_and_stopped_environments_lose_no_episode(tmp_path):
    command = [sys.executable, "jobs/benchmarks/benchmark_environments.py", "--parts", "faults", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--environments", "shop", "textworld-express"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
