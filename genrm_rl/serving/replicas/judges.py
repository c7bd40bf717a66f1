"""The judge that answers, and its replacement while calls are answered.

A new judge starts beside the old one. From the moment that it can answer, new calls are its own; what the old one was
given it finishes, and its replicas end after that. So no call is lost, none is answered by two judges, and there must
be room for both for a while.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from fastapi import HTTPException
from ray import serve
from ray.exceptions import RayActorError, RayError
from ray.serve.exceptions import RayServeException

from genrm_rl.config.serving import ServeConfig
from genrm_rl.errors import DataError, GenRMError, ModelError
from genrm_rl.generation import GenerationRequest, GenerationResult
from genrm_rl.judging.encoding import JudgeEncoder
from genrm_rl.learners.probe_record import probe_words
from genrm_rl.preferences.types import Comparison
from genrm_rl.rollout.errors import EngineProcessDied
from genrm_rl.serving.contracts import Judged
from genrm_rl.serving.refusals import absent
from genrm_rl.serving.replicas.judge_apps import (
    BATCH,
    judge_apps,
    judge_handle,
    judge_to_serve,
    reason_of,
    replicas_up,
    served_judge,
    start_judge,
)
from genrm_rl.serving.replicas.judge_replica import ServedJudge, Votes

AnswerT = TypeVar("AnswerT")

REASK_SECONDS = 0.5  # pause before a call to a replica that died is made again
GRACE = 5.0  # seconds that a reply may need beyond its deadline
DRAIN_POLL_SECONDS = 0.1
FIND_SECONDS = 1.0  # between two looks for the first judge
ASLEEP = "the judge sleeps while a learner has its GPU; ask again"
STARTING = "the judge is starting, which may take minutes; ask again"
_log = logging.getLogger(__name__)


class RunningJudge:
    """The replicas of one judge. ``calls`` are those that it has yet to answer; ``probe_gate`` says in words whether
    null answers fool it, as its run has found out."""

    def __init__(self, app: str, served: ServedJudge, encoder: JudgeEncoder) -> None:
        self.app = app
        self.served = served
        self.encoder = encoder
        self.calls = 0
        self.probe_gate_passed, self.probe_gate = probe_words(Path(served.engine.model_path))
        self._handle = judge_handle(app)

    @property
    def version(self) -> str:
        """Of its weights."""
        return self.served.version

    def misfit(self, comparison: Comparison) -> str | None:
        """Why the judge can't read this comparison in full, in words for callers, or None if it can."""
        try:
            return self.served.misfit(comparison, self.encoder)
        except (DataError, ModelError) as problem:
            return self.without_paths(problem)

    def without_paths(self, problem: GenRMError) -> str:
        """Its sentence for callers: where the judge lies on the service's disks is nobody's business."""
        return str(problem).replace(self.served.engine.model_path, f"judge {self.version}")

    async def ask(self, shown: Sequence[Comparison], votes: Votes, expires: float) -> list[Judged]:
        """Judgments in the order of ``shown``. Asked for in batches of a bounded work: each call to a replica costs
        milliseconds of CPU, and Serve balances calls."""
        size = max(1, BATCH // votes.count)
        batches = [shown[start : start + size] for start in range(0, len(shown), size)]
        calls = [partial(self._handle.judge.remote, batch, votes, expires) for batch in batches]
        found = list(chain.from_iterable(await self._answers(calls, expires)))
        strangers = {each.judge_version for each in found} - {self.version}
        if strangers:
            raise HTTPException(503, f"judge {self.version} was asked and {strangers.pop()} answered; ask again later")
        return found

    async def generate(self, requests: Sequence[GenerationRequest], expires: float) -> list[GenerationResult]:
        """What the judge's model writes, in the order of ``requests``."""
        return await self._answers([partial(self._handle.generate.remote, each, expires) for each in requests], expires)

    async def sleep(self) -> None:
        """Wait for the last answers, then have every replica free its GPU memory. Serve chooses who gets a call, so
        calls are made until each replica that is up has answered."""
        while self.calls:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        heard: set[str] = set()
        while (up := await asyncio.to_thread(replicas_up, self.app)) > len(heard):
            try:
                heard.update(await asyncio.gather(*(self._handle.sleep.remote() for _ in range(up))))
            except (RayActorError, EngineProcessDied):  # another one takes its place, which starts when it is asked
                await asyncio.sleep(REASK_SECONDS)

    async def _answers(self, calls: Sequence[Callable[[], Awaitable[AnswerT]]], expires: float) -> list[AnswerT]:
        """Answers of the replicas. A call whose replica or engine dies is made again, until the deadline: what it asks
        for is a function of its content and seed, so nothing is answered differently."""

        async def one(call: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
            while True:
                try:
                    return await call()
                except (RayActorError, EngineProcessDied):
                    if time.time() + REASK_SECONDS > expires:
                        raise
                    await asyncio.sleep(REASK_SECONDS)

        try:
            async with asyncio.timeout(max(0.001, expires - time.time()) + GRACE):
                return list(await asyncio.gather(*(one(call) for call in calls)))
        except TimeoutError:
            if not await asyncio.to_thread(replicas_up, self.app):
                raise HTTPException(
                    502, "the judge has no replica: one starts, or waits for a node that has room for it"
                ) from None
            raise HTTPException(504, "no judge replica answered in time; ask again later") from None
        except (RayActorError, EngineProcessDied):
            raise HTTPException(502, "the judge died and did not come back in time; ask again later") from None


class Judges:
    """The judge that new calls go to, one that is starting, and those that finish what they were given."""

    def __init__(self, service: str, config: ServeConfig) -> None:
        self._service = service
        self._config = config
        self._current: RunningJudge | None = None
        self.opened = asyncio.Event()  # the first judge answers
        self.starting: str | None = None
        self.asleep = False
        self.finishing: list[RunningJudge] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self) -> None:
        """Look for the judges that Serve runs, until one can answer: the ingress is there before the first of them, and
        may be restarted while one replaces another."""
        self._keep(self._find())

    async def _find(self) -> None:
        while True:
            try:
                apps = await asyncio.to_thread(judge_apps, self._service)
                found = [await self._running(app) for app in apps]
                if found:
                    await judge_handle(apps[-1]).ready.remote()
                    break
            except (RayError, RayServeException) as problem:  # a judge that did not start is gone again
                _log.info("no judge yet: %s", str(problem).strip().splitlines()[-1:])
            await asyncio.sleep(FIND_SECONDS)
        self._current = found[-1]
        for old in found[:-1]:
            self._retire(old)
        gc.collect()
        gc.freeze()  # all is loaded; looking through it again and again would hold up every call
        self.opened.set()

    @staticmethod
    async def _running(app: str) -> RunningJudge:
        served = await judge_handle(app).served.remote()
        return RunningJudge(app, served, await asyncio.to_thread(served.encoder))

    @property
    def current(self) -> RunningJudge:
        """The judge that new calls go to. HTTPException 503 if the first one is still starting."""
        if self._current is None:
            raise HTTPException(503, STARTING, headers=absent(FIND_SECONDS))
        return self._current

    @property
    def words(self) -> str:
        """What people should know of the judge; empty while the first one starts."""
        judge = self._current
        return "" if judge is None else f"Judge {judge.version}: {judge.probe_gate}."

    @contextmanager
    def use(self, version: str | None = None) -> Iterator[RunningJudge]:
        """The judge of one call, which stays until the call is answered. HTTPException 409 if the call is for another
        version, 503 if it sleeps."""
        judge = self.current
        if self.asleep:
            raise HTTPException(503, ASLEEP, headers=absent(FIND_SECONDS))
        if version not in (None, judge.version):
            raise HTTPException(409, f"judge version {version} was asked for and {judge.version} is served")
        judge.calls += 1
        try:
            yield judge
        finally:
            judge.calls -= 1

    async def sleep(self) -> None:
        """Take no more calls, answer those under way, and leave the GPU to others until :meth:`wake`. HTTPException 409
        while another judge starts or the last one still answers."""
        if self.starting is not None or self.finishing:
            raise HTTPException(409, "the judge is being changed; ask again when GET /healthz shows one alone")
        self.asleep = True
        await self.current.sleep()

    def wake(self) -> None:
        """Take calls again; each replica wakes at its first one."""
        self.asleep = False

    async def change(self, checkpoint: str) -> str:
        """Serve the judge of ``checkpoint`` instead; returns its version when new calls go to it.

        HTTPException 422 for what is no judge, 409 while another change is under way, 503 if the judge does not start:
        then the old one stays.
        """
        served, encoder = await asyncio.to_thread(self._examine, checkpoint)
        if self.asleep:
            raise HTTPException(409, f"{ASLEEP} when POST /v1/judge/wake was called")
        if self.starting is not None:
            raise HTTPException(409, f"judge {self.starting} is starting; ask again when GET /healthz shows it")
        if served.version != self.current.version:
            self.starting = served.version
            task = self._keep(self._replace(served, encoder))
            await asyncio.shield(task)  # goes on if the caller hangs up
        return served.version

    def _examine(self, checkpoint: str) -> tuple[ServedJudge, JudgeEncoder]:
        """All that can be said of a judge before it starts."""
        if checkpoint != "base" and not Path(checkpoint).is_absolute():
            raise HTTPException(422, f"checkpoint: {checkpoint} is no absolute path, nor `base`")
        config = self._config
        config = config.model_copy(update={"serving": config.serving.model_copy(update={"checkpoint": checkpoint})})
        try:
            served = served_judge(config, judge_to_serve(config))
            return served, served.encoder()
        except GenRMError as problem:
            raise HTTPException(422, f"checkpoint: {problem}") from None

    async def _replace(self, served: ServedJudge, encoder: JudgeEncoder) -> None:
        try:
            app = await asyncio.to_thread(start_judge, self._config, served, self._service)
        except (RayError, RayServeException, RuntimeError, TimeoutError) as problem:
            raise HTTPException(
                503,
                f"judge {served.version} did not start ({reason_of(problem)}); {self.current.version} is still served",
            ) from problem
        finally:
            self.starting = None
        old, self._current = self.current, RunningJudge(app, served, encoder)
        self._retire(old)

    def _retire(self, judge: RunningJudge) -> None:
        self.finishing.append(judge)
        self._keep(self._end(judge))

    async def _end(self, judge: RunningJudge) -> None:
        """Wait for the last answer of a judge that gets no more calls, then end its replicas."""
        while judge.calls:
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        await asyncio.to_thread(serve.delete, judge.app)
        self.finishing.remove(judge)

    def _keep(self, work: Awaitable[None]) -> asyncio.Task[None]:
        """A task that is not forgotten before it ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
