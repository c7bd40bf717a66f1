"""The judge with known errors, alone and behind the contract of a reward service."""

from __future__ import annotations

import numpy as np
import pytest

from genrm_rl.choices import Rule
from genrm_rl.config.reward import RewardConfig
from genrm_rl.rewards.client import Group, RewardClient
from genrm_rl.rewards.noisy import JUDGES, NoisyJudge
from genrm_rl.rewards.noisy_service import NoisyService
from genrm_rl.rewards.rules import comparisons
from genrm_rl.rewards.types import RULES
from genrm_rl.simulation.rules import Table, learn, play

ONE, ZERO = np.ones(4000), np.zeros(4000)


def test_what_is_known_about_the_judge_is_what_it_does() -> None:
    draw = np.random.default_rng(0)
    exact = NoisyJudge(sharpness=1.0).judge(ONE, ZERO, draw)
    assert exact == pytest.approx(1 / (1 + np.exp(-1)))
    assert set(NoisyJudge(sharpness=1.0, position=3.0).judge(ONE, ZERO, draw)) == {0.5}, "orders that contradict"
    assert np.isnan(NoisyJudge(failures=0.3).judge(ONE, ZERO, draw)).mean() == pytest.approx(1 - 0.91**2, abs=0.03)
    verdicts = JUDGES["medium, verdicts only"].judge(ONE, ZERO, draw)
    assert set(verdicts[~np.isnan(verdicts)]) == {0.0, 0.5, 1.0}
    right = [(NoisyJudge(opinion=level).judge(ONE, ZERO, draw) > 0.5).mean() for level in (1.0, 3.0)]
    assert 1 > right[0] > right[1] > 0.5


@pytest.mark.parametrize("rule", RULES)
def test_its_service_keeps_the_contract_and_orders_right_answers_first(rule: Rule) -> None:
    group = Group("add 1 2", ("3", "4", "3", "5"), reference="4")
    with (
        NoisyService(NoisyJudge(), lambda question, answer: answer == "3", scale=2.0, seed=0) as service,
        RewardClient(service.url, RewardConfig(rule=rule), say=print) as client,
    ):
        (found,) = client.rewards([group])
    rewards = [record.reward for record in found.records]
    assert rewards[0] == rewards[2] == max(rewards) and service.comparisons == comparisons(rule, 3)
    assert rewards[1] < rewards[0] and rewards[3] < rewards[0]


def test_a_policy_table_learns_more_from_an_exact_judge() -> None:
    def gain(name: str) -> float:
        return learn(JUDGES[name], "circular", np.random.default_rng(0), Table(questions=12, steps=10))[0]

    assert gain("exact") > 1.5 * gain("high noise") > 0
    assert play("graded", JUDGES["exact"], "pivot", 6, np.random.default_rng(0)) == (15.0, 15, 0)
