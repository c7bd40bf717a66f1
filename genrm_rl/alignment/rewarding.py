"""Who rewards a group of answers: the reward service, or the task world's verifier as a control."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from genrm_rl.alignment.answers import Answer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.preferences.world.style import verify
from genrm_rl.rewards.client import Group, GroupReward, RewardClient
from genrm_rl.rewards.types import AGAINST_REFERENCE, Mask, RewardRecord


class Rewarder(Protocol):
    """Rewards groups in the background; a future may raise what makes the run stop, never a made-up reward."""

    def begin_step(self) -> str:
        """The version whose rewards the coming step accepts."""
        ...

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer]) -> Future[GroupReward]:
        """One record per answer, in order; answers that were not generated are masked."""
        ...


class ServiceRewarder:
    """The reward service. Every step accepts the version that is served when it begins."""

    def __init__(self, client: RewardClient) -> None:
        self.client = client
        self._needs_reference = client.config.rule in AGAINST_REFERENCE
        self._version = ""

    def begin_step(self) -> str:
        self._version = self.client.judge_version()
        return self._version

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer]) -> Future[GroupReward]:
        places = [place for place, answer in enumerate(answers) if answer.usable]
        if not places:
            return _done(GroupReward((_not_generated(self._version),) * len(answers)))
        if self._needs_reference and prompt.reference is None:
            masks = [Mask.NO_REFERENCE if answer.usable else Mask.NOT_GENERATED for answer in answers]
            return _done(GroupReward(tuple(RewardRecord(None, mask, (), self._version) for mask in masks)))
        reference = prompt.reference if self._needs_reference else None
        group = Group(prompt.wire(), tuple(answers[place].text for place in places), reference)
        inner = self.client.submit(group, self._version)
        outer: Future[GroupReward] = Future()
        inner.add_done_callback(lambda done: _spread(done, places, len(answers), self._version, outer))
        return outer


class VerifierRewarder:
    """1 for a right answer, 0 for a wrong one, by the task world's own checker: the ceiling that a judge can reach."""

    version = "verifier"

    def begin_step(self) -> str:
        return self.version

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer]) -> Future[GroupReward]:
        records = [
            RewardRecord(float(verify(prompt.world, answer.text)), None, (), self.version)
            if answer.usable
            else _not_generated(self.version)
            for answer in answers
        ]
        return _done(GroupReward(tuple(records)))


def _not_generated(version: str) -> RewardRecord:
    return RewardRecord(None, Mask.NOT_GENERATED, (), version)


def _done(value: GroupReward) -> Future[GroupReward]:
    future: Future[GroupReward] = Future()
    future.set_result(value)
    return future


def _spread(
    done: Future[GroupReward], places: Sequence[int], size: int, version: str, outer: Future[GroupReward]
) -> None:
    """Records of the usable answers back to their places in the group."""
    error = done.exception()
    if error is not None:
        outer.set_exception(error)
        return
    found = done.result()
    records = [_not_generated(version)] * size
    for place, record in zip(places, found.records, strict=True):
        records[place] = record
    outer.set_result(GroupReward(tuple(records), found.judgments, found.seconds))
