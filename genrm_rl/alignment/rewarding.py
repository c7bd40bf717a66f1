"""Who rewards a group of answers: the reward service, or the task world's verifier as a control."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from genrm_rl.alignment.answers import Answer, JudgedAnswer
from genrm_rl.alignment.prompts import PolicyPrompt
from genrm_rl.choices import AGAINST_REFERENCE
from genrm_rl.config.alignment import SamplingConfig
from genrm_rl.rewards.client import GroupReward, RewardClient
from genrm_rl.rewards.shaping import shape
from genrm_rl.rewards.types import Mask, RewardRecord


class Rewarder(Protocol):
    """Rewards groups in the background; a future may raise what makes the run stop, never a made-up reward."""

    @property
    def client(self) -> RewardClient | None:
        """The connection to the judge, if a judge gives the reward."""
        ...

    def begin_step(self) -> str:
        """The version whose rewards the coming step accepts."""
        ...

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer], version: str) -> Future[GroupReward]:
        """One record per answer, in order, by the judge ``version``; every answer is there to be judged."""
        ...


class ServiceRewarder:
    """The reward service, mixed with a verifier and a length penalty where they have a weight."""

    def __init__(self, client: RewardClient) -> None:
        self.client = client
        self._needs_reference = client.config.rule in AGAINST_REFERENCE

    def begin_step(self) -> str:
        return self.client.judge_version()

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer], version: str) -> Future[GroupReward]:
        if self._needs_reference and prompt.reference is None:
            masked = RewardRecord(None, Mask.NO_REFERENCE, (), version)
            return _done(GroupReward((masked,) * len(answers)))
        reference = prompt.reference if self._needs_reference else None
        group = prompt.group([answer.text for answer in answers], reference)
        return _then(self.client.submit(group, version), lambda found: self._shaped(prompt, answers, found))

    def _shaped(self, prompt: PolicyPrompt, answers: Sequence[Answer], found: GroupReward) -> GroupReward:
        """With what the judge does not see. A group of one has no lengths to compare."""
        config, texts = self.client.config, [answer.text for answer in answers]
        right = [prompt.right(text) for text in texts] if config.verifier_weight else None
        weights = {"verifier_weight": config.verifier_weight, "length_penalty": config.length_penalty}
        return replace(found, records=shape(found.records, texts, right, **weights))


class VerifierRewarder:
    """1 for a right answer, 0 for a wrong one, by the task world's own checker or the known answer: the ceiling that a
    judge can reach."""

    version = "verifier"
    client = None

    def begin_step(self) -> str:
        return self.version

    def submit(self, prompt: PolicyPrompt, answers: Sequence[Answer], version: str) -> Future[GroupReward]:
        right = [float(prompt.right(answer.text)) for answer in answers]
        return _done(GroupReward(tuple(RewardRecord(value, None, (), version) for value in right)))


@dataclass(frozen=True)
class AskedGroup:
    """A group of which the answers without a mask are at the judge."""

    answers: Sequence[Answer]
    masks: Sequence[Mask | None]
    version: str
    reward: Future[GroupReward]

    def result(self) -> tuple[list[JudgedAnswer], Sequence[dict[str, Any]]]:
        """Waits for the rewards; returns the judged answers, in order, and the judgments behind them."""
        found = self.reward.result()
        records = iter(found.records)
        judged = [
            JudgedAnswer(answer, next(records) if mask is None else RewardRecord(None, mask, (), self.version))
            for answer, mask in zip(self.answers, self.masks, strict=True)
        ]
        return judged, found.judgments


def ask(
    rewarder: Rewarder, prompt: PolicyPrompt, answers: Sequence[Answer], sampling: SamplingConfig, version: str
) -> AskedGroup:
    """Have a group judged, without the answers that are not to be judged."""
    masks = [answer.unjudged(sampling) for answer in answers]
    asked = [answer for answer, mask in zip(answers, masks, strict=True) if mask is None]
    reward = rewarder.submit(prompt, asked, version) if asked else _done(GroupReward(()))
    return AskedGroup(answers, masks, version, reward)


def _then(future: Future[GroupReward], work: Callable[[GroupReward], GroupReward]) -> Future[GroupReward]:
    """A future of ``work`` done on what ``future`` comes to; its exception is passed on."""
    after: Future[GroupReward] = Future()

    def finish(done: Future[GroupReward]) -> None:
        try:
            after.set_result(work(done.result()))
        except Exception as problem:  # whoever waits for the rewards must see it
            after.set_exception(problem)

    future.add_done_callback(finish)
    return after


def _done(value: GroupReward) -> Future[GroupReward]:
    future: Future[GroupReward] = Future()
    future.set_result(value)
    return future
