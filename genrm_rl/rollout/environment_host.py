"""Environments in Ray actors, one each, so that one which hangs, dies or grows is ended alone.

What happens to an environment happens to its episode only: the episode is masked, the actor is ended with its Java
process, and the next task gets a new one.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple

import psutil
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from genrm_rl.config.environments import EnvironmentConfig
from genrm_rl.environments.catalogue import find_environment
from genrm_rl.environments.episodes import Episode, MakePolicy, play_episode
from genrm_rl.environments.protocol import Environment, EnvironmentFailure, Observation, Outcome, Task
from genrm_rl.errors import EnvironmentProblem, GenRMError

GIB = 2**30
PATIENCE = 2.0  # seconds in which an actor that is told to end has to be gone
Method = Literal["start", "memory", "gold_actions", "reset", "step"]


class Whereabouts(NamedTuple):
    """Processes of a hosted environment: the actor's own, and what it started."""

    node: str
    actor: int
    children: tuple[int, ...]


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class EnvironmentActor:
    """Owns one environment. Calls run one after the other on its main thread, which is also what Java lives by."""

    def __init__(self, name: str, config: EnvironmentConfig) -> None:
        self._name, self._config = name, config
        self._limit = int(config.host.memory_limit * GIB)
        self._environment: Environment

    def start(self) -> Whereabouts:
        """Make the environment; its processes."""
        self._environment = find_environment(self._name).make(self._config)
        return Whereabouts(ray.get_runtime_context().get_node_id(), os.getpid(), self._environment.process_ids())

    def memory(self) -> int:
        """Resident bytes of the actor and its environment's processes."""
        return sum(psutil.Process(pid).memory_info().rss for pid in (os.getpid(), *self._environment.process_ids()))

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...] | None:
        """As the environment's."""
        return self._environment.gold_actions(task, seed)

    def reset(self, task: Task, seed: int) -> Observation:
        """As the environment's."""
        return self._environment.reset(task, seed)

    def step(self, action: str) -> tuple[Observation, bool, Outcome]:
        """As the environment's, with the outcome so far. Raises EnvironmentFailure above the memory limit."""
        observation, done = self._environment.step(action)
        used = self.memory()
        if used > self._limit:
            raise EnvironmentFailure("leaked", f"{used / GIB:.1f} GiB, of at most {self._limit / GIB:.1f}")
        return observation, done, self._environment.outcome


class HostedEnvironment:
    """The environment protocol over an actor that is started when it is needed and replaced after a failure.

    For one thread. Calls raise EnvironmentFailure when the environment was late, died, or broke; it is ended then.
    A start that fails ``host.failed_starts`` times in a row raises EnvironmentProblem.
    """

    def __init__(self, name: str, config: EnvironmentConfig) -> None:
        self._name, self._config = name, config
        self._actor: Any = None
        self._outcome = Outcome(False, 0.0)
        self._failed_starts = 0
        self.whereabouts: Whereabouts | None = None

    def start(self) -> None:
        """Start the actor if there is none; a task's first call does it too."""
        if self._actor is not None:
            return
        self._actor = EnvironmentActor.remote(self._name, self._config)
        try:
            self.whereabouts = self._get("start", self._config.host.start_deadline)
        except EnvironmentFailure as failure:
            self._failed_starts += 1
            if self._failed_starts >= self._config.host.failed_starts:
                raise EnvironmentProblem(
                    f"{self._name} did not start {self._failed_starts} times in a row, the last time it {failure}"
                ) from None
            raise
        self._failed_starts = 0

    def reset(self, task: Task, seed: int) -> Observation:
        """As the environment's, within ``host.reset_deadline``."""
        self.start()
        self._outcome = Outcome(False, 0.0)
        return self._get("reset", self._config.host.reset_deadline, task, seed)

    def step(self, action: str) -> tuple[Observation, bool]:
        """As the environment's, within ``host.step_deadline``."""
        observation, done, self._outcome = self._get("step", self._config.host.step_deadline, action)
        return observation, done

    @property
    def outcome(self) -> Outcome:
        """As of the last step."""
        return self._outcome

    def gold_actions(self, task: Task, seed: int) -> tuple[str, ...] | None:
        """As the environment's, within ``host.reset_deadline``."""
        self.start()
        return self._get("gold_actions", self._config.host.reset_deadline, task, seed)

    def process_ids(self) -> tuple[int, ...]:
        """All processes of the host."""
        return () if self.whereabouts is None else (self.whereabouts.actor, *self.whereabouts.children)

    def memory(self) -> int:
        """Resident bytes of its processes."""
        return self._get("memory", self._config.host.step_deadline)

    def close(self) -> None:
        """End the actor and with it every process of the environment."""
        if self._actor is not None:
            ray.kill(self._actor)
        if self.whereabouts is not None and self.whereabouts.node == ray.get_runtime_context().get_node_id():
            _end(self.process_ids())
        self._actor = self.whereabouts = None

    def _get(self, method: Method, deadline: float, *arguments: Any) -> Any:
        if self._actor is None:
            raise EnvironmentFailure("died", "it was ended by an earlier failure")
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=deadline)
        except GetTimeoutError:
            failure = EnvironmentFailure("hung", f"no answer to {method} within {deadline:g} s")
        except RayTaskError as error:
            if isinstance(error.cause, GenRMError) and not isinstance(error.cause, EnvironmentFailure):
                raise  # what a person can cure
            cause = error.cause
            failure = cause if isinstance(cause, EnvironmentFailure) else EnvironmentFailure("broke", _brief(cause))
        except RayActorError as error:
            failure = EnvironmentFailure("died", _brief(error))
        except RayError as error:
            failure = EnvironmentFailure("broke", _brief(error))
        self.close()
        raise failure


@contextmanager
def environment_hosts(name: str, config: EnvironmentConfig, count: int) -> Iterator[list[HostedEnvironment]]:
    """``count`` hosts for environments, on a Ray that is connected; they are ended when the body is left."""
    hosts = [HostedEnvironment(name, config) for _ in range(count)]
    try:
        yield hosts
    finally:
        for host in hosts:
            host.close()


def play_many(
    environments: Sequence[HostedEnvironment],
    make_policy: MakePolicy,
    plays: Iterable[tuple[Task, int]],
    max_turns: int,
) -> Iterator[Episode]:
    """An episode of each (task, seed), as they end, with as many at once as there are environments.

    Each yields exactly one episode, masked if its environment failed. Errors of the policy, and of an environment that
    can't be started, are raised after the others have ended their episodes.
    """
    waiting: queue.SimpleQueue[tuple[Task, int]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[Episode | Exception | None] = queue.SimpleQueue()
    for play in plays:
        waiting.put(play)

    def work(environment: HostedEnvironment) -> None:
        try:
            while True:
                task, seed = waiting.get_nowait()
                ended.put(play_episode(environment, make_policy, task, seed, max_turns))
        except queue.Empty:
            ended.put(None)
        except Exception as error:
            ended.put(error)

    workers = [threading.Thread(target=work, args=(each,), daemon=True, name="episodes") for each in environments]
    for worker in workers:
        worker.start()
    problem: Exception | None = None
    for _ in workers:
        while (item := ended.get()) is not None:
            if isinstance(item, Exception):
                problem = item
                break
            yield item
    if problem is not None:
        raise problem


def _brief(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _end(pids: Sequence[int]) -> None:
    """Wait a little for processes that are ending, and kill those that do not: one that is stopped, not only slow, does
    not hear Ray."""
    there: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            there.append(psutil.Process(pid))
    for process in psutil.wait_procs(there, timeout=PATIENCE)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
