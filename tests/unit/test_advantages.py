"""Advantages on plain numbers: baselines, masks, GAE."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.algorithms.advantages import generalized_advantages, returns, shape_group, token_rewards, whiten
from genrm_rl.choices import GROUPED

REWARDS = st.lists(st.one_of(st.none(), st.floats(-3, 3)), min_size=1, max_size=8)


@given(REWARDS, st.sampled_from(GROUPED))
def test_a_masked_reward_changes_nothing_for_its_peers(rewards, estimator):
    shaped = shape_group(rewards, estimator)
    known = [reward for reward in rewards if reward is not None]
    alone = iter(shape_group(known, estimator))
    for reward, value in zip(rewards, shaped, strict=True):
        if reward is None:
            assert value is None
        else:
            assert value == next(alone)


@given(REWARDS, st.sampled_from(GROUPED))
def test_a_group_baseline_leaves_no_mean(rewards, estimator):
    shaped = [value for value in shape_group(rewards, estimator) if value is not None]
    assert sum(shaped) == pytest.approx(0, abs=1e-6 if estimator != "group_norm" else 1e-3)


def test_one_rewarded_answer_has_no_peers_to_learn_from():
    assert shape_group([None, 0.7, None], "rloo") == [None, None, None]
    assert shape_group([None, 0.7, None], "reinforce") == [None, 0.7, None]


@pytest.mark.parametrize("estimator", GROUPED)
@pytest.mark.parametrize("rewards", [[0.5] * 8, [0.5, 0.5 + 1e-9, None], [None] * 7 + [0.3], [None] * 8, [0.4]])
def test_a_group_without_spread_leaves_the_batch(rewards, estimator):
    """All alike, up to the noise of folding; one valid of eight; none of eight; a group of one."""
    assert shape_group(rewards, estimator) == [None] * len(rewards)


def test_a_masked_peer_spoils_no_standard_deviation():
    shaped = shape_group([None, 0.2, None, 0.8, None, None, None, None], "group_norm")
    assert [value for value in shaped if value is not None] == pytest.approx([-0.7071, 0.7071], abs=1e-3)


def test_gae_of_an_unfinished_answer_goes_on_with_the_critics_value():
    values_T, rewards_T = np.array([0.1, 0.2, 0.3]), np.zeros(3)
    ended, _ = generalized_advantages(values_T, rewards_T, 0.9, 1.0)
    open_end, returns_T = generalized_advantages(values_T, rewards_T, 0.9, 1.0, after=0.5)
    assert ended[-1] == pytest.approx(-0.3) and open_end[-1] == pytest.approx(0.9 * 0.5 - 0.3)
    assert returns_T == pytest.approx([0.9**3 * 0.5, 0.9**2 * 0.5, 0.9 * 0.5])


def test_rloo_is_the_distance_to_the_mean_of_the_others():
    assert shape_group([1.0, 0.0, 0.5], "rloo") == pytest.approx([0.75, -0.75, 0.0])


def test_the_spread_is_divided_out_by_group_norm_alone():
    quiet, loud = [0.5, 0.51, 0.49], [0.0, 1.0, 0.5]
    assert max(shape_group(quiet, "group_norm")) == pytest.approx(max(shape_group(loud, "group_norm")), rel=1e-3)
    assert max(shape_group(quiet, "dr_grpo")) < 0.1 * max(shape_group(loud, "dr_grpo"))


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=12), st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_gae_is_the_weighted_sum_of_its_residuals(values, gamma, lam):
    values_T, rewards_T = np.array(values), np.linspace(-1, 1, len(values))
    advantages_T, returns_T = generalized_advantages(values_T, rewards_T, gamma, lam)
    residuals = [
        rewards_T[t] + gamma * (values_T[t + 1] if t + 1 < len(values) else 0.0) - values_T[t]
        for t in range(len(values))
    ]
    for t in range(len(values)):
        expected = sum((gamma * lam) ** k * residuals[t + k] for k in range(len(values) - t))
        assert advantages_T[t] == pytest.approx(expected, abs=1e-9)
    assert returns_T == pytest.approx(advantages_T + values_T)


def test_the_reward_comes_last_and_the_kl_everywhere():
    rewards_T = token_rewards(1.0, np.array([0.1, 0.2, 0.3]), 0.5)
    assert rewards_T == pytest.approx([-0.05, -0.1, 0.85])
    assert returns(rewards_T) == pytest.approx([0.7, 0.75, 0.85])


def test_whitening_is_over_all_tokens():
    parts = whiten([np.array([1.0, 2.0]), np.array([6.0])])
    together = np.concatenate(parts)
    assert together.mean() == pytest.approx(0, abs=1e-12)
    assert together.std() == pytest.approx(1)
