"""Group rules: cost, equivariance, dominance, intransitive judges, and masks that never become numbers."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_rl.choices import AGAINST_REFERENCE, Rule
from genrm_rl.rewards.rules import canonical_order, comparisons, next_matches, score, spread
from genrm_rl.rewards.types import REFERENCE, RULES, Mask, RewardRecord

COMMON_OPPONENTS = ("log_odds", "reference", "round_robin", "bradley_terry", "pivot")
probabilities = st.floats(0, 1)


def play(rule: Rule, n: int, judge, *, min_judged: float = 0.5):
    """Ask ``judge(i, j)`` for every match that the rule names, round by round."""
    outcomes: dict = {}
    while matches := next_matches(rule, n, outcomes):
        outcomes |= {match: judge(*match) for match in matches}
    return score(rule, n, outcomes, min_judged=min_judged), len(outcomes)


def earn(rule: Rule, responses: list[str], judge, seed: int = 0):
    """Rewards of a group of texts; ``judge(first, second)`` is P(first wins)."""
    places = canonical_order(responses, seed)
    texts = [responses[indices[0]] for indices in places]
    shown = [*texts, "the reference"]  # index -1
    return spread(places, play(rule, len(texts), lambda i, j: judge(shown[i], shown[j]))[0])


@pytest.mark.parametrize("rule", RULES)
@given(n=st.integers(1, 17))
def test_cost_is_what_is_stated(rule: Rule, n: int) -> None:
    _, asked = play(rule, n, lambda i, j: 0.7)
    stated = {
        "log_odds": n, "reference": n, "knockout": n - 1, "pivot": n - 1,
        "circular": 0 if n == 1 else 1 if n == 2 else n,
        "round_robin": n * (n - 1) // 2, "bradley_terry": n * (n - 1) // 2,
    }  # fmt: skip
    assert asked == comparisons(rule, n) == stated.get(rule, asked)
    if rule == "chunked":
        assert asked <= 2.5 * n


@pytest.mark.parametrize("rule", RULES)
def test_a_huge_group_is_counted_without_its_matches(rule: Rule) -> None:
    assert comparisons(rule, 10**9) >= 10**9 - 1  # a list of them would not fit any memory
    assert [comparisons(rule, n) for n in range(1, 300)] == [len(_first_matches(rule, n)) for n in range(1, 300)]


def _first_matches(rule: Rule, n: int) -> list:
    """All matches of a rule; a knockout names those of its first round only, so its later ones are made up here."""
    return [()] * (n - 1) if rule == "knockout" else next_matches(rule, n, {})


@pytest.mark.parametrize("rule", RULES)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=10), st.randoms(use_true_random=False))
def test_permuting_a_group_permutes_its_rewards(rule: Rule, responses: list[str], random) -> None:
    def judge(first: str, second: str) -> float:
        forward = (sum(map(ord, first + "|" + second)) * 7919 + 31 * ord(first[0])) % 101 / 100
        backward = (sum(map(ord, second + "|" + first)) * 7919 + 31 * ord(second[0])) % 101 / 100
        return (forward + 1 - backward) / 2

    order = random.sample(range(len(responses)), len(responses))
    before = earn(rule, responses, judge)
    after = earn(rule, [responses[index] for index in order], judge)
    assert after == [before[index] for index in order]
    equal = itertools.combinations(range(len(responses)), 2)
    assert all(before[i] == before[j] for i, j in equal if responses[i] == responses[j])


@st.composite
def dominated(draw):
    """A matrix of P(i beats j) in which 0 beats 1 head to head and does no worse against anyone else."""
    n = draw(st.integers(2, 7))
    p = {(i, j): draw(probabilities) for i in range(n) for j in range(i + 1, n)}
    p |= {(i, REFERENCE): draw(probabilities) for i in range(n)}
    p[(0, 1)] = max(p[(0, 1)], 1 - p[(0, 1)])
    for k in [*range(2, n), REFERENCE]:
        p[(0, k)], p[(1, k)] = max(p[(0, k)], p[(1, k)]), min(p[(0, k)], p[(1, k)])
    return n, p


@pytest.mark.parametrize("rule", COMMON_OPPONENTS)
@given(dominated())
def test_a_dominated_response_never_earns_more(rule: Rule, case) -> None:
    n, p = case
    rewards, _ = play(rule, n, lambda i, j: p[(i, j)])
    assert rewards[0] >= rewards[1] - 1e-9


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in AGAINST_REFERENCE])
def test_a_cycle_of_verdicts_ends_with_finite_rewards(rule: Rule) -> None:
    """Rock beats scissors beats paper beats rock: nothing to order, nothing to hang on."""
    rewards, _ = play(rule, 3, lambda i, j: 1.0 if (j - i) % 3 == 1 else 0.0)
    assert all(isinstance(value, float) and math.isfinite(value) for value in rewards)
    if rule not in ("knockout", "pivot"):
        assert rewards == pytest.approx([rewards[0]] * 3)


@pytest.mark.parametrize("rule", RULES)
def test_a_consistent_judge_puts_the_best_first(rule: Rule) -> None:
    n = 8
    rewards, _ = play(rule, n, lambda i, j: 0.9 if j == REFERENCE and i == 3 else float(i == 3) if 3 in (i, j) else 0.5)
    assert rewards[3] == max(rewards) and rewards.count(rewards[3]) == 1


@pytest.mark.parametrize("rule", RULES)
@given(data=st.data(), n=st.integers(2, 9))
def test_no_verdict_is_a_mask_and_never_a_number(rule: Rule, n: int, data) -> None:
    failed: dict[int, bool] = {place: True for place in range(n)}

    def judge(i: int, j: int) -> float | None:
        p = data.draw(st.none() | probabilities)
        for place in (i, j):
            if p is not None and place != REFERENCE:
                failed[place] = False
        return p

    rewards, asked = play(rule, n, judge)
    assert asked <= comparisons(rule, n)
    for place, value in enumerate(rewards):
        if failed[place] and not (rule == "knockout" and value != Mask.NOT_JUDGED):
            assert value is Mask.NOT_JUDGED
        assert isinstance(value, Mask) or math.isfinite(value)


@pytest.mark.parametrize("rule", RULES)
@given(n=st.integers(2, 17))
def test_a_group_of_ties_earns_the_same(rule: Rule, n: int) -> None:
    rewards, _ = play(rule, n, lambda i, j: 0.5)
    assert rewards == pytest.approx([rewards[0]] * n)


def test_tied_places_of_a_knockout_share_their_fate() -> None:
    """0 and 1 tie, 0 plays for both and loses to 2."""
    outcomes = {(0, 1): 0.5, (2, 3): 0.9, (0, 2): 0.2}
    assert play("knockout", 4, lambda i, j: outcomes[(i, j)])[0] == [0.5, 0.5, 1.0, 0.0]
    assert play("knockout", 4, lambda i, j: (outcomes | {(0, 2): None})[(i, j)])[0] == [Mask.NOT_JUDGED] * 3 + [0.0]


def test_the_pivot_is_on_the_right_side_of_whom_it_met() -> None:
    rewards, _ = play("pivot", 4, lambda i, j: (None, 0.1, 0.55, None)[j])
    assert rewards == [0.5, pytest.approx(0.9), pytest.approx(0.45), Mask.NOT_JUDGED]
    assert play("pivot", 4, lambda i, j: 0.1 if j == 1 else None)[0][0] is Mask.NOT_JUDGED, "one of three is too few"


def test_too_few_judged_matches_mask_a_response() -> None:
    def judge(i: int, j: int) -> float | None:
        return None if i == 0 and j != 4 else 0.6

    assert play("round_robin", 5, judge)[0][0] is Mask.NOT_JUDGED
    assert play("round_robin", 5, judge, min_judged=0.25)[0][0] == pytest.approx(0.6)


def test_strengths_of_two_islands_are_not_compared() -> None:
    islands = ({0, 1, 2}, {3, 4})
    rewards, _ = play(
        "bradley_terry", 5, lambda i, j: 0.8 if any({i, j} <= each for each in islands) else None, min_judged=0.25
    )
    assert rewards[3:] == [Mask.NOT_COMPARABLE] * 2
    assert sum(rewards[:3]) == pytest.approx(0) and rewards[0] > rewards[1] > rewards[2]


def test_log_odds_are_finite_and_signed() -> None:
    assert play("log_odds", 3, lambda i, _: (0.0, 0.5, 1.0)[i])[0] == pytest.approx([-9.21, 0, 9.21], abs=0.01)


def test_alone_without_reference_is_masked() -> None:
    assert play("round_robin", 1, None)[0] == [Mask.ALONE]
    assert play("log_odds", 1, lambda i, j: 0.5)[0] == [0.0]


def test_unfinished_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="1 matches of rule round_robin have no outcome"):
        score("round_robin", 2, {})


def test_a_record_has_a_reward_or_a_mask() -> None:
    assert RewardRecord(0.3, None, ("j1",), "v1").reward == 0.3
    for reward, mask in ((None, None), (0.0, Mask.ALONE)):
        with pytest.raises(ValueError, match="either"):
            RewardRecord(reward, mask, (), "v1")
