"""Who has the GPUs now: engines (the policy's and the judge's) or learners. The loops say whose turn it is.

With `placement: shared` the others sleep, or go to the host. With `rollout.sleep` alone the policy's engines sleep
while learners work. Without either everybody stays and nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from genrm_rl.learners.group import LearnerGroup
from genrm_rl.rewards.client import RewardClient
from genrm_rl.rollout.pool import EnginePool


class Turns:
    """The turns of one run. ``learners`` leave their GPUs while engines work, and the ``judge`` sleeps while they do;
    None and none of them where each has memory of its own."""

    def __init__(
        self, pool: EnginePool, learners: Sequence[LearnerGroup] = (), judge: RewardClient | None = None
    ) -> None:
        self._pool, self._learners, self._judge = pool, learners, judge

    def learn(self, *, until_published: bool = True) -> None:
        """Learners work. Engines drop their weights if others are published next, else they keep them on the host."""
        self._pool.sleep(until_published=until_published)
        if self._judge is not None:
            self._judge.post("/v1/judge/sleep", {})
        for group in self._learners:
            group.reload()

    def hand_over(self) -> None:
        """Learners have done; the engines wake as they get weights."""
        for group in self._learners:
            group.offload()

    def generate(self) -> None:
        """Engines and judge work."""
        self.hand_over()
        self._pool.wake()
        if self._judge is not None:
            self._judge.post("/v1/judge/wake", {})

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Learners work for a moment between two pieces of the engines' work."""
        self.learn(until_published=False)
        yield
        self.generate()
