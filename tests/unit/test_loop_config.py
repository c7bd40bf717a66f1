"""Settings of a loop and of the jobs that it drives."""

from __future__ import annotations

from pathlib import Path

import pytest

from genrm_rl.closed_loop.judges import LoopJudge
from genrm_rl.closed_loop.settings import align_settings, bootstrap_settings, next_judge_settings, serve_settings
from genrm_rl.config.loading import load_config
from genrm_rl.config.loop import LoopConfig
from genrm_rl.errors import ConfigError, RunDirectoryError
from genrm_rl.runtime.run_directory import RunDirectory, config_hash

QUICKSTART = Path(__file__).resolve().parents[2] / "jobs/configs/quickstart.yaml"
JUDGE = LoopJudge("turn1/bootstrap", "turn1/bootstrap/checkpoint", "dpo-1", "star_dpo", "star_dpo-1")


def config(*words: str) -> LoopConfig:
    return load_config(LoopConfig, QUICKSTART, words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--judge.run.seed", "3"), "in a loop judge.run comes from run; leave it out"),
        (("--policy.judge.max-rationale", "9"), "in a loop policy.judge comes from judge.judge; leave it out"),
        (("--policy.reward.url", "http://x"), "policy.reward.url comes from the judge that is served"),
        (("--policy.serving.checkpoint", "x"), "policy.serving.checkpoint comes from the judge"),
        (("--method", "star_sft"), "method star_sft is not trained; list it in judge.bootstrap.methods"),
        (("--judge.data.gate", "[]"), "judge.data.gate is empty"),
        (("--labels.min-verdicts", "9"), "min_verdicts 9 can't be reached with 4 votes in each of two orders"),
    ],
)
def test_settings_that_a_loop_can_not_have_are_refused_with_the_way_out(words, sentence):
    with pytest.raises(ConfigError) as refused:
        config(*words)
    assert sentence in str(refused.value)


def test_jobs_live_below_the_loop_and_judges_of_all_turns_share_their_held_out_pairs(tmp_path):
    loop = config("--run.seed", "5")
    first = bootstrap_settings(loop, tmp_path, "turn1/bootstrap")
    second = next_judge_settings(loop, tmp_path, "turn2/judge", {"turn 1": "turn1/pairs.jsonl"})
    assert Path(first.run.root, first.run.id) == tmp_path / "turn1/bootstrap"
    assert (second.run.seed, second.data.gate, second.data.test) == (first.run.seed, first.data.gate, first.data.test)
    assert second.data.train[:-1] == first.data.train
    assert second.data.train[-1].path == str(tmp_path / "turn1/pairs.jsonl")
    assert second.bootstrap.methods == ("star_dpo",)
    assert first.tracking.run_name == "quickstart-turn1-bootstrap"


def test_the_policy_is_rewarded_by_the_served_judge_and_goes_on_from_the_last_turn(tmp_path):
    loop = config()
    settings = align_settings(loop, tmp_path, "turn2/align", 2, JUDGE, "turn1/align/policy")
    assert settings.serving.checkpoint == str(tmp_path / "turn1/bootstrap/checkpoint")
    assert (settings.judge, settings.judge_model) == (loop.judge.judge, loop.judge.model)
    assert settings.model.name == str(tmp_path / "turn1/align/policy")
    assert settings.model.max_context == loop.policy.model.max_context
    assert settings.run.seed == loop.run.seed + 1
    assert serve_settings(loop, tmp_path, JUDGE).serving.checkpoint == settings.serving.checkpoint


def test_more_turns_and_patience_continue_a_loop_and_other_settings_do_not(tmp_path):
    words = ("--run.root", str(tmp_path))
    with RunDirectory(config(*words)) as run:
        run.claim()
    RunDirectory(config(*words, "--turns", "3", "--policy.reward.give-up-after", "9")).close()
    for changed in ("--judge.model.dtype", "bfloat16"), ("--labels.votes", "5"), ("--policy.ppo.steps", "3"):
        with pytest.raises(RunDirectoryError, match=changed[0].removeprefix("--")):
            RunDirectory(config(*words, *changed))
    assert config_hash(config()) == config_hash(config("--judge.rollout.deadline", "5"))
