"""From rewards to advantages, on plain numbers; a masked reward (None) never enters an advantage or a baseline.

Axes: G answers to one question, T generated tokens of one answer. The estimators are OpenRLHF's (its
``RemoteExperienceMaker``), written for answers of unequal length and groups in which some rewards are missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genrm_rl.choices import GROUPED, Estimator

WHITENED: tuple[Estimator, ...] = ("gae", "reinforce", "reinforce_baseline")
EPSILON = 1e-9
SAME_REWARD = 1e-6  # rewards are folded from float32 numbers


def shape_group(rewards_G: Sequence[float | None], estimator: Estimator) -> list[float | None]:
    """Rewards of one group after its baseline was subtracted. None stays None.

    Where answers are compared, a reward without peers becomes None, and so do all of a group without spread: its
    advantages would be 0, but its tokens would still be counted in the mean of the loss and make every other group
    weigh less, as often as the judge ties.

    ``group_norm``: (r - mean) / std over the group (GRPO, arXiv 2402.03300); ``dr_grpo``: r minus the group's mean (Dr.
    GRPO, arXiv 2503.20783: dividing by the spread makes the noise of a group whose answers are all alike as loud as
    the signal of one that has good and bad ones); ``rloo``: r minus the mean of the others (arXiv 2402.14740);
    ``reinforce_baseline``: as ``dr_grpo``, whitened over the batch (REINFORCE++ baseline, arXiv 2501.03262); ``gae``
    and ``reinforce`` leave r as it is.
    """
    known = [reward for reward in rewards_G if reward is not None]
    if estimator not in GROUPED:
        return list(rewards_G)
    if not has_spread(rewards_G):
        return [None] * len(rewards_G)
    mean = math.fsum(known) / len(known)
    if estimator == "rloo":
        return [None if r is None else (r - mean) * len(known) / (len(known) - 1) for r in rewards_G]
    scale = 1.0
    if estimator == "group_norm":
        scale = 1.0 / (float(np.std(known, ddof=1)) + EPSILON)
    return [None if r is None else (r - mean) * scale for r in rewards_G]


def has_spread(rewards_G: Sequence[float | None]) -> bool:
    """Whether at least two rewards of a group are known and differ."""
    known = [reward for reward in rewards_G if reward is not None]
    return len(known) > 1 and max(known) - min(known) > SAME_REWARD


def token_rewards(reward: float, kl_T: np.ndarray, kl_coefficient: float) -> np.ndarray:
    """Reward of each token [T]: minus the weighted KL everywhere, plus ``reward`` at the last token."""
    rewards_T = -kl_coefficient * np.asarray(kl_T, dtype=np.float64)
    rewards_T[-1] += reward
    return rewards_T


def returns(rewards_T: np.ndarray, gamma: float = 1.0) -> np.ndarray:
    """Discounted sum of the rewards from each token on, [T]."""
    from scipy.signal import lfilter  # late: the configuration imports this module's names

    backwards_T = np.asarray(rewards_T, dtype=np.float64)[::-1]
    return lfilter([1.0], [1.0, -gamma], backwards_T)[::-1]


def generalized_advantages(
    values_T: np.ndarray, rewards_T: np.ndarray, gamma: float, lam: float, *, after: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """GAE (arXiv 1506.02438): advantages [T] and returns [T] of one answer.

    ``after`` is the value of the state after the last token: 0 where the answer ends there, the critic's where it was
    cut off and would have gone on (partial-episode bootstrapping, arXiv 1712.00378).
    """
    values_T = np.asarray(values_T, dtype=np.float64)
    next_T = np.append(values_T[1:], after)
    advantages_T = returns(rewards_T + gamma * next_T - values_T, gamma * lam)
    return advantages_T, advantages_T + values_T


def whiten(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All tokens' advantages with mean 0 and variance 1 over the whole batch."""
    if not parts:
        return []
    together = np.concatenate(parts)
    scale = 1.0 / math.sqrt(max(float(together.var()), 1e-8))
    mean = float(together.mean())
    return [(part - mean) * scale for part in parts]
