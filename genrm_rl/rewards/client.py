"""Asks a reward service for the rewards of groups: bounded, retried where that can help, and never inventing one.

What can happen to a group: it gets rewards and masks from the service; the service refuses it for good (a mask with the
reason); the service is busy or serves another judge version (asked again, then masked); nobody answers, or a service
that is still starting (waited for: the circuit breaker lets one call at a time through until it is there, everything
else stands still).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

from genrm_rl.choices import Rule
from genrm_rl.config.reward import RewardConfig
from genrm_rl.errors import GenRMError
from genrm_rl.rewards.circuit_breaker import CircuitBreaker
from genrm_rl.rewards.replies import HEALTH, REWARDS, UnreadableReply, not_there, read_rewards, version_in
from genrm_rl.rewards.types import Mask, RewardRecord
from genrm_rl.rewards.wire import (
    BUSY_STATUS,
    Group,
    Reply,
    asked_pause,
    authorisation,
    sentence_of,
)

# No answer, half of one, something that is no HTTP, or nothing in time.
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError, TimeoutError)
SAY_EVERY = 15.0  # seconds between two lines about a judge that does not answer
GRACE = 15.0  # seconds beyond a call's deadline before the connection is given up


class RewardServiceError(GenRMError):
    """The service can't be used: wrong address, no token, or silent for longer than ``reward.give_up_after``
    (``reward.start_deadline`` before its first answer)."""


@dataclass(frozen=True, slots=True)
class GroupReward:
    """One record per response, and the judgments (as the service sent them) that they name."""

    records: tuple[RewardRecord, ...]
    judgments: tuple[dict[str, Any], ...] = ()
    seconds: float = 0.0


@dataclass
class ClientStatistics:
    """What the calls of a client came to."""

    calls: int = 0
    busy: int = 0
    lost: int = 0
    other_version: int = 0
    unreadable: int = 0
    paused_seconds: float = 0.0
    judge_seconds: list[float] = field(default_factory=list)


class RewardClient:
    """Thread-safe client with its own event loop, so that judging overlaps with whatever its caller does.

    ``submit`` blocks while ``max_in_flight`` groups are at the judge: that is the back-pressure on generation.
    """

    def __init__(
        self,
        url: str,
        config: RewardConfig,
        *,
        token: str = "",
        say: Callable[[str], None] = print,
        seed: int = 0,
        setting: str = "reward.url",
    ) -> None:
        self.url = url.rstrip("/")
        self.config = config
        self.statistics = ClientStatistics()
        self._headers = authorisation(token)
        self._say = say
        self._setting = setting  # that holds the address
        self._jitter = random.Random(seed)  # of pauses only; no result depends on it
        self._met = False  # whether it ever answered as a reward service
        self._room = threading.BoundedSemaphore(config.max_in_flight)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="reward-client", daemon=True)
        self._thread.start()
        self._breaker = CircuitBreaker(config.breaker_failures)
        self._http = self._await(self._open())

    def __enter__(self) -> RewardClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is in flight and end the loop."""
        self._await(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def judge_version(self) -> str:
        """The version that is served now; waits for a service that is silent or still starting. Raises
        RewardServiceError."""
        return self._await(self._version())

    def check_token(self) -> None:
        """Raise RewardServiceError if the service wants another token."""
        if self._await(self._patiently("GET", "/v1/stats", None)).status_code == 401:
            raise self._no_token()

    def submit(self, group: Group, judge_version: str, **ask: Any) -> Future[GroupReward]:
        """Judge one group by ``judge_version``; blocks while the judge has enough to do.

        ``ask`` (rule, votes, greedy) overrides the configuration. The future may raise RewardServiceError.
        """
        self._room.acquire()
        future = asyncio.run_coroutine_threadsafe(self._judge(group, judge_version, ask), self._loop)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def rewards(
        self,
        groups: Sequence[Group],
        *,
        rule: Rule | None = None,
        votes: int | None = None,
        greedy: bool | None = None,
        judge_version: str | None = None,
    ) -> list[GroupReward]:
        """Judge groups and wait. Arguments that are None are the configuration's."""
        version = judge_version or self.judge_version()
        ask = {"rule": rule, "votes": votes, "greedy": greedy}
        changes = {name: value for name, value in ask.items() if value is not None}
        return [future.result() for future in [self.submit(group, version, **changes) for group in groups]]

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Any other endpoint of the service, with the same patience. Raises RewardServiceError for a refusal."""
        reply = self._await(self._patiently("POST", path, body))
        if reply.status_code != 200:
            raise RewardServiceError(f"{self.url}{path} answered {reply.status_code}: {sentence_of(reply)}")
        return reply.json()

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> aiohttp.ClientSession:
        """aiohttp, because httpx looks at all open connections for each call: with a thousand groups at the judge that
        was most of what the driver did."""
        return aiohttp.ClientSession(
            headers=self._headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._patience, sock_read=self._patience),
            connector=aiohttp.TCPConnector(limit=self.config.max_in_flight + 2),
            trust_env=True,
        )

    @property
    def _patience(self) -> float:
        return self.config.deadline + GRACE

    async def _shut(self) -> None:
        own = asyncio.current_task()
        for task in [task for task in asyncio.all_tasks() if task is not own]:
            task.cancel()
        await self._http.close()

    async def _version(self) -> str:
        reply = await self._patiently("GET", HEALTH, None)
        version = version_in(reply)
        if version is None:
            raise self._no_service(f"{HEALTH} answered {reply.status_code} without a judge_version")
        self._met = True
        return version

    async def _judge(self, group: Group, version: str, ask: dict[str, Any]) -> GroupReward:
        """Rewards, or masks for a group that the service would not judge."""
        config = self.config
        body = {
            "groups": [group.body()],
            "rule": config.rule,
            "votes": config.votes,
            "greedy": config.greedy,
            "deadline_seconds": config.deadline,
            "rationales": True,
            "judge_version": version,
            **ask,
        }
        began = time.perf_counter()
        for attempt in range(config.attempts):
            reply = await self._patiently("POST", REWARDS, body)
            found = self._outcome(reply, group, version, time.perf_counter() - began)
            if isinstance(found, GroupReward):
                return found
            if found is Mask.REFUSED:  # for good
                break
            if attempt + 1 < config.attempts:
                await asyncio.sleep(self._pause(attempt, reply))
        masked = RewardRecord(None, found, (), version)
        return GroupReward((masked,) * len(group.responses), (), time.perf_counter() - began)

    def _outcome(self, reply: Reply, group: Group, version: str, seconds: float) -> GroupReward | Mask:
        """The group's rewards, or why this reply has none. Raises RewardServiceError for what asking can't mend."""
        if reply.status_code == 200:
            return self._rewards_in(reply, group, version, seconds)
        if reply.status_code in BUSY_STATUS:
            self.statistics.busy += 1
            return Mask.BUSY
        if reply.status_code == 409:
            self.statistics.other_version += 1
            return Mask.OTHER_VERSION
        if reply.status_code in (400, 413, 422):
            self._say(f"the judge refuses a group: {sentence_of(reply)}")
            return Mask.REFUSED
        if reply.status_code == 401:
            raise self._no_token()
        raise RewardServiceError(f"{self.url}{REWARDS} answered {reply.status_code}: {sentence_of(reply)}")

    def _rewards_in(self, reply: Reply, group: Group, version: str, seconds: float) -> GroupReward | Mask:
        try:
            served, (records,), judgments = read_rewards(reply.content, [len(group.responses)])
        except UnreadableReply as problem:
            self._say(f"the judge sent what can't be read ({problem}); it is asked again")
            self.statistics.unreadable += 1
            return Mask.UNREADABLE
        if served != version:
            self.statistics.other_version += 1
            return Mask.OTHER_VERSION
        self.statistics.judge_seconds.append(seconds)
        return GroupReward(records, tuple(judgments), seconds)

    async def _patiently(self, method: str, path: str, body: dict[str, Any] | None) -> Reply:
        """One reply; a service that is not there is asked again until it was silent for too long."""
        silent_since: float | None = None
        attempt = 0
        while True:
            async with self._breaker.passage():
                try:
                    self.statistics.calls += 1
                    async with self._http.request(method, f"{self.url}{path}", json=body) as answer:
                        reply = Reply(answer.status, answer.headers, await answer.read())
                    reason = not_there(path, reply)
                except LOST as error:
                    reason = f"{type(error).__name__} {error}".strip()
                if reason is None:
                    self._breaker.succeeded()
                    if silent_since is not None:
                        self.statistics.paused_seconds += time.monotonic() - silent_since
                    return reply
                self.statistics.lost += 1
                self._breaker.failed()
                silent_since = silent_since or time.monotonic()
            self._check_patience(time.monotonic() - silent_since, reason)
            if self._breaker.may_say(SAY_EVERY):
                self._say(self._waiting(reason))
            await asyncio.sleep(self._pause(attempt, None))
            attempt += 1

    def _waiting(self, reason: str) -> str:
        if self._met:
            return f"the judge at {self.url} does not answer ({reason}); generation pauses until it is back"
        left = f"{self.config.start_deadline:g} s (reward.start_deadline)"
        return f"the judge at {self.url} is not up yet ({reason}); waiting for it, at most {left}"

    def _check_patience(self, waited: float, reason: str) -> None:
        """Raise RewardServiceError if that was too long."""
        if self._met and waited > self.config.give_up_after:
            raise RewardServiceError(
                f"the judge at {self.url} did not answer for {waited:.0f} s ({reason}); nothing is lost: start the "
                "service again and run the job with the same run id (reward.give_up_after sets the patience)"
            )
        if not self._met and waited > self.config.start_deadline:
            raise self._no_service(f"{reason}, for {waited:.0f} s; reward.start_deadline sets the patience")

    def _no_service(self, reason: str) -> RewardServiceError:
        return RewardServiceError(f"no genrm_rl reward service answers at {self.url} ({reason}); check {self._setting}")

    def _no_token(self) -> RewardServiceError:
        return RewardServiceError(f"{self.url} wants a token: set the variable serving.token_variable")

    def _pause(self, attempt: int, reply: Reply | None) -> float:
        """Seconds until the next call: what the service asked for, or exponential back-off, with jitter."""
        asked = asked_pause(reply) if reply is not None else 0.0
        wait = max(asked, min(self.config.backoff * 2.0 ** min(attempt, 64), self.config.max_backoff))
        return wait * (1 + 0.25 * self._jitter.random())
