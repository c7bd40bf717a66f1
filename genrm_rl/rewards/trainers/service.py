"""How the reward functions of this package reach the service: whole groups, or one sample that joins its cohort."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import httpx

from genrm_rl.choices import Rule
from genrm_rl.errors import JudgeFailure
from genrm_rl.rewards.replies import Records, UnreadableReply, read_rewards
from genrm_rl.rewards.wire import BUSY_STATUS, Group, Prompt, asked_pause, authorisation, sentence_of

TOKEN_VARIABLE = "GENRM_RL_TOKEN"
PAUSE = 1.0  # seconds before the next try, where the service does not say
GRACE = 5.0  # seconds that a reply may need beyond its deadline
NO_REWARD = 424


class MaskedReward(JudgeFailure):
    """The judge gave a response no reward, and its trainer has no other way than an error to be told so."""


@dataclass(frozen=True, slots=True)
class JudgeService:
    """The service at ``url``; ``deadline`` seconds bound one call, its repetitions included.

    Calls are repeated while the service is busy or can't be reached. Raises JudgeFailure when time is up or the service
    refuses the call. ``token`` defaults to the environment variable GENRM_RL_TOKEN.
    """

    url: str
    token: str | None = None
    deadline: float = 120.0

    def rewards(
        self,
        groups: Sequence[Group],
        *,
        rule: Rule,
        votes: int = 1,
        greedy: bool = False,
        judge_version: str | None = None,
    ) -> list[Records]:
        """One record per response, in the order of the groups and their responses."""
        wire = [each.body() for each in groups]
        body = {"groups": wire, "rule": rule, "votes": votes, "greedy": greedy, "judge_version": judge_version}
        with httpx.Client(headers=self._headers()) as http:
            for left in self._tries():
                try:
                    reply = http.post(
                        self._address("/v1/rewards"), json=body | {"deadline_seconds": left}, timeout=left + GRACE
                    )
                except httpx.TransportError as problem:
                    reply = problem
                pause = self._pause(reply)
                if pause is None:
                    return self._records(reply, groups)
                time.sleep(pause)
        raise self._silent()

    async def reward_in_cohort(self, prompt: Prompt, response: str, label: str | None) -> float:
        """Reward of one response among those to the same prompt that other calls bring; see ``serving.cohort_size``.

        Raises MaskedReward if the judge gave it none.
        """
        body = {"prompt": prompt, "response": response, "label": label}
        http = _client_of_this_loop()
        for left in self._tries():
            try:
                reply = await http.post(
                    self._address("/remote_rm"), json=body, timeout=left + GRACE, headers=self._headers()
                )
            except httpx.TransportError as problem:
                reply = problem
            pause = self._pause(reply)
            if pause is None:
                return float(reply.json())
            await asyncio.sleep(pause)
        raise self._silent()

    def _tries(self) -> Iterator[float]:
        """Seconds that are left, before each try."""
        expires = time.monotonic() + self.deadline
        while (left := expires - time.monotonic()) > 0:
            yield left

    def _pause(self, reply: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next try, or None for an answer. Raises JudgeFailure for a refusal."""
        if isinstance(reply, httpx.TransportError):
            return PAUSE
        if reply.status_code == httpx.codes.OK:
            return None
        if reply.status_code in BUSY_STATUS:
            return asked_pause(reply) or PAUSE
        kind = MaskedReward if reply.status_code == NO_REWARD else JudgeFailure
        raise kind(f"the judge at {self.url} answered {reply.status_code}: {sentence_of(reply)}")

    def _records(self, reply: httpx.Response, groups: Sequence[Group]) -> list[Records]:
        try:
            return read_rewards(reply.content, [len(each.responses) for each in groups])[1]
        except UnreadableReply as problem:
            raise JudgeFailure(f"the judge at {self.url} sent what can't be read: {problem}") from problem

    def _silent(self) -> JudgeFailure:
        return JudgeFailure(
            f"the judge at {self.url} gave no reward in {self.deadline:g} s; is it running, is it busy?"
        )

    def _address(self, path: str) -> str:
        return self.url.rstrip("/") + path

    def _headers(self) -> dict[str, str]:
        token = os.environ.get(TOKEN_VARIABLE, "") if self.token is None else self.token
        return authorisation(token)


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


def _client_of_this_loop() -> httpx.AsyncClient:
    """Connections belong to an event loop, and a trainer calls from several."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))
    return _clients[loop]
