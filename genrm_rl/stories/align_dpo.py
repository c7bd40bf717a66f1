"""The DPO loop: sample, judge, choose pairs by margin, learn, publish, measure, repeat; or one fit on a pair file. What
starts before it and what is kept after it: ``align_policy.py``."""

from __future__ import annotations

import time
from collections.abc import Callable

from genrm_rl.alignment.dpo import OnlineDPO
from genrm_rl.alignment.ppo import version_of


def by_preferences(loop: OnlineDPO, measure: Callable[[int], object]) -> None:
    """DPO: all rounds. ``measure(round)`` is called after each publication."""
    first = loop.restore()
    measure(first)
    for number in range(first, loop.steps):
        began = time.perf_counter()
        row, pairs = loop.pairs(number)  # sample, judge, choose
        if not pairs:
            loop.log.say(f"round {number + 1}: no pair with margin {loop.config.dpo.min_margin}; nothing is learned")
        loop.weights.turns.learn()
        metrics = loop.fit(number, pairs) if pairs else {}  # learn
        row["seconds/publish"] = round(loop.weights.publish(version_of(number + 1)), 3)  # publish
        loop.report(number, row, len(pairs), metrics, time.perf_counter() - began)
        loop.weights.keep(number + 1, {})
        measure(number + 1)  # measure
