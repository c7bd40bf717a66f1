"""What episodes earn, how judges of agents read them, and what follows from outcomes alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from genrm_rl.agents.episodes import AgentEpisode, AgentTurn, read_episodes, write_episodes
from genrm_rl.agents.figures import figures
from genrm_rl.agents.rewards import EarnedEpisode, outcome_part, tells_outcome, turn_advantages
from genrm_rl.agents.step_calibration import calibrate
from genrm_rl.agents.step_marks import StepMark, hindsight_marks, marking_text, parse_marks, written_marks
from genrm_rl.agents.training import groups_of, learned_from, step_figures, tasks_of
from genrm_rl.agents.trajectories import task_text, trajectory_pairs, trajectory_text
from genrm_rl.agents.transcript import TurnTokens
from genrm_rl.config.agents import AgentConfig, EpisodeReward
from genrm_rl.config.alignment import PPOConfig
from genrm_rl.environments.protocol import Task
from genrm_rl.learners.experience import policy_examples


def turn(action: str, number: int = 0, follows: bool = True) -> AgentTurn:
    tokens = TurnTokens((1, 2, 3) if number == 0 else (9,), number == 0, (4, 5), (-0.5, -0.25), "step-00001")
    return AgentTurn(f"saw {number}", f"Action: {action}", action, follows, tokens)


def episode(actions: str, score: float | None, *, task: str = "t", seed: int = 0, **changes) -> AgentEpisode:
    turns = tuple(turn(action, number) for number, action in enumerate(actions.split()))
    success = None if score is None else score == 1.0
    found = AgentEpisode(task, "all", seed, "the goal", turns, "the end", "done", success, score)
    return replace(found, **changes)


def test_episodes_come_back_from_disk_as_they_were(tmp_path):
    episodes = [
        episode("a b", 1.0),
        episode("a", None, end="environment_failed", failure="hung: no answer"),
        episode("", 0.0),
    ]
    write_episodes(tmp_path / "episodes.parquet", episodes)
    assert read_episodes(tmp_path / "episodes.parquet") == episodes


def test_an_episode_without_outcome_earns_nothing_and_is_in_no_figure():
    parts = EpisodeReward(outcome=1.0, format=0.5)
    lost, won = episode("a", None, failure="died: x"), episode("a", 1.0)
    assert outcome_part(lost, parts, 0) is None
    assert EarnedEpisode(lost, format=1.0).reward(parts) is None
    assert EarnedEpisode(won, outcome=1.0, format=1.0).reward(parts) == 1.5
    found = figures([lost, won], resamples=100, seed=0)
    assert (found.episodes, found.success, found.masked) == (2, 1.0, {"died": 1})


def test_a_judge_that_gave_nothing_masks_and_a_hidden_outcome_does_not():
    parts = EpisodeReward(outcome=1.0, judge=1.0)
    won = episode("a", 1.0)
    assert EarnedEpisode(won, outcome=1.0, judge=None).reward(parts) is None
    assert EarnedEpisode(won, outcome=None, judge=0.25).reward(parts) == 0.25
    assert EarnedEpisode(won, outcome=None).reward(EpisodeReward()) is None


def test_outcomes_are_told_for_the_asked_share_of_tasks_and_for_all_episodes_of_a_task():
    parts = EpisodeReward(outcome_share=0.1)
    told = [tells_outcome(f"task/{n}", parts, 0) for n in range(2000)]
    assert 0.07 < sum(told) / 2000 < 0.13
    assert all(tells_outcome(f"task/{n}", EpisodeReward(), 0) for n in range(50))


def test_turns_of_a_group_are_compared_by_their_marks():
    group = [
        EarnedEpisode(episode("a b", 1.0), marks=(1.0, 0.0)),
        EarnedEpisode(episode("a c", 0.0, seed=1), marks=(1.0, -1.0)),
        EarnedEpisode(episode("a d", 0.0, seed=2)),  # its answer could not be read
    ]
    found = turn_advantages(group, 0.5)
    flat = [*found[0], *found[1]]
    assert math.isclose(sum(flat), 0.0, abs_tol=1e-9)
    assert found[1][1] < found[0][1] < found[0][0] == found[1][0]
    assert found[2] == (0.0, 0.0)
    assert turn_advantages(group, 0.0)[0] == (0.0, 0.0)


def test_groups_of_equal_reward_teach_nothing_unless_their_turns_differ():
    config = AgentConfig()
    same = [EarnedEpisode(episode("a b", 0.0, seed=n), outcome=0.0) for n in range(3)]
    assert learned_from(same, config) == []
    marked = [replace(each, marks=(1.0, n - 0.5)) for n, each in enumerate(same)]
    with_steps = config.model_copy(update={"parts": EpisodeReward(outcome=1.0, steps=1.0)})
    answers = learned_from(marked, with_steps)
    assert [answer.shaped for answer in answers] == [0.0, 0.0, 0.0]
    assert answers[0].turn_shaped[1] < answers[2].turn_shaped[1]


def test_an_episodes_advantage_is_on_every_sampled_token_and_a_turns_on_its_own():
    config = AgentConfig(parts=EpisodeReward(outcome=1.0, steps=1.0), step_judge={"source": "policy"})
    group = [
        EarnedEpisode(episode("a b", 1.0, seed=0), outcome=1.0, marks=(0.0, 1.0)),
        EarnedEpisode(episode("a c", 0.0, seed=1), outcome=0.0, marks=(0.0, -1.0)),
    ]
    answers = learned_from(group, config)
    ppo = PPOConfig(advantage="group_norm", kl_coefficient=0.0)
    zeros = [np.zeros(4, np.float32)] * 2
    won, lost = (example.advantages_T for example in policy_examples(answers, None, zeros, None, ppo, 0.0))
    assert won.shape == (4,)  # two turns of two tokens; what was observed between them has none
    assert won[0] == won[1] and won[2] == won[3] and won[2] > won[0] > 0 > lost[0] > lost[2]


def test_gae_over_turns_gives_a_turns_tokens_one_advantage():
    answer = learned_from(
        [EarnedEpisode(episode("a b", 1.0), outcome=1.0)],
        AgentConfig(ppo=PPOConfig(advantage="gae")),
    )[0]
    values = [np.array([0.5, 0.9, 0.25, 0.1, 0.0], np.float32)]
    ppo = PPOConfig(advantage="gae", gae_lambda=1.0, kl_coefficient=0.0)
    zeros = [np.zeros(4, np.float32)]
    (example,) = policy_examples([answer], zeros, zeros, values, ppo, 0.0)
    assert example.returns_T.tolist() == [1.0, 1.0, 1.0, 1.0]
    assert example.old_values_T.tolist() == pytest.approx([0.5, 0.9, 0.25, 0.1])
    assert example.advantages_T[0] == example.advantages_T[1] < example.advantages_T[2]


def test_pairs_are_of_one_task_and_the_better_outcome_is_chosen():
    episodes = [
        episode("a b", 1.0, seed=0),
        episode("a c", 0.4, seed=1),
        episode("a d", 0.3, seed=2),
        episode("a e", None, seed=3),
        episode("x", 1.0, task="other", seed=4),
    ]
    pairs = list(trajectory_pairs(episodes, seed=0, most=10, margin=0.2))
    assert len(pairs) == 2
    assert all("> b" in pair["chosen"] and pair["chosen"] != pair["rejected"] for pair in pairs)
    assert len(list(trajectory_pairs(episodes, seed=0, most=1, margin=0.2))) == 1


def test_a_judge_reads_deeds_and_what_they_led_to():
    text = trajectory_text(replace(episode("a b", 1.0), turns=(turn("a", 0), turn("(no action)", 1, follows=False))))
    assert text == "> a\nsaw 1\n> (no action)\nthe end"


def test_a_page_that_was_seen_before_is_not_shown_to_the_judge_again():
    """Else the longest, most confused episodes fit no judge's context, and masking them would favour the others."""
    page, refusal = "product after product. " * 10, "That can't be done here.\n"
    seen = [page, f"{refusal}{page}", f"{refusal}{page}", "another page"]
    turns = tuple(replace(turn(f"go {number}"), observation=text) for number, text in enumerate(seen))
    text = trajectory_text(replace(episode("a", 1.0, turns=turns), last=page))
    assert text.splitlines() == [
        *("> go 0", refusal.strip(), "[as before]"),
        *("> go 1", refusal.strip(), "[as before]"),
        *("> go 2", "another page"),
        *("> go 3", "[as before]"),
    ]


def test_tasks_that_begin_alike_and_differ_late_are_different_questions_to_a_judge():
    alike = [
        episode("a", 1.0, turns=(replace(turn("a"), observation="room " * 100 + end),)) for end in ("hall", "attic")
    ]
    assert len(set(map(task_text, alike))) == 2


@pytest.mark.parametrize(
    ("text", "turns", "marks"),
    [
        ("1: helpful\n2: harmful - went back", 2, ["helpful", "harmful"]),
        ("1: helpful\n", 1, ["helpful"]),
        ("1: helpful", 2, None),
        ("1: helpful\n3: neutral", 2, None),
        ("2: helpful\n1: neutral", 2, None),
        ("1: good", 1, None),
        ("Steps:\n1: helpful", 1, None),
        ("", 1, None),
    ],
)
def test_marks_are_one_whole_answer_or_none(text, turns, marks):
    found = parse_marks(text, turns)
    assert (found and [each.mark for each in found]) == marks
    if found:
        assert parse_marks(written_marks(found), turns) == found


def test_a_step_is_marked_by_what_came_of_it():
    group = [
        episode("a b", 1.0, seed=0),
        episode("a b", 1.0, seed=1),
        episode("a c", 0.0, seed=2),
        episode("d c", 0.0, seed=3),
        episode("a b", None, seed=4),
    ]
    marked = hindsight_marks(group, 0.05)
    assert [each.mark for each in marked["t", 0]] == ["helpful", "helpful"]
    assert [each.mark for each in marked["t", 2]] == ["helpful", "harmful"]
    assert [each.mark for each in marked["t", 3]] == ["harmful", "neutral"]
    assert ("t", 4) not in marked
    assert marking_text(group[0]).splitlines()[-3:] == ["2. > b", "the end", marking_text(group[0]).splitlines()[-1]]


def test_a_step_judge_that_is_inverted_constant_or_silent_is_said_to_be():
    wins = [n % 2 == 0 for n in range(40)]
    good = [0.5 if win else -0.5 for win in wins]
    good[0], good[1] = -0.5, 0.5
    scores = [float(win) for win in wins]
    sound = calibrate(good, wins, scores, 3)
    assert not sound.problem and sound.slope > 0 and sound.rank_correlation > 0.5 and 0 <= sound.ece < 0.2
    assert "inverted" in calibrate([-value for value in good], wins, scores, 0).problem
    assert "alike" in calibrate([0.5] * 40, wins, scores, 0).problem
    assert "only 5" in calibrate(good[:5], wins[:5], scores[:5], 35).problem
    assert "unlike the others" in calibrate(good, [True] * 40, [1.0] * 40, 0).problem


def test_every_task_is_played_once_before_one_is_played_again():
    tasks = [Task("e", "train", "l", n) for n in range(7)]
    played = [task for step in range(7) for task in tasks_of(tasks, step, 3, seed=1)]
    assert {task.index for task in played[:7]} == set(range(7))
    assert tasks_of(tasks, 2, 3, 1) == tasks_of(tasks, 2, 3, 1)


def test_figures_of_a_step_hold_gold_beside_every_part():
    earned = [
        EarnedEpisode(episode("a", 1.0, seed=0), outcome=1.0, judge=0.75, format=1.0),
        EarnedEpisode(episode("b", 0.0, seed=1), outcome=0.0, judge=0.25, format=1.0),
        EarnedEpisode(episode("c", None, seed=2)),
    ]
    row = step_figures(earned, AgentConfig())
    assert (row["rollout/success"], row["reward/judge"], row["reward/masked"]) == (0.5, 0.5, 1)
    assert len(groups_of(earned)) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"parts": {"outcome": 0.0}}, "every weight is 0"),
        ({"parts": {"steps": 1.0}}, "step_judge.checkpoint"),
        ({"ppo": {"staleness": 1}}, "ppo.staleness"),
        ({"parts": {"judge": 1.0}, "ppo": {"advantage": "gae"}}, "compares episodes"),
        ({"acting": {"max_tokens": 400}}, "no room"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        AgentConfig(**words)


def test_marks_have_values():
    assert [StepMark(mark).value for mark in ("helpful", "neutral", "harmful")] == [1.0, 0.0, -1.0]
