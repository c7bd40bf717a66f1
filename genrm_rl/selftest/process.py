"""The checks of one process, each reported as it ends; and the same seen from outside, where each has its limit."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from genrm_rl.selftest.checks import ENVIRONMENT, Check, CheckFailed, Figures, Finding, Group, Place

END_SECONDS = 30.0  # for a process whose checks are done: Ray and vLLM stop in it
KILL_SECONDS = 5.0


def findings(checks: Sequence[Check], place: Place, log: Path) -> Iterator[Finding]:
    """What becomes of ``checks``, one after another in one process. A check that outlasts its limit, or takes its
    process with it, is ended with everything that it started; those after it go on in a new process."""
    left = list(checks)
    while left:
        for finding in _one_process(tuple(left), place, log):
            left.pop(0)
            yield finding


def _one_process(checks: Sequence[Check], place: Place, log: Path) -> Iterator[Finding]:
    """Findings until all checks are done or one has ended the process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    group, names = checks[0].group, [check.name for check in checks]
    process = context.Process(target=work, args=(group, names, place, str(log), theirs))
    with environment(ENVIRONMENT.get(group, {})):
        process.start()
    theirs.close()
    try:
        for check in checks:
            began = time.monotonic()
            finding = _finding(ours, process, check)
            seconds = time.monotonic() - began
            yield finding or Finding(check.name, "failed", seconds, sentence=_end_of(process, check, seconds))
            if finding is None:
                return
        process.join(END_SECONDS)
    finally:
        end_tree(process)


@contextmanager
def environment(more: dict[str, str]) -> Iterator[None]:
    """Inside, new processes get these variables too."""
    before = {name: os.environ.get(name) for name in more}
    os.environ |= more
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _finding(pipe: Connection, process: BaseProcess, check: Check) -> Finding | None:
    """What the process says of a check; None if it said nothing within the limit, or ended."""
    try:
        return pipe.recv() if pipe.poll(check.limit) else None
    except EOFError:
        return None


def _end_of(process: BaseProcess, check: Check, seconds: float) -> str:
    if seconds >= check.limit:
        return f"no result within {check.limit:g} s"
    process.join(KILL_SECONDS)
    return f"its process ended with status {process.exitcode}"


def end_tree(process: BaseProcess) -> None:
    """End a process with everything under it, Ray's and vLLM's processes too."""
    try:
        parent = psutil.Process(process.pid)
        tree = [*parent.children(recursive=True), parent]
    except psutil.Error:
        return
    for each in tree:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(tree, timeout=KILL_SECONDS)
    process.join(KILL_SECONDS)


def work(group: Group, names: Sequence[str], place: Place, log: str, pipe: Connection) -> None:
    """Run checks of a group in this process, its output in ``log``, and send a :class:`Finding` for each."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    left = list(names)
    try:
        with _engine_checks(place) if group == "engine" else _learner_checks(place) as call:
            while left:
                print(f"== {left[0]}", flush=True)
                pipe.send(_tried(left[0], call))
                del left[0]
    except Exception as problem:  # what the checks share did not start
        if left:
            pipe.send(_failure(left[0], 0.0, problem))
        raise


@contextmanager
def _learner_checks(place: Place) -> Iterator[Callable[[str], Figures]]:
    from genrm_rl.selftest import learner_checks

    yield lambda name: getattr(learner_checks, name)(place)


@contextmanager
def _engine_checks(place: Place) -> Iterator[Callable[[str], Figures]]:
    from genrm_rl.selftest import engine_checks, publication_checks
    from genrm_rl.selftest.room import open_room

    known = vars(engine_checks) | vars(publication_checks)
    with open_room(place) as room:
        yield lambda name: known[name](room)


def _tried(name: str, call: Callable[[str], Figures]) -> Finding:
    """A check's figures, or what went wrong: whatever it is, it is the answer to the person who asks."""
    began = time.monotonic()
    try:
        return Finding(name, "ok", figures=call(name), seconds=time.monotonic() - began)
    except Exception as problem:  # reported, with its traceback in the log
        traceback.print_exc()
        return _failure(name, time.monotonic() - began, problem)


def _failure(name: str, seconds: float, problem: Exception) -> Finding:
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()] or [""]
    if isinstance(problem, CheckFailed):
        return Finding(name, "failed", seconds, problem.figures, lines[-1])
    return Finding(name, "failed", seconds, {}, f"{type(problem).__name__}: {lines[-1]}")
