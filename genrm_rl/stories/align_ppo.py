"""The policy-gradient loop (PPO, GRPO, RLOO, REINFORCE++): sample, judge, learn, publish, measure, repeat. What starts
before it and what is kept after it: ``align_policy.py``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from genrm_rl.alignment.ppo import PPO, version_of
from genrm_rl.alignment.rollouts import Rollout


def by_policy_gradient(loop: PPO, measure: Callable[[int], object]) -> None:
    """PPO, GRPO, RLOO, REINFORCE++: all steps. ``measure(step)`` is called after each publication.

    The answers of a step are begun ``staleness`` updates before it learns, never earlier: so no token is older than
    that, and a long answer has as many updates' time to end. It goes on across the publications between.
    """
    staleness, last = loop.config.ppo.staleness, loop.steps
    first = loop.restore()
    measure(first)
    with ThreadPoolExecutor(staleness + 1, thread_name_prefix="rollout") as rollouts:
        begun: deque[Future[tuple[Rollout, bool]]] = deque()
        for step in range(first, last):
            began = time.perf_counter()
            for ahead in range(step + len(begun), min(step + staleness + 1, last)):
                begun.append(rollouts.submit(loop.rollout, ahead))  # sample and judge, group by group
            rollout, judged_now = begun.popleft().result()
            loop.seconds = loop.waited(rollout, time.perf_counter() - began)
            if judged_now:
                loop.losses.see(step, rollout.groups)
            if not begun:
                loop.weights.turns.learn()
            metrics = loop.learn(step, rollout)  # learn
            loop.seconds["publish"] = loop.weights.publish(version_of(step + 1))  # publish, proved by the parity probe
            loop.report(step, rollout, metrics, time.perf_counter() - began)
            loop.keep(step + 1)
            measure(step + 1)  # measure
